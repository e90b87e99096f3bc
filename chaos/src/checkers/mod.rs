//! One checker a file: each reads a record, and says how it stands with one promise.
//!
//! A checker is a function of the record alone: it reads no file and no clock, so the same record is always judged the
//! same. None knows of another. What several of them need is in `final_reads` and `observed`.

mod acknowledged;
mod bounded;
mod bytes;
mod deleted;
pub mod final_reads;
mod identity;
mod leaders;
mod linearizability;
mod no_effect;
mod observed;
mod panics;
mod replicas;
mod service;
mod space;
mod states;
#[cfg(test)]
pub(crate) mod testing;
mod undelete;

use crate::record::Record;
use crate::verdict::Verdict;

/// What those say that need no more than what clients saw until service came back, and who was said to lead: a run that these
/// find wrong need not be looked at any further.
pub fn judge_history(record: &Record) -> Vec<Verdict> {
    let checkers: [fn(&Record) -> Verdict; 8] = [
        linearizability::check,
        deleted::check,
        undelete::check,
        no_effect::check,
        bytes::check,
        leaders::check,
        service::check,
        panics::check,
    ];
    checkers.iter().map(|check| check(record)).collect()
}

/// What all of them say, in the order in which people want to know it: what clients may rely on, what is left behind, and
/// what is inside.
pub fn judge(record: &Record) -> Vec<Verdict> {
    let checkers: [fn(&Record) -> Verdict; 14] = [
        linearizability::check,
        acknowledged::check,
        deleted::check,
        undelete::check,
        no_effect::check,
        bytes::check,
        replicas::check,
        space::check,
        states::check,
        leaders::check,
        identity::check,
        service::check,
        panics::check,
        bounded::check,
    ];
    checkers.iter().map(|check| check(record)).collect()
}

#[cfg(test)]
mod tests {
    use super::judge;
    use super::testing::{get, put, record_found, value};
    use crate::verdict::Outcome;

    #[test]
    fn a_healthy_run_is_judged_by_all_and_violates_nothing() {
        let history = vec![put("k", value(1)).at(0..1).stored(), get("k").at(2..3).found(value(1))];
        let verdicts = judge(&record_found(history, "k", &[Some(value(1))]));
        assert!(verdicts.iter().all(|verdict| verdict.outcome != Outcome::Violated), "{verdicts:#?}");
        let names: Vec<_> = verdicts.iter().map(|verdict| verdict.checker.as_str()).collect();
        assert_eq!(
            names,
            [
                "linearizability",
                "acknowledged-is-durable",
                "deleted-stays-deleted",
                "deleted-can-be-brought-back",
                "failures-have-no-effect",
                "every-byte-right",
                "replicas-complete",
                "space-accounted-for",
                "masters-agree",
                "leadership-goes-on",
                "identity",
                "service-comes-back",
                "nobody-panics",
                "bounded",
            ]
        );
    }
}
