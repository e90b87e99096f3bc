//! The failing disk itself: what a crash leaves, and what its faults do.

mod crash;
mod faults;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::FaultyDisk;
use crate::disk::{Disk, File};

const FILE: &str = "/dir/file";

fn path(name: u8) -> PathBuf {
    format!("/dir/{name}").into()
}

fn disk() -> FaultyDisk {
    let disk = FaultyDisk::new(1);
    disk.create_dir_all(Path::new("/dir")).expect("it is made");
    disk
}

/// A disk with one file, whose name is durable.
fn with_file(bytes: &[u8]) -> (FaultyDisk, Arc<dyn File>) {
    let disk = disk();
    let file = disk.create(Path::new(FILE)).expect("it is made");
    file.write_all_at(bytes, 0).expect("it is written");
    file.sync_all().expect("it is synced");
    disk.sync_dir(Path::new("/dir")).expect("it is synced");
    (disk, file)
}

fn found(disk: &FaultyDisk) -> Vec<u8> {
    disk.bytes(Path::new(FILE)).expect("the file is there")
}
