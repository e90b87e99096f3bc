//! What is torn is cut, what is corrupt is reported, and never the other way round.

use std::sync::Arc;

use crate::append_file::HEADER_BYTES;
use crate::disk::Disk;
use crate::faulty::{Failure, Fault, FaultyDisk, Op};
use crate::format::{FileId, Location};
use crate::recover::OpenError;
use crate::scan::Found;
use crate::stream::{AppendError, Options, Stream};
use crate::testing::{
    Noting, Plain, append, hold_writer, open, open_with, path_of, probe, quiet_options, records,
};

fn disk() -> FaultyDisk {
    FaultyDisk::new(1)
}

fn kill(disk: &FaultyDisk, stream: Stream<Plain>) -> FaultyDisk {
    let next = disk.restart();
    drop(stream);
    next
}

/// Flips a byte in the body of a record.
fn flip(disk: &FaultyDisk, at: Location) {
    assert!(disk.flip(&path_of(at.file), at.offset + 30, 0x10));
}

/// Five batches, and no mark behind the last.
fn five_batches(disk: &FaultyDisk) -> (Stream<Plain>, Vec<Location>) {
    let stream = open(disk, &Noting::default());
    let bodies = [b"record one", b"record two", b"record 003", b"record 004", b"record 005"];
    let places =
        bodies.iter().map(|body| append(&stream, &[body.as_slice()]).expect("it is acked")[0]).collect();
    (stream, places)
}

#[test]
fn a_misdirected_write_is_damage_where_it_is_missing_and_no_record_where_it_landed() {
    let landed_on_records = (0..200).filter(|seed| {
        let disk = FaultyDisk::new(*seed);
        let stream = open(&disk, &Noting::default());
        let bodies: Vec<Vec<u8>> = (0..40_u8).map(|number| vec![number; 300]).collect();
        let mut places = Vec::new();
        for (number, body) in bodies.iter().enumerate() {
            if number == 20 {
                disk.order(Fault::new(Op::Write, 1, Failure::Misdirected));
            }
            places.push(append(&stream, &[body.as_slice()]).expect("the disk says nothing")[0]);
        }
        let disk = kill(&disk, stream);
        let owner = Noting::default();
        match Stream::<Plain>::open(Arc::new(disk), quiet_options(), owner.clone()) {
            Ok(_) => {}
            // It landed there.
            Err(OpenError::DamagedHeader { .. }) => return false,
            Err(error) => panic!("seed {seed}: {error}"),
        }
        let notes = owner.notes.lock();
        let missing = places[20].offset;
        assert!(notes.damaged.iter().any(|(_, range)| range.contains(&missing)), "seed {seed}");
        for (at, body) in &notes.recovered {
            let number = usize::from(body[0]);
            assert!(number != 20 && *at == places[number] && *body == bodies[number], "seed {seed}: {at:?}");
        }
        let is_damaged = |at: &Location| notes.damaged.iter().any(|(_, range)| range.contains(&at.offset));
        let lost = places.iter().filter(|at| !notes.recovered.iter().any(|(found, _)| found == *at));
        let lost: Vec<_> = lost.collect();
        assert!(lost.iter().all(|at| is_damaged(at)), "seed {seed}: what is lost is told");
        assert!(lost.len() <= 4, "seed {seed}: {lost:?}");
        lost.len() > 1
    });
    assert!(landed_on_records.count() > 10, "it lands on other records often enough to tell");
}

