//! The steps of one key as small numbers, and the order of their beginnings and ends.
//!
//! A value that no guard names is like any other such value: no answer tells them apart. All of them are one state,
//! [`UNNAMED`]; this is what makes hundreds of writes whose outcome nobody knows, and whose value nobody ever saw, one
//! kind of write that may happen hundreds of times, instead of hundreds of choices. For the same reason a value that no
//! guard names *any more* becomes [`UNNAMED`] with the end of the last step whose guard did: it is **forgotten**. A guard
//! of a write of unknown outcome may be asked at any time, so the values that those name are never forgotten.
//!
//! Where something is brought back, or could not be, a deleted object leaves another state behind, [`DELETED`], than there
//! is where nothing can come back. Keys without undeletes have no such state: no answer would tell it apart. From it to
//! [`NOTHING`] leads the reaper, of whom nobody hears but who was told that there is nothing to bring back. So for each
//! who was told so there is one write of unknown outcome more, that of the reaper; more than one each would be needless.

use std::collections::HashMap;

use super::register::{Effect, Guard, Step};
use crate::history::Value;

/// What the object is.
pub(super) type State = u32;
/// There is none.
pub(super) const NOTHING: State = 0;
/// There is none, and what the last DELETE took away can be brought back.
const DELETED: State = 1;
/// A value that no guard names.
pub(super) const UNNAMED: State = 2;
/// From here on: the values that guards name.
const NAMED_FROM: State = 3;
/// What was deleted is kept no longer.
const REAP: Move = Move { when: When::Is(DELETED), to: Some(NOTHING) };

/// Whether there is an object.
pub(super) fn is_there(state: State) -> bool {
    state >= UNNAMED
}

/// [`Guard`], with numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum When {
    Anything,
    Something,
    Nothing,
    Is(State),
    IsNot(State),
    Never,
}

impl When {
    pub(super) fn holds(self, state: State) -> bool {
        match self {
            Self::Anything => true,
            Self::Something => is_there(state),
            Self::Nothing => !is_there(state),
            Self::Is(wanted) => state == wanted,
            Self::IsNot(refused) => state != refused,
            Self::Never => false,
        }
    }
}

/// What a step needs, and the state that it leaves behind; none if it only looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Move {
    pub(super) when: When,
    pub(super) to: Option<State>,
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// From now on one more write of this kind may take effect.
    Possible { kind: u32 },
    /// The step of this index began.
    Begun { step: usize },
    /// It ended.
    Ended { step: usize },
}

/// One key's steps, ready to be searched.
pub(super) struct Compiled {
    /// Of each step.
    pub(super) moves: Vec<Move>,
    /// The distinct moves of the steps that are not certain.
    pub(super) kinds: Vec<Move>,
    /// How many states there are.
    pub(super) states: usize,
    /// Of each kind: the kind that it is once what it writes is forgotten; itself if that is not a named value.
    pub(super) forgotten: Vec<u32>,
    /// Of each kind: the one that does the same and needs no certain object, if there is one; else itself.
    pub(super) stands_in: Vec<u32>,
    /// Of each step: the value that is forgotten when it has ended.
    pub(super) forgets: Vec<Option<State>>,
    /// In the order of time; of what is at one moment, beginnings come first: what touches is concurrent.
    pub(super) events: Vec<Event>,
}

