//! Bytes that are no records never look like records.

use proptest::prelude::{ProptestConfig, any, prop, prop_assert, prop_assert_eq, proptest};

use crate::append_file::HEADER_BYTES;
use crate::faulty::FaultyDisk;
use crate::format::{Format, salt_at};
use crate::testing::{Noting, PLAIN_HEADER, Plain, append, open, path_of};

/// A file with these bodies in one batch each, all its bytes, and the disk.
fn written(seed: u64, bodies: &[Vec<u8>]) -> (FaultyDisk, Vec<u8>) {
    let disk = FaultyDisk::new(seed);
    let stream = open(&disk, &Noting::default());
    for body in bodies {
        append(&stream, &[body.as_slice()]).expect("it is acked");
    }
    let next = disk.restart();
    drop(stream);
    let bytes = next.bytes(&path_of(crate::format::FileId(1))).expect("the file is there");
    (next, bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn another_files_bytes_never_parse(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 8..200), 1..8),
        shift in 0_usize..40,
    ) {
        let (_, foreign) = written(1, &bodies);
        let (disk, _) = written(2, &[b"our own".to_vec()]);
        let path = path_of(crate::format::FileId(1));
        let start = HEADER_BYTES as usize + 32 + 8 * shift;
        let foreign = &foreign[HEADER_BYTES as usize..20_000];
        assert!(disk.overwrite(&path, start as u64, foreign));
        let owner = Noting::default();
        let _stream = open(&disk, &owner);
        prop_assert_eq!(owner.bodies(), vec![b"our own".to_vec()]);
        prop_assert!(owner.notes.lock().damaged.is_empty());
    }

    #[test]
    fn a_record_at_another_place_never_verifies(
        body in prop::collection::vec(any::<u8>(), 0..200),
        salt: u64,
        // Up to 32 GiB.
        places in prop::collection::vec(0_u64..1 << 32, 2..50),
    ) {
        let mut record = Plain::record(&body);
        record.resize(record.len().next_multiple_of(8), 0);
        let own = 8 * places[0];
        Plain::seal(&mut record, salt_at(salt, own), true);
        for at in places.into_iter().map(|place| 8 * place) {
            let verifies = Plain::head(&record[..PLAIN_HEADER], salt_at(salt, at)).is_some();
            prop_assert_eq!(verifies, at == own, "sealed for {}, found at {}", own, at);
        }
    }

    #[test]
    fn its_own_bytes_moved_behind_the_end_never_parse(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 8..200), 1..8),
        shift in 0_usize..40,
    ) {
        let (disk, bytes) = written(1, &bodies);
        let len = bodies.iter().map(|body| (PLAIN_HEADER + body.len()).next_multiple_of(8)).sum::<usize>();
        let (start, end) = (HEADER_BYTES as usize, HEADER_BYTES as usize + len);
        assert!(disk.overwrite(&path_of(crate::format::FileId(1)), (end + 8 * shift) as u64, &bytes[start..end]));
        let owner = Noting::default();
        let _stream = open(&disk, &owner);
        prop_assert_eq!(owner.bodies(), bodies);
        prop_assert!(owner.notes.lock().damaged.is_empty());
    }

    #[test]
    fn a_body_made_of_records_is_one_record(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 8..200), 1..8),
    ) {
        // Even of records of this very file and this very place (behind a header, as the first of them is empty): only
        // where a record cannot be read is the next one searched for.
        let (_, bytes) = written(1, &[&[Vec::new()], &bodies[..]].concat());
        let from = HEADER_BYTES as usize + PLAIN_HEADER;
        let body = bytes[from..from + 2000].to_vec();
        let (disk, _) = written(1, &[body.clone(), b"behind it".to_vec()]);
        let owner = Noting::default();
        let _stream = open(&disk, &owner);
        prop_assert_eq!(owner.bodies(), vec![body, b"behind it".to_vec()]);
    }

    #[test]
    fn zeros_and_noise_behind_the_end_never_parse(
        noise in prop::collection::vec(any::<u8>(), 0..3000),
        zeros in 0_usize..5000,
    ) {
        let (disk, _) = written(3, &[b"our own".to_vec()]);
        let path = path_of(crate::format::FileId(1));
        assert!(disk.overwrite(&path, HEADER_BYTES + 40 + zeros as u64, &noise));
        let owner = Noting::default();
        let stream = open(&disk, &owner);
        prop_assert_eq!(owner.bodies(), vec![b"our own".to_vec()]);
        prop_assert_eq!(stream.status().end, HEADER_BYTES + 32);
        let after = disk.bytes(&path).expect("the file is there");
        prop_assert!(after[HEADER_BYTES as usize + 32..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn any_damage_anywhere_loses_only_what_it_hits(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 8..300), 3..10),
        hit in any::<prop::sample::Index>(),
        bits in 1_u8..,
    ) {
        let (disk, bytes) = written(4, &bodies);
        let lens: Vec<usize> = bodies.iter().map(|body| (24 + body.len()).next_multiple_of(8)).collect();
        let total: usize = lens.iter().sum();
        prop_assert!(bytes[HEADER_BYTES as usize + total..].iter().all(|byte| *byte == 0));
        let hit = hit.index(total - lens[lens.len() - 1]);
        let mut end = 0;
        let struck = lens.iter().position(|len| { end += len; hit < end }).expect("it lies in a record");
        assert!(disk.flip(&path_of(crate::format::FileId(1)), HEADER_BYTES + hit as u64, bits));
        let owner = Noting::default();
        let _stream = open(&disk, &owner);
        let found = owner.bodies();
        // Padding, and header bytes that no checksum covers, may change unnoticed.
        let mut rest = bodies.clone();
        rest.remove(struck);
        let lost_it_alone = found == rest && owner.notes.lock().damaged.len() == 1;
        prop_assert!(found == bodies || lost_it_alone, "struck {}, found {}", struck, found.len());
    }
}
