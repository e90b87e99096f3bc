//! The data directory: who may use it, and whose it is.
//!
//! ```text
//! DATA/lock            held while a process uses the directory
//! DATA/volume.toml     instance, and once registered the volume's id and its cluster; the last line is a checksum
//! DATA/needles/        segments and their index files
//! ```
//! Owns the lock and `volume.toml`; what lies in `needles/` is the store's. Invariant: an id and a cluster, once
//! written, never change; a directory that is not understood is left as it is.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use hayrick_disk::{Disk, Lock, write_atomically};
use hayrick_protocol::ids::{ClusterId, InstanceId, VolumeId};
use thiserror::Error;

/// The version of the directory's layout.
const FORMAT: u16 = 1;
/// More bytes than `volume.toml` ever has.
const IDENTITY_BYTES_MAX: u64 = 4096;

/// Why a directory cannot be used.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// Another process holds the lock.
    #[error("{} is in use by another process; stop that one first, or give this volume a --data of its own", .0.display())]
    InUse(PathBuf),
    /// The disk refused.
    #[error("{path} cannot be used: {why}; name another --data, or let this user write there", path = path.display())]
    Io {
        /// What was to be read or written.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// Another version of Hayrick made it.
    #[error(
        "{path} is of format {found}, this build knows {FORMAT}; start the version of hayrick that made it, or a later one",
        path = path.display()
    )]
    LaterFormat {
        /// `volume.toml`.
        path: PathBuf,
        /// The format it names.
        found: u16,
    },
    /// `volume.toml` is not what was written.
    #[error("{} is damaged; put back a copy of it, or move the directory away and start with an empty one", .0.display())]
    Damaged(PathBuf),
    /// There are needles but no `volume.toml`.
    #[error("{} is missing, though there are segments beside it; put it back, or move them away", .0.display())]
    Missing(PathBuf),
    /// Something else lies there.
    #[error(
        "{data} is no volume's directory, and not empty: it holds {name:?}; name a new or empty directory with --data",
        data = data.display()
    )]
    NotEmpty {
        /// The directory.
        data: PathBuf,
        /// One thing in it.
        name: String,
    },
    /// It belongs to another volume or cluster.
    #[error(
        "{data} belongs to volume {own} of cluster {own_cluster}, not to volume {other} of cluster {other_cluster}; \
         name the masters of its own cluster, or give this volume an empty --data",
        data = data.display()
    )]
    Foreign {
        /// The directory.
        data: PathBuf,
        /// Its volume.
        own: VolumeId,
        /// Its cluster.
        own_cluster: ClusterId,
        /// The volume it was said to be.
        other: VolumeId,
        /// The cluster it was said to be of.
        other_cluster: ClusterId,
    },
}

/// Whose a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Made with the directory.
    pub(crate) instance: InstanceId,
    /// Volume and cluster, once registered.
    pub(crate) registered: Option<(VolumeId, ClusterId)>,
}

/// A data directory that this process holds.
#[derive(Debug)]
pub(crate) struct Directory {
    data: PathBuf,
    identity: Identity,
    lock: Arc<Lock>,
}

impl Directory {
    /// Takes the directory, and makes it if need be.
    pub(crate) fn open(disk: &Arc<dyn Disk>, data: &Path) -> Result<Self, DirectoryError> {
        let io_error = |path: &Path| {
            let path = path.to_owned();
            move |why| DirectoryError::Io { path, why }
        };
        disk.create_dir_all(data).map_err(io_error(data))?;
        // Before the lock, so that nothing is left in what is somebody else's.
        check_own(disk.as_ref(), data)?;
        let lock_path = data.join("lock");
        let lock = disk.lock(&lock_path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => DirectoryError::InUse(data.to_owned()),
            _ => io_error(&lock_path)(error),
        })?;
        let path = identity_path(data);
        let identity = if disk.exists(&path).map_err(io_error(&path))? {
            // A process killed before it synced the name left one that a power cut would take away, needles and all.
            disk.sync_dir(data).map_err(io_error(data))?;
            read_identity(disk.as_ref(), &path)?
        } else if holds_files(disk.as_ref(), &needles_path(data)).map_err(io_error(data))? {
            return Err(DirectoryError::Missing(path));
        } else {
            let mut instance = [0; 16];
            instance[..8].copy_from_slice(&disk.random().to_le_bytes());
            instance[8..].copy_from_slice(&disk.random().to_le_bytes());
            let identity = Identity { instance: InstanceId(instance), registered: None };
            write_atomically(disk.as_ref(), &path, encode(&identity).as_bytes()).map_err(io_error(&path))?;
            identity
        };
        Ok(Self { data: data.to_owned(), identity, lock: Arc::new(lock) })
    }

    /// Whose it is.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// What keeps other processes out. Whoever still writes to the directory holds it.
    pub(crate) fn lock(&self) -> Arc<Lock> {
        Arc::clone(&self.lock)
    }

    /// Where the segments lie.
    pub(crate) fn needles(&self) -> PathBuf {
        needles_path(&self.data)
    }

    /// Makes it, for good, the directory of this volume of this cluster.
    pub(crate) fn register(
        &mut self,
        disk: &dyn Disk,
        volume: VolumeId,
        cluster: ClusterId,
    ) -> Result<(), DirectoryError> {
        match self.identity.registered {
            Some(known) if known == (volume, cluster) => Ok(()),
            Some((own, own_cluster)) => Err(DirectoryError::Foreign {
                data: self.data.clone(),
                own,
                own_cluster,
                other: volume,
                other_cluster: cluster,
            }),
            None => {
                let identity = Identity { registered: Some((volume, cluster)), ..self.identity };
                let path = identity_path(&self.data);
                write_atomically(disk, &path, encode(&identity).as_bytes())
                    .map_err(|why| DirectoryError::Io { path, why })?;
                self.identity = identity;
                Ok(())
            }
        }
    }
}