impl Compiled {
    pub(super) fn of(steps: &[Step<'_>]) -> Self {
        let mut named = HashMap::new();
        for step in steps {
            if let Guard::Is(value) | Guard::IsNot(value) = step.guard {
                let next = NAMED_FROM + named.len() as State;
                named.entry(value).or_insert(next);
            }
        }
        let tells_deleted = |step: &Step<'_>| matches!(step.guard, Guard::Deleted | Guard::NotDeleted);
        let gone = if steps.iter().any(tells_deleted) { DELETED } else { NOTHING };
        let moves: Vec<Move> = steps.iter().map(|step| compile(step, &named, gone)).collect();
        let mut kinds = Kinds::default();
        let mut timed = Vec::with_capacity(2 * steps.len());
        for (index, (step, &its_move)) in steps.iter().zip(&moves).enumerate() {
            let begun = step.operation.begun;
            if step.guard == Guard::NotDeleted {
                timed.push((begun, false, Event::Possible { kind: kinds.of(REAP) }));
            }
            if step.certain {
                timed.push((begun, false, Event::Begun { step: index }));
                timed.push((step.operation.ended.max(begun), true, Event::Ended { step: index }));
            } else {
                timed.push((begun, false, Event::Possible { kind: kinds.of(its_move) }));
            }
        }
        timed.sort_by_key(|&(at, ends, _)| (at, ends));
        let events: Vec<Event> = timed.into_iter().map(|(_, _, event)| event).collect();
        let forgets = forgets(&moves, &kinds.moves, &events, named.len());
        let forgotten = kinds.forgotten();
        let stands_in = kinds.stands_in();
        let states = NAMED_FROM as usize + named.len();
        Self { moves, states, kinds: kinds.moves, forgotten, stands_in, forgets, events }
    }
}

#[derive(Default)]
struct Kinds {
    moves: Vec<Move>,
    known: HashMap<Move, u32>,
}

impl Kinds {
    fn of(&mut self, its_move: Move) -> u32 {
        *self.known.entry(its_move).or_insert_with(|| {
            self.moves.push(its_move);
            self.moves.len() as u32 - 1
        })
    }

    fn forgotten(&mut self) -> Vec<u32> {
        let named = self.moves.clone().into_iter();
        let mut forgotten: Vec<u32> = named
            .map(|kind| match kind.to {
                Some(to) if to >= NAMED_FROM => self.of(Move { to: Some(UNNAMED), ..kind }),
                _ => self.of(kind),
            })
            .collect();
        // The kinds that were new just now are what they become.
        forgotten.extend(forgotten.len() as u32..self.moves.len() as u32);
        forgotten
    }

    fn stands_in(&self) -> Vec<u32> {
        let stands_in = |(index, kind): (usize, &Move)| {
            let when = if kind.to.is_some_and(is_there) { When::Anything } else { When::Something };
            self.known.get(&Move { when, ..*kind }).copied().unwrap_or(index as u32)
        };
        self.moves.iter().enumerate().map(stands_in).collect()
    }
}

/// With which step's end each named value is forgotten.
fn forgets(moves: &[Move], kinds: &[Move], events: &[Event], named: usize) -> Vec<Option<State>> {
    let mut forgets = vec![None; moves.len()];
    let mut is_forgotten = vec![false; NAMED_FROM as usize + named];
    for kind in kinds {
        if let When::Is(state) | When::IsNot(state) = kind.when {
            is_forgotten[state as usize] = true;
        }
    }
    for event in events.iter().rev() {
        let &Event::Ended { step } = event else { continue };
        if let When::Is(state) | When::IsNot(state) = moves[step].when
            && !std::mem::replace(&mut is_forgotten[state as usize], true)
            && state >= NAMED_FROM
        {
            forgets[step] = Some(state);
        }
    }
    forgets
}

/// `gone` is what a DELETE leaves behind.
fn compile(step: &Step<'_>, named: &HashMap<Value, State>, gone: State) -> Move {
    let state = |value: &Value| named.get(value).copied().unwrap_or(UNNAMED);
    let when = match step.guard {
        Guard::Anything => When::Anything,
        Guard::Something => When::Something,
        Guard::Nothing => When::Nothing,
        Guard::Is(value) => When::Is(state(&value)),
        Guard::IsNot(value) => When::IsNot(state(&value)),
        Guard::Deleted => When::Is(DELETED),
        Guard::NotDeleted => When::IsNot(DELETED),
        Guard::Never => When::Never,
    };
    let to = match step.effect {
        // The search gives up where it is not known what comes back.
        Effect::Stays | Effect::ComesBack => None,
        Effect::Becomes(None) => Some(gone),
        Effect::Becomes(Some(value)) => Some(state(&value)),
    };
    Move { when, to }
}
