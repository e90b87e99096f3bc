//! What is told of a segment file that is looked into by itself, on files made by a real store.

mod needles;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hayrick_disk::{Disk, FaultyDisk, Seal};
use hayrick_protocol::ids::NeedleId;
use hayrick_volume::{Row, SegmentFile, Store, StoreOptions, Summary, segments_in};
use needles::{PLACEMENT, data, needle};

const DIR: &str = "/needles";
const HEADER_BYTES: u64 = 4096;

fn open(disk: &FaultyDisk) -> Store {
    let mut options = StoreOptions::new(DIR, 64 << 20);
    options.segment_bytes = 64 << 10;
    options.zero_ahead_bytes = 0;
    options.compact_bytes_per_s = 0;
    options.idle_mark_after = Duration::from_secs(3600);
    Store::open(Arc::new(disk.clone()), options).expect("the store opens")
}

fn segment(number: u64) -> PathBuf {
    Path::new(DIR).join(format!("{number:016x}.seg"))
}

/// Five needles of 300 bytes, of which the second is dropped, a sealed segment of its own, and needle 6 in the next.
async fn written(seed: u64) -> FaultyDisk {
    let disk = FaultyDisk::new(seed);
    let store = open(&disk);
    let outcomes = store.append((1..=5).map(|id| needle(id, 300)).collect()).await;
    assert!(outcomes.iter().all(Result::is_ok));
    store.delete(&[NeedleId(2)]).await.expect("dropped");
    store.seal();
    assert!(store.append(vec![needle(6, 300)]).await[0].is_ok());
    store.close();
    disk
}

fn look(disk: &FaultyDisk, number: u64) -> SegmentFile {
    SegmentFile::open(disk, &segment(number)).expect("it can be looked into")
}

/// Each row as its kind, offset, bytes and id.
fn rows(file: &SegmentFile) -> Vec<(&'static str, u64, u64, u64)> {
    let mut rows = Vec::new();
    let shown = file.rows(&mut |row| {
        rows.push(match row {
            Row::Needle { offset, bytes, header, key, is_live } => {
                assert_eq!((key, header.placement), (format!("key/{}", header.id).as_bytes(), PLACEMENT));
                (if is_live { "live" } else { "dead" }, offset, bytes, header.id.0)
            }
            Row::Tombstone { offset, bytes, id, .. } => ("tombstone", offset, bytes, id.0),
            Row::Mark { offset, bytes } => ("mark", offset, bytes, 0),
            Row::Damage { offset, bytes } => ("damage", offset, bytes, 0),
        });
        Ok(ControlFlow::Continue(()))
    });
    shown.expect("it can be read");
    rows
}

/// What holds of any file: the rows are what was counted, and lie one behind the other without a gap.
fn assert_adds_up(file: &SegmentFile, context: &str) {
    let summary = file.summary();
    let rows = rows(file);
    let mut at = HEADER_BYTES;
    for (_, offset, bytes, _) in &rows {
        assert_eq!(*offset, at, "{context}: {rows:?}");
        at += bytes;
    }
    assert_eq!((at, rows.len() as u64), (summary.end, summary.rows()), "{context}: {rows:?}");
    for (what, amount) in [
        ("live", summary.live),
        ("dead", summary.dead),
        ("tombstone", summary.tombstones),
        ("mark", summary.marks),
        ("damage", summary.damage),
    ] {
        let of_it: Vec<u64> = rows.iter().filter(|row| row.0 == what).map(|row| row.2).collect();
        assert_eq!(
            (of_it.len() as u64, of_it.iter().sum()),
            (amount.count, amount.bytes),
            "{context}: {what}"
        );
    }
    assert!(summary.tail.start == summary.end && summary.tail.end >= summary.end, "{context}");
}

#[tokio::test]
async fn needles_tombstones_and_marks_are_shown_with_what_is_dead() {
    let disk = written(1).await;
    let steps = disk.counts().steps;
    let sealed = look(&disk, 1);
    assert_adds_up(&sealed, "sealed");
    let summary = sealed.summary();
    assert!(summary.header_is_good && !summary.is_misnamed);
    assert_eq!((summary.id.0, summary.version, summary.capacity_bytes), (1, 1, summary.file_bytes));
    assert_eq!(summary.seal, Seal::At(summary.end));
    let each = needle(1, 300).len() as u64;
    assert_eq!((summary.live.count, summary.live.bytes), (4, 4 * each));
    assert_eq!((summary.dead.count, summary.dead.bytes), (1, each));
    assert_eq!((summary.tombstones.count, summary.damage.count), (1, 0));
    let kinds: Vec<_> = rows(&sealed).iter().map(|row| (row.0, row.3)).take(6).collect();
    let expected = [("live", 1), ("dead", 2), ("live", 3), ("live", 4), ("live", 5), ("tombstone", 2)];
    assert_eq!(kinds, expected);

    let open = look(&disk, 2);
    assert_adds_up(&open, "open");
    assert_eq!((open.summary().seal, open.summary().live.count), (Seal::None, 1));
    assert_eq!(open.summary().marks.count, 1, "it was closed");
    assert_eq!(disk.counts().steps, steps, "nothing was written");
    let found = segments_in(&disk, Path::new(DIR)).expect("a sound disk");
    assert_eq!(found[..2], [segment(1), segment(2)]);
}

