//! What a fuzzer gives bytes to beside a whole store: index files. No part of the API.
//!
//! Owns what must hold of one whatever its bytes are; decoding is `index_file`'s.

use std::ops::ControlFlow;
use std::path::Path;

use hayrick_disk::{Disk, FaultyDisk, FileId};
use hayrick_protocol::ids::{NeedleId, PlacementId};
use hayrick_protocol::limits::KEY_BYTES_MAX;

use crate::index_file::{IndexFile, SegmentMark};
use crate::list::Wanted;

/// Reads bytes as the index file of the segment that they themselves name.
///
/// # Panics
/// When it says of the segment what cannot be, or has bytes that no checksum covers.
pub fn index_file(bytes: &[u8]) {
    let (Some(head), Some(end)) = (bytes.get(16..).and_then(<[u8]>::first_chunk), bytes.last_chunk::<16>())
    else {
        return;
    };
    let end = u64::from_le_bytes(*end.first_chunk().expect("8 of 16 bytes"));
    let segment = SegmentMark { head: *head, end };
    let disk = FaultyDisk::new(1);
    let file = disk.create(Path::new("/idx")).expect("a sound disk");
    file.write_all_at(bytes, 0).expect("a sound disk");
    let Ok(index) = IndexFile::open(file, &segment) else { return };
    let _ = index.places(FileId(1), &mut |rows| {
        assert!(rows.iter().all(|(_, at)| at.offset + u64::from(at.len) <= end));
    });
    let wanted: Vec<_> = (0..=255).chain([u32::MAX]).map(PlacementId).collect();
    let behind = (PlacementId(0), NeedleId(7));
    let _ = index.keys(Wanted::Of(&wanted), behind, &mut |placement, id, key| {
        assert!(key.len() <= KEY_BYTES_MAX && wanted.contains(&placement) && (placement, id) > behind);
        ControlFlow::Continue(())
    });
    let _ = index.placements(&mut |_, _| ());
    if let Ok(damaged) = index.damaged() {
        assert!(damaged.iter().all(|range| range.start <= range.end && range.end <= end));
    }
    if let Ok(verified) = index.verify(0, u64::MAX) {
        assert_eq!(verified, (bytes.len() as u64, None), "all of it has a checksum");
    }
}
