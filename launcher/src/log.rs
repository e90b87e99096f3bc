//! The log file of one process: opened for appending, and its end shown when something went wrong.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// How much of a log's end is shown in an error.
const TAIL_BYTES: u64 = 8 * 1024;
/// How many lines of it.
const TAIL_LINES: usize = 40;

/// Opens the log for appending and tells how long it is already: what follows belongs to this run.
pub(crate) fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let len = file.metadata()?.len();
    Ok((file, len))
}

/// The last lines that were written since the log was `from` bytes long.
pub(crate) fn tail(path: &Path, from: u64) -> String {
    read_tail(path, from).unwrap_or_else(|error| format!("(cannot read {}: {error})", path.display()))
}

fn read_tail(path: &Path, from: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(from.max(len.saturating_sub(TAIL_BYTES)).min(len)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_shows_only_this_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        std::fs::write(&path, "before\n").unwrap();
        let (_, from) = open(&path).unwrap();
        std::fs::write(&path, "before\nafter\nlast\n").unwrap();
        assert_eq!(tail(&path, from), "after\nlast");
        assert_eq!(tail(&path, 1000), "");
    }
}
