//! What is promised of index files: that they say what the segment says, and that every flaw in one is seen.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use hayrick_disk::{Disk, FaultyDisk, FileId, Location};
use hayrick_protocol::needle::{self, Body, WIRE_SALT};
use proptest::prelude::*;

use super::*;
use crate::index::Place;
use crate::list::Wanted;

const SEGMENT: SegmentMark = SegmentMark { head: [5; _], end: 1 << 30 };
const FILE: FileId = FileId(1);

/// All that an index file says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Contents {
    places: Vec<Place>,
    keys: Vec<(PlacementId, NeedleId, Vec<u8>)>,
    damaged: Vec<Range<u64>>,
}

/// A segment with these needles (placement, id, key, bytes of data) and tombstones (placement 0), one behind the other.
#[derive(Debug, Clone, Default)]
struct Records(Vec<(u32, u64, String, usize)>);

impl Records {
    fn write(&self, damaged: &[Range<u64>], limits: Option<(usize, usize)>) -> Vec<u8> {
        let disk = FaultyDisk::new(1);
        let file = disk.create(Path::new("/idx")).expect("a sound disk");
        let mut writer = Writer::new(file.as_ref(), SEGMENT).expect("a sound disk");
        if let Some((records_max, key_bytes_max)) = limits {
            writer.limit_parts(records_max, key_bytes_max);
        }
        self.each(|at, record| {
            let needle = needle::parse(record, WIRE_SALT).expect("own record parses");
            writer.add(at, &needle).expect("a sound disk");
        });
        for range in damaged {
            writer.add_damage(range).expect("a sound disk");
        }
        let bytes = writer.finish().expect("a sound disk");
        assert_eq!(bytes, file.len().expect("a sound disk"));
        disk.bytes(Path::new("/idx")).expect("it was written")
    }

    fn each(&self, mut visit: impl FnMut(Location, &[u8])) {
        let mut offset = 4096;
        for (placement, id, key, data) in &self.0 {
            let record = if *placement == 0 {
                needle::tombstone(NeedleId(*id), PlacementId(0))
            } else {
                let body = Body::new([key.as_bytes(), &vec![7; *data]].concat(), key.len());
                body.with_header(NeedleId(*id), PlacementId(*placement), 0).concat()
            };
            let len = u32::try_from(record.len()).expect("small");
            visit(Location { file: FILE, offset, len }, &record);
            offset += u64::from(len);
        }
    }

    /// What the index file ought to say, in the order of all parts together.
    fn contents(&self, damaged: &[Range<u64>]) -> Contents {
        let mut contents = Contents { damaged: damaged.to_vec(), ..Contents::default() };
        let mut rows = self.0.iter();
        self.each(|at, _| {
            let (placement, id, key, _) = rows.next().expect("one for each record");
            let len = if *placement == 0 { 0 } else { at.len };
            contents.places.push((NeedleId(*id), Location { len, ..at }));
            if *placement > 0 {
                contents.keys.push((PlacementId(*placement), NeedleId(*id), key.clone().into_bytes()));
            }
        });
        contents.sort();
        contents
    }
}

impl Contents {
    fn sort(&mut self) {
        self.places.sort_by_key(|(id, at)| (*id, at.offset));
        self.keys.sort();
        self.keys.dedup();
    }
}

fn open(bytes: &[u8], segment: &SegmentMark) -> Result<IndexFile, IndexFileError> {
    let disk = FaultyDisk::new(1);
    let file = disk.create(Path::new("/idx")).expect("a sound disk");
    file.write_all_at(bytes, 0).expect("a sound disk");
    IndexFile::open(file, segment)
}

/// All keys lie behind it.
const BEGIN: (PlacementId, NeedleId) = (PlacementId(0), NeedleId(0));

