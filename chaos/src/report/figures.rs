//! The figures of a run: how many operations ended how, and for how long nothing was acknowledged.
//!
//! All of it is computed from the record alone, so that the console, the page and the JSON say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::history::{Answer, Call, Moment, Operation};
use crate::record::{Fault, Record};

/// What begins so soon after a fault was undone still counts as its doing: elections and retries take that long.
pub const AFTERMATH_MS: u64 = 5_000;

/// How an operation ended, as far as its client can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Answered for certain. 404, 409 and 412 are answers as well: it takes a working cluster to give them.
    Acknowledged,
    /// Refused: without effect, now and later.
    Failed,
    /// Nobody can say.
    Unknown,
    /// Answered with bytes, or a list, that are never right.
    Wrong,
}

impl Ending {
    /// Of this answer.
    pub fn of(answer: &Answer) -> Self {
        match answer {
            Answer::Found(_)
            | Answer::Absent
            | Answer::Stored
            | Answer::Deleted
            | Answer::ConditionFailed
            | Answer::Listed(_)
            | Answer::BroughtBack
            | Answer::NothingToBringBack
            | Answer::Taken => Self::Acknowledged,
            Answer::Refused { .. } => Self::Failed,
            Answer::Unknown { .. } => Self::Unknown,
            Answer::Wrong { .. } => Self::Wrong,
        }
    }
}

/// How many operations ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All of them.
    pub asked: u64,
    /// Those that were answered for certain, 404, 409 and 412 among them.
    pub acknowledged: u64,
    /// Those that failed for sure.
    pub failed: u64,
    /// Those of which nobody can say.
    pub unknown: u64,
    /// Those that were given an answer that is never right.
    pub wrong: u64,
}

impl Counts {
    fn add(&mut self, ending: Ending) {
        self.asked += 1;
        match ending {
            Ending::Acknowledged => self.acknowledged += 1,
            Ending::Failed => self.failed += 1,
            Ending::Unknown => self.unknown += 1,
            Ending::Wrong => self.wrong += 1,
        }
    }
}

/// A time in which no operation of one class (reads, writes) was acknowledged, though clients asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The last acknowledgement before it, or what else began it.
    pub from: Moment,
    /// The first acknowledgement after it, or the end of the load.
    pub to: Moment,
}

impl Gap {
    /// How long it is.
    pub fn length(&self) -> Moment {
        Moment(self.to.0.saturating_sub(self.from.0))
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (from {} on)", self.length(), self.from)
    }
}

/// What came with the faults of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FaultFigures {
    /// How many there were.
    pub times: u64,
    /// The longest time without an acknowledged write during one of them or up to [`AFTERMATH_MS`] later. Faults overlap,
    /// so that it may be the doing of another.
    pub longest_without_write: Option<Gap>,
    /// The same for reads.
    pub longest_without_read: Option<Gap>,
}

impl FaultFigures {
    /// Takes in those of the same kind in another run.
    pub fn add(&mut self, other: Self) {
        self.times += other.times;
        self.longest_without_write = longer(self.longest_without_write, other.longest_without_write);
        self.longest_without_read = longer(self.longest_without_read, other.longest_without_read);
    }
}

/// The figures of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// All operations.
    pub operations: Counts,
    /// The same by what was asked: `get`, `head`, `put`, `delete`, `undelete`, `list`.
    pub kinds: BTreeMap<&'static str, Counts>,
    /// By the kind of fault.
    pub faults: BTreeMap<String, FaultFigures>,
    /// Terms in which somebody was seen to lead until clients left.
    pub elections: u64,
    /// The longest time without an acknowledged write under load; none if nobody wrote.
    pub longest_without_write: Option<Gap>,
    /// The same for reads.
    pub longest_without_read: Option<Gap>,
}

impl Figures {
    /// Of this run.
    pub fn of(record: &Record) -> Self {
        let writes = Acknowledged::of(record, Operation::is_write);
        let reads = Acknowledged::of(record, |operation| !operation.is_write());
        let mut figures = Self {
            elections: elections(record),
            longest_without_write: writes.longest(),
            longest_without_read: reads.longest(),
            ..Self::default()
        };
        for operation in &record.history.operations {
            let ending = Ending::of(&operation.answer);
            figures.operations.add(ending);
            figures.kinds.entry(kind(&operation.call)).or_default().add(ending);
        }
        for fault in &record.faults {
            let of_kind = figures.faults.entry(fault.kind.clone()).or_default();
            of_kind.times += 1;
            of_kind.longest_without_write =
                longer(of_kind.longest_without_write, writes.longest_around(fault));
            of_kind.longest_without_read = longer(of_kind.longest_without_read, reads.longest_around(fault));
        }
        figures
    }
}

