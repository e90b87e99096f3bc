//! Snapshots: a state on its way to another node, and the file it is built into there.
//!
//! The sender tells a view as rows, chunk by chunk, one request each; the receiver puts them into a new index file as they
//! come, so neither holds more than a chunk. The last chunk carries the hash of all bytes; only when it matches is the
//! file made durable and handed to openraft, which installs it by a rename.
//!
//! A chunk that was lost is sent again; a receiver that started over asks for the whole snapshot again. A transfer of a
//! newer leader replaces an older one's, never the other way round; one of which nothing more is heard is forgotten.
//! Invariant: each transfer has a file of its own, so that what is installed is what was verified. A file that is not
//! installed is removed, at the next start at the latest.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use hayrick_disk::Disk;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;
use xxhash_rust::xxh3::Xxh3;

use crate::applied::Applied;
use crate::state::State;
use crate::store::{Store, StoreError, TableId};
use crate::types::{DecodeError, Input, Vote, put_vote};
use crate::view::{Row, RowStream, View, take_row};

/// Name of the file that a received snapshot is built in: begin and end, around the transfer's number.
const RECEIVE_FILE: (&str, &str) = ("receive-", ".new");
/// Bytes of a new file that are kept in memory while it is built: rows come in the order in which they lie.
const BUILD_CACHE_BYTES: usize = 16 << 20;
/// Bytes of the small state of a snapshot; what is meant to be in it takes a tenth of this at most.
const SMALL_BYTES_MAX: usize = 512 << 20;
/// A transfer that brought nothing for so long was given up: its sender says a chunk five times within 30 s each.
const IDLE_MAX: Duration = Duration::from_secs(180);

/// What openraft holds for a snapshot.
pub(crate) enum SnapshotData {
    /// This node's own state.
    View(Arc<View>),
    /// A file that was built from another node's state, and verified.
    Received(Box<Building>),
}

/// A new index file, not yet in place.
pub(crate) struct Building {
    store: Store,
    file: Temporary,
    small_bytes: usize,
    hasher: Box<Xxh3>,
}

/// A file that is removed unless it is kept.
struct Temporary {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    kept: bool,
}

impl Temporary {
    fn keep(mut self) -> PathBuf {
        self.kept = true;
        self.path.clone()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = self.disk.remove(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a part of a snapshot; the next start will");
        }
    }
}

/// Removes what transfers left that did not come to their end before the process did.
pub(crate) fn remove_leftovers(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let (begin, end) = RECEIVE_FILE;
    let mut leftovers =
        disk.list(dir)?.into_iter().filter(|name| name.starts_with(begin) && name.ends_with(end));
    leftovers.try_for_each(|name| disk.remove(&dir.join(name)))
}

impl Building {
    pub(crate) fn create(disk: &Arc<dyn Disk>, path: &Path) -> Result<Self, StoreError> {
        let store = Store::create(disk.as_ref(), path, BUILD_CACHE_BYTES)?;
        let file = Temporary { disk: Arc::clone(disk), path: path.to_owned(), kept: false };
        Ok(Self { store, file, small_bytes: 0, hasher: Box::default() })
    }

    /// Builds one from a view in this process.
    pub(crate) fn copy(disk: &Arc<dyn Disk>, path: &Path, view: Arc<View>) -> Result<Self, StoreError> {
        let mut building = Self::create(disk, path)?;
        let mut rows = RowStream::new(view);
        while let Some(chunk) = rows.next_chunk(1 << 20)? {
            building.put(&chunk)?;
        }
        Ok(building)
    }

    /// Takes the rows of one chunk in. Blocks.
    pub(crate) fn put(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        let malformed = |_| StoreError::Damaged("a row of the snapshot does not parse".into());
        self.hasher.update(chunk);
        let Self { store, small_bytes, .. } = self;
        store.write(false, |tables| {
            let mut input = Input(chunk);
            while let Some(Row { table, key, value }) = take_row(&mut input).map_err(malformed)? {
                if table == TableId::Small {
                    *small_bytes += key.len() + value.len();
                }
                tables.put(table, key, Some(value))?;
            }
            if *small_bytes > SMALL_BYTES_MAX {
                return Err(StoreError::Damaged("the snapshot's small state is not small".into()));
            }
            Ok(())
        })
    }

