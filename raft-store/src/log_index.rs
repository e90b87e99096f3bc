//! The log in memory: where each entry lies, the recent entries themselves, and how both are found again at start.
//!
//! Owns no file. Invariants: entries are consecutive; each is in the cache or has a place on disk; what was written
//! after a failed write, and so does not link up, never counts.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;

use hayrick_disk::{FileId, Location};
use tokio::time::Instant;

use crate::log_record::{Content, Start};
use crate::types::{Entry, LeaderId, LogId, Vote, entry_bytes};

/// What the log knows without reading a file.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) vote: Option<Vote>,
    pub(crate) purged: Option<LogId>,
    /// What a durable record says of `purged`: entries up to there are not missed when their file is gone.
    pub(crate) purged_durable: Option<LogId>,
    pub(crate) committed: Option<LogId>,
    /// What the records submitted so far say of `committed`.
    pub(crate) committed_written: Option<LogId>,
    /// Why nothing can be appended any more.
    pub(crate) failed: Option<String>,
    /// When each submission was made that is not durable yet, the oldest first.
    pub(crate) unsynced: VecDeque<Instant>,
    first: u64,
    slots: VecDeque<Slot>,
    cached: VecDeque<Entry>,
    cached_bytes: usize,
    cache_bytes_max: usize,
    last_in_file: BTreeMap<FileId, u64>,
    /// The last file that durably holds a record, and so its start.
    begun: Option<FileId>,
}

#[derive(Debug)]
struct Slot {
    leader: LeaderId,
    place: Option<Location>,
}

/// Where an entry can be had.
#[derive(Debug)]
pub(crate) enum Found {
    Cached(Entry),
    Stored(LogId, Location),
}

impl Index {
    pub(crate) fn first(&self) -> Option<u64> {
        (!self.slots.is_empty()).then_some(self.first)
    }

    /// The last entry, or the purge point when there is none.
    pub(crate) fn last(&self) -> Option<LogId> {
        match self.slots.back() {
            Some(slot) => Some(LogId::new(slot.leader, self.first + self.slots.len() as u64 - 1)),
            None => self.purged,
        }
    }

    /// The last entry that has a place on disk; where none has, what a durable record says is purged.
    pub(crate) fn last_durable(&self) -> Option<LogId> {
        let at = self.slots.iter().rposition(|slot| slot.place.is_some());
        at.map(|at| LogId::new(self.slots[at].leader, self.first + at as u64)).or(self.purged_durable)
    }

    fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    fn cached_first(&self) -> u64 {
        self.end() - self.cached.len() as u64
    }

