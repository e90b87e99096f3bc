//! What this master saw the disks of the others hold, so that one whose directory was set back to an older state is told so
//! before it votes again.
//!
//! Owns the file `masters-seen` and the comparison at a start. Masters say what they hold once a second (`members`), and
//! acknowledge entries to their leader; the first is kept over a restart: a new vote at once, the rest every few seconds.
//! Invariant: what is kept here never goes back. It is evidence and no more: what another did within a second before its end
//! may have been seen by nobody, and a file that is damaged is begun anew.
//!
//! ```text
//! hayrick masters-seen 1
//! 2 term 7 node 1 committed 812 leader        one line for each master: its vote, and what it held that is committed
//! crc32c 89abcdef                             of all lines above
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hayrick_disk::{Disk, write_atomically};
use hayrick_protocol::NodeId;
use hayrick_protocol::held::{Held, LogPosition, Seen, Vote};
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::warn;

const FILE: &str = "masters-seen";
const FIRST_LINE: &str = "hayrick masters-seen 1";
/// Far more than the masters of a cluster take.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// How old the file may be when only entries were added since.
const SAVE_EVERY: Duration = Duration::from_secs(5);

type ByMaster = BTreeMap<NodeId, Seen>;

/// What was seen.
pub(crate) struct Sightings {
    seen: Mutex<ByMaster>,
    /// Locked while it is written, so that a later one is not overtaken.
    file: Arc<Mutex<Saved>>,
}

struct Saved {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    holds: ByMaster,
    at: Instant,
}

impl Sightings {
    /// As the directory has it.
    pub(crate) fn open(disk: Arc<dyn Disk>, data: &std::path::Path) -> Self {
        let holds = load(&*disk, &data.join(FILE));
        Self::with(disk, data, holds)
    }

    /// Whatever the directory has.
    pub(crate) fn none(disk: Arc<dyn Disk>, data: &std::path::Path) -> Self {
        Self::with(disk, data, ByMaster::new())
    }

    fn with(disk: Arc<dyn Disk>, data: &std::path::Path, holds: ByMaster) -> Self {
        let (path, seen) = (data.join(FILE), Mutex::new(holds.clone()));
        Self { seen, file: Arc::new(Mutex::new(Saved { disk, path, holds, at: Instant::now() })) }
    }

    /// `id` said what it holds.
    pub(crate) fn note(&self, id: NodeId, held: &Held) {
        let mut seen = self.seen.lock();
        let of_it = seen.entry(id).or_default();
        of_it.vote = of_it.vote.max(held.vote);
        of_it.committed = of_it.committed.max(held.committed);
    }

    /// What `id` once held and holds no more, in words. `acknowledged` is what it acknowledged to this master as its leader.
    pub(crate) fn missing(
        &self,
        id: NodeId,
        held: &Held,
        acknowledged: Option<(Vote, LogPosition)>,
    ) -> Option<String> {
        let seen = self.seen.lock().get(&id).copied().unwrap_or_default();
        Seen { acknowledged, ..seen }.missing_in(held)
    }

    /// Makes durable what is worth it by now; `all` makes everything so.
    pub(crate) async fn save(&self, all: bool) {
        let seen = self.seen.lock().clone();
        let file = Arc::clone(&self.file);
        let saved = tokio::task::spawn_blocking(move || file.lock().save(seen, all)).await;
        if let Ok(Err(error)) = saved {
            warn!(%error, "what was seen of the other masters could not be written down");
        }
    }
}

impl Saved {
    fn save(&mut self, seen: ByMaster, all: bool) -> std::io::Result<()> {
        let votes = |of: &ByMaster| of.iter().map(|(id, seen)| (*id, seen.vote)).collect::<Vec<_>>();
        let is_due = all || votes(&seen) != votes(&self.holds) || self.at.elapsed() >= SAVE_EVERY;
        if seen == self.holds || !is_due {
            return Ok(());
        }
        write_atomically(&*self.disk, &self.path, text(&seen).as_bytes())?;
        (self.holds, self.at) = (seen, Instant::now());
        Ok(())
    }
}

