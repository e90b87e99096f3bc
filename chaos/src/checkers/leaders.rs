//! There is one leader a term: masters never name two for the same.

use std::collections::BTreeMap;

use crate::record::{LeaderSeen, Record};
use crate::verdict::{Evidence, Verdict};

const NAME: &str = "one-leader-a-term";
const PROMISE: &str = "In one term there is one leader.";

/// Looks at whom masters named, in whatever order they did.
pub(crate) fn check(record: &Record) -> Verdict {
    let mut first: BTreeMap<u64, (u32, &LeaderSeen)> = BTreeMap::new();
    let mut evidence = Vec::new();
    let mut named = 0;
    for seen in &record.leaders {
        let Some(leader) = seen.leader else { continue };
        named += 1;
        let &mut (before, by) = first.entry(seen.term).or_insert((leader, seen));
        if before != leader {
            let what = format!(
                "in term {} master {} named {before} at {}, and master {} named {leader} at {}",
                seen.term, by.by, by.at, seen.by, seen.at
            );
            evidence.push(Evidence { at: Some(seen.at), ..Evidence::says(what) });
        }
    }
    if named == 0 {
        return Verdict::skipped(NAME, PROMISE, "no master ever named a leader");
    }
    Verdict::of(NAME, PROMISE, format!("{} terms, named {named} times", first.len()), evidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::{assert_proved, assert_violated, record};
    use crate::history::Moment;
    use crate::verdict::Outcome;

    fn seen(words: &[(u32, u64, Option<u32>)]) -> Verdict {
        let mut record = record(Vec::new());
        let seen = |&(by, term, leader)| LeaderSeen { at: Moment(1), by, term, leader };
        record.leaders = words.iter().map(seen).collect();
        check(&record)
    }

    #[test]
    fn one_leader_in_each_term_is_fine() {
        assert_proved(&seen(&[
            (1, 1, Some(1)),
            (2, 1, Some(1)),
            (2, 2, None),
            (3, 2, Some(3)),
            (1, 1, Some(1)),
        ]));
    }

    #[test]
    fn two_leaders_in_one_term_contradict() {
        let verdict = seen(&[(1, 7, Some(1)), (1, 8, Some(2)), (2, 7, Some(2))]);
        assert_violated(&verdict, "in term 7 master 1 named 1");
    }

    #[test]
    fn where_nobody_named_one_it_is_skipped() {
        assert_eq!(seen(&[(1, 1, None)]).outcome, Outcome::Skipped);
    }
}