fn read(bytes: &[u8]) -> Result<Contents, IndexFileError> {
    let file = open(bytes, &SEGMENT)?;
    let mut contents = Contents { damaged: file.damaged()?, ..Contents::default() };
    file.places(FILE, &mut |rows| contents.places.extend_from_slice(rows))?;
    file.keys(Wanted::All, BEGIN, &mut |placement, id, key| {
        contents.keys.push((placement, id, key.to_vec()));
        ControlFlow::Continue(())
    })?;
    Ok(contents)
}

fn records(rows: &[(u32, u64, &str, usize)]) -> Records {
    Records(
        rows.iter().map(|(placement, id, key, data)| (*placement, *id, (*key).to_owned(), *data)).collect(),
    )
}

#[test]
fn golden_bytes() {
    let records = records(&[
        (2, 1 << 32 | 9, "photos/b", 4),
        (1, 1 << 32 | 8, "a", 0),
        (2, 1 << 32 | 300, "photos/2026", 1000),
        (0, 3, "", 0),
    ]);
    let damaged = [16..32, 4096..4100];
    let bytes = records.write(&damaged, None);
    let golden = [
        "686179696e646578",
        "0300",
        "0000",
        "ce11d82e",
        &"05".repeat(44),
        // The tombstone of 3, at word 653; 8 of epoch 1, of 4 words, 135 before that; 9, of 6 words, 10 before the end of
        // that; 300, of 131 words, 4 behind that.
        "00009a0a",
        "8580808010048d02",
        "010613",
        "a302830108",
        // Of placement 1 needle 8, "a"; of the next one 9, "photos/b", and 291 further one that shares 7 bytes: "2026".
        "0161",
        "000189808080100870686f746f732f62",
        "a3027432303236",
        "1010",
        "e01f04",
        "0100000000030000000000000014000000040000008720fe20",
        "020100000008000000010000001900000003000000e44c40a1",
        "03000000000000000000000000050000000200000036c61491",
        "0000004000000000",
        "03000000",
        "f131e0b5",
    ];
    assert_eq!(hex(&bytes), golden.concat());
    assert_eq!(read(&bytes).ok(), Some(records.contents(&damaged)));
}

#[test]
fn an_index_of_another_version_is_of_no_use() {
    let mut bytes = records(&[(2, 9, "b", 4)]).write(&[], None);
    assert!(read(&bytes).is_ok());
    for version in [VERSION - 1, VERSION + 1] {
        bytes[..PREFIX_BYTES].copy_from_slice(&prefix(version));
        assert!(matches!(read(&bytes), Err(IndexFileError::OtherVersion(found)) if found == version));
    }
}

#[test]
fn a_version_is_believed_only_of_what_its_checksum_vouches_for() {
    let good = prefix(VERSION + 1);
    assert_eq!(version_of(&good), Some(VERSION + 1));
    for bit in 0..good.len() * 8 {
        let mut bytes = good;
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(version_of(&bytes), None, "bit {bit}");
    }
}

#[test]
fn an_index_of_another_segment_is_refused() {
    let bytes = records(&[(2, 9, "b", 4)]).write(&[], None);
    for other in [SegmentMark { head: [6; _], ..SEGMENT }, SegmentMark { end: SEGMENT.end - 8, ..SEGMENT }] {
        assert!(matches!(open(&bytes, &other), Err(IndexFileError::OtherSegment)));
    }
}

#[test]
fn an_index_of_the_beginning_is_none_of_the_whole_segment() {
    let bytes = records(&[(2, 9, "b", 4)]).write(&[], None);
    let grown = SegmentMark { end: SEGMENT.end + 8, ..SEGMENT };
    let error = open(&bytes, &grown).err().expect("it ends before");
    assert!(error.is_missing(), "{error}: nothing is wrong with it");
    let disk = FaultyDisk::new(1);
    let file = disk.create(Path::new("/idx")).expect("a sound disk");
    file.write_all_at(&bytes, 0).expect("a sound disk");
    let found = IndexFile::open_any(Arc::clone(&file), &grown).expect("it is good");
    assert_eq!(found.end(), SEGMENT.end);
    let cut = SegmentMark { end: SEGMENT.end - 8, ..SEGMENT };
    assert!(matches!(IndexFile::open_any(file, &cut), Err(IndexFileError::OtherSegment)));
}

