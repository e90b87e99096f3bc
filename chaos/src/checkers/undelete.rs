//! What was deleted can be brought back: an undelete that is over within the time for which deleted objects are kept, from the
//! *beginning* of the DELETE on, is not told that there is nothing, unless another undelete may have brought it back already.
//!
//! The servers count from when they learn of a delete, which they do after its request was made. So what is counted here is
//! never longer than what they count. Which object comes back, and whether it is there then, is for `linearizability`.

use std::collections::BTreeMap;

use super::observed::is_failure;
use crate::history::{Answer, Call, Moment, Operation};
use crate::record::Record;
use crate::verdict::{Evidence, Verdict};

const NAME: &str = "deleted-can-be-brought-back";
const PROMISE: &str = "What a DELETE took away can be brought back until --reap-after has passed since.";

/// Looks at every undelete that was told what there was.
pub(crate) fn check(record: &Record) -> Verdict {
    let keys = Key::all(&record.history.operations);
    let kept_ns = record.plan.deleted_kept_ms.saturating_mul(1_000_000);
    let (mut in_time, mut brought_back) = (0, 0);
    let mut evidence = Vec::new();
    for (name, key) in &keys {
        for undelete in &key.undeletes {
            brought_back += u32::from(undelete.answer == Answer::BroughtBack);
            let Some(delete) = key.deleted_before(undelete) else { continue };
            let took_ns = undelete.ended.0.saturating_sub(delete.begun.0);
            if took_ns >= kept_ns || key.may_be_back(delete, undelete) {
                continue;
            }
            in_time += 1;
            if undelete.answer == Answer::NothingToBringBack {
                evidence.push(Evidence {
                    what: format!(
                        "{name} was deleted, and {:.3} s later there was nothing to bring back, though it is kept for {:.3} s",
                        Moment(took_ns).seconds(),
                        Moment(kept_ns).seconds()
                    ),
                    at: Some(undelete.ended),
                    key: Some((*name).to_owned()),
                    history: vec![(*delete).clone(), (*undelete).clone()],
                });
            }
        }
    }
    evidence.sort_by_key(|evidence| evidence.at);
    let figures = format!("{brought_back} brought back; {in_time} undeletes in time for it");
    Verdict::of(NAME, PROMISE, figures, evidence)
}

/// What was asked of one key, and matters here.
#[derive(Default)]
struct Key<'a> {
    /// DELETEs that took something away.
    deletes: Vec<&'a Operation>,
    /// Undeletes, but for those that were refused.
    undeletes: Vec<&'a Operation>,
}

impl<'a> Key<'a> {
    fn all(operations: &'a [Operation]) -> BTreeMap<&'a str, Self> {
        let mut keys: BTreeMap<&str, Self> = BTreeMap::new();
        for operation in operations {
            match (&operation.call, &operation.answer) {
                (Call::Delete { key, .. }, Answer::Deleted) => {
                    keys.entry(key).or_default().deletes.push(operation);
                }
                (Call::Undelete { .. }, Answer::Refused { .. }) => {}
                (Call::Undelete { key }, _) => keys.entry(key).or_default().undeletes.push(operation),
                _ => {}
            }
        }
        keys
    }

    /// Of the DELETEs that had ended before it began, the one that began last.
    fn deleted_before(&self, undelete: &Operation) -> Option<&'a Operation> {
        let before = self.deletes.iter().copied().filter(|delete| delete.ended < undelete.begun);
        before.max_by_key(|delete| delete.begun)
    }

    /// Whether another undelete may have brought back what the DELETE took, before this one could.
    fn may_be_back(&self, delete: &Operation, undelete: &Operation) -> bool {
        let others = self.undeletes.iter().filter(|other| !std::ptr::eq(**other, undelete));
        let mut may_have_acted = others.filter(|other| !is_failure(other));
        may_have_acted.any(|other| {
            other.begun <= undelete.ended && (other.answer.is_unknown() || other.ended >= delete.begun)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::{
        assert_proved, assert_violated, delete, delete_if, put, record, undelete, value,
    };
    use crate::history::Condition;

    const S: u64 = 1_000_000_000;

    fn deleted() -> Vec<Operation> {
        vec![put("k", value(1)).at(0..1).stored(), delete("k").at(10..S).deleted()]
    }

    fn judged(more: impl IntoIterator<Item = Operation>) -> Verdict {
        check(&record(deleted().into_iter().chain(more).collect()))
    }

    #[test]
    fn what_is_brought_back_in_time_is_as_promised() {
        let verdict = judged([undelete("k").at(S + 1..2 * S).brought_back()]);
        assert_proved(&verdict);
        assert_eq!(verdict.figures, "1 brought back; 1 undeletes in time for it");
    }

    #[test]
    fn nothing_to_bring_back_contradicts_until_the_grace_since_the_delete_began_is_over() {
        let nothing = |ended| undelete("k").by(2).at(S + 1..ended).nothing_to_bring_back();
        let verdict = judged([nothing(4 * S + 9)]);
        assert_violated(&verdict, "k was deleted, and 4.000 s later there was nothing to bring back");
        assert_eq!(verdict.evidence[0].history, [deleted().remove(1), nothing(4 * S + 9)]);
        assert_proved(&judged([nothing(4 * S + 10)]));
    }

    #[test]
    fn nothing_was_promised_before_a_delete_took_something() {
        for of_delete in [
            delete("k").absent(),
            delete("k").unknown(),
            delete_if("k", Condition::Matches(value(2))).condition_failed(),
            delete("k").at(0..5).deleted(),
            delete("other").deleted(),
        ] {
            assert_proved(&check(&record(vec![of_delete, undelete("k").at(5..6).nothing_to_bring_back()])));
        }
    }

    #[test]
    fn who_else_may_have_brought_it_back_excuses_and_who_may_not_does_not() {
        let nothing = || undelete("k").at(2 * S..3 * S).nothing_to_bring_back();
        for other in [
            undelete("k").by(2).at(S + 1..S + 2).brought_back(),
            undelete("k").by(2).at(3 * S..4 * S).brought_back(),
            undelete("k").by(2).at(1..10).brought_back(),
            undelete("k").by(2).at(1..2).unknown(),
        ] {
            assert_proved(&judged([other, nothing()]));
        }
        for other in [
            undelete("k").by(2).at(1..9).brought_back(),
            undelete("k").by(2).at(3 * S + 1..4 * S).brought_back(),
            undelete("k").by(2).at(S + 1..S + 2).refused(),
            undelete("k").by(2).at(S + 1..S + 2).taken(),
            undelete("other").by(2).at(S + 1..S + 2).brought_back(),
        ] {
            assert_violated(&judged([other, nothing()]), "nothing to bring back");
        }
    }

    #[test]
    fn it_is_the_last_delete_that_counts() {
        let again = [
            undelete("k").at(S + 1..S + 2).brought_back(),
            delete("k").at(S + 3..S + 4).deleted(),
            undelete("k").at(4 * S..5 * S).nothing_to_bring_back(),
        ];
        assert_violated(&judged(again), "k was deleted, and 4.000 s later");
    }
}
