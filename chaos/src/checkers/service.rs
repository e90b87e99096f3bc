//! Service comes back when the faults have stopped: writes and reads, through every master.

use crate::record::Record;
use crate::verdict::{Evidence, Outcome, Verdict};

const NAME: &str = "service-comes-back";
const PROMISE: &str = "After the last fault, PUT and GET succeed through every master within 5 s; masters that are restarted then serve again.";

/// What Hayrick aims at.
const AIM_MS: u64 = 5000;

/// Beyond this it is broken: on a machine that runs the whole cluster and its clients, and other things besides, a missed
/// aim by itself is not evidence of a fault. It is no proof either.
const VIOLATED_BEYOND_MS: u64 = 3 * AIM_MS;

/// Looks at how long it took.
pub(crate) fn check(record: &Record) -> Verdict {
    let took = [("writes", record.quiet.writes_again_ms), ("reads", record.quiet.reads_again_ms)];
    let mut evidence: Vec<Evidence> = record.quiet.not_back.iter().map(Evidence::says).collect();
    let mut figures = Vec::new();
    for (what, again_ms) in took {
        figures.push(match again_ms {
            None => format!("{what} never"),
            Some(ms) if ms > AIM_MS => format!("{what} after {ms} ms (the aim of {AIM_MS} ms was missed)"),
            Some(ms) => format!("{what} after {ms} ms"),
        });
        match again_ms {
            None => {
                evidence.push(Evidence::says(format!("{what} never succeeded again through every master")))
            }
            Some(ms) if ms > VIOLATED_BEYOND_MS => {
                let what =
                    format!("{what} succeeded again only after {ms} ms: more than {VIOLATED_BEYOND_MS} ms");
                evidence.push(Evidence::says(what));
            }
            Some(_) => {}
        }
    }
    let missed = took.iter().any(|(_, again_ms)| again_ms.is_some_and(|ms| ms > AIM_MS));
    let outcome = match (evidence.is_empty(), missed) {
        (false, _) => Outcome::Violated,
        (true, true) => Outcome::AimMissed,
        (true, false) => Outcome::Proved,
    };
    Verdict::new(NAME, PROMISE, outcome, figures.join(", "), evidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::{assert_proved, assert_violated, record};

    fn after(writes_ms: Option<u64>, reads_ms: Option<u64>) -> Verdict {
        let mut record = record(Vec::new());
        record.quiet.writes_again_ms = writes_ms;
        record.quiet.reads_again_ms = reads_ms;
        check(&record)
    }

    #[test]
    fn a_master_that_does_not_serve_after_a_restart_is_missed() {
        let mut record = record(Vec::new());
        (record.quiet.writes_again_ms, record.quiet.reads_again_ms) = (Some(1), Some(1));
        record.quiet.not_back.push("not after 30 s: master 1 serves after a restart".to_owned());
        assert_violated(&check(&record), "master 1 serves");
    }

    #[test]
    fn within_the_aim_it_is_proved_with_its_figures() {
        let verdict = after(Some(812), Some(5000));
        assert_proved(&verdict);
        assert_eq!(verdict.figures, "writes after 812 ms, reads after 5000 ms");
    }

    #[test]
    fn a_missed_aim_is_said_and_proves_nothing() {
        for (writes_ms, reads_ms) in [(5001, 1), (1, 5001), (15_000, 15_000)] {
            let verdict = after(Some(writes_ms), Some(reads_ms));
            assert_eq!(verdict.outcome, Outcome::AimMissed, "{verdict:?}");
        }
        let verdict = after(Some(5001), Some(15_000));
        assert_eq!(verdict.figures.matches("the aim of 5000 ms was missed").count(), 2, "{verdict:?}");
    }

    #[test]
    fn far_beyond_the_aim_or_never_is_a_violation() {
        assert_violated(&after(Some(15_001), Some(1)), "writes succeeded again only after 15001 ms");
        assert_violated(&after(Some(1), Some(15_001)), "reads succeeded again only after 15001 ms");
        assert_violated(&after(None, Some(1)), "writes never succeeded again");
        assert_violated(&after(Some(1), None), "reads never succeeded again");
    }
}
