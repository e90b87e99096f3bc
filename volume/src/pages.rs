//! Pages of other volumes' lists of which a pull used only the beginning: the next pull goes on with the rest.
//!
//! For one page the source may read 64 MiB of its data, and a pull that no client is to notice takes a few MiB. Owns which rest is
//! whose. Invariants: a rest goes to a pull of the same needles from the same source that begins where the one before ended,
//! once, and within seconds; the first pull of a list always asks the source; and there are never more rests than pulls at a time.
//! What was listed may be gone or damaged since, as it may within one pull: the source gives what it has, and whether all came is
//! told by a list of who pulls.

use hayrick_protocol::ids::{NeedleId, PlacementId, VolumeId};
use hayrick_protocol::messages::volume::{ListPosition, Listing, Pull};
use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use crate::list::position;

/// How long a rest is kept: pulls of one list follow each other, however slow their pace, within a second or two.
const KEPT_FOR: Duration = Duration::from_secs(5);

/// The rests of pages.
pub(crate) struct Pages {
    most: usize,
    rests: Mutex<Vec<Rest>>,
}

/// What is left of one page.
struct Rest {
    source: VolumeId,
    address: String,
    placements: Vec<PlacementId>,
    only: Vec<NeedleId>,
    /// Where the pull ended that used what came before.
    from: ListPosition,
    page: Listing,
    since: Instant,
}

impl Pages {
    /// None yet, and never more than so many.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, rests: Mutex::default() }
    }

    /// The rest of the page that this pull goes on with, if it does.
    pub(crate) fn take(&self, pull: &Pull) -> Option<Listing> {
        let mut rests = self.rests.lock();
        rests.retain(|rest| rest.since.elapsed() < KEPT_FOR);
        let number = rests.iter().position(|rest| {
            (rest.source, rest.from) == (pull.source, pull.from)
                && rest.address == pull.address
                && (&rest.placements, &rest.only) == (&pull.placements, &pull.only)
        });
        number.map(|number| rests.swap_remove(number).page)
    }

    /// Keeps what a pull has not used: all but the first so many needles.
    pub(crate) fn keep(&self, pull: &Pull, mut page: Listing, used: usize) {
        let Some(from) = page.needles[..used].last().map(position) else { return };
        if used == page.needles.len() {
            return;
        }
        page.needles.drain(..used);
        let mut rests = self.rests.lock();
        if rests.len() >= self.most {
            rests.remove(0);
        }
        let Pull { source, address, placements, only, .. } = pull.clone();
        rests.push(Rest { source, address, placements, only, from, page, since: Instant::now() });
    }
}

#[cfg(test)]
mod tests {
    use hayrick_protocol::key::ObjectKey;
    use hayrick_protocol::messages::volume::Listed;

    use super::*;

    fn listed(id: u64) -> Listed {
        let key = ObjectKey::new("key").expect("a key");
        Listed { segment: 1, placement: PlacementId(1), needle: NeedleId(id), bytes: 100, key }
    }

    fn page() -> Listing {
        Listing { needles: (1..=4).map(listed).collect(), next: None }
    }

    fn pull(from: ListPosition) -> Pull {
        let (source, address) = (VolumeId(1), "here".to_owned());
        Pull { source, address, placements: vec![PlacementId(1)], from, bytes_max: 1, only: Vec::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_goes_to_whom_it_belongs_once_and_soon() {
        let (pages, first, next) = (Pages::new(2), pull(ListPosition::default()), pull(position(&listed(2))));
        pages.keep(&first, page(), 2);
        assert_eq!(pages.take(&first), None, "a list that begins is asked for");
        assert_eq!(pages.take(&Pull { source: VolumeId(2), ..next.clone() }), None);
        assert_eq!(pages.take(&Pull { address: "there".to_owned(), ..next.clone() }), None);
        assert_eq!(pages.take(&Pull { placements: vec![PlacementId(2)], ..next.clone() }), None);
        assert_eq!(pages.take(&Pull { only: vec![NeedleId(3)], ..next.clone() }), None);
        assert_eq!(pages.take(&pull(position(&listed(3)))), None);
        let rest = pages.take(&next).expect("it is kept");
        assert_eq!(rest, Listing { needles: vec![listed(3), listed(4)], next: None });
        assert_eq!(pages.take(&next), None);

        pages.keep(&first, page(), 2);
        tokio::time::advance(KEPT_FOR).await;
        assert_eq!(pages.take(&next), None, "much may have changed");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_used_up_or_unused_is_not_kept_nor_more_than_so_many() {
        let (pages, first) = (Pages::new(2), pull(ListPosition::default()));
        pages.keep(&first, page(), 0);
        pages.keep(&first, page(), 4);
        assert!(pages.rests.lock().is_empty());
        for used in 1..=3 {
            pages.keep(&first, page(), used);
        }
        let kept = |used| pages.take(&pull(position(&listed(used)))).is_some();
        assert_eq!([kept(1), kept(2), kept(3)], [false, true, true]);
    }
}