#[test]
fn a_torn_tail_is_cut_and_never_comes_back() {
    let disk = disk();
    let stream = open(&disk, &Noting::default());
    let kept = append(&stream, &[b"kept kept"]).expect("it is acked")[0];
    // One batch of three records, the middle one torn: the last is valid, and must not survive the cut.
    let gate = hold_writer(&stream);
    stream
        .submit(records(&[b"first of batch", b"torn torn torn", b"valid behind it"]), drop)
        .expect("there is room");
    drop(gate);
    append(&stream, &[]).expect("a barrier");
    let bytes = disk.bytes(&path_of(kept.file)).expect("the file is there");
    let second = kept.offset + 2 * u64::from(kept.len);
    let disk = kill(&disk, stream);
    assert!(disk.flip(&path_of(kept.file), second + 30, 1));
    let owner = Noting::default();
    let stream = open(&disk, &owner);
    assert_eq!(owner.bodies(), [b"kept kept".to_vec(), b"first of batch".to_vec()]);
    assert_eq!(owner.notes.lock().damaged, []);
    let after = disk.bytes(&path_of(kept.file)).expect("the file is there");
    assert!(bytes[second as usize..].iter().any(|byte| *byte != 0));
    assert!(after[second as usize..].iter().all(|byte| *byte == 0), "the tail is zeroed to its very end");
    let next = append(&stream, &[b"after"]).expect("it is acked")[0];
    assert_eq!(next.offset, second);
    let disk = kill(&disk, stream);
    let owner = Noting::default();
    let _stream = open(&disk, &owner);
    assert_eq!(owner.bodies(), [b"kept kept".to_vec(), b"first of batch".to_vec(), b"after".to_vec()]);
}

#[test]
fn a_flipped_byte_in_the_middle_is_damage_and_later_records_live() {
    let disk = disk();
    let (stream, places) = five_batches(&disk);
    let disk = kill(&disk, stream);
    flip(&disk, places[2]);
    let owner = Noting::default();
    let stream = open(&disk, &owner);
    let found: Vec<Location> = owner.notes.lock().recovered.iter().map(|(at, _)| *at).collect();
    assert_eq!(found, [places[0], places[1], places[3], places[4]]);
    let damage = places[2].offset..places[3].offset;
    assert_eq!(owner.notes.lock().damaged, [(places[2].file, damage.clone())]);
    // It is kept as it is, and appends go on behind everything.
    let next = append(&stream, &[b"more"]).expect("it is acked")[0];
    assert!(next.offset >= places[4].offset + u64::from(places[4].len));
    let mut seen = Vec::new();
    stream
        .scan(places[2].file, &mut |found| {
            seen.push(match found {
                Found::Record(at, _) => at.offset..at.offset + u64::from(at.len),
                Found::Damage(range) => range,
            });
            Ok(())
        })
        .expect("the file can be read");
    assert_eq!(seen.len(), 6);
    assert_eq!(seen[2], damage);
}

#[test]
fn damage_within_a_batch_spares_the_rest_of_the_batch() {
    let disk = disk();
    let stream = open(&disk, &Noting::default());
    let batch = append(&stream, &[b"one one one", b"two two two", b"three three"]).expect("it is acked");
    append(&stream, &[b"a later batch"]).expect("it is acked");
    let disk = kill(&disk, stream);
    flip(&disk, batch[0]);
    let owner = Noting::default();
    let _stream = open(&disk, &owner);
    assert_eq!(owner.bodies(), [b"two two two".to_vec(), b"three three".to_vec(), b"a later batch".to_vec()]);
    assert_eq!(owner.notes.lock().damaged, [(batch[0].file, batch[0].offset..batch[1].offset)]);
}

#[test]
fn the_last_acked_record_with_a_mark_behind_it_is_corrupt_and_not_cut() {
    let disk = disk();
    let (stream, places) = five_batches(&disk);
    probe(&stream).expect("the mark is durable");
    let disk = kill(&disk, stream);
    flip(&disk, places[4]);
    let owner = Noting::default();
    let _stream = open(&disk, &owner);
    assert_eq!(owner.bodies().len(), 4);
    let end = places[4].offset + u64::from(places[4].len);
    assert_eq!(owner.notes.lock().damaged, [(places[4].file, places[4].offset..end)]);
    let before = disk.bytes(&path_of(places[4].file)).expect("the file is there");
    assert!(before[places[4].offset as usize..end as usize].iter().any(|byte| *byte != 0), "it is kept");
}