fn identity_path(data: &Path) -> PathBuf {
    data.join("volume.toml")
}

fn needles_path(data: &Path) -> PathBuf {
    data.join("needles")
}

fn holds_files(disk: &dyn Disk, dir: &Path) -> io::Result<bool> {
    Ok(disk.exists(dir)? && !disk.list(dir)?.is_empty())
}

/// A disk that answers wrongly once is asked again, before somebody is told to put back a copy.
fn read_identity(disk: &dyn Disk, path: &Path) -> Result<Identity, DirectoryError> {
    match read_identity_once(disk, path) {
        Err(DirectoryError::Damaged(_) | DirectoryError::Io { .. }) => read_identity_once(disk, path),
        read => read,
    }
}

fn read_identity_once(disk: &dyn Disk, path: &Path) -> Result<Identity, DirectoryError> {
    let io_error = |why| DirectoryError::Io { path: path.to_owned(), why };
    let file = disk.open(path).map_err(io_error)?;
    let len = file.len().map_err(io_error)?.min(IDENTITY_BYTES_MAX);
    let mut bytes = vec![0; usize::try_from(len).expect("a page at most")];
    file.read_exact_at(&mut bytes, 0).map_err(io_error)?;
    match decode(&String::from_utf8_lossy(&bytes)) {
        Ok(identity) => Ok(identity),
        Err(DecodeError::LaterFormat(found)) => {
            Err(DirectoryError::LaterFormat { path: path.to_owned(), found })
        }
        Err(DecodeError::Damaged) => Err(DirectoryError::Damaged(path.to_owned())),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum DecodeError {
    LaterFormat(u16),
    Damaged,
}

fn encode(identity: &Identity) -> String {
    let mut text = String::from("# Whose directory this is. Made by hayrick; not to be edited.\n");
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "{name} = {value}").expect("a string takes any text");
    };
    line("format", &FORMAT);
    line("instance", &format_args!("\"{}\"", identity.instance));
    if let Some((volume, cluster)) = identity.registered {
        line("volume", &volume);
        line("cluster", &format_args!("\"{cluster}\""));
    }
    let crc = crc32c::crc32c(text.as_bytes());
    text + &format!("crc32c = \"{crc:08x}\"\n")
}

fn decode(text: &str) -> Result<Identity, DecodeError> {
    let checksum_at = text.rfind("crc32c = ").ok_or(DecodeError::Damaged)?;
    let (fields, checksum) = text.split_at(checksum_at);
    if checksum != format!("crc32c = \"{:08x}\"\n", crc32c::crc32c(fields.as_bytes())) {
        return Err(DecodeError::Damaged);
    }
    match field(fields, "format").ok_or(DecodeError::Damaged)? {
        FORMAT => {}
        found => return Err(DecodeError::LaterFormat(found)),
    }
    let instance = field(fields, "instance").ok_or(DecodeError::Damaged)?;
    let registered = match (field(fields, "volume"), field(fields, "cluster")) {
        (Some(volume), Some(cluster)) => Some((volume, cluster)),
        (None, None) => None,
        _ => return Err(DecodeError::Damaged),
    };
    Ok(Identity { instance, registered })
}

fn field<T: FromStr>(fields: &str, name: &str) -> Option<T> {
    let value = fields.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))?;
    value.trim_matches('"').parse().ok()
}