    /// Changes the small state of what was put so far.
    pub(crate) fn change_state(&mut self, change: impl FnOnce(&mut State)) -> Result<(), StoreError> {
        let (mut state, _) = self.store.reader()?.load()?;
        change(&mut state);
        let changed = std::mem::take(&mut state.changed);
        self.store.write(false, |tables| {
            changed
                .into_iter()
                .try_for_each(|row| tables.put(TableId::Small, &row.encode(), state.row(row).as_deref()))
        })
    }

    fn hash(&self) -> u128 {
        self.hasher.digest128()
    }

    /// Makes it durable as the state at `applied`, and opens it as an index; it still has its temporary name.
    pub(crate) fn finish(
        self,
        applied: &Applied,
        cache_bytes: usize,
    ) -> Result<(Store, State, PathBuf), StoreError> {
        // The small state is there already, row by row.
        self.store.write(true, |tables| tables.put_applied(applied))?;
        drop(self.store);
        let (store, state, _) = Store::open_existing(self.file.disk.as_ref(), &self.file.path, cache_bytes)?;
        Ok((store, state, self.file.keep()))
    }
}

/// One request of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// The leader's vote.
    pub(crate) vote: Vote,
    /// Which transfer; random.
    pub(crate) transfer: u64,
    /// Counts the chunks of a transfer from 0.
    pub(crate) number: u64,
    /// The hash of all bytes, with the last chunk.
    pub(crate) end: Option<u128>,
    /// What the snapshot is of.
    pub(crate) applied: Bytes,
    /// Rows.
    pub(crate) rows: Bytes,
}

impl Chunk {
    /// {vote, transfer u64, number u64, {0} or {1, hash u128}, length u32, applied, rows}
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(64 + self.applied.len() + self.rows.len());
        put_vote(&mut out, &self.vote);
        out.extend_from_slice(&self.transfer.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.push(self.end.is_some().into());
        if let Some(hash) = self.end {
            out.extend_from_slice(&hash.to_le_bytes());
        }
        out.extend_from_slice(
            &u32::try_from(self.applied.len()).expect("memberships are small").to_le_bytes(),
        );
        out.extend_from_slice(&self.applied);
        out.extend_from_slice(&self.rows);
        out.into()
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut input = Input(bytes);
        let vote = input.vote()?;
        let (transfer, number) = (input.u64()?, input.u64()?);
        let end = if input.bool()? {
            let hash = input.bytes(16)?.try_into().map_err(|_| DecodeError)?;
            Some(u128::from_le_bytes(hash))
        } else {
            None
        };
        let applied_len = input.u32()? as usize;
        let applied = bytes.slice_ref(input.bytes(applied_len)?);
        let rows = bytes.slice_ref(input.0);
        Ok(Self { vote, transfer, number, end, applied, rows })
    }
}

/// What the receiver makes of a chunk.
pub(crate) enum Received {
    /// Send this one next.
    Next(u64),
    /// It knows nothing of this transfer (any more): begin a new one.
    Restart,
    /// All there and verified: install it, then call [`Installing::done`].
    Complete(Applied, Box<Building>, Installing),
    /// It was installed before, under this vote.
    Installed(Vote),
}

/// The receiving end: one transfer at a time.
pub(crate) struct Receiver {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    slot: Arc<Mutex<Slot>>,
}

/// A complete file on its way into place. Chunks wait as long as this lives: they get to know whether it was installed.
pub(crate) struct Installing {
    slot: OwnedMutexGuard<Slot>,
    transfer: u64,
}

impl Installing {
    /// It was installed, or was not needed, under this vote.
    pub(crate) fn done(mut self, vote: Vote) {
        self.slot.installed = Some((self.transfer, vote));
    }
}

#[derive(Default)]
struct Slot {
    running: Option<Transfer>,
    /// The last transfer that was installed, for a sender that did not hear of it.
    installed: Option<(u64, Vote)>,
}

struct Transfer {
    vote: Vote,
    id: u64,
    next: u64,
    /// When its last chunk came.
    heard: Instant,
    building: Building,
}

