//! What gathered while the last one was in flight: the one idea behind batched appends, commits and read-indexes.
//!
//! Owns a bounded queue and the count of its *flights*, the tasks that empty it. Who pushes starts a flight when
//! too few are under way; a flight takes all that waits, sends it, and takes again until nothing is left. So an
//! idle queue costs nothing and waits for nobody, and under load the cost of a round trip is shared. Leaves what
//! a flight does to its users. Invariant: while something waits, a flight is under way.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// After so many takings of one item each, a flight does not wait for others either.
const ALONE_TAKINGS: u32 = 16;

/// A bounded queue with flights.
pub(crate) struct Gather<T> {
    state: Mutex<State<T>>,
    waiting_max: usize,
    flights_max: usize,
}

struct State<T> {
    waiting: VecDeque<T>,
    flights: usize,
    /// Takings of one item each, in a row.
    alone: u32,
}

/// The queue holds its maximum; the item is not in it.
pub(crate) struct Full;

/// What the pusher must do.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Pushed {
    /// A flight that is under way will take it.
    Waits,
    /// Start a flight; it is counted already.
    StartFlight,
}

impl<T> Gather<T> {
    /// A queue of at most `waiting_max` items and `flights_max` flights.
    pub(crate) fn new(waiting_max: usize, flights_max: usize) -> Self {
        Self {
            state: Mutex::new(State { waiting: VecDeque::new(), flights: 0, alone: 0 }),
            waiting_max,
            flights_max,
        }
    }

    /// Puts `item` last.
    pub(crate) fn push(&self, item: T) -> Result<Pushed, Full> {
        let mut state = self.state.lock();
        if state.waiting.len() >= self.waiting_max {
            return Err(Full);
        }
        state.waiting.push_back(item);
        if state.flights == self.flights_max {
            return Ok(Pushed::Waits);
        }
        state.flights += 1;
        Ok(Pushed::StartFlight)
    }

    /// Takes from the front as long as `fits` says so, at least one. `None`: nothing waits, and the calling
    /// flight is over.
    pub(crate) fn take(&self, mut fits: impl FnMut(&T) -> bool) -> Option<Vec<T>> {
        let mut state = self.state.lock();
        let Some(first) = state.waiting.pop_front() else {
            state.flights -= 1;
            return None;
        };
        fits(&first);
        let mut taken = vec![first];
        while state.waiting.front().is_some_and(&mut fits) {
            taken.extend(state.waiting.pop_front());
        }
        state.alone = if taken.len() == 1 { state.alone.saturating_add(1) } else { 0 };
        Some(taken)
    }

    /// A flight's first step: whatever is ready to run pushes first, so that requests which came together go together.
    /// That costs a look at the sockets, so where requests have come one by one of late, nobody waits.
    pub(crate) async fn let_others_gather(&self) {
        if self.state.lock().alone < ALONE_TAKINGS {
            tokio::task::yield_now().await;
        }
    }

    /// Held by a flight as long as it lives: should it panic, another may start in its place.
    pub(crate) fn flight(&self) -> Flight<'_, T> {
        Flight(self)
    }

    /// Puts back in front what a flight took and could not send; over the bound for as long as that lasts.
    pub(crate) fn put_back(&self, items: Vec<T>) {
        let mut state = self.state.lock();
        for item in items.into_iter().rev() {
            state.waiting.push_front(item);
        }
    }
}

/// A flight under way. It ends by [`Gather::take`] finding nothing, or by a panic.
pub(crate) struct Flight<'a, T>(&'a Gather<T>);

impl<T> Drop for Flight<'_, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.state.lock().flights -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flight_that_panics_makes_way_for_another() {
        let gather = Gather::new(3, 1);
        assert!(matches!(gather.push(1), Ok(Pushed::StartFlight)));
        let crashed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _flight = gather.flight();
            panic!("on purpose, with {:?} in hand", gather.take(|_| true));
        }));
        assert!(crashed.is_err());
        assert!(matches!(gather.push(2), Ok(Pushed::StartFlight)));
        let _flight = gather.flight();
        assert_eq!(gather.take(|_| true), Some(vec![2]));
        assert_eq!(gather.take(|_| true), None);
        assert!(matches!(gather.push(3), Ok(Pushed::StartFlight)));
    }

    #[test]
    fn what_arrives_during_a_flight_goes_with_the_next() {
        let gather = Gather::new(3, 1);
        assert!(matches!(gather.push(1), Ok(Pushed::StartFlight)));
        assert_eq!(gather.take(|_| true), Some(vec![1]));
        assert!(matches!(gather.push(2), Ok(Pushed::Waits)));
        assert!(matches!(gather.push(3), Ok(Pushed::Waits)));
        assert_eq!(gather.take(|_| true), Some(vec![2, 3]));
        assert_eq!(gather.take(|_| true), None);
        assert!(matches!(gather.push(4), Ok(Pushed::StartFlight)), "the flight before was over");
    }

    #[test]
    fn a_full_queue_refuses_and_put_back_keeps_the_order() {
        let gather = Gather::new(2, 1);
        assert!(gather.push(1).is_ok() && gather.push(2).is_ok());
        assert!(gather.push(3).is_err());
        let taken = gather.take(|_| true).expect("two wait");
        assert!(gather.push(3).is_ok());
        gather.put_back(taken);
        let mut left = 2;
        let bounded = gather.take(|_| {
            left -= 1;
            left >= 0
        });
        assert_eq!(bounded, Some(vec![1, 2]));
        assert_eq!(gather.take(|_| false), Some(vec![3]), "the first always goes, however large");
    }
}
