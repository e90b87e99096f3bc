//! The memory that all request bodies together may take (`--body-memory`), and what a body takes of it.
//!
//! A body says how large it may become and takes memory as its bytes arrive, so that one that comes slowly, or not at all,
//! holds what it has sent and no more. Bodies that grow step by step could wait for each other for ever, each holding what the
//! others need; a step is therefore only granted where, after it, all bodies could still become as large as they may, one
//! after the other (the banker's rule). Owns that rule and the order in which the waiting are served: whoever has sent something
//! before whoever has not, and the older first. Small bodies have a part for themselves, so that no number of large ones stands
//! in their way. Invariants: what is held never exceeds the memory; whoever waits, there is somebody who can go on.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant, timeout_at};

/// A body that says that it is no larger than this is small.
pub(crate) const SMALL_BYTES: usize = 64 * 1024;
/// The part of the memory that is kept for small bodies: one in so many bytes.
const SMALL_PART: usize = 8;
/// How long a body waits for memory. Whoever has it gives it back: slow ones are ended, and the others are stored.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// Of those that wait with something in their hands, so many of the oldest are looked at when memory comes back, and the one
/// that needs least, which can go on if any can.
const LOOKED_AT: usize = 16;

/// There was no memory until the deadline.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

/// The memory for the bodies of requests.
pub(crate) struct Bodies {
    small: Arc<Bank>,
    large: Arc<Bank>,
    patience: Duration,
}

/// What one body has of it; given back when dropped.
pub(crate) struct Holding {
    bank: Arc<Bank>,
    /// Its account, from its first bytes on: whoever has sent nothing is known to nobody.
    id: Option<u64>,
    held: usize,
    most: usize,
    patience: Duration,
}

struct Bank {
    total: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: usize,
    /// How large all of them together may become.
    most: usize,
    /// By their age.
    accounts: BTreeMap<u64, Account>,
    next: u64,
    /// Of the accounts, how many wait.
    waiting: usize,
}

#[derive(Default)]
struct Account {
    held: usize,
    most: usize,
    waits: Option<Waiting>,
}

struct Waiting {
    /// How much it wants to hold.
    wants: usize,
    granted: oneshot::Sender<()>,
}

impl Bodies {
    /// `total_bytes` for all bodies; `patience` for who waits.
    pub(crate) fn new(total_bytes: usize, patience: Duration) -> Self {
        let small = total_bytes / SMALL_PART;
        let [small, large] =
            [small, total_bytes - small].map(|total| Arc::new(Bank { total, state: Mutex::default() }));
        Self { small, large, patience }
    }

    /// For a body that may become so large. It holds nothing yet.
    pub(crate) fn open(&self, most: usize) -> Holding {
        let bank = if most <= SMALL_BYTES { &self.small } else { &self.large };
        Holding { bank: Arc::clone(bank), id: None, held: 0, most, patience: self.patience }
    }

    /// For all of a body that is there already.
    pub(crate) async fn whole(&self, bytes: usize) -> Result<Holding, Exhausted> {
        let mut holding = self.open(bytes);
        holding.grow(bytes).await?;
        Ok(holding)
    }
}

impl Holding {
    /// For so many bytes it is.
    pub(crate) fn bytes(&self) -> usize {
        self.held
    }

    /// Whether all bodies fit, however large they become; then this one may make room for the most it says.
    pub(crate) fn all_fit(&self) -> bool {
        self.bank.state.lock().most <= self.bank.total
    }

