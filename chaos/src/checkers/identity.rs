//! A master that lost what it had promised to remember does not take part any more.
//!
//! That it was not let in while somebody looked proves nothing by itself: it may have crashed, or found nobody to ask. Only its
//! own word does.

use crate::record::{Fate, Record};
use crate::verdict::{Evidence, Verdict};

const NAME: &str = "identity";
const PROMISE: &str = "A master whose disk was emptied or set back is not let in under its old id.";

/// Looks at what became of those whom the faults started on a disk that was not theirs any more.
pub(crate) fn check(record: &Record) -> Verdict {
    let tried = record.strangers.len();
    if tried == 0 {
        return Verdict::skipped(NAME, PROMISE, "no master was started on an emptied disk or an older one");
    }
    let (mut refused, mut evidence, mut untold) = (0, Vec::new(), Vec::new());
    for stranger in &record.strangers {
        let who = &stranger.who;
        match &stranger.fate {
            Fate::Refused(_) => refused += 1,
            Fate::LetIn => {
                let what = format!("{who} was let in");
                evidence.push(Evidence { at: Some(stranger.at), ..Evidence::says(what) });
            }
            Fate::Untold(why) => untold.push(format!("{who}: {why}")),
        }
    }
    let mut figures =
        format!("{tried} tried it: {refused} ended by their own word, {} were let in", evidence.len());
    if !untold.is_empty() {
        figures += &format!(", of {} it is not known ({})", untold.len(), untold.join("; "));
    }
    if refused == 0 && evidence.is_empty() {
        return Verdict::skipped(NAME, PROMISE, figures);
    }
    Verdict::of(NAME, PROMISE, figures, evidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::{assert_proved, assert_violated, record};
    use crate::history::Moment;
    use crate::record::{Fault, Stranger};
    use crate::verdict::Outcome;

    fn after(fates: impl IntoIterator<Item = Fate>) -> Verdict {
        let mut record = record(Vec::new());
        let stranger = |fate| Stranger { at: Moment(1), who: "master-1 with an empty disk".to_owned(), fate };
        record.strangers = fates.into_iter().map(stranger).collect();
        check(&record)
    }

    fn refused() -> Fate {
        Fate::Refused("the cluster knows master 1 by another data directory".to_owned())
    }

    fn untold() -> Fate {
        Fate::Untold("it ended: panicked".to_owned())
    }

    #[test]
    fn who_was_let_in_breaks_the_promise_and_who_refused_itself_keeps_it() {
        let verdict = after([refused(), untold(), refused()]);
        assert_proved(&verdict);
        assert_eq!(
            verdict.figures,
            "3 tried it: 2 ended by their own word, 0 were let in, of 1 it is not known (master-1 with an empty disk: it \
             ended: panicked)"
        );
        assert_violated(&after([refused(), Fate::LetIn]), "master-1 with an empty disk was let in");
    }

    #[test]
    fn who_came_to_no_word_proves_nothing() {
        let verdict = after([untold(), untold()]);
        assert_eq!(verdict.outcome, Outcome::Skipped);
        assert!(verdict.figures.contains("of 2 it is not known"), "{verdict:?}");
    }

    #[test]
    fn a_fault_that_started_nobody_on_such_a_disk_is_no_try() {
        let mut record = record(Vec::new());
        record.faults = vec![Fault {
            kind: "roll-back-master".to_owned(),
            what: "master-1".to_owned(),
            from: Moment(0),
            to: Moment(1),
        }];
        assert_eq!(check(&record).outcome, Outcome::Skipped);
    }
}
