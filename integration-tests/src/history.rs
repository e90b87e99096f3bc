//! What happened to one register, as those saw it who wrote and read it, and whether it can have been so.
//!
//! A register has one writer, which writes ever larger values, one after the other, and stops where it does not know what
//! became of one: that may take effect at any time, or never. So linearizability is easily told: a read returns nothing older
//! than the last write that was acknowledged, and nothing older than what any read returned, before it began; and nothing
//! that was refused, or was not begun when it ended. A read that fails says nothing.

use std::collections::BTreeMap;

use tokio::time::Instant;

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, and this is when its writer knew.
    Acknowledged(Instant),
    /// It has no effect, now or later.
    Refused,
    /// Nobody knows. Its register is written no more.
    Unknown,
}

/// A write of one value.
#[derive(Debug, Clone, Copy)]
pub struct Write {
    /// When it was begun.
    pub begun: Instant,
    /// What became of it.
    pub outcome: Outcome,
}

/// A read that succeeded.
#[derive(Debug, Clone, Copy)]
pub struct Read {
    /// When it was begun.
    pub begun: Instant,
    /// When its answer was there.
    pub ended: Instant,
    /// What it returned; 0 for nothing.
    pub value: u64,
    /// Through which master (its place in the list).
    pub master: usize,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// By value, from 1.
    pub writes: BTreeMap<u64, Write>,
    /// In any order.
    pub reads: Vec<Read>,
}

/// A moment at which something is learnt, or becomes due. Of those at the same moment, what begins comes first: it was
/// concurrent with what ends then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    ReadBegins(usize),
    ReadEnds(usize),
    Acknowledged(u64),
}

impl History {
    /// Each read that cannot have been so, in words.
    pub fn wrong(&self) -> Vec<String> {
        let mut events: Vec<(Instant, Event)> = Vec::new();
        for (at, read) in self.reads.iter().enumerate() {
            events.push((read.begun, Event::ReadBegins(at)));
            events.push((read.ended, Event::ReadEnds(at)));
        }
        for (value, write) in &self.writes {
            if let Outcome::Acknowledged(at) = write.outcome {
                events.push((at, Event::Acknowledged(*value)));
            }
        }
        events.sort_unstable();
        // The least that a read may return which begins now.
        let mut floor = 0;
        let mut floors = vec![0; self.reads.len()];
        for (_, event) in events {
            match event {
                Event::ReadBegins(read) => floors[read] = floor,
                Event::ReadEnds(read) => floor = floor.max(self.reads[read].value),
                Event::Acknowledged(value) => floor = floor.max(value),
            }
        }
        self.reads.iter().zip(floors).filter_map(|(read, floor)| self.why_wrong(read, floor)).collect()
    }

    fn why_wrong(&self, read: &Read, floor: u64) -> Option<String> {
        let Read { begun, ended, value, master } = *read;
        let why = match self.writes.get(&value) {
            _ if value < floor => format!("{floor} was known before it began"),
            None if value > 0 => "nobody wrote that".to_owned(),
            Some(write) if write.outcome == Outcome::Refused => "that was refused".to_owned(),
            Some(write) if write.begun > ended => "that was written later".to_owned(),
            _ => return None,
        };
        Some(format!("a read of {:?} through master {} returned {value}: {why}", ended - begun, master + 1))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Clock(Instant);

    impl Clock {
        fn at(&self, ms: u64) -> Instant {
            self.0 + Duration::from_millis(ms)
        }

        fn read(&self, begun: u64, ended: u64, value: u64) -> Read {
            Read { begun: self.at(begun), ended: self.at(ended), value, master: 0 }
        }

        /// 1 from 10 to 20, 2 from 30 to 40, 3 refused at 50, 4 begun at 60 and never known.
        fn history(&self, reads: impl IntoIterator<Item = (u64, u64, u64)>) -> History {
            let write = |begun, outcome| Write { begun: self.at(begun), outcome };
            let writes = BTreeMap::from([
                (1, write(10, Outcome::Acknowledged(self.at(20)))),
                (2, write(30, Outcome::Acknowledged(self.at(40)))),
                (3, write(50, Outcome::Refused)),
                (4, write(60, Outcome::Unknown)),
            ]);
            let reads = reads.into_iter().map(|(begun, ended, value)| self.read(begun, ended, value));
            History { writes, reads: reads.collect() }
        }
    }

    fn wrong(reads: impl IntoIterator<Item = (u64, u64, u64)>) -> Vec<String> {
        Clock(Instant::now()).history(reads).wrong()
    }

    #[tokio::test]
    async fn what_can_have_been_is_not_wrong() {
        let none: [String; 0] = [];
        assert_eq!(
            wrong([(0, 5, 0), (0, 15, 1), (12, 19, 0), (21, 29, 1)]),
            none,
            "before, during and after a write"
        );
        assert_eq!(wrong([(31, 39, 2), (32, 38, 1)]), none, "two at the same time may differ");
        assert_eq!(wrong([(61, 70, 2), (71, 80, 4), (90, 99, 4)]), none, "what is unknown may be done, late");
        assert_eq!(wrong([(61, 70, 2), (1000, 1001, 2)]), none, "or never");
        assert_eq!(wrong([(20, 25, 0)]), none, "it was acknowledged at that moment, not before it");
    }

    #[tokio::test]
    async fn a_stale_read_is_wrong() {
        let found = wrong([(41, 45, 1)]);
        assert!(
            found.len() == 1 && found[0].ends_with("returned 1: 2 was known before it began"),
            "{found:?}"
        );
        assert_eq!(wrong([(21, 25, 0)]).len(), 1, "the object is lost");
        assert_eq!(
            wrong([(39, 45, 1), (41, 42, 2), (43, 44, 1)]).len(),
            1,
            "only the one behind the acknowledgement"
        );
    }

    #[tokio::test]
    async fn a_read_older_than_an_earlier_read_is_wrong_before_the_write_is_acknowledged() {
        assert_eq!(wrong([(31, 33, 2), (34, 36, 1)]).len(), 1);
        assert_eq!(wrong([(61, 65, 4), (66, 70, 2)]).len(), 1, "once it was seen, it is done");
    }

    #[tokio::test]
    async fn a_read_of_what_was_refused_or_never_or_later_written_is_wrong() {
        assert!(wrong([(51, 55, 3)])[0].ends_with("that was refused"));
        assert!(wrong([(51, 55, 9)])[0].ends_with("nobody wrote that"));
        assert!(wrong([(25, 29, 2)])[0].ends_with("that was written later"));
    }
}