    /// Waits until it may hold so many.
    pub(crate) async fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        debug_assert!(bytes <= self.most, "it said that it would not become larger");
        let total = self.bank.total;
        // One that is larger than all the memory may have all of it, rather than wait for ever.
        let wants = bytes.min(total);
        let (id, granted) = {
            let mut state = self.bank.state.lock();
            let id = *self.id.get_or_insert_with(|| state.open(self.most.min(total)));
            if state.is_turn(id) && state.grant(total, id, wants) {
                (id, None)
            } else {
                (id, Some(state.wait(id, wants)))
            }
        };
        if let Some(granted) = granted
            && timeout_at(Instant::now() + self.patience, granted).await.is_err()
        {
            let mut state = self.bank.state.lock();
            // It may have been granted in this moment.
            if state.stop_waiting(id).is_some() {
                state.serve(total);
                return Err(Exhausted);
            }
        }
        self.held = bytes;
        Ok(())
    }

    /// It has so many bytes, and will not have more.
    pub(crate) fn settle(&mut self, bytes: usize) {
        (self.held, self.most) = (self.held.min(bytes), bytes);
        let Some(id) = self.id else { return };
        let mut state = self.bank.state.lock();
        let account = state.account(id);
        let bytes_within = bytes.min(account.held);
        let (surplus, less) = (account.held - bytes_within, account.most - bytes_within);
        (account.held, account.most) = (bytes_within, bytes_within);
        state.held -= surplus;
        state.most -= less;
        state.serve(self.bank.total);
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let mut state = self.bank.state.lock();
        state.stop_waiting(id);
        if let Some(account) = state.accounts.remove(&id) {
            state.held -= account.held;
            state.most -= account.most;
        }
        state.serve(self.bank.total);
    }
}

impl State {
    fn account(&mut self, id: u64) -> &mut Account {
        self.accounts.get_mut(&id).expect("it lives as long as its holding")
    }

    /// A body that may become so large has sent its first bytes.
    fn open(&mut self, most: usize) -> u64 {
        let id = self.next;
        self.next += 1;
        self.most += most;
        self.accounts.insert(id, Account { most, ..Account::default() });
        id
    }

    /// Whether nobody is before this one in line: whoever holds nothing comes behind all that wait.
    fn is_turn(&self, id: u64) -> bool {
        self.waiting == 0 || self.accounts.get(&id).is_some_and(|account| account.held > 0)
    }

    fn wait(&mut self, id: u64, wants: usize) -> oneshot::Receiver<()> {
        // One whose waiter has gone, and now waits anew.
        self.stop_waiting(id);
        let (granted, is_granted) = oneshot::channel();
        self.account(id).waits = Some(Waiting { wants, granted });
        self.waiting += 1;
        is_granted
    }

    fn stop_waiting(&mut self, id: u64) -> Option<Waiting> {
        let waiting = self.accounts.get_mut(&id)?.waits.take()?;
        self.waiting -= 1;
        Some(waiting)
    }

    /// Gives it so many, if all can still become as large as they may, one after the other.
    fn grant(&mut self, total: usize, id: u64, wants: usize) -> bool {
        let Some(account) = self.accounts.get(&id) else { return false };
        let more = wants.saturating_sub(account.held);
        if self.held + more > total || !(self.most <= total || self.is_safe(total, id, wants)) {
            return false;
        }
        self.held += more;
        let account = self.account(id);
        account.held = account.held.max(wants);
        true
    }

    /// The banker's rule, with this one holding that much.
    fn is_safe(&self, total: usize, id: u64, wants: usize) -> bool {
        let holds = |(other, account): (&u64, &Account)| {
            let held = if *other == id { wants.max(account.held) } else { account.held };
            (held > 0).then_some((account.most - held, held))
        };
        let mut holders: Vec<(usize, usize)> = self.accounts.iter().filter_map(holds).collect();
        holders.sort_unstable();
        let mut free = total - holders.iter().map(|(_, held)| held).sum::<usize>();
        holders.into_iter().all(|(needs, held)| {
            let can = needs <= free;
            free += held;
            can
        })
    }

    /// Memory came back, or somebody needs less: gives to whoever waits and can have it.
    fn serve(&mut self, total: usize) {
        while self.waiting > 0
            && let Some(id) = self.next_to_serve(total)
            && let Some(waiting) = self.stop_waiting(id)
        {
            // Who is gone gives it back when its holding is dropped.
            let _ = waiting.granted.send(());
        }
    }