/// Two lines for the console.
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { asked, acknowledged, failed, unknown, wrong } = self.operations;
        write!(
            f,
            "{asked} operations: {acknowledged} acknowledged, {failed} failed for sure, {unknown} unknown"
        )?;
        if wrong > 0 {
            write!(f, ", {wrong} wrong")?;
        }
        let faults: u64 = self.faults.values().map(|kind| kind.times).sum();
        writeln!(f, "; {faults} faults, {} elections", self.elections)?;
        let say = |gap: Option<Gap>| gap.map_or_else(|| "none asked".to_owned(), |gap| gap.to_string());
        write!(
            f,
            "longest without an acknowledged write: {}; read: {}",
            say(self.longest_without_write),
            say(self.longest_without_read)
        )
    }
}

/// What a call is called in tables.
pub fn kind(call: &Call) -> &'static str {
    match call {
        Call::Get { .. } => "get",
        Call::Head { .. } => "head",
        Call::Put { .. } => "put",
        Call::Delete { .. } => "delete",
        Call::List { .. } => "list",
        Call::Undelete { .. } => "undelete",
    }
}

/// A term is won by one master only, so that terms with a leader count the elections. Later ones, when all masters are restarted
/// to look at them, are no fault's doing.
fn elections(record: &Record) -> u64 {
    let until = record.clients_left();
    let under_load = record.leaders.iter().filter(|seen| seen.at <= until);
    let terms: BTreeSet<u64> =
        under_load.filter(|seen| seen.leader.is_some()).map(|seen| seen.term).collect();
    terms.len() as u64
}

/// When operations of one class were acknowledged, in order, with the bounds of the load before and after them.
struct Acknowledged {
    moments: Vec<Moment>,
}

impl Acknowledged {
    fn of(record: &Record, class: impl Fn(&Operation) -> bool) -> Self {
        let of_class = || record.history.operations.iter().filter(|operation| class(operation));
        let (Some(first), Some(last)) =
            (of_class().map(|one| one.begun).min(), of_class().map(|one| one.ended).max())
        else {
            return Self { moments: Vec::new() };
        };
        // What is read back once the faults are over is no load. A record that was cut short does not say when that was.
        let until = if record.loaded > first { record.loaded.min(last) } else { last };
        let mut moments = vec![first, until];
        moments.extend(
            of_class()
                .filter(|one| one.ended <= until && Ending::of(&one.answer) == Ending::Acknowledged)
                .map(|one| one.ended),
        );
        moments.sort_unstable();
        Self { moments }
    }

    fn gaps(&self) -> impl Iterator<Item = Gap> {
        self.moments.windows(2).map(|pair| Gap { from: pair[0], to: pair[1] })
    }

    fn longest(&self) -> Option<Gap> {
        self.gaps().fold(None, |longest, gap| longer(longest, Some(gap)))
    }

    /// Of the gaps which lie in the fault and its aftermath, at least in part; what was before the fault is cut off.
    fn longest_around(&self, fault: &Fault) -> Option<Gap> {
        let until = Moment(fault.to.0.saturating_add(AFTERMATH_MS * 1_000_000));
        let first = self.moments.partition_point(|moment| *moment <= fault.from).saturating_sub(1);
        self.moments[first..]
            .windows(2)
            .map(|pair| Gap { from: pair[0].max(fault.from), to: pair[1] })
            .take_while(|gap| gap.from < until)
            .fold(None, |longest, gap| longer(longest, Some(gap)))
    }
}