    /// Takes an entry in; it has no place yet.
    pub(crate) fn push(&mut self, entry: Entry) -> io::Result<()> {
        if self.slots.is_empty() {
            self.first = entry.log_id.index;
        } else if entry.log_id.index != self.end() {
            let message = format!("entry {} does not follow on {}", entry.log_id.index, self.end() - 1);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        self.slots.push_back(Slot { leader: entry.log_id.leader_id, place: None });
        self.cached_bytes += entry_bytes(&entry);
        self.cached.push_back(entry);
        Ok(())
    }

    /// An entry is durable and lies there. Nothing happens if it was truncated or purged meanwhile.
    pub(crate) fn place(&mut self, id: &LogId, at: Location) {
        let slot =
            id.index.checked_sub(self.first).and_then(|at| self.slots.get_mut(usize::try_from(at).ok()?));
        if let Some(slot) = slot.filter(|slot| slot.leader == id.leader_id) {
            slot.place = Some(at);
        }
    }

    /// Lets the oldest cached entries go while there are too many bytes of them and they can be read from disk.
    pub(crate) fn evict(&mut self) {
        while self.cached_bytes > self.cache_bytes_max {
            let at = usize::try_from(self.cached_first() - self.first).expect("slots are in memory");
            let Some(oldest) = self.cached.front().filter(|_| self.slots[at].place.is_some()) else { return };
            self.cached_bytes -= entry_bytes(oldest);
            self.cached.pop_front();
        }
    }

    pub(crate) fn truncate_after(&mut self, last: Option<u64>) {
        while self.first().is_some() && last.is_none_or(|last| self.end() > last + 1) {
            self.slots.pop_back();
            if let Some(entry) = self.cached.pop_back() {
                self.cached_bytes -= entry_bytes(&entry);
            }
        }
    }

    pub(crate) fn purge(&mut self, upto: LogId) {
        while self.first().is_some_and(|first| first <= upto.index) {
            if self.cached_first() == self.first
                && let Some(entry) = self.cached.pop_front()
            {
                self.cached_bytes -= entry_bytes(&entry);
            }
            self.slots.pop_front();
            self.first += 1;
        }
        self.purged = self.purged.max(Some(upto));
    }

    /// The record that says so is durable.
    pub(crate) fn purge_is_durable(&mut self, upto: LogId) {
        self.purged_durable = self.purged_durable.max(Some(upto));
    }

    /// The entries of a range, as far as the log has them.
    pub(crate) fn find(&self, range: Range<u64>) -> Vec<Found> {
        let cached_first = self.cached_first();
        (range.start.max(self.first)..range.end.min(self.end()))
            .map(|index| {
                if index >= cached_first {
                    return Found::Cached(self.cached[offset(index, cached_first)].clone());
                }
                let slot = &self.slots[offset(index, self.first)];
                let place = slot.place.expect("what is not cached has a place");
                Found::Stored(LogId::new(slot.leader, index), place)
            })
            .collect()
    }

    pub(crate) fn log_id(&self, index: u64) -> Option<LogId> {
        let slot = self.slots.get(usize::try_from(index.checked_sub(self.first)?).ok()?)?;
        Some(LogId::new(slot.leader, index))
    }

    /// The file durably holds a record, and in front of it what held when it was begun.
    pub(crate) fn begun(&mut self, file: FileId) {
        self.begun = self.begun.max(Some(file));
    }

    pub(crate) fn holds(&mut self, file: FileId, entry: u64) {
        let last = self.last_in_file.entry(file).or_default();
        *last = entry.max(*last);
    }

    /// Whether it is durably known that no entry in the file is part of the log any more, and a later file says what else
    /// it said: the vote above all.
    pub(crate) fn is_obsolete(&self, file: FileId) -> bool {
        let purged = self.purged_durable.map(|id| id.index);
        Some(file) < self.begun && self.last_in_file.get(&file).is_none_or(|last| Some(*last) <= purged)
    }

    pub(crate) fn forget_file(&mut self, file: FileId) {
        self.last_in_file.remove(&file);
    }
}

fn offset(index: u64, from: u64) -> usize {
    usize::try_from(index - from).expect("entries are in memory")
}

/// The log as its files tell it, record by record.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// What holds so far.
    pub(crate) state: Start,
    entries: BTreeMap<u64, (LeaderId, Location)>,
    last_in_file: BTreeMap<FileId, u64>,
    begun: Option<FileId>,
    problem: Option<String>,
}

impl Replay {
    pub(crate) fn record(&mut self, at: Location, content: Content) {
        match content {
            Content::Start(start) if self.begun.is_none() => self.state = start,
            // Votes and purges may fill a file as well as entries.
            Content::Start(start) if start != self.state => {
                self.damaged(format!("a log file in front of {} is missing", at.file));
            }
            Content::Entry(id) => {
                let last = self.last_in_file.entry(at.file).or_default();
                *last = id.index.max(*last);
                if self.state.follow(content) {
                    self.entries.split_off(&id.index);
                    self.entries.insert(id.index, (id.leader_id, at));
                }
            }
            Content::Truncate(after) => {
                self.entries.split_off(&after.map_or(0, |id| id.index + 1));
                self.state.follow(content);
            }
            _ => {
                self.state.follow(content);
            }
        }
        self.begun = Some(at.file);
    }

