//! Real files to begin with: segments and their index files, as a store left them.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use hayrick_disk::{Disk, FaultyDisk};
use hayrick_protocol::ids::NeedleId;
use hayrick_volume::{Outcome, Row, SegmentFile, Store, StoreOptions};

use crate::needles::needle;

pub(crate) const DIR: &str = "/needles";

/// The files of a store with one segment.
pub(crate) struct Image {
    pub(crate) segment: Vec<u8>,
    pub(crate) index: Vec<u8>,
    /// Where records begin in the segment.
    pub(crate) records: Vec<usize>,
    /// The ids of its needles, live and dropped: no other image has these.
    pub(crate) ids: Range<u64>,
}

pub(crate) fn options(segment_bytes: u64) -> StoreOptions {
    let mut options = StoreOptions::new(DIR, 64 << 20);
    options.segment_bytes = segment_bytes;
    options.zero_ahead_bytes = 0;
    options.compact_bytes_per_s = 0;
    options.threads = false;
    options
}

pub(crate) fn segment_path() -> PathBuf {
    Path::new(DIR).join("0000000000000001.seg")
}

pub(crate) fn index_path() -> PathBuf {
    Path::new(DIR).join("0000000000000001.idx")
}

/// How long the needle of an id is: most are small, some fill several blocks.
pub(crate) fn size_of(id: u64) -> usize {
    match id % 100 {
        97 => 150_000,
        rest => (rest * rest % 700) as usize,
    }
}

/// A sealed segment of many needles and some tombstones, one that is appended to, one with a large needle, an empty one.
pub(crate) fn images() -> Vec<Image> {
    vec![
        image(1, 101..131, true, SMALL),
        image(2, 201..216, false, SMALL),
        image(3, 396..398, true, 8 * SMALL),
        image(4, 401..401, false, SMALL),
    ]
}

/// The smallest segment there is.
pub(crate) const SMALL: u64 = 32 << 10;

fn image(seed: u64, ids: Range<u64>, seals: bool, segment_bytes: u64) -> Image {
    let disk = FaultyDisk::new(seed);
    let store = Store::open(Arc::new(disk.clone()), options(segment_bytes)).expect("the store opens");
    for id in ids.clone() {
        append(&store, needle(id, size_of(id))).expect("a good needle");
    }
    let dropped: Vec<_> = ids.clone().filter(|id| id % 10 == 5).map(NeedleId).collect();
    let dropping = store.delete(&dropped);
    store.work();
    dropping.now_or_never().expect("it was written").expect("dropped");
    if seals {
        store.seal();
        append(&store, needle(9, 9)).expect("appended behind it");
        store.keep_house();
        assert!(disk.exists(&index_path()).expect("a sound disk"), "it has its index file");
    }
    store.close();
    let mut records = Vec::new();
    let file = SegmentFile::open(&disk, &segment_path()).expect("a whole segment");
    let shown = file.rows(&mut |row| {
        records.push(match row {
            Row::Needle { offset, .. } | Row::Mark { offset, .. } => offset as usize,
            Row::Tombstone { offset, .. } | Row::Damage { offset, .. } => offset as usize,
        });
        Ok(std::ops::ControlFlow::Continue(()))
    });
    shown.expect("a sound disk");
    assert_eq!(file.summary().live.count + file.summary().dead.count, ids.end - ids.start, "all lie in it");
    let segment = disk.bytes(&segment_path()).expect("it is there");
    Image { segment, index: disk.bytes(&index_path()).unwrap_or_default(), records, ids }
}

/// Appends to a store without threads.
pub(crate) fn append(store: &Store, needle: Bytes) -> Outcome {
    let outcomes = store.append(vec![needle]);
    store.work();
    outcomes.now_or_never().expect("it was written").remove(0)
}
