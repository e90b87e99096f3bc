//! The log, file by file, and what all its records together say.
//!
//! Owns what is counted; reading a file is `disk`'s, what records mean `log_record`'s and `log_index`'s. Invariant: what is
//! told of entries, vote and purge is what a start would find, as far as the records verify; and whatever would stop a start
//! is told as a problem.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;

use hayrick_disk::{Disk, Found, InspectError as FileError, Inspected, Seal};
use hayrick_protocol::NodeId;

use super::{EntryId, InspectError, Membership};
use crate::log_index::Replay;
use crate::log_record::{self, Content, LogFormat};
use crate::types::{LogId, Membership as RaftMembership, Vote};

const EXTENSION: &str = ".log";
/// Damaged stretches that are listed of a file.
const LISTED_MAX: usize = 1000;

/// What the log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// There is no such directory: a master does not start without it, where there is an index.
    pub missing: bool,
    /// For whom this master voted, in which term, and whether that one was elected.
    pub vote: Option<(u64, NodeId, bool)>,
    /// Entries up to this one are gone, as the index has what they made.
    pub purged: Option<EntryId>,
    /// Known to be committed, as far as that was written down.
    pub committed: Option<EntryId>,
    /// The last entry that links up with those before it, or else the last that was purged.
    pub last: Option<EntryId>,
    /// Entries that are there: the first, the last, how many.
    pub entries: Option<(u64, u64, u64)>,
    /// The last membership in it.
    pub membership: Option<Membership>,
    /// Its files, in their order.
    pub files: Vec<LogFile>,
    /// Bytes of its files.
    pub bytes: u64,
    /// The first thing that keeps a master from starting with it.
    pub problem: Option<String>,
}

/// A file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// Its name.
    pub name: String,
    /// What is in it, or why that cannot be told.
    pub found: Result<FileSummary, String>,
}

/// What is in a file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSummary {
    /// Bytes that are there.
    pub bytes: u64,
    /// The header matches its checksum.
    pub header_is_good: bool,
    /// Whether and where it is sealed.
    pub seal: Seal,
    /// Where the last record or damage ends.
    pub end: u64,
    /// What follows that and is neither record nor zero: a torn batch; empty if nothing is.
    pub tail: Range<u64>,
    /// From the first to the last block that the disk could not read.
    pub unreadable: Option<Range<u64>>,
    /// Records of each kind.
    pub records: BTreeMap<&'static str, u64>,
    /// The lowest and the highest entry in it, truncated and purged ones too.
    pub entries: Option<(u64, u64)>,
    /// Stretches that are no records, though they once were: how many, their bytes, and the first thousand.
    pub damage: (u64, u64, Vec<Range<u64>>),
}

/// Reads the log in `dir`.
pub(super) fn read(disk: &dyn Disk, dir: &Path) -> Result<Log, InspectError> {
    let mut reading = Reading::default();
    let exists = disk.exists(dir).map_err(|source| InspectError::Io { path: dir.to_owned(), source })?;
    let listed = if exists { disk.list(dir) } else { Ok(Vec::new()) };
    let mut names = listed.map_err(|source| InspectError::Io { path: dir.to_owned(), source })?;
    names.retain(|name| name.ends_with(EXTENSION));
    names.sort();
    for name in names {
        let found = match reading.file(disk, &dir.join(&name), &name) {
            // It was purged since it was listed.
            Err(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => Err(in_words(&error)),
            Ok(found) => Ok(found),
        };
        if let Err(why) = &found {
            reading.replay.damaged(why.clone());
        }
        reading.files.push(LogFile { name, found });
    }
    Ok(Log { missing: !exists, ..reading.finish() })
}

#[derive(Default)]
struct Reading {
    replay: Replay,
    memberships: Vec<(LogId, RaftMembership)>,
    files: Vec<LogFile>,
    /// A torn tail, which is one only as long as no later file has records.
    torn: Option<String>,
}

impl Reading {
    fn file(&mut self, disk: &dyn Disk, path: &Path, name: &str) -> Result<FileSummary, FileError> {
        let file = Inspected::open::<LogFormat>(disk, path)?;
        let mut summary = FileSummary {
            bytes: file.bytes,
            header_is_good: file.header_is_good,
            seal: file.seal,
            end: 0,
            tail: 0..0,
            unreadable: None,
            records: BTreeMap::new(),
            entries: None,
            damage: (0, 0, Vec::new()),
        };
        if !file.header_is_good {
            self.replay.damaged(format!("the header of {name}"));
        }
        let ending = file.scan::<LogFormat>(None, &mut |found| {
            self.take_in(&mut summary, name, found);
            Ok(())
        });
        let ending = ending.map_err(|source| FileError::Io { path: path.to_owned(), source })?;
        (summary.end, summary.tail, summary.unreadable) = (ending.end, ending.tail, ending.unreadable);
        if !summary.tail.is_empty() {
            self.torn = Some(format!("{name}, bytes {} to {}", summary.tail.start, summary.tail.end));
        }
        Ok(summary)
    }

    fn take_in(&mut self, summary: &mut FileSummary, name: &str, found: Found<'_>) {
        if let Some(torn) = self.torn.take() {
            self.replay.damaged(torn);
        }
        let (at, record) = match found {
            Found::Damage(range) => {
                self.replay.damaged(format!("{name}, bytes {} to {}", range.start, range.end));
                let (count, bytes, listed) = &mut summary.damage;
                *count += 1;
                *bytes += range.end - range.start;
                if listed.len() < LISTED_MAX {
                    listed.push(range);
                }
                return;
            }
            Found::Record(at, record) => (at, record),
        };
        let Ok(content) = log_record::content(record) else {
            return self.replay.damaged(format!("{name} at {}: a record that does not parse", at.offset));
        };
        *summary.records.entry(kind(&content)).or_default() += 1;
        match content {
            Content::Entry(id) => {
                let (first, last) = summary.entries.unwrap_or((id.index, id.index));
                summary.entries = Some((first.min(id.index), last.max(id.index)));
                self.memberships.retain(|(earlier, _)| earlier.index < id.index);
                self.memberships.extend(log_record::membership(record).map(|membership| (id, membership)));
            }
            Content::Truncate(after) => {
                let kept = after.map_or(0, |id| id.index + 1);
                self.memberships.retain(|(earlier, _)| earlier.index < kept);
            }
            _ => {}
        }
        if content != Content::Mark {
            self.replay.record(at, content);
        }
    }

    fn finish(self) -> Log {
        let Self { replay, memberships, files, .. } = self;
        let (state, entries) = (replay.state, replay.kept());
        let bytes = files.iter().filter_map(|file| file.found.as_ref().ok()).map(|file| file.bytes).sum();
        let vote = |vote: Vote| (vote.leader_id.term, NodeId(vote.leader_id.node_id), vote.committed);
        Log {
            missing: false,
            vote: state.vote.map(vote),
            purged: state.purged.map(EntryId::of),
            committed: state.committed.map(EntryId::of),
            last: state.last.map(EntryId::of),
            entries,
            membership: memberships.last().map(|(id, membership)| Membership::new(Some(*id), membership)),
            problem: replay.finish(0).err(),
            files,
            bytes,
        }
    }
}

fn kind(content: &Content) -> &'static str {
    match content {
        Content::Entry(_) => "entry",
        Content::Vote(_) => "vote",
        Content::Truncate(_) => "truncate",
        Content::Purge(_) => "purge",
        Content::Committed(_) => "committed",
        Content::Mark => "mark",
        Content::Start(_) => "start",
    }
}

fn in_words(error: &FileError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
