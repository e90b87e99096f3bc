//! A history by key: a store is linearizable if each of its keys is (Herlihy and Wing: linearizability is local), and a
//! search through one key's operations is so much shorter that only this makes it feasible.
//!
//! A list is about many keys. Of it only what it says of each key by itself is looked at; that all of a list holds at one
//! moment is not.

use std::collections::{BTreeMap, HashSet};

use super::register::{Step, resolve};
use crate::history::{Answer, Call, Operation};

/// The steps of every key that occurs, in no order.
pub(super) fn by_key<'a>(
    operations: impl Iterator<Item = &'a Operation>,
) -> BTreeMap<&'a str, Vec<Step<'a>>> {
    let mut keys: BTreeMap<&str, Vec<Step<'_>>> = BTreeMap::new();
    let mut lists = Vec::new();
    for operation in operations {
        match (&operation.call, &operation.answer) {
            (Call::List { prefix }, Answer::Listed(listed)) => {
                for key in listed {
                    keys.entry(key).or_default();
                }
                lists.push((operation, prefix.as_str(), listed));
            }
            _ => {
                let Some(key) = operation.key() else { continue };
                keys.entry(key).or_default().extend(Step::of(operation));
            }
        }
    }
    keys.values_mut().for_each(|steps| resolve(steps));
    for (operation, prefix, listed) in lists {
        let listed: HashSet<&str> = listed.iter().map(String::as_str).collect();
        for (key, steps) in keys.range_mut(prefix..).take_while(|(key, _)| key.starts_with(prefix)) {
            steps.push(Step::listed(operation, listed.contains(key)));
        }
    }
    keys
}