#[test]
fn a_close_leaves_a_mark_and_so_does_idleness() {
    for close in [true, false] {
        let disk = disk();
        let mut options = quiet_options();
        if !close {
            options.idle_mark_after = std::time::Duration::from_millis(1);
        }
        let stream = crate::testing::open_with(&disk, options, &Noting::default());
        let at = append(&stream, &[b"the last one"]).expect("it is acked")[0];
        let end = at.offset + u64::from(at.len);
        let disk = if close {
            stream.close();
            disk.restart()
        } else {
            wait_until(|| stream.status().end > end);
            kill(&disk, stream)
        };
        flip(&disk, at);
        let owner = Noting::default();
        let _stream = open(&disk, &owner);
        assert_eq!(owner.notes.lock().damaged, [(at.file, at.offset..end)]);
    }
}

fn wait_until(condition: impl Fn() -> bool) {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let mut tries = 20_000;
    while !condition() {
        let _ = receiver.recv_timeout(std::time::Duration::from_millis(1));
        tries -= 1;
        assert!(tries > 0, "it comes true in time");
    }
    drop(sender);
}

#[test]
fn corruption_in_a_sealed_file_is_reported_up_to_its_very_end() {
    let disk = disk();
    let (stream, places) = five_batches(&disk);
    stream.rotate().expect("there is room");
    append(&stream, &[b"in the next file"]).expect("it is acked");
    let disk = kill(&disk, stream);
    flip(&disk, places[4]);
    let owner = Noting::default();
    let _stream = open(&disk, &owner);
    let end = places[4].offset + u64::from(places[4].len);
    assert_eq!(owner.notes.lock().damaged, [(places[4].file, places[4].offset..end)]);
    assert_eq!(owner.notes.lock().sealed, [(places[4].file, end)]);
    assert_eq!(owner.bodies().len(), 5);
}

#[test]
fn a_lost_seal_makes_no_file_active_again() {
    let disk = disk();
    let (stream, places) = five_batches(&disk);
    stream.rotate().expect("there is room");
    let next = append(&stream, &[b"in the next file"]).expect("it is acked")[0];
    let disk = kill(&disk, stream);
    assert!(disk.flip(&path_of(places[0].file), 2050, 1));
    let owner = Noting::default();
    let stream = open(&disk, &owner);
    assert_eq!(owner.bodies().len(), 6);
    assert_eq!(owner.notes.lock().damaged, []);
    assert_eq!(stream.status().active, Some(next.file));
    drop(stream);
    let owner = Noting { known: [(places[0].file, u64::MAX)].into(), ..Noting::default() };
    let _stream = open(&disk, &owner);
    assert_eq!(owner.bodies(), [b"in the next file".to_vec()], "it is sealed again, so not read again");
}

#[test]
fn what_an_owner_knows_of_the_file_that_is_appended_to_is_neither_read_nor_cut() {
    let disk = disk();
    let (stream, places) = five_batches(&disk);
    let disk = kill(&disk, stream);
    let (known, last) = (places[2], places[4]);
    let owner = Noting { known: [(known.file, known.offset)].into(), ..Noting::default() };
    let before = disk.counts();
    let stream = open(&disk, &owner);
    assert_eq!(owner.bodies(), [b"record 003", b"record 004", b"record 005"]);
    assert_eq!(stream.status().end, last.offset + u64::from(last.len));
    assert!(disk.counts().since(&before).writes > 0, "the last batch is made durable, as ever");
    let disk = kill(&disk, stream);
    for at in &places[3..] {
        flip(&disk, *at);
    }
    // Else both would be taken for torn.
    let owner = Noting { known: [(last.file, last.offset)].into(), ..Noting::default() };
    let stream = open(&disk, &owner);
    assert_eq!((owner.bodies(), owner.notes.lock().damaged.len()), (vec![], 0));
    assert_eq!(append(&stream, &[b"record six"]).expect("it is acked")[0].offset, last.offset);
}

#[test]
fn a_seal_that_could_not_be_read_for_a_while_hides_nothing_that_was_appended_meanwhile() {
    for byte in 2048..2048 + 28 {
        let disk = disk();
        let (stream, places) = five_batches(&disk);
        stream.rotate().expect("there is room");
        append(&stream, &[]).expect("a barrier");
        let disk = kill(&disk, stream);
        assert!(disk.flip(&path_of(places[0].file), byte, 1));
        let stream = open(&disk, &Noting::default());
        append(&stream, &[b"behind the seal that nobody saw"]).expect("it is acked");
        let disk = kill(&disk, stream);
        assert!(disk.flip(&path_of(places[0].file), byte, 1));
        let owner = Noting::default();
        let _stream = open(&disk, &owner);
        assert_eq!(owner.bodies().len(), 6, "byte {byte}");
        assert_eq!(owner.notes.lock().damaged, [], "byte {byte}");
    }
}

