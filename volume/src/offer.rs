//! Offering what lies here: a page of the list with a ticket, and the drop of what of it is dead, which brings the ticket
//! back.
//!
//! Owns the ticket. Which needles are dead is the leader's to say, how they are dropped `delete`'s. Invariant: nobody counts
//! on a needle that goes by an answer from before he looked. For that the leader would have to have decided before somebody looked at
//! what is here, in a list or with a pull, and the drop to come after. But
//!
//! 1. whoever looks first ends the ticket in force, under its lock, and looks then. A drop that comes later brings a ticket
//!    that is good no more, unless the leader was offered anew since; then he decides on what is committed by then, which
//!    is all that the one who looked had committed before;
//! 2. a drop compares its ticket and submits its tombstones under the same lock. So one that came before is, when somebody
//!    looks, in the index, or on its way: and what is on its way to be dropped is neither listed nor counted as here
//!    ([`Store::is_dropping`]). Who looks asks for that first, and asks the index then: a tombstone leaves the flights only
//!    once the index was told;
//! 3. a drop of which nobody knows whether it reached the disk stays on its way until the process ends. The next one finds
//!    it there, or not, and takes no ticket of this one: each process begins with a number at random.

use std::future::Future;

use hayrick_protocol::ids::NeedleId;
use hayrick_protocol::limits::LIST_PAGE_NEEDLES_MAX;
use hayrick_protocol::messages::volume::{DropError, ListPosition, Offered, ReadError};
use parking_lot::{Mutex, MutexGuard};

use crate::delete::durable;
use crate::list::Wanted;
use crate::store::Store;

/// The ticket in force.
pub(crate) struct Tickets(Mutex<u64>);

impl Tickets {
    /// The first is a number at random, so that it is none of another process.
    pub(crate) fn new(first: u64) -> Self {
        Self(Mutex::new(first))
    }

    /// Somebody is about to look at what is here, and may count on it.
    pub(crate) fn end(&self) {
        let mut ticket = self.0.lock();
        *ticket = ticket.wrapping_add(1);
    }

    fn in_force(&self) -> u64 {
        *self.0.lock()
    }

    /// As long as this is held, the ticket is in force.
    fn hold(&self, ticket: u64) -> Option<MutexGuard<'_, u64>> {
        Some(self.0.lock()).filter(|in_force| **in_force == ticket)
    }
}

impl Store {
    /// A page of the list of all that lies here, of whatever placement, for the question which of it is dead.
    ///
    /// # Errors
    /// Those of a list.
    pub fn offer(&self, from: ListPosition, limit: usize) -> Result<Offered, ReadError> {
        // Before the page: what is decided of it is decided later still.
        let ticket = self.tickets.in_force();
        let listing = self.page(Wanted::All, from, limit.min(LIST_PAGE_NEEDLES_MAX))?;
        Ok(Offered { listing, ticket })
    }

    /// Drops needles that were offered, unless somebody looked at what is here since. They are submitted before this returns, and
    /// it is durable when the future is done.
    pub fn drop_offered(
        &self,
        ticket: u64,
        needles: &[NeedleId],
    ) -> impl Future<Output = Result<(), DropError>> + Send + use<> {
        let submitted = match self.tickets.hold(ticket) {
            Some(_in_force) => self.submit_tombstones(needles).map_err(DropError::Append),
            None => Err(DropError::Stale),
        };
        async move { Ok(durable(submitted?).await?) }
    }

    /// Whether a needle is about to be dropped. Who wants to know whether it is here asks this before he asks the index.
    pub(crate) fn is_dropping(&self, id: NeedleId) -> bool {
        self.shared.in_flight.lock().is_dropping(id)
    }
}
