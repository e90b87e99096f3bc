//! Masters agree: at one index of the log their states are the same, and each gives the same answer for a key.

use std::collections::BTreeMap;

use super::final_reads::final_reads;
use crate::record::{Record, StateSeen};
use crate::verdict::{Evidence, Verdict};

const NAME: &str = "masters-agree";
const PROMISE: &str = "All masters have the same state at the same index, and say the same of every key.";

/// Looks at the hashes of the states, and at what was read back.
pub(crate) fn check(record: &Record) -> Verdict {
    let quiet = &record.quiet;
    let mut by_index: BTreeMap<u64, Vec<&StateSeen>> = BTreeMap::new();
    for state in &quiet.states {
        by_index.entry(state.applied).or_default().push(state);
    }
    let mut evidence = Vec::new();
    for (applied, states) in &by_index {
        if states.iter().any(|state| state.hash != states[0].hash) {
            let told: Vec<_> =
                states.iter().map(|state| format!("master {} has {}", state.master, state.hash)).collect();
            evidence.push(Evidence::says(format!("at index {applied} {}", told.join(", "))));
        }
    }
    for (key, _) in quiet.read_differently() {
        let reads = final_reads(record).into_iter().filter(|read| read.key() == Some(key)).collect();
        evidence.push(Evidence {
            what: format!("masters say different things of {key}"),
            at: Some(record.ended),
            key: Some(key.clone()),
            history: reads,
        });
    }
    let compared = by_index.values().map(Vec::len).filter(|&states| states > 1).sum::<usize>();
    if compared == 0 && quiet.found.is_empty() {
        return Verdict::skipped(NAME, PROMISE, "no two masters were at one index, and no key was read back");
    }
    let (masters, keys) = (record.plan.masters, quiet.found.len());
    Verdict::of(NAME, PROMISE, format!("states of {compared} of {masters} masters, {keys} keys"), evidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::{assert_proved, assert_violated, record, record_found, value};
    use crate::verdict::Outcome;

    #[test]
    fn masters_that_are_the_same_agree() {
        assert_proved(&check(&record_found(Vec::new(), "k", &[Some(value(1))])));
    }

    #[test]
    fn states_that_differ_at_one_index_contradict() {
        let mut record = record(Vec::new());
        record.quiet.states[1].hash = "other".to_owned();
        assert_violated(&check(&record), "at index 9 master 1 has h, master 2 has other");
        record.quiet.states[1].applied = 10;
        assert_proved(&check(&record));
    }

    #[test]
    fn a_key_of_which_they_say_different_things_contradicts() {
        let verdict = check(&record_found(Vec::new(), "k", &[Some(value(1)), None]));
        assert_violated(&verdict, "masters say different things of k");
        assert_eq!(verdict.evidence[0].history.len(), 2);
    }

    #[test]
    fn with_nothing_to_compare_it_is_skipped() {
        let mut record = record(Vec::new());
        record.quiet.states.truncate(1);
        assert_eq!(check(&record).outcome, Outcome::Skipped);
    }
}
