//! Whose data directory this is: one small checked text file, and the lock that keeps a second process out.
//!
//! Owns the file `master` and the lock. Leaves what is in the other files of the directory to `raft-store`.
//! Invariant: the file is either as it was or as it was meant to be, whenever the process is killed.
//!
//! ```text
//! hayrick master 1
//! id 1
//! instance 00112233445566778899aabbccddeeff
//! cluster 00000000000000000000000000000000
//! standing new
//! crc32c 89abcdef          of all lines above
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hayrick_disk::{Disk, Lock, write_atomically};
use hayrick_protocol::ids::{ClusterId, InstanceId, NodeId};
use thiserror::Error;

const META_FILE: &str = "master";
const LOCK_FILE: &str = "lock";
/// Whatever is made in a data directory beside the Raft store's, the lock last.
pub(crate) const FILES: [&str; 3] = [META_FILE, "master.new", LOCK_FILE];

/// Whether a master was started in the directory before.
pub(crate) fn is_there(directory: &Path) -> bool {
    directory.join(META_FILE).exists()
}
const FIRST_LINE: &str = "hayrick master 1";
/// Far more than the file ever has: what is longer was not made here.
const META_BYTES_MAX: usize = 4096;

/// How far this master has come into its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// It may not vote yet: it might be a wiped master under its old id.
    New,
    /// It has the state of a backup, and may not vote yet: it might be restored into a cluster that runs.
    Restored,
    /// It may vote: it formed the cluster, or the leader registered its directory.
    Admitted,
    /// It has a Raft log. Without one it was wiped, and must never vote again.
    Member,
    /// It was removed from its cluster, and takes part in nothing any more.
    Removed,
}

/// What the file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) id: NodeId,
    pub(crate) instance: InstanceId,
    pub(crate) cluster: ClusterId,
    pub(crate) standing: Standing,
}

/// Why the directory cannot be used.
#[derive(Debug, Error)]
pub(crate) enum MetaError {
    #[error(
        "the data directory {0} cannot be used: {1}; name another with --data, or let this user write there"
    )]
    Directory(PathBuf, io::Error),
    #[error(
        "{directory} is no master's directory, and not empty: it holds {name:?}; name a new or empty one with --data"
    )]
    NotEmpty { directory: PathBuf, name: String },
    #[error(
        "--restore takes an empty data directory, and {directory} holds {name:?}: name another with --data; where the \
         backup was restored in it already, start it without --restore"
    )]
    NotNew { directory: PathBuf, name: String },
    #[error("another process works on the data directory {0}; stop it first")]
    Locked(PathBuf),
    #[error("the file {0} is damaged; restore it from a backup, or replace this master under a new id")]
    Damaged(PathBuf),
    #[error(
        "the file {file} is of format version {version}, which this hayrick does not know (it knows 1): start a newer one"
    )]
    LaterVersion { file: PathBuf, version: u32 },
    #[error(
        "the data directory {directory} belongs to master {found}, and was started as master {wanted}; start it with --id \
         {found}, or name the own one with --data"
    )]
    OtherId { directory: PathBuf, found: NodeId, wanted: NodeId },
}

/// The directory, held by this process alone until this is dropped.
pub(crate) struct Directory {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    _lock: Lock,
}

impl Directory {
    /// Makes the directory if need be and keeps every other process out.
    pub(crate) fn lock(disk: Arc<dyn Disk>, path: &Path) -> Result<Self, MetaError> {
        let refused = |error| MetaError::Directory(path.to_owned(), error);
        disk.create_dir_all(path).map_err(refused)?;
        // Before the lock, so that nothing is left in what is somebody else's.
        check_own(&*disk, path)?;
        match disk.lock(&path.join(LOCK_FILE)) {
            Ok(lock) => Ok(Self { disk, path: path.to_owned(), _lock: lock }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(MetaError::Locked(path.to_owned()))
            }
            Err(error) => Err(refused(error)),
        }
    }

