//! A leader that hears nobody falls silent, so that others may take its place.
//!
//! Its heartbeats and entries may still arrive where no answer comes back, a network that is broken one way, and a follower that
//! hears a leader neither stands for election nor votes. So while no majority answers, a leader sends them in turns: nothing
//! for long enough that another is elected, then again, as silence would never be answered.
//!
//! Owns the listening. Invariant: only time in which this node could have heard an answer counts. After a pause of the
//! process, or of the machine, the answers are still to be read, and a good leader must not give way for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::Raft;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::{Instant, sleep};

use crate::machine::Machine;
use crate::observe::{self, Answers};
use crate::types::Types;

/// Looks in the time in which followers count on a leader.
const LOOKS: u32 = 5;
/// So many of the longest election timeouts: they forget it, wait their own, and may split the votes once.
const SILENT: u32 = 3;

/// Whether this node, as a leader, sends nothing; the network heeds it.
pub(crate) type Silent = Arc<AtomicBool>;

/// Runs until Raft stops. `election` is the longest election timeout; whether this node is `leaving`, and needs nobody's answer,
/// is told from outside.
pub(crate) async fn run(
    raft: Raft<Types, Machine>,
    silent: Silent,
    leaving: Arc<AtomicBool>,
    election: Duration,
) {
    let mut listening = Listening::begin(election, Instant::now());
    while raft.metrics().borrow_watched().running_state.is_ok() {
        sleep(election / LOOKS).await;
        if !leaving.load(Ordering::Relaxed) && listening.hears_nobody(observe::answers(&raft), Instant::now())
        {
            tracing::warn!(
                "no majority answers this leader: it is silent for a while, so that another may be elected"
            );
            silent.store(true, Ordering::Relaxed);
            let until = Instant::now() + election * SILENT;
            // One that is elected anew meanwhile has to be heard.
            while Instant::now() < until && listening.term == observe::answers(&raft).map(|now| now.term) {
                sleep(election / LOOKS).await;
            }
            silent.store(false, Ordering::Relaxed);
            listening = Listening::begin(election, Instant::now());
        }
    }
}

/// For how long this node has listened as a leader.
struct Listening {
    election: Duration,
    /// Since then without a break.
    since: Instant,
    looked: Instant,
    /// The term that it leads.
    term: Option<u64>,
}

impl Listening {
    fn begin(election: Duration, now: Instant) -> Self {
        Self { election, since: now, looked: now, term: None }
    }

    /// Whether it leads and no majority has answered it in all the time that answers count on.
    fn hears_nobody(&mut self, answers: Option<Answers>, now: Instant) -> bool {
        let was_away = now - self.looked > 2 * (self.election / LOOKS);
        self.looked = now;
        let term = answers.map(|answers| answers.term);
        if was_away || term != self.term {
            (self.since, self.term) = (now, term);
        }
        let listened = now - self.since;
        answers.is_some_and(|answers| listened.min(answers.age.unwrap_or(listened)) >= self.election)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ELECTION: Duration = Duration::from_secs(1);
    const LOOK: Duration = Duration::from_millis(200);

    /// Looks up to `count` times, and tells at which it hears nobody.
    fn unheard_at(
        listening: &mut Listening,
        count: u32,
        mut answers: impl FnMut() -> Option<Answers>,
    ) -> Option<u32> {
        (1..=count).find(|_| {
            let now = listening.looked + LOOK;
            listening.hears_nobody(answers(), now)
        })
    }

    #[test]
    fn a_leader_is_unheard_when_the_last_answer_is_old_or_never_came() {
        let begin = || Listening::begin(ELECTION, Instant::now());
        for age in [None, Some(2 * ELECTION)] {
            let at = unheard_at(&mut begin(), 20, || Some(Answers { term: 7, age }));
            assert_eq!(at, Some(6), "it leads since the first look, {age:?}");
        }
        let heard = || Some(Answers { term: 7, age: Some(LOOK) });
        assert_eq!(unheard_at(&mut begin(), 20, heard), None);
        assert_eq!(unheard_at(&mut begin(), 20, || None), None, "it leads nobody");
        let mut term = 7;
        let elected_again = || {
            term += 1;
            Some(Answers { term, age: None })
        };
        assert_eq!(unheard_at(&mut begin(), 20, elected_again), None, "nobody had the time to answer");
    }

    #[test]
    fn what_it_did_not_listen_to_does_not_count() {
        let mut listening = Listening::begin(ELECTION, Instant::now());
        let answered = |age| Some(Answers { term: 7, age: Some(age) });
        assert_eq!(unheard_at(&mut listening, 20, || answered(LOOK)), None);
        let resumed = listening.looked + 3 * ELECTION;
        assert!(!listening.hears_nobody(answered(3 * ELECTION), resumed), "the process stood still");
        assert_eq!(unheard_at(&mut listening, 20, || answered(3 * ELECTION)), Some(5), "and nobody answers");
    }
}
