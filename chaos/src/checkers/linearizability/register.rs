//! One key as a register: what an answer says of the object at the moment at which its request took effect, and what the
//! request then made of it.
//!
//! A request that was refused had no effect and says nothing: it is no step. Neither is a read without an answer.

use crate::history::{Answer, Call, Condition, Operation, Value};

/// What the object must be for the answer to be right; for a write of unknown outcome: for it to have an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Guard {
    /// Anything will do.
    Anything,
    /// There is an object.
    Something,
    /// There is none.
    Nothing,
    /// The object is this.
    Is(Value),
    /// The object is not this, or there is none.
    IsNot(Value),
    /// No object justifies this answer: 412 to a write without a condition.
    Never,
}

/// What becomes of the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Effect {
    /// It stays what it is.
    Stays,
    /// It becomes this; none: it is gone.
    Becomes(Option<Value>),
}

/// One operation, as one key sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step<'a> {
    /// Which operation.
    pub(super) operation: &'a Operation,
    /// When it may take effect.
    pub(super) guard: Guard,
    /// Which.
    pub(super) effect: Effect,
    /// It took effect between its beginning and its end. If not: at any time after its beginning, once, or never.
    pub(super) certain: bool,
}

impl<'a> Step<'a> {
    /// What a request about one key means; none if it means nothing, or is a list.
    pub(super) fn of(operation: &'a Operation) -> Option<Self> {
        let (guard, effect) = match (&operation.call, &operation.answer) {
            (_, Answer::Refused { .. } | Answer::Wrong { .. }) | (Call::List { .. }, _) => return None,
            (Call::Get { .. } | Call::Head { .. }, answer) => (read(answer)?, Effect::Stays),
            (Call::Put { value, condition, .. }, Answer::Stored | Answer::Unknown { .. }) => {
                (for_put(*condition), Effect::Becomes(Some(*value)))
            }
            (Call::Delete { condition, .. }, Answer::Deleted | Answer::Unknown { .. }) => {
                (for_delete(*condition), Effect::Becomes(None))
            }
            (Call::Put { condition, .. }, Answer::ConditionFailed) => {
                (opposite(for_put(*condition)), Effect::Stays)
            }
            // A DELETE with If-Match may answer 404 or 412 where there is no object; where there is another, 412.
            (Call::Delete { condition: Condition::Always, .. }, Answer::ConditionFailed) => {
                (Guard::Never, Effect::Stays)
            }
            (Call::Delete { condition, .. }, Answer::ConditionFailed | Answer::Absent) => {
                (opposite(for_delete(*condition)), Effect::Stays)
            }
            (Call::Put { .. } | Call::Delete { .. }, _) => (Guard::Never, Effect::Stays),
        };
        let certain = !matches!(operation.answer, Answer::Unknown { .. });
        Some(Self { operation, guard, effect, certain })
    }

    /// What a list says of a key: that there is an object, or that there is none.
    pub(super) fn listed(operation: &'a Operation, there: bool) -> Self {
        let guard = if there { Guard::Something } else { Guard::Nothing };
        Self { operation, guard, effect: Effect::Stays, certain: true }
    }

    /// Whether it only looks.
    pub(super) fn is_read(&self) -> bool {
        self.effect == Effect::Stays
    }
}

fn read(answer: &Answer) -> Option<Guard> {
    match answer {
        Answer::Found(value) => Some(Guard::Is(*value)),
        Answer::Absent => Some(Guard::Nothing),
        Answer::Unknown { .. } => None,
        _ => Some(Guard::Never),
    }
}

fn for_put(condition: Condition) -> Guard {
    match condition {
        Condition::Always => Guard::Anything,
        Condition::Absent => Guard::Nothing,
        Condition::Matches(value) => Guard::Is(value),
    }
}

fn for_delete(condition: Condition) -> Guard {
    match condition {
        Condition::Always => Guard::Something,
        Condition::Absent => Guard::Never,
        Condition::Matches(value) => Guard::Is(value),
    }
}

fn opposite(guard: Guard) -> Guard {
    match guard {
        Guard::Anything => Guard::Never,
        Guard::Never => Guard::Anything,
        Guard::Something => Guard::Nothing,
        Guard::Nothing => Guard::Something,
        Guard::Is(value) => Guard::IsNot(value),
        Guard::IsNot(value) => Guard::Is(value),
    }
}