    /// What the file says of master `id`, or a new one with this random instance if there is none yet.
    pub(crate) fn load_or_create(&self, id: NodeId, instance: InstanceId) -> Result<Meta, MetaError> {
        let path = self.path.join(META_FILE);
        let bytes = match self.read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let meta = Meta { id, instance, cluster: ClusterId::UNKNOWN, standing: Standing::New };
                self.save(&meta)?;
                return Ok(meta);
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(MetaError::Damaged(path)),
            Err(error) => return Err(MetaError::Directory(self.path.clone(), error)),
        };
        if let Some(version) = later_version(&bytes) {
            return Err(MetaError::LaterVersion { file: path, version });
        }
        let meta = Meta::parse(&bytes).ok_or(MetaError::Damaged(path))?;
        if meta.id != id && meta.standing == Standing::New {
            // It may not vote yet, so nothing was promised under that id: a slip, or a cluster that would not have it.
            let meta = Meta { id, instance, ..meta };
            self.save(&meta)?;
            return Ok(meta);
        }
        if meta.id != id {
            return Err(MetaError::OtherId { directory: self.path.clone(), found: meta.id, wanted: id });
        }
        Ok(meta)
    }

    /// Refuses a directory in which a master ever began anything.
    pub(crate) fn check_new(&self, raft: &Path) -> Result<(), MetaError> {
        let failed = |error| MetaError::Directory(self.path.clone(), error);
        let list = |dir: &Path| match self.disk.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed.map_err(failed),
        };
        let mut names = list(&self.path)?;
        names.retain(|name| name != LOCK_FILE);
        names.extend(list(raft)?);
        if self.disk.exists(&raft.join("log")).map_err(failed)? {
            names.push("raft".to_owned());
        }
        match names.into_iter().next() {
            Some(name) => Err(MetaError::NotNew { directory: self.path.clone(), name }),
            None => Ok(()),
        }
    }

    /// Durable when it returns.
    pub(crate) fn save(&self, meta: &Meta) -> Result<(), MetaError> {
        write_atomically(&*self.disk, &self.path.join(META_FILE), meta.text().as_bytes())
            .map_err(|error| MetaError::Directory(self.path.clone(), error))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.disk.open(path)?;
        let len = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::InvalidData)?;
        if len > META_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

/// Refuses a directory that is no master's and holds what no master makes, such as a volume's. A file system's `lost+found`
/// is nobody's, and a Raft log without the file is refused with words of its own.
fn check_own(disk: &dyn Disk, path: &Path) -> Result<(), MetaError> {
    let own = |name: &String| {
        name == LOCK_FILE || name == "lost+found" || name == "raft" || name.starts_with(META_FILE)
    };
    let stranger = || match disk.exists(&path.join(META_FILE))? {
        true => Ok(None),
        false => Ok(disk.list(path)?.into_iter().find(|name| !own(name))),
    };
    match stranger().map_err(|error| MetaError::Directory(path.to_owned(), error))? {
        Some(name) => Err(MetaError::NotEmpty { directory: path.to_owned(), name }),
        None => Ok(()),
    }
}

/// The version of a file whose last line proves it whole, if it is not ours.
fn later_version(bytes: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (body, crc) = text.rsplit_once("crc32c ")?;
    if format!("{:08x}\n", crc32c::crc32c(body.as_bytes())) != crc || body.lines().next() == Some(FIRST_LINE)
    {
        return None;
    }
    body.lines().next()?.strip_prefix("hayrick master ")?.parse().ok()
}

impl Meta {
    fn text(&self) -> String {
        let body = format!(
            "{FIRST_LINE}\nid {}\ninstance {}\ncluster {}\nstanding {}\n",
            self.id,
            self.instance,
            self.cluster,
            self.standing.name()
        );
        let crc = crc32c::crc32c(body.as_bytes());
        format!("{body}crc32c {crc:08x}\n")
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.lines();
        let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let _version = value("hayrick")?;
        let meta = Self {
            id: value("id")?.parse().ok()?,
            instance: value("instance")?.parse().ok()?,
            cluster: value("cluster")?.parse().ok()?,
            standing: Standing::parse(value("standing")?)?,
        };
        // Made again and compared, so that not a byte can differ.
        (meta.text() == text).then_some(meta)
    }
}