#[test]
fn a_damaged_header_of_a_sealed_file_spares_the_others() {
    let disk = disk();
    let (stream, places) = five_batches(&disk);
    stream.rotate().expect("there is room");
    append(&stream, &[b"in the next file"]).expect("it is acked");
    let disk = kill(&disk, stream);
    assert!(disk.flip(&path_of(places[0].file), 20, 1));
    let owner = Noting::default();
    let stream = open(&disk, &owner);
    assert_eq!(owner.bodies(), [b"in the next file".to_vec()]);
    assert_eq!(owner.notes.lock().damaged, [(places[0].file, 0..32 << 10)]);
    assert!(disk.exists(&path_of(places[0].file)).expect("it can be asked"), "it is kept");
    stream.remove_file(places[0].file).expect("it can be removed at will");
}

#[test]
fn a_damaged_header_of_the_active_file_refuses_to_open_and_changes_nothing() {
    let disk = disk();
    let (stream, places) = five_batches(&disk);
    let disk = kill(&disk, stream);
    let path = path_of(places[0].file);
    assert!(disk.flip(&path, 20, 1));
    let before = disk.bytes(&path);
    let opened = Stream::<Plain>::open(std::sync::Arc::new(disk.clone()), quiet_options(), Noting::default());
    let error = opened.err().expect("it refuses");
    assert!(matches!(&error, OpenError::DamagedHeader { path: named } if *named == path), "{error}");
    assert_eq!(disk.bytes(&path), before);
}

fn aside() -> Options {
    Options { records_stand_alone: true, ..quiet_options() }
}

#[test]
fn a_damaged_header_of_the_active_file_is_set_aside_where_records_stand_alone() {
    let disk = disk();
    let (stream, places) = five_batches(&disk);
    stream.rotate().expect("there is room");
    let lost = append(&stream, &[b"in the damaged file"]).expect("it is acked")[0];
    let disk = kill(&disk, stream);
    assert!(disk.flip(&path_of(lost.file), 20, 1));
    for round in 0..2 {
        let owner = Noting::default();
        let stream = open_with(&disk, aside(), &owner);
        assert_eq!(owner.bodies().len(), 5 + round);
        assert_eq!(owner.notes.lock().damaged, [(lost.file, 0..32 << 10)]);
        let next = append(&stream, &[b"goes on"]).expect("it is acked")[0];
        assert!(next.file > lost.file && lost.file > places[0].file);
    }
    assert!(disk.exists(&path_of(lost.file)).expect("it can be asked"), "it is kept");
}

#[test]
fn a_damaged_or_unreadable_spare_is_set_aside_and_the_active_file_goes_on() {
    for header in [true, false] {
        let disk = disk();
        let stream = open_with(&disk, Options { zero_ahead_bytes: 4096, ..aside() }, &Noting::default());
        let at = append(&stream, &[b"kept kept"]).expect("it is acked")[0];
        wait_until(|| stream.status().room_bytes > 40_000);
        drop(stream);
        let spare = path_of(FileId(2));
        let bad = if header { 0..4096 } else { 8192..12_288 };
        assert!(disk.make_unreadable(&spare, bad));
        let refused =
            Stream::<Plain>::open(std::sync::Arc::new(disk.clone()), quiet_options(), Noting::default());
        assert!(refused.is_err(), "where records build on each other, it refuses");
        let owner = Noting::default();
        let stream = open_with(&disk, aside(), &owner);
        assert_eq!(owner.bodies(), [b"kept kept".to_vec()]);
        assert_eq!(owner.notes.lock().damaged, [(FileId(2), 0..32 << 10)]);
        assert_eq!(append(&stream, &[b"more"]).expect("it is acked")[0].file, at.file);
        stream.rotate().expect("there is room");
        assert!(append(&stream, &[b"behind it"]).expect("it is acked")[0].file > FileId(2));
    }
}

