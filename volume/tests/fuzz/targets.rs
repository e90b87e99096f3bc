//! What ruined bytes are given to, and what must hold whatever they are.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use hayrick_disk::{Disk, FaultyDisk};
use hayrick_protocol::digest;
use hayrick_protocol::ids::{NeedleId, PlacementId};
use hayrick_protocol::messages::volume::{ListPosition, ReadError};
use hayrick_volume::{Row, SegmentFile, Store, StoreError};

use crate::corpus::{DIR, Image, SMALL, append, index_path, options, segment_path, size_of};
use crate::messages;
use crate::mutate::Case;
use crate::needles::{PLACEMENT, data, needle};

/// An id that no image has.
const NEW: u64 = 99_999;

pub(crate) fn run(case: &Case, images: &[Image], choice: u64) {
    let disk = disk_with(case);
    match choice % 4 {
        0 => decoders(case, (choice >> 8) as usize),
        1 => inspected(&disk),
        _ => opened(&disk, case, images),
    }
}

fn disk_with(case: &Case) -> FaultyDisk {
    let disk = FaultyDisk::new(1);
    disk.create_dir_all(Path::new(DIR)).expect("a sound disk");
    for (path, bytes) in [(segment_path(), &case.segment), (index_path(), &case.index)] {
        // An index file that is not there is one case, one that is empty another.
        if path == segment_path() || !bytes.is_empty() {
            disk.create(&path).and_then(|file| file.write_all_at(bytes, 0)).expect("a sound disk");
        }
    }
    disk
}

/// What takes bytes from the wire or out of a row.
fn decoders(case: &Case, at: usize) {
    let from = &case.segment[at.min(case.segment.len())..];
    for bytes in [from, &case.segment[case.segment.len().min(4096)..], &case.index] {
        messages::needle(bytes);
        messages::all(&bytes[..bytes.len().min(3000)]);
        messages::frames(bytes);
    }
    hayrick_volume::fuzz::index_file(&case.index);
}

/// `hayrick inspect`: what it shows lies in the file, one behind the other, and is what it counted.
fn inspected(disk: &FaultyDisk) {
    let Ok(file) = SegmentFile::open(disk, &segment_path()) else { return };
    let (mut at, mut rows) = (4096, 0);
    let shown = file.rows(&mut |row| {
        let (offset, bytes) = match row {
            Row::Needle { offset, bytes, .. } | Row::Mark { offset, bytes } => (offset, bytes),
            Row::Tombstone { offset, bytes, .. } | Row::Damage { offset, bytes } => (offset, bytes),
        };
        assert_eq!(offset, at);
        (at, rows) = (offset + bytes, rows + 1);
        Ok(ControlFlow::Continue(()))
    });
    shown.expect("a sound disk");
    assert_eq!((at, rows), (file.summary().end, file.summary().rows()));
}

/// The real store: it opens, serves nothing that was not stored, takes more, and opens again with the same in it.
fn opened(disk: &FaultyDisk, case: &Case, images: &[Image]) {
    let open = || Store::open(Arc::new(disk.clone()), options(SMALL));
    let store = match open() {
        Ok(store) => store,
        // A later version, or an offset that no volume ever made: only when the checksum vouches for it.
        Err(StoreError::Stream(_) | StoreError::LaterVersion(_) | StoreError::OutOfReach { .. })
            if case.is_repaired =>
        {
            return;
        }
        Err(error) => panic!("the store does not open: {error}: {case:?}"),
    };
    let served = served(&store, case, images);
    let appended = append(&store, needle(NEW, 500));
    assert!(appended.is_ok(), "{appended:?}: {case:?}");
    store.close();
    let store = open().unwrap_or_else(|error| panic!("the store does not open again: {error}: {case:?}"));
    assert_eq!(read(&store, NEW).expect("it was acknowledged").data, data(NEW, 500));
    assert_eq!(self::served(&store, case, images), served, "{case:?}");
    store.close();
}

/// The needles that the store has, each looked at.
fn served(store: &Store, case: &Case, images: &[Image]) -> Vec<u64> {
    let mut served = Vec::new();
    for image in images {
        for id in image.ids.clone() {
            match read(store, id) {
                Ok(read) => {
                    assert!(case.is_repaired || is_own(image, case), "needle {id} of another: {case:?}");
                    // No checksum of the needle covers its table: who reads it has the table's own from the index of the
                    // masters, and takes another copy if it is another table.
                    let stored = data(id, size_of(id));
                    let is_vouched_for = read.table == digest::block_table(&stored);
                    assert!(!is_vouched_for || read.data == stored, "other bytes of {id}: {case:?}");
                    served.push(id);
                }
                Err(ReadError::NotFound) => {}
                // A start that has an index file does not look at the data; a read does, and does not believe either.
                Err(ReadError::Damaged | ReadError::Disk(_)) if !case.index.is_empty() => {}
                Err(error) => panic!("needle {id}: {error}: {case:?}"),
            }
        }
    }
    list(store, case, images);
    served
}

/// What is listed is what was stored.
fn list(store: &Store, case: &Case, images: &[Image]) {
    let mut from = Some(ListPosition::default());
    while let Some(position) = from {
        let page = match store.list_page(&[PLACEMENT, PlacementId(0)], position, 500) {
            Ok(page) => page,
            Err(_) if case.is_repaired => return,
            Err(error) => panic!("it cannot be listed: {error}: {case:?}"),
        };
        for row in page.needles {
            let id = row.needle;
            let is_right = row.placement == PLACEMENT && row.key.as_str() == format!("key/{id}");
            let holds = |image: &Image| image.ids.contains(&id.0) && is_own(image, case);
            let is_known = images.iter().any(holds) || id == NeedleId(NEW);
            assert!(case.is_repaired || (is_right && is_known), "{id} is listed: {case:?}");
        }
        assert!(page.next.is_none_or(|next| next > position), "it goes on: {case:?}");
        from = page.next;
    }
}

/// Whether it is the image's salt that the ruined header has: then records of that image are this file's own.
fn is_own(image: &Image, case: &Case) -> bool {
    case.segment.get(24..32) == image.segment.get(24..32)
}

struct Bytes {
    data: Vec<u8>,
    table: Vec<u8>,
}

fn read(store: &Store, id: u64) -> Result<Bytes, ReadError> {
    let opened = store.open_needle(NeedleId(id))?;
    let data = store.read_blocks(&opened, 0, u32::MAX)?.to_vec();
    Ok(Bytes { data, table: opened.table().to_vec() })
}