#[test]
fn every_flipped_bit_and_every_truncation_is_seen() {
    let rows = (1..60).map(|n| (n % 5, u64::from(n) * 77, format!("key/{}", n * n), 100));
    let bytes = Records(rows.collect()).write(&[10..20, 30..31], Some((25, 1000)));
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            assert!(read(&flipped).is_err(), "bit {bit} of byte {at}");
        }
        assert!(read(&bytes[..at]).is_err(), "cut to {at}");
    }
    assert!(read(&[&bytes[..], &[0]].concat()).is_err(), "one byte more");
}

#[test]
fn a_row_takes_a_few_bytes_and_what_its_key_does_not_share() {
    // As one of three volumes of three gateways gets them: 4096 partitions, of which each takes a random key.
    let rows = (0..30_000u64).map(|n| {
        let placement = 1 + (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32 % 90;
        (placement, n / 3 + ((1 + n % 3) << 32), format!("photo/{n:010}"), 1024)
    });
    let bytes = Records(rows.collect()).write(&[], None);
    let row = bytes.len() as f64 / 30_000.0;
    assert!(row < 12.0, "{row:.1} bytes for a needle whose key has 16");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn any_records() -> impl Strategy<Value = Records> {
    let id = prop_oneof![1u64..2000, 1u64.., (1u64..4, 0u64..500).prop_map(|(epoch, seq)| epoch << 32 | seq)];
    let key = prop_oneof!["[a-c]{1,20}", "photos/2026/[0-9]{4}", "x{1000,1024}"];
    prop::collection::vec((0u32..9, id, key, 0usize..2000), 0..60).prop_map(Records)
}

proptest! {
    #[test]
    fn what_was_written_is_read(records in any_records(), parts in 1usize..90, long_keys in 1024usize..20_000) {
        let damaged = [0..8, 100..4096];
        let mut found = read(&records.write(&damaged, Some((parts, long_keys)))).expect("it is good");
        found.sort();
        let mut expected = records.contents(&damaged);
        // The same needle twice in one part is listed once.
        for keys in [&mut found.keys, &mut expected.keys] {
            keys.dedup_by_key(|(placement, id, _)| (*placement, *id));
        }
        prop_assert_eq!(found.places, expected.places);
        let ids = |keys: &[(PlacementId, NeedleId, Vec<u8>)]| keys.iter().map(|(placement, id, _)| (*placement, *id)).collect::<Vec<_>>();
        prop_assert_eq!(ids(&found.keys), ids(&expected.keys));
        prop_assert_eq!(found.damaged, expected.damaged);
    }

    #[test]
    fn a_list_shows_what_is_wanted_and_nothing_else(
        records in any_records(),
        parts in 1usize..90,
        wanted: u16,
        behind in (0u32..16, 0u64..1 << 34),
        of_each_part in 0usize..9,
    ) {
        let behind = (PlacementId(behind.0), NeedleId(behind.1));
        let wanted: Vec<_> = (0..16).filter(|placement| wanted >> placement & 1 > 0).map(PlacementId).collect();
        let bytes = records.write(&[], Some((parts, 1 << 20)));
        let all = read(&bytes).expect("it is good").keys;
        let file = open(&bytes, &SEGMENT).expect("it is good");
        let list = |behind, enough: usize| {
            let (mut listed, mut of_part, mut last) = (Vec::new(), 0, BEGIN);
            let shown = file.keys(Wanted::Of(&wanted), behind, &mut |placement, id, key| {
                // A row that does not ascend begins another part.
                of_part = if (placement, id) <= last { 1 } else { of_part + 1 };
                last = (placement, id);
                listed.push((placement, id, key.to_vec()));
                if of_part >= enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            shown.expect("it is good");
            listed
        };
        let expected: Vec<_> = all.into_iter().filter(|(placement, ..)| wanted.contains(placement)).collect();
        prop_assert_eq!(list(BEGIN, usize::MAX), &expected[..]);
        let mut rest = expected;
        rest.retain(|(placement, id, _)| (*placement, *id) > behind);
        prop_assert_eq!(list(behind, usize::MAX), &rest[..]);
        // The first few of each part are among them, and the least of all is.
        let few = list(behind, 1 + of_each_part);
        prop_assert!(few.iter().all(|row| rest.contains(row)));
        let least = rest.iter().min();
        prop_assert!(least.is_none_or(|least| few.contains(least)));
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), behind_magic: bool) {
        let bytes = if behind_magic { [&header(&SEGMENT)[..], &bytes].concat() } else { bytes };
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn blocks_of_garbage_never_panic_nor_name_what_is_not_in_the_segment(
        block in prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(0xff)], 0..300),
        rows: u32,
        kind in 1u8..4,
        id: u64,
        placement: u32,
    ) {
        let kind = [Kind::Places, Kind::Keys, Kind::Damage][usize::from(kind) - 1];
        let len = u32::try_from(block.len()).expect("short");
        let rows = if rows % 2 == 0 { rows } else { rows % 40 };
        let entry = Entry { kind, placement: PlacementId(placement), id: NeedleId(id), len, rows, crc: crc32c::crc32c(&block) };
        let table = entry.encode();
        let end = tail(&header(&SEGMENT), &table, SEGMENT.end);
        let bytes = [&header(&SEGMENT)[..], &block, &table, &end].concat();
        let file = open(&bytes, &SEGMENT).expect("header, table and tail are good");
        let _ = file.places(FILE, &mut |rows| {
            assert!(rows.iter().all(|(_, at)| at.offset + u64::from(at.len) <= SEGMENT.end));
        });
        let _ = file.keys(Wanted::Of(&[PlacementId(placement)]), BEGIN, &mut |_, _, key| {
            assert!(key.len() <= 1024);
            ControlFlow::Continue(())
        });
        let _ = file.placements(&mut |_, _| ());
        if let Ok(damaged) = file.damaged() {
            assert!(damaged.iter().all(|range| range.start <= range.end && range.end <= SEGMENT.end));
        }
    }
}

#[test]
fn a_list_reads_only_the_blocks_of_its_placements() {
    // Of the last placement some blocks full.
    let of = |n: u32| if n < 2000 { 1 + n % 50 } else { 51 };
    let rows = (0..4000).map(|n| (of(n), u64::from(n) + 1, format!("{n:03}").repeat(100), 10));
    let bytes = Records(rows.collect()).write(&[], None);
    let disk = FaultyDisk::new(1);
    let file = disk.create(Path::new("/idx")).expect("a sound disk");
    file.write_all_at(&bytes, 0).expect("a sound disk");
    let file = IndexFile::open(Arc::clone(&file), &SEGMENT).expect("it is good");
    let before = disk.counts();
    let listed = |wanted: &[PlacementId], behind, enough| {
        let mut listed = 0;
        let shown = file.keys(Wanted::Of(wanted), behind, &mut |_, _, _| {
            listed += 1;
            if listed == enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        shown.expect("it is good");
        listed
    };
    assert_eq!(listed(&[PlacementId(7)], BEGIN, 0), 40);
    assert!(disk.counts().reads - before.reads <= 2, "rows of one placement lie in a block, or two");
    assert!(disk.counts().read_bytes - before.read_bytes <= 2 * (BLOCK_BYTES as u64 + 2048));
    let before = disk.counts();
    assert_eq!(listed(&[PlacementId(7)], (PlacementId(8), NeedleId(0)), 0), 0);
    assert_eq!(disk.counts().reads, before.reads, "what is behind the last that is wanted is not read");
    let all: Vec<_> = (1..=51).map(PlacementId).collect();
    assert_eq!(listed(&all, (PlacementId(51), NeedleId(3500)), 7), 7);
    assert!(disk.counts().reads - before.reads <= 2, "nor what lies before a page, nor behind it");
}
