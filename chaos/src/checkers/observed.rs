//! What the answers say of values: which one an operation saw, and which ones can have been written. For the checkers that
//! follow single values instead of searching for an order.

use std::collections::HashMap;

use crate::history::{Answer, Call, Condition, Operation, Value};

/// The key and the value that the object was at some moment of the operation: it was read, or a condition on it held.
pub(super) fn observed(operation: &Operation) -> Option<(&str, Value)> {
    let value = match (&operation.call, &operation.answer) {
        (Call::Get { .. } | Call::Head { .. }, Answer::Found(value)) => *value,
        (Call::Put { condition: Condition::Matches(value), .. }, Answer::Stored)
        | (Call::Delete { condition: Condition::Matches(value), .. }, Answer::Deleted) => *value,
        _ => return None,
    };
    Some((operation.key()?, value))
}

/// All PUTs of a value under a key, whatever came of them.
pub(super) fn puts<'a>(
    operations: impl Iterator<Item = &'a Operation>,
) -> HashMap<(&'a str, Value), Vec<&'a Operation>> {
    let mut puts: HashMap<(&str, Value), Vec<&Operation>> = HashMap::new();
    for operation in operations {
        if let Call::Put { key, value, .. } = &operation.call {
            puts.entry((key, *value)).or_default().push(operation);
        }
    }
    puts
}

/// Whether a write surely had no effect, and never will.
pub(super) fn is_failure(write: &Operation) -> bool {
    matches!(
        write.answer,
        Answer::Refused { .. } | Answer::ConditionFailed | Answer::NothingToBringBack | Answer::Taken
    )
}
