//! Random verified reads by needle id, beside bare `pread` of the same bytes at the same places.
//!
//! Both run on one thread, in turns, so that a change of the machine's mood meets both. The page cache is warm: all that
//! is read was just written, and was read once to find the places.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_disk::HEADER_BYTES as FILE_HEADER_BYTES;
use hayrick_protocol::ids::NeedleId;
use hayrick_protocol::needle::{HEADER_BYTES, Header, Kind};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::figure::Figure;
use crate::{KIB, needles};

/// Turns of each of the two.
const TURNS: u32 = 6;
/// Reads between two looks at the clock.
const READS: usize = 1000;

/// Where a needle's record lies.
struct Place {
    id: NeedleId,
    file: usize,
    offset: u64,
    len: usize,
}

/// Reads a second.
pub(crate) fn rate(runtime: &Runtime, dir: &Path, count: u64, measured: Duration) -> Result<Figure> {
    let store = crate::open_store(crate::options(dir))?;
    runtime.block_on(needles::fill(&store, count, KIB))?;
    let (files, places) = places(dir)?;
    ensure!(places.len() as u64 == count, "found {} of {count} needles", places.len());
    for place in &places {
        let mut record = vec![0; place.len];
        files[place.file].read_exact_at(&mut record, place.offset)?;
    }

    let bare = |place: &Place, record: &mut [u8]| {
        files[place.file].read_exact_at(&mut record[..place.len], place.offset)?;
        black_box(&record);
        Ok(())
    };
    let verified = |place: &Place, _: &mut [u8]| {
        let needle = store.open_needle(place.id)?;
        let data = store.read_blocks(&needle, 0, u32::MAX)?;
        ensure!(black_box(data).len() == KIB, "needle {} has another size", place.id);
        Ok(())
    };
    let (mut bare_rate, mut verified_rate) = (0.0, 0.0);
    for turn in 0..TURNS {
        let seed = u64::from(turn);
        bare_rate += one_turn(&places, seed, measured / TURNS, bare)? / f64::from(TURNS);
        verified_rate += one_turn(&places, seed, measured / TURNS, verified)? / f64::from(TURNS);
    }
    Ok(Figure { baseline: Some(bare_rate), ..Figure::plain(verified_rate) })
}

/// Reads a second at random places, the same for the same seed.
fn one_turn(
    places: &[Place],
    seed: u64,
    time: Duration,
    read: impl Fn(&Place, &mut [u8]) -> Result<()>,
) -> Result<f64> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut record = vec![0; 2 * KIB];
    let (began, mut done) = (Instant::now(), 0);
    while began.elapsed() < time {
        for _ in 0..READS {
            read(&places[rng.random_range(0..places.len())], &mut record)?;
        }
        done += READS;
    }
    Ok(done as f64 / began.elapsed().as_secs_f64())
}

/// Goes through the segments, from header to header.
fn places(dir: &Path) -> Result<(Vec<File>, Vec<Place>)> {
    let (mut files, mut places) = (Vec::new(), Vec::new());
    for (name, bytes) in needles::files(dir)?.into_iter().filter(|(name, _)| name.ends_with(".seg")) {
        let file = File::open(dir.join(&name)).with_context(|| name.clone())?;
        let mut offset = FILE_HEADER_BYTES;
        while offset + HEADER_BYTES as u64 <= bytes {
            let mut header = [0; HEADER_BYTES];
            file.read_exact_at(&mut header, offset)?;
            let Some(header) = Header::peek(&header) else { break };
            let len = header.total_len();
            if header.kind == Kind::Needle {
                places.push(Place { id: header.id, file: files.len(), offset, len });
            }
            offset += len as u64;
        }
        files.push(file);
    }
    Ok((files, places))
}
