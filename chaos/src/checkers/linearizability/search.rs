//! Whether some order of one key's steps explains all of their answers.
//!
//! The search is Wing and Gong's, in the just-in-time form of Lowe ("Testing for linearizability", 2017): it goes through
//! the beginnings and ends in the order of time and holds all configurations that explain what has ended so far; a step is
//! put in place when one has to end. Where none is left, no order explains the history up to there.
//!
//! How one ends is told in [`super::burst`], with the rules that keep the configurations few. Two more are here and in
//! [`super::frontier`]:
//! - A read takes effect as soon as the object is what it told. It changes nothing, so whatever follows can follow all the
//!   same, and it may have to end before the object is that again.
//! - A configuration goes where another has used no more writes of unknown outcome (or only such as one with a condition
//!   where the first used one without, that writes the same), has as many writes left to take effect and as few answers
//!   left to account for: what can follow the one can follow the other.

use super::burst;
use super::compiled::{Compiled, Event, Move, NOTHING, State, UNNAMED, When};
use super::frontier::{Configuration, Frontier, Slots};
use super::register::{Effect, Step};

/// So many certain operations of one key may be under way at once: the width of [`Slots`].
const AT_ONCE_MAX: usize = Slots::BITS as usize;

/// How a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// An order was found.
    Explained,
    /// There is none: the step of this index is the first that cannot end.
    Contradiction {
        /// Of the steps that were searched.
        step: usize,
    },
    /// The bound was reached, or the key has undeletes of one of several values.
    GivenUp,
}

/// How it ended, and what it took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) outcome: Outcome,
    /// Configurations that were looked at.
    pub(super) visited: u64,
}

/// Searches through the steps of one key, which is absent at first; gives up after `visited_max` configurations, and at once
/// where it is not known what an undelete brings back: the rules rest on that.
pub(super) fn search(steps: &[Step<'_>], visited_max: u64) -> Found {
    if steps.iter().any(|step| step.effect == Effect::ComesBack) {
        return Found { outcome: Outcome::GivenUp, visited: 0 };
    }
    let compiled = Compiled::of(steps);
    let mut search = Search::new(&compiled, visited_max);
    let outcome = search.run();
    Found { outcome, visited: search.visited }
}

/// What is under way at one time, and what it led to so far.
pub(super) struct Search<'a> {
    pub(super) compiled: &'a Compiled,
    /// The step in each slot; meaningful where `under_way` has it.
    pub(super) step_in: Vec<usize>,
    /// The slot of each step; meaningful while it is under way.
    slot_of: Vec<u8>,
    /// Slots that are taken.
    under_way: Slots,
    /// Of these, those of reads.
    pub(super) reads: Slots,
    /// … and those of writes without a condition.
    pub(super) blind_writes: Slots,
    pub(super) unknown: UnknownWrites,
    /// What each kind has become, since what it writes was forgotten.
    kind_now: Vec<u32>,
    /// The kinds that write each value.
    writers: Vec<Vec<u32>>,
    /// Of each value.
    is_forgotten: Vec<bool>,
    frontier: Frontier,
    pub(super) visited: u64,
    pub(super) visited_max: u64,
}

/// The writes that may have taken effect, beyond those that all configurations have used.
pub(super) struct UnknownWrites {
    /// How many there are, by kind.
    left: Vec<u32>,
    /// The kinds of which there are some, by the state that they need. Rare ones are many, each with its own state.
    by_state: Vec<Vec<u32>>,
    /// … and those that do not need one certain state.
    others: Vec<u32>,
}

impl<'a> Search<'a> {
    fn new(compiled: &'a Compiled, visited_max: u64) -> Self {
        let mut frontier = Frontier::default();
        frontier.insert(Configuration { state: NOTHING, ..Configuration::default() }, &compiled.stands_in);
        let mut writers = vec![Vec::new(); compiled.states];
        for (kind, its_move) in compiled.kinds.iter().enumerate() {
            if let Some(to) = its_move.to {
                writers[to as usize].push(kind as u32);
            }
        }
        Self {
            compiled,
            step_in: Vec::new(),
            slot_of: vec![0; compiled.moves.len()],
            under_way: 0,
            reads: 0,
            blind_writes: 0,
            unknown: UnknownWrites::new(compiled.kinds.len()),
            kind_now: (0..compiled.kinds.len() as u32).collect(),
            writers,
            is_forgotten: vec![false; compiled.states],
            frontier,
            visited: 0,
            visited_max,
        }
    }

    fn run(&mut self) -> Outcome {
        for &event in &self.compiled.events {
            match event {
                Event::Possible { kind } => self.unknown.add(self.kind_now[kind as usize], 1, self.compiled),
                Event::Begun { step } => {
                    if !self.begin(step) {
                        return Outcome::GivenUp;
                    }
                }
                Event::Ended { step } => {
                    self.end(step);
                    if self.visited > self.visited_max {
                        return Outcome::GivenUp;
                    }
                    if self.frontier.len() == 0 {
                        return Outcome::Contradiction { step };
                    }
                }
            }
        }
        Outcome::Explained
    }

