//! What is shown of a file that is looked at by itself.

use crate::append_file::HEADER_BYTES;
use crate::disk::Disk;
use crate::faulty::FaultyDisk;
use crate::format::FileId;
use crate::inspect::{Ending, InspectError, Inspected, Seal};
use crate::scan::Found;
use crate::testing::{Noting, Plain, append, open, path_of};

/// Records of these many bytes of body, a batch each, and a mark at the end.
fn written(bodies: &[usize]) -> FaultyDisk {
    let disk = FaultyDisk::new(1);
    let stream = open(&disk, &Noting::default());
    for len in bodies {
        append(&stream, &[&vec![7; *len]]).expect("it is acked");
    }
    drop(stream);
    disk
}

/// Offsets of the records, marks among them, the damage, and the end.
type Seen = (Vec<u64>, Vec<(u64, u64)>, Ending);

fn look(disk: &FaultyDisk, up_to: Option<u64>) -> Seen {
    let file = Inspected::open::<Plain>(disk, &path_of(FileId(1))).expect("it can be looked at");
    let (mut records, mut damage) = (Vec::new(), Vec::new());
    let ending = file.scan::<Plain>(up_to, &mut |found| {
        match found {
            Found::Record(at, _) => records.push(at.offset),
            Found::Damage(range) => damage.push((range.start, range.end)),
        }
        Ok(())
    });
    (records, damage, ending.expect("it can be read"))
}

#[test]
fn records_and_marks_are_shown_and_nothing_is_written() {
    let disk = written(&[40, 40]);
    let before = disk.bytes(&path_of(FileId(1)));
    let steps = disk.counts().steps;
    let (records, damage, ending) = look(&disk, None);
    assert_eq!((records, damage), (vec![4096, 4160, 4224], vec![]));
    assert_eq!((ending.end, ending.tail), (4248, 4248..4248));
    assert_eq!((disk.counts().steps, disk.bytes(&path_of(FileId(1)))), (steps, before));
    let file = disk.open_read_only(&path_of(FileId(1))).expect("it is there");
    assert!(file.write_all_at(b"x", 0).is_err());
    assert!(file.set_len(0).is_err());
}

#[test]
fn a_torn_tail_is_told_from_damage() {
    let disk = written(&[40, 40]);
    // The first record, which the second proves; then the mark, which nothing proves.
    assert!(disk.flip(&path_of(FileId(1)), HEADER_BYTES + 4, 1));
    assert!(disk.flip(&path_of(FileId(1)), 4224 + 9, 1));
    let (records, damage, ending) = look(&disk, None);
    assert_eq!((records, damage), (vec![4160], vec![(4096, 4160)]));
    assert_eq!(ending.end, 4224);
    assert!(ending.tail.start == 4224 && ending.tail.end > 4224, "{ending:?}");
    assert_eq!(look(&disk, Some(4224)).1, [(4096, 4160)], "the same in what was seen before");
}

#[test]
fn a_damaged_header_is_believed_as_far_as_records_verify_under_it() {
    let path = path_of(FileId(1));
    let disk = written(&[40]);
    for (offset, seen) in [(0, true), (17, true), (33, true), (41, true), (25, false)] {
        assert!(disk.flip(&path, offset, 2));
        let file = Inspected::open::<Plain>(&disk, &path).expect("it is one of ours");
        assert!(!file.header_is_good);
        let (records, _, _) = look(&disk, None);
        assert_eq!(!records.is_empty(), seen, "with the byte at {offset} flipped: the salt is at 24");
        assert!(disk.flip(&path, offset, 2));
    }
    assert!(Inspected::open::<Plain>(&disk, &path).expect("whole again").header_is_good);
}

#[test]
fn what_is_none_of_ours_is_refused_with_what_it_is() {
    let disk = FaultyDisk::new(2);
    let path = path_of(FileId(1));
    disk.create_dir_all(path.parent().expect("it lies in a directory")).expect("a sound disk");
    let file = disk.create(&path).expect("a sound disk");
    let refused = || Inspected::open::<Plain>(&disk, &path).err().expect("refused").to_string();
    assert!(refused().contains("has 0 bytes"), "{}", refused());
    file.write_all_at(b"plaint", 0).expect("a sound disk");
    assert!(refused().contains("has 6 bytes"), "{}", refused());
    file.write_all_at(b"\x1b[31mred", 0).expect("a sound disk");
    assert!(refused().contains(r#"begins with "\x1b[31mred" and not with "plaintst""#), "{}", refused());
    file.write_all_at(&[9; 9000], 0).expect("a sound disk");
    assert!(refused().contains("begins with"), "{}", refused());
    let absent = Inspected::open::<Plain>(&disk, &path_of(FileId(2))).err().expect("refused");
    assert!(matches!(absent, InspectError::Io { .. }));
}

#[test]
fn what_a_sealed_file_lost_by_a_cut_is_damage() {
    let disk = FaultyDisk::new(3);
    let path = path_of(FileId(1));
    let stream = open(&disk, &Noting::default());
    append(&stream, &[&[7; 40], &[7; 40]]).expect("it is acked");
    stream.rotate().expect("the queue has room");
    append(&stream, &[b"in the next file"]).expect("it is acked");
    drop(stream);
    let whole = Inspected::open::<Plain>(&disk, &path).expect("it can be looked at");
    assert_eq!(whole.seal, Seal::At(4224));
    disk.open(&path).expect("it is there").set_len(4170).expect("a sound disk");
    let cut = Inspected::open::<Plain>(&disk, &path).expect("it can be looked at");
    assert_eq!((cut.seal, cut.bytes), (Seal::At(4224), 4170));
    let (records, damage, ending) = look(&disk, None);
    assert_eq!((records, damage), (vec![4096], vec![(4160, 4170), (4170, 4224)]));
    assert_eq!((ending.end, ending.tail), (4224, 4224..4224));
}
