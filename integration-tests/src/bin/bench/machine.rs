//! What this machine can do by itself: its description, and the rate of its syncs.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use crate::load::Sample;
use crate::place::file_system;

/// One write of the baseline, and the file it goes round in.
const WRITE_BYTES: usize = 4096;
const FILE_BYTES: u64 = 64 << 20;
const MEASURED: Duration = Duration::from_secs(2);

/// One line about the machine.
pub(crate) fn describe(dir: &Path) -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    Ok(format!("{cores} cores, {} on {}", file_system(dir)?, dir.display()))
}

/// One stream of `pwrite` + `fdatasync` of 4 KiB on a preallocated, zeroed file.
pub(crate) fn fdatasync(dir: &Path) -> Result<Sample> {
    let path = dir.join("fdatasync");
    let file = File::create(&path)?;
    let zeros = vec![0; 1 << 20];
    for offset in (0..FILE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, offset)?;
    }
    file.sync_all()?;

    let bytes = [0x5a; WRITE_BYTES];
    let mut latencies = Vec::new();
    let started = Instant::now();
    let mut offset = 0;
    while started.elapsed() < MEASURED {
        let begun = Instant::now();
        file.write_all_at(&bytes, offset)?;
        file.sync_data()?;
        latencies.push(begun.elapsed());
        offset = (offset + WRITE_BYTES as u64) % FILE_BYTES;
    }
    let sample = Sample::new(latencies, started.elapsed(), 0);
    std::fs::remove_file(path)?;
    Ok(sample)
}
