//! Masters agree: at one index of the log their states are the same, and each gives the same answer for a key.

use std::collections::{BTreeMap, BTreeSet};

use super::final_reads::final_reads;
use crate::record::{Record, StateSeen};
use crate::verdict::{Evidence, Verdict};

const NAME: &str = "masters-agree";
const PROMISE: &str = "All masters have the same state at the same index, and say the same of every key.";

/// Looks at the hashes of the states, before all masters were restarted and at the end, and at what was read back.
pub(crate) fn check(record: &Record) -> Verdict {
    let quiet = &record.quiet;
    let mut by_index: BTreeMap<u64, Vec<&StateSeen>> = BTreeMap::new();
    for state in quiet.states_before.iter().chain(&quiet.states) {
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
    let (before, after) = (compared(&quiet.states_before), compared(&quiet.states));
    let (masters, keys) = (record.plan.masters, quiet.found.len());
    if before.max(after) == 0 && evidence.is_empty() {
        return Verdict::skipped(
            NAME,
            PROMISE,
            format!("no two masters were seen at one index; {keys} keys"),
        );
    }
    let figures = format!(
        "states of {before} of {masters} masters before they were restarted, of {after} after that; {keys} keys"
    );
    Verdict::of(NAME, PROMISE, figures, evidence)
}

/// How many masters were seen at an index at which another was seen, too.
fn compared(states: &[StateSeen]) -> usize {
    let mut at: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
    for state in states {
        at.entry(state.applied).or_default().insert(state.master);
    }
    at.into_values().filter(|masters| masters.len() > 1).flatten().collect::<BTreeSet<_>>().len()
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
        let verdict = check(&record);
        assert_proved(&verdict);
        assert_eq!(
            verdict.figures,
            "states of 0 of 3 masters before they were restarted, of 2 after that; 0 keys"
        );
    }

    #[test]
    fn what_differed_before_the_masters_were_restarted_contradicts_though_it_is_gone() {
        let mut record = record(Vec::new());
        let at_7 = |state: &StateSeen| StateSeen { applied: 7, ..state.clone() };
        record.quiet.states_before = record.quiet.states.iter().map(at_7).collect();
        let verdict = check(&record);
        assert_proved(&verdict);
        assert_eq!(
            verdict.figures,
            "states of 3 of 3 masters before they were restarted, of 3 after that; 0 keys"
        );
        record.quiet.states_before[2].hash = "other".to_owned();
        assert_violated(&check(&record), "at index 7 master 1 has h, master 2 has h, master 3 has other");
    }

    #[test]
    fn a_key_of_which_they_say_different_things_contradicts() {
        let verdict = check(&record_found(Vec::new(), "k", &[Some(value(1)), None]));
        assert_violated(&verdict, "masters say different things of k");
        assert_eq!(verdict.evidence[0].history.len(), 2);
    }

    #[test]
    fn with_no_two_states_to_compare_it_is_skipped_whatever_was_read() {
        let mut record = record_found(Vec::new(), "k", &[Some(value(1)), Some(value(1))]);
        for (number, state) in (1..).zip(&mut record.quiet.states) {
            state.applied = number;
        }
        let verdict = check(&record);
        assert_eq!(verdict.outcome, Outcome::Skipped);
        assert_eq!(verdict.figures, "no two masters were seen at one index; 1 keys");
        // One master that is the same before and after is not two that agree.
        record.quiet.states.truncate(1);
        record.quiet.states_before.clone_from(&record.quiet.states);
        assert_eq!(check(&record).outcome, Outcome::Skipped);
        record.quiet.found.insert("l".to_owned(), vec![None, Some(value(1))]);
        assert_violated(&check(&record), "masters say different things of l");
    }
}
