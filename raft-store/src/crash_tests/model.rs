//! What a master was told, and so what a crash may leave: of the log some beginning of what was queued, with all of it that
//! was acknowledged; of the state one that was made durable, and none older than the last that was acknowledged.
//!
//! Owns no file. Times are counts of the disk's steps. Invariant: records are in the order in which they were queued.

use crate::types::{Entry, LogId, Vote};

/// What the log is told.
#[derive(Debug, Clone)]
pub(super) enum Record {
    Vote(Vote),
    Entry(Entry),
    Truncate(Option<LogId>),
    Purge(LogId),
}

/// When something was asked for, and when it was acknowledged.
#[derive(Debug, Clone, Copy)]
struct Asked {
    at: u64,
    acked: Option<u64>,
}

impl Asked {
    const LONG_AGO: Self = Self { at: 0, acked: Some(0) };

    fn may_be_there(self, steps: u64) -> bool {
        self.at <= steps
    }

    fn is_there(self, steps: u64) -> bool {
        self.acked.is_some_and(|acked| acked <= steps)
    }
}

/// What a log says.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Contents {
    pub(super) vote: Option<Vote>,
    pub(super) purged: Option<LogId>,
    pub(super) entries: Vec<Entry>,
}

impl Contents {
    pub(super) fn last(&self) -> Option<LogId> {
        self.entries.last().map(|entry| entry.log_id).or(self.purged)
    }

    /// The index of the next entry.
    pub(super) fn end(&self) -> u64 {
        self.last().map_or(0, |id| id.index + 1)
    }

    fn follow(&mut self, record: &Record) {
        match record {
            Record::Vote(vote) => self.vote = Some(*vote),
            Record::Entry(entry) => self.entries.push(entry.clone()),
            Record::Truncate(after) => {
                self.entries.retain(|entry| after.is_some_and(|id| entry.log_id.index <= id.index));
            }
            Record::Purge(upto) => {
                self.entries.retain(|entry| entry.log_id.index > upto.index);
                self.purged = self.purged.max(Some(*upto));
            }
        }
    }

    fn brief(&self) -> String {
        let ids: Vec<String> = self.entries.iter().map(|entry| entry.log_id.to_string()).collect();
        format!("vote {:?}, purged {:?}, entries {ids:?}", self.vote, self.purged.map(|id| id.index))
    }
}

/// What was told so far.
#[derive(Default)]
pub(super) struct Model {
    /// What the log says when all of it is there.
    pub(super) now: Contents,
    records: Vec<(Record, Asked)>,
    /// States that were to be made durable: the last entry of each.
    states: Vec<(Option<u64>, Asked)>,
}

impl Model {
    /// The log is told something; all that waits is acknowledged by [`Self::log_acked`].
    pub(super) fn tell_log(&mut self, record: Record, steps: u64) {
        self.now.follow(&record);
        self.records.push((record, Asked { at: steps, acked: None }));
    }

    pub(super) fn log_acked(&mut self, steps: u64) {
        let waiting = self.records.iter_mut().rev().take_while(|(_, asked)| asked.acked.is_none());
        waiting.for_each(|(_, asked)| asked.acked = Some(steps));
    }

    /// A state is to be made durable; which one to acknowledge.
    pub(super) fn begin_state(&mut self, index: u64, steps: u64) -> usize {
        self.states.push((Some(index), Asked { at: steps, acked: None }));
        self.states.len() - 1
    }

    pub(super) fn state_acked(&mut self, which: usize, steps: u64) {
        self.states[which].1.acked = Some(steps);
    }

    /// The last state that was acknowledged.
    pub(super) fn durable(&self) -> Option<u64> {
        let acked = self.states.iter().filter(|(_, asked)| asked.acked.is_some());
        acked.filter_map(|(index, _)| *index).max()
    }

    /// How many records the log must have, after a crash at this moment, that says this.
    pub(super) fn records_of(&self, found: &Contents, steps: u64) -> usize {
        let until = |is: fn(Asked, u64) -> bool| {
            self.records.iter().rposition(|(_, asked)| is(*asked, steps)).map_or(0, |last| last + 1)
        };
        let (least, most) = (until(Asked::is_there), until(Asked::may_be_there).max(until(Asked::is_there)));
        let mut said = Contents::default();
        self.records[..least].iter().for_each(|(record, _)| said.follow(record));
        let acknowledged = said.brief();
        for count in least..=most {
            if said == *found {
                return count;
            }
            if let Some((record, _)) = self.records[..most].get(count) {
                said.follow(record);
            }
        }
        panic!("acknowledged is {acknowledged}, {} more was queued; found {}", most - least, found.brief());
    }

    /// After a crash at this moment the index file may hold the state of this entry.
    pub(super) fn assert_may_be_durable(&self, found: Option<u64>, steps: u64) {
        let states = || self.states.iter().copied();
        let least = states().filter(|(_, asked)| asked.is_there(steps)).map(|(index, _)| index).max();
        let least = least.unwrap_or_default();
        let begun = found.is_none() || states().any(|(at, asked)| at == found && asked.may_be_there(steps));
        assert!(begun && found >= least, "the index holds {found:?}; {least:?} was durable");
    }

    /// A crash at `steps` left this, and it was found by a process that had opened both at `opened`: from then on it counts
    /// as acknowledged. Until then another crash may still leave less.
    pub(super) fn settle(&mut self, found: &Contents, state: Option<u64>, steps: u64, opened: u64) {
        self.records.truncate(self.records_of(found, steps));
        for (_, asked) in &mut self.records {
            let acked = if asked.is_there(steps) { 0 } else { opened };
            *asked = Asked { at: 0, acked: Some(acked) };
        }
        self.states.retain(|(index, _)| *index <= state);
        for (index, asked) in &mut self.states {
            *asked = match *index {
                _ if asked.is_there(steps) => Asked::LONG_AGO,
                index => Asked { at: 0, acked: (index == state).then_some(opened) },
            };
        }
        self.now = found.clone();
    }
}