#[test]
fn an_unreadable_block_of_the_active_file_sets_it_aside_and_hides_nothing_around_it() {
    for (bad, seed) in [(0, 1), (2, 2), (5, 3)] {
        let disk = FaultyDisk::new(seed);
        let stream = open(&disk, &Noting::default());
        let bodies: Vec<Vec<u8>> = (0..5_u8).map(|number| vec![number + 1; 4000]).collect();
        for body in &bodies {
            append(&stream, &[body]).expect("it is acked");
        }
        let disk = kill(&disk, stream);
        // In one of the records, or in the emptiness behind them.
        let from = HEADER_BYTES + bad * 4096;
        assert!(disk.make_unreadable(&path_of(FileId(1)), from..from + 512));
        let shown = Noting::default();
        let stream = open_with(&disk, aside(), &shown);
        assert!(shown.bodies().len() >= 3);
        assert!(!shown.notes.lock().damaged.is_empty());
        let next = append(&stream, &[b"goes on"]).expect("it is acked")[0];
        assert_eq!(next.file, FileId(2));
        let crashed = disk.crash(seed);
        drop(stream);
        assert!(crashed.make_unreadable(&path_of(FileId(1)), 0..0));
        // The block can be read again: now all that was acknowledged is shown.
        let owner = Noting::default();
        let _stream = open_with(&crashed, aside(), &owner);
        assert_eq!(owner.bodies(), [&bodies[..], &[b"goes on".to_vec()]].concat());
    }
}

#[test]
fn a_file_of_a_later_version_refuses_to_open() {
    let disk = disk();
    let (stream, places) = five_batches(&disk);
    let disk = kill(&disk, stream);
    let path = path_of(places[0].file);
    let mut header = disk.bytes(&path).expect("the file is there")[..44].to_vec();
    header[8] = 2;
    let crc = crc32c::crc32c(&header[..40]);
    header[40..].copy_from_slice(&crc.to_le_bytes());
    assert!(disk.overwrite(&path, 0, &header));
    let opened = Stream::<Plain>::open(std::sync::Arc::new(disk), quiet_options(), Noting::default());
    let error = opened.err().expect("it refuses");
    assert!(matches!(error, OpenError::LaterVersion { found: 2, known: 1, .. }), "{error}");
}

#[test]
fn a_transient_read_error_is_tried_again_by_the_block() {
    let disk = disk();
    let (stream, _) = five_batches(&disk);
    let disk = kill(&disk, stream);
    // The header is the first read, the scan the second.
    disk.fail(Op::Read, 2);
    let owner = Noting::default();
    let stream = open(&disk, &owner);
    assert_eq!(owner.bodies().len(), 5);
    assert_eq!(append(&stream, &[b"goes on"]).map(|places| places.len()), Ok(1));
}

#[test]
fn damage_in_the_only_batch_of_a_file_asks_for_the_first_records_again() {
    let disk = disk();
    let owner = Noting { first: Some(b"vote"), ..Noting::default() };
    let stream = open(&disk, &owner);
    let at = append(&stream, &[b"torn in its first batch"]).expect("it is acked")[0];
    assert!(at.offset > HEADER_BYTES, "the vote stands before it");
    let disk = kill(&disk, stream);
    flip(&disk, at);
    let stream = open(&disk, &owner);
    append(&stream, &[b"again"]).expect("it is acked");
    let disk = kill(&disk, stream);
    let owner = Noting::default();
    let _stream = open(&disk, &owner);
    assert_eq!(owner.bodies(), [b"vote".to_vec(), b"vote".to_vec(), b"again".to_vec()]);
    assert_eq!(owner.notes.lock().recovered[0].0.file, FileId(1));
}

#[test]
fn poison_after_damage_is_no_different() {
    let disk = disk();
    let (stream, _) = five_batches(&disk);
    disk.fail(Op::Write, 1);
    assert!(matches!(append(&stream, &[b"never"]), Err(AppendError::Poisoned { .. })));
    let disk = kill(&disk, stream);
    let owner = Noting::default();
    let _stream = open(&disk, &owner);
    assert_eq!(owner.bodies().len(), 5);
}

