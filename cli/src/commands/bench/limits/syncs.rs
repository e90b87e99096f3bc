//! The limit of writes: how often a second one stream can write 4 KiB and sync them.
//!
//! The file is written with zeros first, as servers do with theirs, so that a sync has no new blocks to note.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tokio::time::{Duration, Instant};

use super::Limit;

const WRITE_BYTES: usize = 4096;
/// The writes go round in it.
const FILE_BYTES: usize = 16 << 20;
/// File systems that keep everything in memory, where a sync does nothing.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

/// Measures it in a file of `dir` that nobody else sees and that goes with this process.
pub(super) async fn measure(dir: &Path, measured: Duration) -> Limit {
    let file_system = std::fs::read_to_string("/proc/self/mounts").ok().and_then(|mounts| {
        let dir = dir.canonicalize().ok()?;
        Some(file_system(&dir, &mounts)?.to_owned())
    });
    let place = match &file_system {
        Some(file_system) => format!("{file_system} ({})", dir.display()),
        None => dir.display().to_string(),
    };
    if file_system.is_some_and(|file_system| IN_MEMORY.contains(&file_system.as_str())) {
        return Limit::LeftOut(format!(
            "{place} keeps everything in memory, where a sync does nothing; name a directory on a disk with --limits-dir"
        ));
    }
    let target = dir.to_owned();
    // It blocks.
    let rate = tokio::task::spawn_blocking(move || rate(&target, measured)).await;
    match rate.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(per_second) => {
            Limit::Measured { per_second, what: format!("4 KiB written and synced by one stream on {place}") }
        }
        Err(error) => Limit::LeftOut(format!(
            "nothing could be written and synced in {}: {error}; name another directory with --limits-dir",
            dir.display()
        )),
    }
}

fn rate(dir: &Path, measured: Duration) -> io::Result<f64> {
    let file: File = tempfile::tempfile_in(dir)?;
    file.write_all_at(&vec![0; FILE_BYTES], 0)?;
    file.sync_all()?;
    let bytes = [0x5a; WRITE_BYTES];
    let mut writes: u64 = 0;
    let begun = Instant::now();
    while begun.elapsed() < measured {
        file.write_all_at(&bytes, writes * WRITE_BYTES as u64 % FILE_BYTES as u64)?;
        file.sync_data()?;
        writes += 1;
    }
    Ok(writes as f64 / begun.elapsed().as_secs_f64())
}

/// The kind of the file system on which `path` lies, of a table as Linux shows it.
fn file_system<'a>(path: &Path, mounts: &'a str) -> Option<&'a str> {
    let holding = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (at, kind) = (fields.next()?, fields.next()?);
        // The table is cut into fields at spaces, and so has none in a path.
        let at = at.replace(r"\040", " ");
        path.starts_with(&at).then_some((at.len(), kind))
    });
    // Of two at one place the later one is seen.
    holding.max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
/dev/vda / ext4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
/dev/vdb /mnt/big\\040disk xfs rw 0 0
first /mnt/twice ext4 rw 0 0
second /mnt/twice btrfs rw 0 0
";

    #[test]
    fn the_file_system_is_that_of_the_nearest_mount() {
        let kind = |path: &str| file_system(Path::new(path), MOUNTS);
        assert_eq!(kind("/home"), Some("ext4"));
        assert_eq!(kind("/tmp/a/b"), Some("tmpfs"));
        assert_eq!(kind("/tmpest"), Some("ext4"));
        assert_eq!(kind("/mnt/big disk/x"), Some("xfs"));
        assert_eq!(kind("/mnt/twice"), Some("btrfs"));
        assert_eq!(file_system(Path::new("/"), ""), None);
    }

    #[tokio::test]
    async fn syncs_are_counted_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().expect("a directory");
        match measure(dir.path(), Duration::from_millis(50)).await {
            Limit::Measured { per_second, what } => {
                assert!(per_second > 0.0 && what.contains(&dir.path().display().to_string()), "{what}");
            }
            Limit::LeftOut(why) => assert!(why.contains("in memory"), "{why}"),
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("it is there").count(), 0);
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_leaves_the_limit_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let limit = measure(&dir.path().join("absent"), Duration::from_millis(50)).await;
        let Limit::LeftOut(why) = limit else { panic!("{limit:?}") };
        assert!(why.contains("--limits-dir"), "{why}");
    }
}