/// Refuses a directory that is no volume's and holds what no volume makes, such as a master's file. A file system's
/// `lost+found` is nobody's.
fn check_own(disk: &dyn Disk, data: &Path) -> Result<(), DirectoryError> {
    let own = |name: &String| {
        name == "lock" || name == "lost+found" || name == "needles" || name.starts_with("volume.toml")
    };
    let stranger = || -> io::Result<Option<String>> {
        if disk.exists(&identity_path(data))? || holds_files(disk, &needles_path(data))? {
            return Ok(None);
        }
        Ok(disk.list(data)?.into_iter().find(|name| !own(name)))
    };
    match stranger().map_err(|why| DirectoryError::Io { path: data.to_owned(), why })? {
        Some(name) => Err(DirectoryError::NotEmpty { data: data.to_owned(), name }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use hayrick_disk::replay::histories;
    use hayrick_disk::{Fault, FaultyDisk, Op};
    use proptest::prelude::*;

    use super::*;

    const CLUSTER: ClusterId = ClusterId([0xc1; 16]);

    fn identity() -> Identity {
        Identity { instance: InstanceId([0x1d; 16]), registered: Some((VolumeId(7), CLUSTER)) }
    }

    #[test]
    fn the_directory_of_something_else_is_refused() {
        let disk: Arc<dyn Disk> = Arc::new(hayrick_disk::FaultyDisk::new(1));
        let data = Path::new("/data");
        disk.create_dir_all(data).expect("made");
        drop(disk.create(&data.join("master")).expect("made"));
        let error = Directory::open(&disk, data).expect_err("a master's directory");
        assert!(matches!(error, DirectoryError::NotEmpty { .. }), "{error}");
        assert_eq!(disk.list(data).expect("listed"), ["master"], "nothing is left in it");
    }

    #[test]
    fn golden_text() {
        let text = "# Whose directory this is. Made by hayrick; not to be edited.\n\
                    format = 1\n\
                    instance = \"1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d\"\n\
                    volume = 7\n\
                    cluster = \"c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1\"\n";
        let crc = crc32c::crc32c(text.as_bytes());
        assert_eq!(encode(&identity()), format!("{text}crc32c = \"{crc:08x}\"\n"));
        assert_eq!(decode(&encode(&identity())), Ok(identity()));
        let fresh = Identity { registered: None, ..identity() };
        assert_eq!(decode(&encode(&fresh)), Ok(fresh));
    }

    #[test]
    fn a_later_format_is_told_from_damage() {
        let text = "format = 2\nwhat = \"else\"\n";
        let text = format!("{text}crc32c = \"{:08x}\"\n", crc32c::crc32c(text.as_bytes()));
        assert_eq!(decode(&text), Err(DecodeError::LaterFormat(2)));
    }

    #[test]
    fn the_second_process_is_refused_and_the_identity_stays() {
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(1));
        let data = Path::new("/data");
        let mut first = Directory::open(&disk, data).expect("an empty directory is taken");
        assert!(matches!(Directory::open(&disk, data), Err(DirectoryError::InUse(_))));
        first.register(disk.as_ref(), VolumeId(7), CLUSTER).expect("not registered yet");
        let before = first.identity();
        drop(first);
        let mut again = Directory::open(&disk, data).expect("it was let go");
        assert_eq!(again.identity(), before);
        again.register(disk.as_ref(), VolumeId(7), CLUSTER).expect("the same again");
        let other = again.register(disk.as_ref(), VolumeId(7), ClusterId([9; 16]));
        assert!(matches!(other, Err(DirectoryError::Foreign { .. })), "another cluster is refused");
    }

    #[test]
    fn an_identity_that_was_found_survives_a_power_cut() {
        let made = FaultyDisk::new(1);
        let data = Path::new("/data");
        // All but the last step, which is the sync of the directory.
        let whole: Arc<dyn Disk> = Arc::new(made.clone());
        Directory::open(&whole, data).expect("an empty directory is taken");
        let steps = made.counts().steps;
        let test = "an_identity_that_was_found_survives_a_power_cut";
        for replay in histories(env!("CARGO_PKG_NAME"), test, 20) {
            let disk = FaultyDisk::new(1);
            disk.fail_power_after(steps - 1);
            let first: Arc<dyn Disk> = Arc::new(disk.clone());
            Directory::open(&first, data).expect_err("it is killed");
            let killed = disk.restart();
            let second: Arc<dyn Disk> = Arc::new(killed.clone());
            let found = Directory::open(&second, data).expect("it is found").identity();
            let third: Arc<dyn Disk> = Arc::new(killed.crash(replay.seed()));
            assert_eq!(Directory::open(&third, data).expect("it is still there").identity(), found);
        }
    }

    #[test]
    fn an_identity_that_is_read_wrongly_once_stops_no_start() {
        let disk = FaultyDisk::new(1);
        let data = Path::new("/data");
        let open = || {
            let disk: Arc<dyn Disk> = Arc::new(disk.clone());
            Directory::open(&disk, data).map(|directory| directory.identity())
        };
        let made = open().expect("an empty directory is taken");
        for failure in Op::Read.failures() {
            disk.order(Fault::new(Op::Read, 1, *failure));
            assert_eq!(open().expect("the second answer is right"), made, "{failure:?}");
        }
        assert!(disk.flip(&identity_path(data), 70, 1));
        assert!(matches!(open(), Err(DirectoryError::Damaged(_))), "it is not read rightly either time");
    }

    #[test]
    fn segments_without_an_identity_are_not_taken_over() {
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(1));
        let data = Path::new("/data");
        disk.create_dir_all(&needles_path(data)).expect("a sound disk");
        disk.create(&needles_path(data).join("0000000000000001.seg")).expect("a sound disk");
        assert!(matches!(Directory::open(&disk, data), Err(DirectoryError::Missing(_))));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_seen(at: prop::sample::Index, bit in 0u8..7) {
            let mut bytes = encode(&identity()).into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(decode(&String::from_utf8_lossy(&bytes)), Err(DecodeError::Damaged));
        }

        #[test]
        fn garbage_never_panics(text: String) {
            prop_assert!(decode(&text).is_err());
        }
    }
}