/// What a walk in pieces shows: records, and damage with what touches each other joined.
fn walk(stream: &Stream<Plain>, file: FileId, piece: u64) -> (Vec<Location>, Vec<std::ops::Range<u64>>) {
    let (mut found, mut damage) = (Vec::new(), Vec::<std::ops::Range<u64>>::new());
    let end = stream.reader(file).expect("it is there").end();
    let mut at = 0;
    while at < end {
        let next = stream.scan_piece(file, at..at + piece, &mut |shown| {
            match shown {
                Found::Record(at, _) => found.push(at),
                Found::Damage(range) => match damage.last_mut().filter(|last| last.end == range.start) {
                    Some(last) => last.end = range.end,
                    None => damage.push(range),
                },
            }
            Ok(())
        });
        let next = next.expect("the file is there");
        assert!(next > at, "it goes on");
        at = next;
    }
    (found, damage)
}

#[test]
fn pieces_of_any_size_show_what_the_whole_shows() {
    let disk = disk();
    let (stream, places) = five_batches(&disk);
    let file = places[0].file;
    for sealed in [false, true] {
        if sealed {
            stream.rotate().expect("there is room");
            append(&stream, &[b"behind"]).expect("it is acked");
        }
        let end = stream.reader(file).expect("it is there").end();
        for piece in [8, 64, 4096, 4200, 1 << 20] {
            assert_eq!(walk(&stream, file, piece), (places.clone(), vec![]), "pieces of {piece}");
        }
        flip(&disk, places[1]);
        flip(&disk, places[4]);
        disk.flip(&path_of(file), 2, 1);
        for piece in [8, 64, 4096, 4200, 1 << 20] {
            let (found, damage) = walk(&stream, file, piece);
            assert_eq!(found, [places[0], places[2], places[3]], "pieces of {piece}");
            // A mark behind it, if there is one, is whole.
            let last = places[4].offset..places[4].offset + u64::from(places[4].len);
            assert_eq!(damage, [0..HEADER_BYTES, places[1].offset..places[2].offset, last.clone()]);
            assert!(last.end <= end);
        }
        for place in [places[1], places[4]] {
            flip(&disk, place);
        }
        disk.flip(&path_of(file), 2, 1);
    }
    let end = stream.reader(file).expect("it is there").end();
    assert!(disk.flip(&path_of(file), 2048 + 17, 1));
    assert_eq!(walk(&stream, file, 4096).1, vec![0..HEADER_BYTES], "a seal is looked at, too");
    assert!(disk.flip(&path_of(file), 2048 + 17, 1));
    assert!(disk.make_unreadable(&path_of(file), 0..end));
    let (found, damage) = walk(&stream, file, 64);
    assert!(found.is_empty());
    assert_eq!((damage.len(), damage[0].clone()), (1, 0..end));
}

#[test]
fn a_piece_reads_little_whatever_is_damaged() {
    let disk = disk();
    let options = Options { file_bytes: 8 << 20, ..quiet_options() };
    let stream = open_with(&disk, options, &Noting::default());
    let body = [7; 200_000];
    for _ in 0..30 {
        append(&stream, &[&body]).expect("it is acked");
    }
    let end = stream.status().end;
    let read_by = |from: u64| {
        let before = disk.counts().read_bytes;
        let next =
            stream.scan_piece(FileId(1), from..from + (1 << 20), &mut |_| Ok(())).expect("it is there");
        (next, disk.counts().read_bytes - before)
    };
    let (next, bytes) = read_by(0);
    // Of the last record, the beginning was read with the piece.
    assert!(
        next > 1 << 20 && next < (1 << 20) + 200_100 && bytes < next + 200_000,
        "{bytes} bytes to {next}"
    );
    for at in (next..end).step_by(4096) {
        assert!(disk.overwrite(&path_of(FileId(1)), at, &[0x5a; 4096]));
    }
    let (next, bytes) = read_by(next);
    assert!(bytes < 1_100_000 && next < 3 << 20, "{bytes} bytes to {next}");
}