fn longer(one: Option<Gap>, other: Option<Gap>) -> Option<Gap> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.length() > one.length() { other } else { one }),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::LeaderSeen;
    use crate::report::made_up::{get, put, record, unknown_put};

    const MS: u64 = 1_000_000;

    fn gap(from_ms: u64, to_ms: u64) -> Option<Gap> {
        Some(Gap { from: Moment(from_ms * MS), to: Moment(to_ms * MS) })
    }

    fn fault(kind: &str, from_ms: u64, to_ms: u64) -> Fault {
        Fault {
            kind: kind.to_owned(),
            what: "master-1".to_owned(),
            from: Moment(from_ms * MS),
            to: Moment(to_ms * MS),
        }
    }

    #[test]
    fn each_operation_is_counted_once_by_how_it_ended() {
        let mut run = record();
        run.history.operations = vec![put(0, 10), put(10, 20), unknown_put(20, 30), get(5, 6)];
        let figures = Figures::of(&run);
        assert_eq!(figures.operations, Counts { asked: 4, acknowledged: 3, failed: 0, unknown: 1, wrong: 0 });
        assert_eq!(
            figures.kinds["put"],
            Counts { asked: 3, acknowledged: 2, failed: 0, unknown: 1, wrong: 0 }
        );
        assert_eq!(figures.kinds["get"].acknowledged, 1);
    }

    #[test]
    fn the_longest_gap_may_be_before_the_first_or_after_the_last_acknowledgement() {
        let mut run = record();
        run.history.operations = vec![put(0, 900), put(900, 1_000)];
        assert_eq!(Figures::of(&run).longest_without_write, gap(0, 900));
        run.history.operations = vec![put(0, 100), unknown_put(100, 2_000)];
        assert_eq!(Figures::of(&run).longest_without_write, gap(100, 2_000));
        assert_eq!(Figures::of(&run).longest_without_read, None, "nobody read");
    }

    #[test]
    fn an_unknown_write_does_not_end_a_gap_and_a_read_does_not_end_that_of_writes() {
        let mut run = record();
        run.history.operations = vec![put(0, 100), unknown_put(200, 300), get(350, 400), put(450, 500)];
        assert_eq!(Figures::of(&run).longest_without_write, gap(100, 500));
    }

    #[test]
    fn what_is_read_back_after_the_load_ends_no_gap_of_the_load() {
        let mut run = record();
        run.loaded = Moment(1_000 * MS);
        run.history.operations = vec![get(0, 800), get(8_000, 9_000)];
        assert_eq!(Figures::of(&run).longest_without_read, gap(0, 800));
    }

    #[test]
    fn a_gap_belongs_to_the_faults_it_overlaps_and_what_was_before_the_fault_is_cut_off() {
        let mut run = record();
        run.loaded = Moment(60_000 * MS);
        run.history.operations =
            vec![put(0, 100), put(110, 3_000), put(3_010, 3_100), put(20_000, 20_100), put(20_200, 20_210)];
        run.faults = vec![
            fault("kill", 500, 600),
            fault("cut", 3_050, 3_060),
            fault("late", 20_105, 20_110),
            fault("kill", 20_105, 20_110),
        ];
        let faults = Figures::of(&run).faults;
        assert_eq!(faults["kill"].times, 2);
        // The gap from 3 100 on began within five seconds of the end of each of the two.
        assert_eq!(faults["kill"].longest_without_write, gap(3_100, 20_100));
        assert_eq!(faults["cut"].longest_without_write, gap(3_100, 20_100));
        assert_eq!(faults["late"].longest_without_write, gap(20_105, 20_210));
    }

    #[test]
    fn elections_are_the_terms_in_which_somebody_led() {
        let mut run = record();
        let seen = |by, term, leader| LeaderSeen { at: Moment(0), by, term, leader };
        run.leaders = vec![seen(1, 4, Some(2)), seen(2, 4, Some(2)), seen(1, 5, None), seen(3, 6, Some(3))];
        assert_eq!(Figures::of(&run).elections, 2);
    }

    #[test]
    fn an_election_counts_until_clients_left_and_not_when_all_is_looked_at() {
        let mut run = record();
        run.loaded = Moment(60_000 * MS);
        run.history.operations = vec![put(0, 100), put(61_000, 62_000)];
        let seen = |at_ms, term| LeaderSeen { at: Moment(at_ms * MS), by: 1, term, leader: Some(2) };
        run.leaders = vec![seen(100, 4), seen(61_500, 5), seen(62_001, 6), seen(65_000, 7)];
        assert_eq!(Figures::of(&run).elections, 2);
    }

    #[test]
    fn the_console_gets_two_lines() {
        let mut run = record();
        run.history.operations = vec![put(0, 900), get(0, 100)];
        assert_eq!(
            Figures::of(&run).to_string(),
            "2 operations: 2 acknowledged, 0 failed for sure, 0 unknown; 0 faults, 0 elections\n\
             longest without an acknowledged write: 0.900 s (from 0.000 s on); read: 0.100 s (from 0.000 s on)"
        );
    }
}
