//! The definition itself, for histories of few operations: every order is tried, without any rule that leaves some out,
//! and with a model of its own.

use crate::history::{Answer, Call, Condition, Operation, Value};

/// Whether some order explains all answers.
pub(super) fn is_linearizable(operations: &[Operation]) -> bool {
    go_on(operations, &mut vec![false; operations.len()], Key { object: None, deleted: None })
}

/// The object, and what an undelete would bring back where there is none.
#[derive(Clone, Copy)]
struct Key {
    object: Option<Value>,
    deleted: Option<Value>,
}

fn go_on(operations: &[Operation], done: &mut Vec<bool>, key: Key) -> bool {
    let open: Vec<usize> = (0..operations.len()).filter(|&index| !done[index]).collect();
    if open.iter().all(|&index| may_never_happen(&operations[index])) {
        return true;
    }
    for &index in &open {
        let before_all = open.iter().all(|&other| {
            may_never_happen(&operations[other]) || operations[index].begun <= operations[other].ended
        });
        if !before_all {
            continue;
        }
        if let Some(after) = apply(&operations[index], key) {
            done[index] = true;
            let explained = go_on(operations, done, after);
            done[index] = false;
            if explained {
                return true;
            }
        }
    }
    false
}

/// Nothing is claimed of it.
fn may_never_happen(operation: &Operation) -> bool {
    matches!(operation.answer, Answer::Unknown { .. } | Answer::Refused { .. } | Answer::Wrong { .. })
}

/// What there is afterwards; none if the answer, or the effect, is not possible where there is this.
fn apply(operation: &Operation, before: Key) -> Option<Key> {
    let Key { object, deleted } = before;
    let reaped = Key { deleted: None, ..before };
    match (&operation.call, &operation.answer) {
        (Call::Undelete { .. }, Answer::BroughtBack | Answer::Unknown { .. }) => {
            let comes_back = if object.is_none() { deleted } else { None };
            comes_back.map(|value| Key { object: Some(value), deleted: None })
        }
        (Call::Undelete { .. }, Answer::NothingToBringBack) => Some(reaped),
        (Call::Undelete { .. }, Answer::Taken) => object.map(|_| before),
        (Call::Delete { .. }, _) => {
            let object = apply_to(operation, object)?;
            let is_deleted = before.object.is_some() && object.is_none();
            Some(Key { object, deleted: if is_deleted { before.object } else { deleted } })
        }
        _ => apply_to(operation, object).map(|object| Key { object, ..before }),
    }
}

/// The object afterwards, of what does not ask for deleted ones.
fn apply_to(operation: &Operation, object: Option<Value>) -> Option<Option<Value>> {
    let met = |condition: &Condition| match condition {
        Condition::Always => true,
        Condition::Absent => object.is_none(),
        Condition::Matches(value) => object == Some(*value),
    };
    let holds = |claim: bool, then: Option<Value>| claim.then_some(then);
    match (&operation.call, &operation.answer) {
        (Call::Get { .. } | Call::Head { .. }, Answer::Found(value)) => holds(object == Some(*value), object),
        (Call::Get { .. } | Call::Head { .. }, Answer::Absent) => holds(object.is_none(), object),
        (Call::Put { value, condition, .. }, Answer::Stored | Answer::Unknown { .. }) => {
            holds(met(condition), Some(*value))
        }
        (Call::Put { condition, .. }, Answer::ConditionFailed) => holds(!met(condition), object),
        (Call::Delete { condition, .. }, Answer::Deleted | Answer::Unknown { .. }) => {
            holds(object.is_some() && met(condition), None)
        }
        (Call::Delete { condition: Condition::Always, .. }, Answer::Absent) => {
            holds(object.is_none(), object)
        }
        (Call::Delete { condition: Condition::Always, .. }, _) => None,
        (Call::Delete { condition, .. }, Answer::Absent | Answer::ConditionFailed) => {
            holds(!met(condition), object)
        }
        (Call::List { prefix }, Answer::Listed(keys)) => {
            assert!(prefix.is_empty(), "the one key there is begins with the prefix");
            holds(keys.is_empty() == object.is_none(), object)
        }
        _ => None,
    }
}