impl Receiver {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        Self { disk, dir: dir.to_owned(), slot: Arc::default() }
    }

    /// Takes one chunk in. A repeated one does no harm.
    pub(crate) async fn take(self: &Arc<Self>, chunk: Chunk) -> Result<Received, String> {
        if !chunk.vote.committed {
            return Err("a snapshot comes from a leader, and this sender was not elected".into());
        }
        let mut slot = Arc::clone(&self.slot).lock_owned().await;
        if let Some((id, vote)) = slot.installed
            && id == chunk.transfer
        {
            return Ok(Received::Installed(vote));
        }
        let transfer = match slot.running.take() {
            Some(running) if running.id == chunk.transfer => running,
            // A deposed leader does not take the place of the one that replaced it.
            Some(running) if chunk.number > 0 || running.vote > chunk.vote => {
                slot.running = Some(running);
                return Ok(Received::Restart);
            }
            None if chunk.number > 0 => return Ok(Received::Restart),
            _ => self.begin(&chunk).await?,
        };
        if chunk.number != transfer.next {
            let next = transfer.next;
            slot.running = Some(transfer);
            return Ok(Received::Next(next));
        }
        let (transfer, chunk) = put(transfer, chunk).await?;
        match chunk.end {
            None => {
                let next = transfer.next;
                slot.running = Some(transfer);
                Ok(Received::Next(next))
            }
            Some(hash) if hash == transfer.building.hash() => {
                let applied = Applied::decode(&chunk.applied).map_err(|error| error.to_string())?;
                if !applied.may_come_from(&chunk.vote) {
                    return Err("the snapshot holds what its sender cannot have".into());
                }
                let installing = Installing { slot, transfer: transfer.id };
                Ok(Received::Complete(applied, Box::new(transfer.building), installing))
            }
            Some(_) => Err("the snapshot that arrived is not the one that was sent: its hash differs".into()),
        }
    }

    async fn begin(self: &Arc<Self>, chunk: &Chunk) -> Result<Transfer, String> {
        let (disk, (begin, end)) = (Arc::clone(&self.disk), RECEIVE_FILE);
        let path = self.dir.join(format!("{begin}{:016x}{end}", chunk.transfer));
        let create = move || Building::create(&disk, &path);
        let building = tokio::task::spawn_blocking(create).await.map_err(|error| error.to_string())?;
        let building = building.map_err(|error| error.to_string())?;
        tokio::spawn(forget_when_idle(Arc::downgrade(self), chunk.transfer));
        Ok(Transfer { vote: chunk.vote, id: chunk.transfer, next: 0, heard: Instant::now(), building })
    }
}

/// Lets a transfer go of which nothing was heard for [`IDLE_MAX`], with its file and its cache.
async fn forget_when_idle(receiver: Weak<Receiver>, id: u64) {
    loop {
        tokio::time::sleep(IDLE_MAX).await;
        let Some(receiver) = receiver.upgrade() else { return };
        let mut slot = receiver.slot.lock().await;
        match &slot.running {
            Some(running) if running.id == id && running.heard.elapsed() < IDLE_MAX => {}
            Some(running) if running.id == id => {
                tracing::warn!(
                    chunks = running.next,
                    "a snapshot from the leader stopped coming; it is forgotten"
                );
                let abandoned = slot.running.take();
                tokio::task::spawn_blocking(move || drop(abandoned));
                return;
            }
            _ => return,
        }
    }
}