    /// The first that waits and now has what it wanted.
    fn next_to_serve(&mut self, total: usize) -> Option<u64> {
        let of = |(id, account): (&u64, &Account)| {
            let waiting = account.waits.as_ref()?;
            Some((*id, waiting.wants, account.held, account.most - account.held))
        };
        let waiting: Vec<_> = self.accounts.iter().filter_map(of).collect();
        let mut holders: Vec<_> = waiting.iter().filter(|(_, _, held, _)| *held > 0).collect();
        if let Some(least) = holders.iter().min_by_key(|(.., needs)| *needs).copied() {
            holders.truncate(LOOKED_AT);
            let found =
                holders.into_iter().chain([least]).find(|(id, wants, ..)| self.grant(total, *id, *wants));
            return found.map(|(id, ..)| *id);
        }
        // None that has sent something waits.
        let (id, wants, ..) = *waiting.first()?;
        self.grant(total, id, wants).then_some(id)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use proptest::prelude::{Strategy, any, proptest};
    use proptest::{collection, prop_assert};
    use tokio::time::sleep;

    use super::*;

    fn held(bank: &Bank) -> usize {
        bank.state.lock().held
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_fit_waits_and_is_then_refused() {
        let bodies = Bodies::new(8 << 20, Duration::from_secs(5));
        let first = bodies.whole(6 << 20).await.expect("it fits");
        let mut second = bodies.open(2 << 20);
        assert_eq!(second.grow(2 << 20).await, Err(Exhausted));
        drop(first);
        second.grow(2 << 20).await.expect("the first gave back");
        second.settle(1 << 20);
        let _third = bodies.whole(6 << 20).await.expect("the second gave back what it did not need");
        assert_eq!(bodies.whole(1 << 20).await.err(), Some(Exhausted), "and no more than that");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_sent_nothing_holds_nothing_and_slow_ones_what_they_sent() {
        let bodies = Bodies::new(256 << 20, Duration::from_secs(5));
        let mut slow: Vec<Holding> = (0..1000).map(|_| bodies.open(64 << 20)).collect();
        for holding in &mut slow[..200] {
            holding.grow(256 << 10).await.expect("there is room");
        }
        assert_eq!(held(&bodies.large), 200 * (256 << 10));
        bodies.whole(64 << 20).await.expect("in spite of a thousand that may become as large");
        let _small: Vec<Holding> = (0..10_000).map(|_| bodies.open(SMALL_BYTES)).collect();
        bodies.whole(SMALL_BYTES).await.expect("those hold nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn one_larger_than_all_the_memory_has_all_of_it() {
        let bodies = Bodies::new(1 << 20, Duration::from_secs(5));
        let all = bodies.whole(64 << 20).await.expect("alone, it may have all");
        assert_eq!(bodies.whole(SMALL_BYTES + 1).await.err(), Some(Exhausted));
        bodies.whole(SMALL_BYTES).await.expect("small ones have a part of their own");
        drop(all);
        bodies.whole(SMALL_BYTES + 1).await.expect("it is free again");
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_waiting_is_in_nobodys_way() {
        let bodies = Bodies::new(8 << 20, Duration::from_secs(60));
        let first = bodies.whole(7 << 20).await.expect("it fits");
        let mut gone = bodies.open(7 << 20);
        assert!(timeout_at(Instant::now() + Duration::from_secs(1), gone.grow(7 << 20)).await.is_err());
        drop(gone);
        drop(first);
        bodies.whole(7 << 20).await.expect("nobody waits");
        assert_eq!(held(&bodies.large), 0);
    }

    /// A body: how large, in what steps, and how long each takes.
    fn body() -> impl Strategy<Value = (usize, usize, u64)> {
        (65..1500_usize, 1..400_usize, 0..50_u64).prop_map(|(kib, step, ms)| (kib << 10, step << 10, ms))
    }

    proptest! {
        /// However they grow, and though some give up in the middle, nobody waits for ever and never is there too much.
        #[test]
        fn everybodys_turn_comes(bodies_in in collection::vec((body(), any::<bool>()), 1..60)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            let ended = runtime.expect("a runtime").block_on(async {
                let bodies = Bodies::new(2 << 20, Duration::from_secs(3600));
                let each = bodies_in.iter().map(async |((size, step, ms), gives_up)| {
                    let mut holding = bodies.open(*size);
                    let mut arrived = 0;
                    while arrived < *size {
                        sleep(Duration::from_millis(*ms)).await;
                        arrived = (arrived + step).min(*size);
                        holding.grow(arrived).await?;
                        assert!(held(&bodies.large) <= bodies.large.total);
                        if *gives_up && arrived > size / 2 {
                            return Ok(());
                        }
                    }
                    holding.settle(arrived);
                    sleep(Duration::from_millis(100)).await;
                    Ok::<(), Exhausted>(())
                });
                let ended = join_all(each).await;
                assert_eq!(held(&bodies.large), 0);
                ended
            });
            prop_assert!(ended.iter().all(Result::is_ok), "somebody waited for an hour");
        }
    }
}