fn load(disk: &dyn Disk, path: &std::path::Path) -> ByMaster {
    let read = || {
        let file = disk.open(path)?;
        let mut bytes = vec![0; usize::try_from(file.len()?.min(FILE_BYTES_MAX)).unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0)?;
        Ok::<_, std::io::Error>(bytes)
    };
    let why = match read() {
        Ok(bytes) => match parse(&bytes) {
            Some(seen) => return seen,
            None => "it is damaged".to_owned(),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return ByMaster::new(),
        Err(error) => error.to_string(),
    };
    warn!(
        path = %path.display(), why,
        "what was seen of the other masters is lost: should one be set back to an older state right now, this master \
         cannot tell"
    );
    ByMaster::new()
}

fn text(seen: &ByMaster) -> String {
    let mut body = format!("{FIRST_LINE}\n");
    for (id, seen) in seen {
        let Some(vote) = seen.vote else { continue };
        let whose = if vote.committed { "leader" } else { "candidate" };
        let _ =
            writeln!(body, "{id} term {} node {} committed {} {whose}", vote.term, vote.node, seen.committed);
    }
    let crc = crc32c::crc32c(body.as_bytes());
    let _ = writeln!(body, "crc32c {crc:08x}");
    body
}

fn parse(bytes: &[u8]) -> Option<ByMaster> {
    let whole = std::str::from_utf8(bytes).ok()?;
    let (body, _) = whole.rsplit_once("crc32c ")?;
    let mut lines = body.lines();
    if lines.next()? != FIRST_LINE {
        return None;
    }
    let seen = lines
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let [id, "term", term, "node", node, "committed", committed, whose] = words[..] else {
                return None;
            };
            let vote =
                Vote { term: term.parse().ok()?, node: node.parse().ok()?, committed: whose == "leader" };
            let seen = Seen { vote: Some(vote), committed: committed.parse().ok()?, acknowledged: None };
            Some((id.parse().ok()?, seen))
        })
        .collect::<Option<ByMaster>>()?;
    // Made again and compared, so that not a byte can differ.
    (text(&seen) == whole).then_some(seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hayrick_disk::FaultyDisk;

    fn held(term: u64, committed: u64) -> Held {
        let last = LogPosition { term, node: NodeId(1), index: committed };
        let vote = Vote { term, node: NodeId(1), committed: true };
        Held { vote: Some(vote), last: Some(last), committed }
    }

    fn disk() -> Arc<dyn Disk> {
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(1));
        disk.create_dir_all("/m".as_ref()).expect("a sound disk");
        disk
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_seen_never_goes_back_and_outlives_a_restart() {
        let disk = disk();
        let sightings = Sightings::open(Arc::clone(&disk), "/m".as_ref());
        sightings.note(NodeId(2), &held(7, 100));
        sightings.note(NodeId(2), &held(6, 50));
        sightings.save(false).await;
        let again = Sightings::open(Arc::clone(&disk), "/m".as_ref());
        for sightings in [&sightings, &again] {
            assert_eq!(sightings.missing(NodeId(2), &held(7, 100), None), None);
            assert!(sightings.missing(NodeId(2), &held(6, 100), None).is_some(), "an older vote");
            assert!(sightings.missing(NodeId(2), &held(8, 99), None).is_some(), "an entry is gone");
            assert_eq!(sightings.missing(NodeId(3), &held(1, 1), None), None, "it was never seen");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_vote_is_written_at_once_and_entries_every_few_seconds() {
        let disk = disk();
        let sightings = Sightings::open(Arc::clone(&disk), "/m".as_ref());
        let kept = |committed: u64| {
            let again = Sightings::open(Arc::clone(&disk), "/m".as_ref());
            again.missing(NodeId(2), &held(9, committed - 1), None).is_some()
        };
        sightings.note(NodeId(2), &held(7, 100));
        sightings.save(false).await;
        assert!(kept(100));
        sightings.note(NodeId(2), &held(7, 200));
        sightings.save(false).await;
        assert!(!kept(200));
        tokio::time::advance(SAVE_EVERY).await;
        sightings.save(false).await;
        assert!(kept(200));
        sightings.note(NodeId(2), &held(7, 300));
        sightings.save(true).await;
        assert!(kept(300));
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_life_left_is_not_believed_and_replaced() {
        let disk = disk();
        let before = Sightings::open(Arc::clone(&disk), "/m".as_ref());
        before.note(NodeId(2), &held(50, 100));
        before.save(true).await;
        let sightings = Sightings::none(Arc::clone(&disk), "/m".as_ref());
        sightings.note(NodeId(2), &held(1, 1));
        sightings.save(false).await;
        let again = Sightings::open(disk, "/m".as_ref());
        for sightings in [&sightings, &again] {
            assert_eq!(sightings.missing(NodeId(2), &held(1, 1), None), None);
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_seen() {
        let seen = |id, term, committed| {
            (NodeId(id), {
                let held = held(term, committed);
                Seen { vote: held.vote, committed, acknowledged: None }
            })
        };
        let seen = ByMaster::from([seen(2, 7, 812), seen(3, 6, 0)]);
        let whole = text(&seen).into_bytes();
        assert_eq!(parse(&whole), Some(seen));
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert_eq!(parse(&damaged), None, "byte {at}");
            assert_eq!(parse(&whole[..at]), None, "cut at {at}");
        }
    }
}
