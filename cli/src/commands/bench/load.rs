//! The load: clients that each send their next request when the last one has ended.
//!
//! A request belongs to the measured time if it was sent in it. Those that are in flight when that ends are waited for, so that
//! none that hangs is left out of the latencies or of what failed; the rate counts what was answered before the end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::Rng;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Duration, Instant, MissedTickBehavior, interval, sleep};

use super::drawing::time;
use super::failure::Failed;
use super::objects::Objects;
use super::tally::Tally;
use crate::commands::interrupt::Interrupt;
use crate::commands::teller::Teller;

/// How often it is told how it goes, unless the teller has told it a moment ago.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After a failure a client waits: one that turned about at once would keep masters busy that refuse.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

/// What clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Mode {
    /// New objects
    Put,
    /// Objects that are there
    Get,
    /// Half of the requests puts a new object, the other half reads one that is there
    Mixed,
}

impl Mode {
    pub(super) fn puts(self) -> bool {
        self != Self::Get
    }

    pub(super) fn gets(self) -> bool {
        self != Self::Put
    }
}

/// What is measured.
pub(super) struct Load {
    pub(super) mode: Mode,
    pub(super) clients: usize,
    pub(super) warm_up: Duration,
    pub(super) measured: Duration,
    /// Objects that are there, of which some are read.
    pub(super) readable: u64,
    pub(super) objects: Arc<Objects>,
}

/// What was measured.
#[derive(Debug, Clone, Default)]
pub(super) struct Tallies {
    pub(super) put: Tally,
    pub(super) get: Tally,
    /// Requests that were sent in the warm-up, and so are in no latency.
    pub(super) warm_up: u64,
    /// Those of them that failed.
    pub(super) warm_up_failed: u64,
    /// How long it was measured.
    pub(super) elapsed: Duration,
}

/// What the clients have in common.
struct Shared {
    load: Load,
    /// Measured from here ...
    from: Instant,
    /// ... to here.
    to: Instant,
    tallies: Mutex<Tallies>,
    interrupt: Interrupt,
}

/// A request of one kind.
#[derive(Clone, Copy)]
enum Kind {
    Put,
    Get,
}

impl Load {
    /// Runs it to its end, or until it is interrupted.
    pub(super) async fn run(self, interrupt: &Interrupt, teller: &mut Teller) -> Tallies {
        let from = Instant::now() + self.warm_up;
        let (to, clients) = (from + self.measured, self.clients);
        let shared = Arc::new(Shared {
            load: self,
            from,
            to,
            tallies: Mutex::default(),
            interrupt: interrupt.clone(),
        });
        let mut running: JoinSet<()> =
            (0..clients).map(|number| Arc::clone(&shared).client(number)).collect();
        let mut interrupted = interrupt.clone();
        let mut ended_early = None;
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ended = running.join_next() => match ended {
                    Some(ended) => ended.unwrap_or_else(panicked),
                    None => break,
                },
                _ = look.tick() => shared.tell(teller),
                () = interrupted.comes(), if ended_early.is_none() => ended_early = Some(Instant::now()),
            }
        }
        let end = ended_early.map_or(to, |at| at.min(to));
        let mut tallies = shared.lock().clone();
        tallies.elapsed = end.saturating_duration_since(from);
        tallies
    }
}

fn panicked(error: JoinError) {
    if let Ok(panic) = error.try_into_panic() {
        std::panic::resume_unwind(panic);
    }
}

impl Shared {
    async fn client(self: Arc<Self>, number: usize) {
        loop {
            let begun = Instant::now();
            if begun >= self.to || self.interrupt.has_come() {
                return;
            }
            let kind = self.next_kind();
            let outcome = self.request(kind, number).await;
            let failed = outcome.is_err();
            self.note(kind, begun, Instant::now(), outcome);
            if failed {
                sleep(FAILURE_PAUSE).await;
            }
        }
    }

    fn next_kind(&self) -> Kind {
        match self.load.mode {
            Mode::Put => Kind::Put,
            Mode::Get => Kind::Get,
            Mode::Mixed if rand::rng().random() => Kind::Put,
            Mode::Mixed => Kind::Get,
        }
    }

    async fn request(&self, kind: Kind, client: usize) -> Result<(), Failed> {
        match kind {
            Kind::Put => self.load.objects.put_next(client).await,
            Kind::Get => {
                let number = rand::rng().random_range(0..self.load.readable.max(1));
                self.load.objects.get(client, number).await
            }
        }
    }