    /// The first and the last entry that is neither truncated nor purged, and how many there are between them.
    pub(crate) fn kept(&self) -> Option<(u64, u64, u64)> {
        let next = self.state.purged.map_or(0, |id| id.index + 1);
        let mut kept = self.entries.range(next..).map(|(index, _)| *index);
        let first = kept.next()?;
        Some((first, kept.next_back().unwrap_or(first), self.entries.range(next..).count() as u64))
    }

    pub(crate) fn damaged(&mut self, what: String) {
        self.problem.get_or_insert(what);
    }

    /// The log that was found, or what is wrong with it.
    pub(crate) fn finish(mut self, cache_bytes_max: usize) -> Result<Index, String> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        let start = self.state;
        let next = start.purged.map_or(0, |id| id.index + 1);
        let kept = self.entries.split_off(&next);
        let mut index = Index {
            vote: start.vote,
            purged: start.purged,
            purged_durable: start.purged,
            committed: start.committed,
            committed_written: start.committed,
            first: next,
            cache_bytes_max,
            last_in_file: self.last_in_file,
            begun: self.begun,
            ..Index::default()
        };
        for (at, (leader, place)) in kept {
            if at != index.end() {
                return Err(format!("entry {} of the log is missing", index.end()));
            }
            index.slots.push_back(Slot { leader, place: Some(place) });
        }
        if index.last() != start.last {
            return Err(format!("the log ends at {:?}, not at {:?}", index.last(), start.last));
        }
        Ok(index)
    }
}

impl Start {
    /// What holds after this record too. False for an entry that does not link up with the one before: it was queued
    /// when a write before it failed, and nobody was told that it is there.
    pub(crate) fn follow(&mut self, content: Content) -> bool {
        match content {
            Content::Entry(id) => {
                if self.last.is_some_and(|last| id.index > last.index + 1) {
                    return false;
                }
                self.last = Some(id);
            }
            Content::Vote(vote) => self.vote = Some(vote),
            Content::Truncate(after) => {
                // Entries in between may be missing: refused for want of space, and truncated before anybody knew.
                let by_index = |id: &Option<LogId>| id.map(|id| id.index);
                let kept = std::cmp::min_by_key(self.last, after, by_index);
                self.last = std::cmp::max_by_key(self.purged, kept, by_index);
            }
            Content::Purge(upto) => {
                self.purged = self.purged.max(Some(upto));
                if self.last.is_none_or(|last| last.index < upto.index) {
                    self.last = Some(upto);
                }
            }
            Content::Committed(id) => self.committed = id,
            Content::Mark | Content::Start(_) => {}
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u64) -> LogId {
        LogId::new(LeaderId { term: 1, node_id: 1 }, index)
    }

    #[test]
    fn a_file_goes_only_when_a_later_one_has_begun() {
        let mut index = Index::default();
        index.begun(FileId(1));
        index.holds(FileId(1), 5);
        index.purge(id(5));
        index.purge_is_durable(id(5));
        assert!(!index.is_obsolete(FileId(1)), "it may be sealed already, but it alone holds the vote");
        index.begun(FileId(2));
        assert!(index.is_obsolete(FileId(1)));
        assert!(!index.is_obsolete(FileId(2)));
    }

    #[test]
    fn what_is_truncated_was_not_always_there() {
        let mut start = Start { last: Some(id(9)), ..Start::default() };
        start.follow(Content::Truncate(Some(id(15))));
        assert_eq!(start.last, Some(id(9)), "10 to 20 were refused");
        assert!(start.follow(Content::Entry(id(10))), "and what replaces them links up");
        start.follow(Content::Purge(id(4)));
        start.follow(Content::Truncate(None));
        assert_eq!(start.last, Some(id(4)), "all that is left is the purge point");
    }
}