#[tokio::test]
async fn a_segment_in_use_is_looked_into_without_harm() {
    let disk = FaultyDisk::new(2);
    let store = open(&disk);
    for id in 1..=20 {
        assert!(store.append(vec![needle(id, 300)]).await[0].is_ok());
        let file = look(&disk, 1);
        assert_adds_up(&file, "in use");
        assert_eq!(file.summary().live.count, id);
    }
    store.close();
    assert_eq!(open(&disk).status().needles, 20);
}

/// All but marks: one may lie behind the end that the seal names.
fn records_of(summary: &Summary) -> u64 {
    summary.live.count + summary.dead.count + summary.tombstones.count
}

#[tokio::test]
async fn each_flipped_byte_costs_one_record_at_most() {
    let whole = written(3).await;
    let end = look(&whole, 1).summary().end;
    let records = records_of(look(&whole, 1).summary());
    for offset in (0..64).chain(2040..2080).chain((HEADER_BYTES..end + 16).step_by(3)) {
        assert!(whole.flip(&segment(1), offset, 0x10));
        let context = format!("flipped at {offset}");
        let file = look(&whole, 1);
        assert_adds_up(&file, &context);
        let summary = file.summary();
        let lost = records - records_of(summary);
        match offset {
            // Without its salt nothing of it can be told from noise.
            24..32 => assert_eq!((summary.live.count, summary.header_is_good), (0, false), "{context}"),
            0..24 | 32..44 => assert_eq!((lost, summary.header_is_good), (0, false), "{context}"),
            2048..2076 => assert_eq!((lost, summary.seal), (0, Seal::Damaged), "{context}"),
            44..2048 | 2076..HEADER_BYTES => assert_eq!(lost, 0, "{context}"),
            _ => assert!(lost <= 1, "{context}: {summary:?}"),
        }
        assert!(whole.flip(&segment(1), offset, 0x10));
    }
}

#[tokio::test]
async fn a_file_cut_anywhere_shows_what_is_left_of_it() {
    let disk = FaultyDisk::new(4);
    let store = open(&disk);
    for id in 1..=40 {
        assert!(store.append(vec![needle(id, 700)]).await[0].is_ok());
    }
    store.seal();
    store.append(vec![needle(41, 700)]).await.remove(0).expect("a good needle");
    store.close();
    let before = look(&disk, 1).summary().clone();
    let file = disk.open(&segment(1)).expect("it is there");
    for len in (0..=before.end).rev().step_by(512).chain([44, 43, 8, 7, 0]) {
        file.set_len(len).expect("a sound disk");
        let context = format!("cut to {len}");
        match SegmentFile::open(&disk, &segment(1)) {
            Ok(cut) => {
                assert_adds_up(&cut, &context);
                let summary: &Summary = cut.summary();
                assert!(summary.live.bytes <= len, "{context}");
                // Cut behind the seal it says how much is missing; before it, only what is there.
                let end = if len >= 2076 { before.end } else { HEADER_BYTES };
                assert_eq!(summary.end, end, "{context}");
            }
            Err(error) => {
                assert!(len < 44, "{context}: {error}");
                assert!(error.to_string().contains(&format!("has {len} bytes")), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_segment_is_refused_with_what_it_is() {
    let disk = written(5).await;
    let path = Path::new("/needles/0000000000000009.seg");
    let file = disk.create(path).expect("a sound disk");
    let refused = |bytes: &[u8]| {
        file.set_len(0).expect("a sound disk");
        file.write_all_at(bytes, 0).expect("a sound disk");
        SegmentFile::open(&disk, path).err().expect("refused").to_string()
    };
    assert!(refused(&[]).contains("has 0 bytes"));
    assert!(refused(&data(1, 100_000)).contains("is no segment: it begins with"));
    assert!(refused(&[0; 100_000]).contains("is no segment: it begins with"));
    assert!(
        refused(b"hrickLOG, and so on, for more bytes than a header has").contains("a master's Raft log")
    );
    assert!(
        refused(b"hayindex, and so on, for more bytes than a header has")
            .contains("is the index file of one")
    );
    let mut later = disk.bytes(&segment(1)).expect("it is there")[..44].to_vec();
    later[8] = 9;
    let crc = crc32c::crc32c(&later[..40]).to_le_bytes();
    later[40..].copy_from_slice(&crc);
    assert!(refused(&later).contains("format version 9, and this build knows versions up to 1"));

    file.write_all_at(&disk.bytes(&segment(1)).expect("it is there"), 0).expect("a sound disk");
    let misnamed = SegmentFile::open(&disk, path).expect("it can be looked into");
    assert_eq!((misnamed.summary().id.0, misnamed.summary().is_misnamed), (1, true));
    assert_eq!(misnamed.summary().live.count, 4);
}