    fn note(&self, kind: Kind, begun: Instant, ended: Instant, outcome: Result<(), Failed>) {
        let mut tallies = self.lock();
        let tally = match kind {
            Kind::Put => &mut tallies.put,
            Kind::Get => &mut tallies.get,
        };
        if outcome.is_ok() && (self.from..self.to).contains(&ended) {
            tally.add_in_time();
        }
        if begun >= self.from {
            tally.add(ended - begun, outcome);
        } else {
            tallies.warm_up += 1;
            tallies.warm_up_failed += u64::from(outcome.is_err());
        }
    }

    fn tell(&self, teller: &mut Teller) {
        let now = Instant::now();
        if now < self.from {
            let left = self.from - now;
            teller.tell("warming up", || format!("{:.0} s left", left.as_secs_f64().ceil()));
            return;
        }
        let elapsed = now.min(self.to) - self.from;
        if elapsed < LOOK_EVERY.min(self.load.measured) {
            // Of so short a time a rate says nothing.
            return;
        }
        teller.tell("measuring", || so_far(self.load.mode, &self.lock(), elapsed, self.load.measured));
    }

    fn lock(&self) -> MutexGuard<'_, Tallies> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn so_far(mode: Mode, tallies: &Tallies, elapsed: Duration, of: Duration) -> String {
    let one = |name: &str, tally: &Tally| {
        let (rate, p99) = (tally.per_second(elapsed), time(tally.quantile_us(0.99)));
        format!(", {rate:.0} {name}s a second, p99 {p99}")
    };
    let put = if mode.puts() { one("PUT", &tallies.put) } else { String::new() };
    let get = if mode.gets() { one("GET", &tallies.get) } else { String::new() };
    let failed = tallies.put.failures().total() + tallies.get.failures().total();
    format!("{} of {} s{put}{get}, {failed} failed", elapsed.as_secs(), of.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::bench::failure::Failure;
    use crate::commands::bench::objects;

    async fn shared() -> Shared {
        let (from, to) = (Instant::now(), Instant::now() + Duration::from_secs(10));
        let clients = objects::clients(&["unused:1".to_owned()]).expect("an address");
        let load = Load {
            mode: Mode::Mixed,
            clients: 1,
            warm_up: Duration::ZERO,
            measured: Duration::from_secs(10),
            readable: 1,
            objects: Arc::new(Objects::of_nobody(clients).await),
        };
        Shared { load, from, to, tallies: Mutex::default(), interrupt: Interrupt::never() }
    }

    #[tokio::test]
    async fn a_request_counts_where_it_was_sent_and_the_rate_where_it_was_answered() {
        let shared = shared().await;
        let at = |seconds: i64| match seconds {
            0.. => shared.from + Duration::from_secs(seconds.unsigned_abs()),
            _ => shared.from - Duration::from_secs(seconds.unsigned_abs()),
        };
        let failed = || Err(Failed { failure: Failure::Refused, words: String::new() });
        // In the warm-up; out of it; in the measured time; out of that.
        for (begun, ended, outcome) in [
            (-3, -2, Ok(())),
            (-1, 1, Ok(())),
            (2, 3, Ok(())),
            (9, 12, Ok(())),
            (-2, -1, failed()),
            (9, 12, failed()),
        ] {
            shared.note(Kind::Put, at(begun), at(ended), outcome);
        }
        let tallies = shared.lock();
        let Tallies { put, get, warm_up, warm_up_failed, .. } = &*tallies;
        assert_eq!((put.done(), put.failures().total()), (2, 1));
        assert_eq!((*warm_up, *warm_up_failed), (3, 1));
        assert!((put.per_second(Duration::from_secs(10)) - 0.2).abs() < 1e-9);
        let longest = put.quantile_us(1.0);
        assert!(longest.abs_diff(3_000_000) <= 3000, "what hung at the end is in: {longest} us");
        assert_eq!((get.done(), get.failures().total()), (0, 0));
    }

    #[test]
    fn a_line_says_rates_latencies_and_what_failed() {
        let mut tallies = Tallies::default();
        for _ in 0..600 {
            tallies.put.add_in_time();
            tallies.put.add(Duration::from_millis(2), Ok(()));
        }
        let told = |mode| so_far(mode, &tallies, Duration::from_secs(3), Duration::from_secs(10));
        assert_eq!(told(Mode::Put), "3 of 10 s, 200 PUTs a second, p99 2.00 ms, 0 failed");
        assert_eq!(
            told(Mode::Mixed),
            "3 of 10 s, 200 PUTs a second, p99 2.00 ms, 0 GETs a second, p99 0.000 ms, 0 failed"
        );
    }
}
