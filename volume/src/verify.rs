//! Reading and verifying what lies here of some placements, for who compares it with the index.
//!
//! Scrub reads all there is, in a week, and knows no placements; this reads what is asked for, now. Owns the bound of a page
//! and the pace, which is that of `--scrub-rate`: a check may take as long as the operator lets scrub be in the way, and no
//! master can ask for more. Invariant: what is answered as verified was read whole, and what fails is reported as damaged
//! like any needle that a reader met.

use std::time::Duration;

use hayrick_protocol::digest;
use hayrick_protocol::ids::{NeedleId, PlacementId};
use hayrick_protocol::limits::VERIFY_PAGE_BYTES_MAX;
use hayrick_protocol::messages::volume::{ListPosition, ReadError, Verified};
use hayrick_protocol::needle::Header;

use crate::list::position;
use crate::read;
use crate::store::Store;

/// Needles of one page: few enough that those which are listed and do not fit any more cost little.
const PAGE_NEEDLES_MAX: usize = 1024;
/// The pace where scrub is switched off.
const BYTES_PER_S_DEFAULT: u64 = 50 << 20;
/// The longest that an answer is held back, so that nobody gives up on it: a needle that is larger than a second's share.
const PACE_MAX: Duration = Duration::from_secs(5);

impl Store {
    /// A page of the list, as [`Store::list_page`] has it, of at most so many bytes and one needle; each read and verified.
    ///
    /// # Errors
    /// When not all can be seen.
    pub fn verify_page(
        &self,
        placements: &[PlacementId],
        from: ListPosition,
        bytes_max: u64,
    ) -> Result<Verified, ReadError> {
        let mut listing = self.page_of(placements, from, PAGE_NEEDLES_MAX)?;
        let bytes_max = bytes_max.min(VERIFY_PAGE_BYTES_MAX).min(self.verify_bytes_per_s());
        let (mut bytes, mut checks) = (0, Vec::new());
        for listed in &listing.needles {
            if !checks.is_empty() && bytes >= bytes_max {
                break;
            }
            bytes += u64::from(listed.bytes);
            checks.push(self.verify(listed.needle));
        }
        if checks.len() < listing.needles.len() {
            listing.needles.truncate(checks.len());
            listing.next = listing.needles.last().map(position);
        }
        Ok(Verified { listing, checks })
    }

    /// How long reading so many bytes for a check has to take at least.
    pub(crate) fn verify_pace(&self, bytes: u64) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.verify_bytes_per_s() as f64).min(PACE_MAX)
    }

    fn verify_bytes_per_s(&self) -> u64 {
        match self.options.scrub_bytes_per_s_max {
            0 => BYTES_PER_S_DEFAULT,
            rate => rate,
        }
    }

    /// Reads a needle whole: the checksum of its block table.
    fn verify(&self, id: NeedleId) -> Result<u32, ReadError> {
        let (at, reader) = self.locate(id)?;
        let record = read::record(&reader, at, id).map_err(|error| self.bad(id, at, error))?;
        self.well(id, at);
        let header = Header::peek(&record).ok_or(ReadError::Damaged)?;
        Ok(digest::table_crc(&record[header.table_at()..header.end()]))
    }
}