    /// False if too many are under way.
    fn begin(&mut self, step: usize) -> bool {
        let slot = (!self.under_way).trailing_zeros() as usize;
        if slot >= AT_ONCE_MAX {
            return false;
        }
        if slot == self.step_in.len() {
            self.step_in.push(step);
        }
        self.step_in[slot] = step;
        self.slot_of[step] = slot as u8;
        let bit = 1 << slot;
        self.under_way |= bit;
        let its_move = self.compiled.moves[step];
        match its_move.to {
            Some(_) if burst::is_blind(its_move) => self.blind_writes |= bit,
            Some(_) => {}
            None => {
                self.reads |= bit;
                for configuration in self.frontier.iter_mut() {
                    if its_move.when.holds(configuration.state) {
                        configuration.settled |= bit;
                    }
                }
            }
        }
        true
    }

    fn end(&mut self, step: usize) {
        let slot = usize::from(self.slot_of[step]);
        let bit: Slots = 1 << slot;
        let mut next = Frontier::default();
        for mut configuration in self.frontier.drain() {
            self.visited += 1;
            let settled = configuration.settled & bit != 0;
            // A write that another one hid may as well take effect by itself at the very end, for later reads to see.
            let may_act = configuration.spent & bit == 0 && self.reads & bit == 0;
            if !settled || may_act {
                burst::explore(self, configuration.clone(), slot, &mut next);
            }
            if settled {
                configuration.settled &= !bit;
                configuration.spent &= !bit;
                next.insert(configuration, &self.compiled.stands_in);
            }
        }
        self.under_way &= !bit;
        self.reads &= !bit;
        self.blind_writes &= !bit;
        let common = next.take_common_use();
        self.unknown.take_out(&common, self.compiled);
        self.frontier = next;
        if let Some(value) = self.compiled.forgets[step] {
            self.forget(value);
        }
    }

    /// No guard names this value any more.
    fn forget(&mut self, value: State) {
        self.is_forgotten[value as usize] = true;
        let mut renamed = Vec::new();
        for &kind in &self.writers[value as usize] {
            let instead = self.compiled.forgotten[kind as usize];
            self.kind_now[kind as usize] = instead;
            let times = self.unknown.left[kind as usize];
            self.unknown.take_out(&[(kind, times)], self.compiled);
            self.unknown.add(instead, times, self.compiled);
            renamed.push((kind, instead));
        }
        self.frontier.forget(value, &renamed, &self.compiled.stands_in);
    }

    /// What the object is after a write.
    pub(super) fn state_after(&self, write: Move, before: State) -> State {
        match write.to {
            Some(to) if self.is_forgotten[to as usize] => UNNAMED,
            Some(to) => to,
            None => before,
        }
    }

    /// The slots of writes that can still take effect.
    pub(super) fn open_writes(&self, configuration: &Configuration) -> Slots {
        self.under_way & !self.reads & !configuration.spent
    }
}

impl UnknownWrites {
    fn new(kinds: usize) -> Self {
        Self { left: vec![0; kinds], by_state: Vec::new(), others: Vec::new() }
    }

    fn add(&mut self, kind: u32, times: u32, compiled: &Compiled) {
        let left = &mut self.left[kind as usize];
        let is_new = *left == 0 && times > 0;
        *left += times;
        if is_new {
            self.place_of(kind, compiled).push(kind);
        }
    }

    fn take_out(&mut self, used: &[(u32, u32)], compiled: &Compiled) {
        for &(kind, times) in used {
            let left = &mut self.left[kind as usize];
            *left -= times;
            if *left == 0 && times > 0 {
                self.place_of(kind, compiled).retain(|&other| other != kind);
            }
        }
    }

    fn place_of(&mut self, kind: u32, compiled: &Compiled) -> &mut Vec<u32> {
        let When::Is(state) = compiled.kinds[kind as usize].when else {
            return &mut self.others;
        };
        let state = state as usize;
        if state >= self.by_state.len() {
            self.by_state.resize(state + 1, Vec::new());
        }
        &mut self.by_state[state]
    }

    /// The kinds that a configuration has not used up and that may suit a state.
    pub(super) fn left_in<'b>(
        &'b self,
        state: State,
        configuration: &'b Configuration,
    ) -> impl Iterator<Item = u32> + 'b {
        let suiting = self.by_state.get(state as usize).map_or(&[][..], Vec::as_slice);
        let all = suiting.iter().chain(&self.others).copied();
        all.filter(|&kind| configuration.times(kind) < self.left[kind as usize])
    }
}
