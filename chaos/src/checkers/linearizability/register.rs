//! One key as a register: what an answer says of the object at the moment at which its request took effect, and what the
//! request then made of it.
//!
//! A request that was refused had no effect and says nothing: it is no step. Neither is a read without an answer.
//!
//! What is deleted is kept for a while, and an undelete makes it the object again. In a register that is a second way of
//! there being none. Only the *last* delete counts: where there is no object, that is what took it away, so no more than
//! one value is to be remembered. An undelete looks for it first and takes it then, though, and of a PUT and a DELETE in
//! between it need not know. So *which* value it brings back is only sure for keys under which all PUTs put the same one
//! ([`resolve`]); those with others are not decided.

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
    /// There is none, and what the last DELETE took away can be brought back.
    Deleted,
    /// There is one, or nothing can be brought back.
    NotDeleted,
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
    /// It becomes what the last DELETE took away: not known yet, see [`resolve`], or not knowable.
    ComesBack,
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
            (Call::Undelete { .. }, Answer::BroughtBack | Answer::Unknown { .. }) => {
                (Guard::Deleted, Effect::ComesBack)
            }
            // At any time it may have been too late; where there is an object, nothing may have been deleted.
            (Call::Undelete { .. }, Answer::NothingToBringBack) => (Guard::NotDeleted, Effect::Stays),
            (Call::Undelete { .. }, Answer::Taken) => (Guard::Something, Effect::Stays),
            (Call::Put { .. } | Call::Delete { .. } | Call::Undelete { .. }, _) => {
                (Guard::Never, Effect::Stays)
            }
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

/// Says of each undelete of a key what it brings back, if all PUTs that may have taken effect put the same value; if there
/// was none, nothing can come back.
pub(super) fn resolve(steps: &mut [Step<'_>]) {
    let comes_back = |step: &Step<'_>| step.effect == Effect::ComesBack;
    if !steps.iter().any(comes_back) {
        return;
    }
    let put = |step: &Step<'_>| match step.effect {
        Effect::Becomes(value) => value,
        Effect::Stays | Effect::ComesBack => None,
    };
    let Some(value) = steps.iter().find_map(put) else {
        let impossible = steps.iter_mut().filter(|step| comes_back(step));
        impossible.for_each(|step| (step.guard, step.effect) = (Guard::Never, Effect::Stays));
        return;
    };
    if steps.iter().filter_map(put).all(|other| other == value) {
        let undeletes = steps.iter_mut().filter(|step| comes_back(step));
        undeletes.for_each(|step| step.effect = Effect::Becomes(Some(value)));
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
        Guard::Deleted => Guard::NotDeleted,
        Guard::NotDeleted => Guard::Deleted,
    }
}