impl Standing {
    fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Restored => "restored",
            Self::Admitted => "admitted",
            Self::Member => "member",
            Self::Removed => "removed",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::New, Self::Restored, Self::Admitted, Self::Member, Self::Removed]
            .into_iter()
            .find(|standing| standing.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_a_later_version_is_told_from_a_damaged_one() {
        let whole = |first: &str| {
            let body = format!("{first}\nid 1\n");
            format!("{body}crc32c {:08x}\n", crc32c::crc32c(body.as_bytes())).into_bytes()
        };
        assert_eq!(later_version(&whole("hayrick master 2")), Some(2));
        assert_eq!(later_version(&whole(FIRST_LINE)), None, "it is ours");
        let mut damaged = whole("hayrick master 2");
        damaged[3] ^= 1;
        assert_eq!(later_version(&damaged), None);
    }

    use hayrick_disk::RealDisk;

    const INSTANCE: InstanceId = InstanceId([7; 16]);

    fn lock(path: &Path) -> Result<Directory, MetaError> {
        Directory::lock(Arc::new(RealDisk), path)
    }

    #[test]
    fn a_second_process_is_kept_out_until_the_first_ends() {
        let temporary = tempfile::tempdir().expect("a directory");
        let first = lock(temporary.path()).expect("it is free");
        assert!(matches!(lock(temporary.path()), Err(MetaError::Locked(_))));
        drop(first);
        assert!(lock(temporary.path()).is_ok());
    }

    #[test]
    fn the_directory_of_something_else_is_refused() {
        let temporary = tempfile::tempdir().expect("a directory");
        std::fs::write(temporary.path().join("volume.toml"), "x").expect("written");
        let error = lock(temporary.path()).err().expect("a volume's directory");
        assert!(error.to_string().contains("volume.toml"), "{error}");
        assert!(!temporary.path().join(LOCK_FILE).exists(), "nothing is left in it");
    }

    #[test]
    fn what_was_saved_is_loaded_and_another_id_is_refused() {
        let temporary = tempfile::tempdir().expect("a directory");
        let directory = lock(temporary.path()).expect("it is free");
        let mut meta = directory.load_or_create(NodeId(1), INSTANCE).expect("made");
        assert_eq!((meta.instance, meta.standing), (INSTANCE, Standing::New));
        meta.cluster = ClusterId([9; 16]);
        meta.standing = Standing::Member;
        directory.save(&meta).expect("saved");
        assert_eq!(directory.load_or_create(NodeId(1), InstanceId([1; 16])).expect("loaded"), meta);
        let other = directory.load_or_create(NodeId(2), INSTANCE).expect_err("it belongs to master 1");
        assert!(other.to_string().contains("belongs to master 1, and was started as master 2"), "{other}");
    }

    #[test]
    fn before_it_may_vote_a_directory_takes_another_id() {
        let temporary = tempfile::tempdir().expect("a directory");
        let directory = lock(temporary.path()).expect("it is free");
        directory.load_or_create(NodeId(2), INSTANCE).expect("made");
        let other = directory.load_or_create(NodeId(5), InstanceId([1; 16])).expect("nothing was promised");
        assert_eq!(
            (other.id, other.instance, other.standing),
            (NodeId(5), InstanceId([1; 16]), Standing::New)
        );
        assert_eq!(directory.load_or_create(NodeId(5), INSTANCE).expect("loaded"), other);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_seen() {
        let meta = Meta {
            id: NodeId(3),
            instance: INSTANCE,
            cluster: ClusterId::UNKNOWN,
            standing: Standing::Admitted,
        };
        let text = meta.text().into_bytes();
        assert_eq!(Meta::parse(&text), Some(meta));
        for at in 0..text.len() {
            let mut damaged = text.clone();
            damaged[at] ^= 1;
            assert_eq!(Meta::parse(&damaged), None, "byte {at}");
            assert_eq!(Meta::parse(&text[..at]), None, "cut at {at}");
        }
    }
}