async fn put(mut transfer: Transfer, chunk: Chunk) -> Result<(Transfer, Chunk), String> {
    let put = move || {
        transfer.building.put(&chunk.rows)?;
        transfer.next += 1;
        transfer.heard = Instant::now();
        Ok::<_, StoreError>((transfer, chunk))
    };
    let done = tokio::task::spawn_blocking(put).await.map_err(|error| error.to_string())?;
    done.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use hayrick_disk::FaultyDisk;
    use proptest::prelude::*;
    use tokio::time::timeout;

    use super::*;
    use crate::types::{LeaderId, LogId, StoredMembership};

    const DIR: &str = "/raft";

    fn receiver() -> (FaultyDisk, Arc<Receiver>) {
        let faulty = FaultyDisk::new(1);
        let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
        disk.create_dir_all(Path::new(DIR)).expect("a sound disk");
        (faulty, Arc::new(Receiver::new(disk, Path::new(DIR))))
    }

    /// An empty snapshot in one chunk.
    fn whole(transfer: u64) -> Chunk {
        let applied = Applied::default().encode().into();
        let end = Some(Xxh3::new().digest128());
        Chunk { vote: Vote::new_committed(1, 2), transfer, number: 0, end, applied, rows: Bytes::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn no_other_transfer_is_begun_while_one_is_installed() {
        let (disk, receiver) = receiver();
        let Ok(Received::Complete(_, building, installing)) = receiver.take(whole(1)).await else {
            panic!("one chunk is all");
        };
        // The sender did not wait for the end, or another leader began anew. The clock moves only while nothing else does.
        let second = timeout(Duration::from_secs(1), receiver.take(whole(2))).await;
        assert!(second.is_err(), "it is not known yet whether it is needed");
        drop(building);
        assert_eq!(disk.list(Path::new(DIR)).expect("listed"), Vec::<String>::new(), "it was not needed");
        installing.done(Vote::new(1, 2));
        assert!(matches!(receiver.take(whole(1)).await, Ok(Received::Installed(_))));
        assert!(matches!(receiver.take(whole(2)).await, Ok(Received::Complete(..))));
    }

    #[tokio::test]
    async fn each_transfer_has_its_own_file_and_a_start_removes_what_is_left() {
        let (disk, receiver) = receiver();
        let Ok(Received::Complete(_, first, installing)) = receiver.take(whole(1)).await else {
            panic!("one chunk is all");
        };
        drop(installing);
        // The caller gave up, and openraft still holds the file.
        let Ok(Received::Complete(_, second, _)) = receiver.take(whole(2)).await else {
            panic!("one chunk is all");
        };
        assert_eq!(disk.list(Path::new(DIR)).expect("listed").len(), 2);
        let disk = disk.restart();
        drop((first, second));
        assert_eq!(disk.list(Path::new(DIR)).expect("listed").len(), 2, "the process had no time for it");
        remove_leftovers(&disk, Path::new(DIR)).expect("removed");
        assert_eq!(disk.list(Path::new(DIR)).expect("listed"), Vec::<String>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn a_transfer_that_stops_coming_is_forgotten_with_its_file() {
        let (disk, receiver) = receiver();
        let first = Chunk { end: None, ..whole(1) };
        assert!(matches!(receiver.take(first).await, Ok(Received::Next(1))));
        tokio::time::sleep(IDLE_MAX / 2).await;
        let second = Chunk { end: None, number: 1, ..whole(1) };
        assert!(matches!(receiver.take(second.clone()).await, Ok(Received::Next(2))), "it goes on");
        tokio::time::sleep(IDLE_MAX * 3).await;
        while !disk.list(Path::new(DIR)).expect("listed").is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(matches!(receiver.take(second).await, Ok(Received::Restart)));
    }

    #[tokio::test]
    async fn a_snapshot_that_no_leader_can_have_is_refused() {
        let (_, receiver) = receiver();
        let candidate = Chunk { vote: Vote::new(1, 2), ..whole(1) };
        assert!(receiver.take(candidate).await.is_err());
        let id = |term, index| Some(LogId::new(LeaderId { term, node_id: 1 }, index));
        let of = |last, membership| Applied {
            last,
            membership: StoredMembership::new(membership, openraft::Membership::default()),
        };
        for applied in [of(id(2, 5), None), of(id(1, 5), id(1, 6))] {
            let chunk = Chunk { applied: applied.encode().into(), ..whole(1) };
            assert!(receiver.take(chunk).await.is_err(), "{applied:?}");
        }
        let applied = of(id(1, 5), id(1, 4)).encode().into();
        assert!(matches!(receiver.take(Chunk { applied, ..whole(1) }).await, Ok(Received::Complete(..))));
    }

    proptest! {
        #[test]
        fn chunks_round_trip(
            term: u64, transfer: u64, number: u64, end: Option<u128>,
            applied in prop::collection::vec(any::<u8>(), 0..40), rows in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let vote = Vote::new(term, 3);
            let chunk = Chunk { vote, transfer, number, end, applied: applied.into(), rows: rows.into() };
            prop_assert_eq!(Chunk::decode(&chunk.encode()).expect("own bytes"), chunk);
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = Chunk::decode(&bytes.clone().into());
            let mut input = Input(&bytes);
            while let Ok(Some(_)) = take_row(&mut input) {}
        }
    }
}
