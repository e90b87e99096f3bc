//! What a key had when it was deleted last, as long as that can be brought back.
//!
//! Garbage has no index by key: rows are found by the version of the change that made them, as the reaper needs them. So who
//! asks pays with one scan of the garbage, in one view. It begins with the newest rows, as most deletes that somebody
//! wants to take back were made just now; only to learn that there is nothing takes all of it. Owns the scan and its bound,
//! the caller's deadline. Leaves to apply whether the row may be taken when its command comes.

use std::collections::HashSet;

use hayrick_protocol::record::ObjectRecord;
use hayrick_protocol::{AppliedVersion, ObjectKey};
use tokio::time::Instant;

use crate::errors::ReadError;
use crate::store::StoreError;
use crate::view::{Frozen, View};

/// Versions behind the newest that are looked through first; then twice as many before those, and so on.
const VERSIONS_AT_FIRST: u64 = 1024;
/// Garbage rows that are read between two looks at the clock.
const ROWS_AT_ONCE: usize = 1024;
/// Garbage rows that are looked through for one page of deleted keys: some ten milliseconds.
const ROWS_OF_PAGE_MAX: usize = 16 * ROWS_AT_ONCE;

/// What there is of a key, in one view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// What its last delete took away and no doom has reached: the row's version, and the record as it was. What was
    /// overwritten does not count.
    pub row: Option<(AppliedVersion, ObjectRecord)>,
    /// An object has the key.
    pub is_taken: bool,
}

/// Keys that an undelete would bring back: some of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeletedPage {
    /// In the order in which they were deleted, each once on a page.
    pub keys: Vec<ObjectKey>,
    /// Behind which version the next page begins; none after the last one.
    pub next: Option<AppliedVersion>,
}

impl Frozen {
    /// Keys that begin with `prefix`, were deleted by a change above `after`, can be brought back, and are not taken: at most
    /// `limit`, and what is found in a bounded stretch of the garbage. Reads the index: not for async threads.
    pub(crate) fn deleted_page(
        &self,
        prefix: &str,
        mut after: AppliedVersion,
        limit: usize,
    ) -> Result<DeletedPage, StoreError> {
        let mut page = DeletedPage::default();
        let (mut looked_at, mut shown) = (0, HashSet::new());
        loop {
            let rows = self.garbage(after, ROWS_AT_ONCE)?;
            let is_last = rows.len() < ROWS_AT_ONCE;
            looked_at += rows.len();
            for (version, row) in rows {
                if page.keys.len() >= limit {
                    page.next = Some(after);
                    return Ok(page);
                }
                after = version;
                let is_meant = row.by_delete && !row.doomed && row.key.as_str().starts_with(prefix);
                if is_meant && !shown.contains(&row.key) && self.object(&row.key)?.is_none() {
                    shown.insert(row.key.clone());
                    page.keys.push(row.key);
                }
            }
            if is_last {
                return Ok(page);
            }
            if looked_at >= ROWS_OF_PAGE_MAX {
                page.next = Some(after);
                return Ok(page);
            }
        }
    }
}

impl View {
    /// Looks for it. Reads the index: not for async threads.
    pub(crate) fn deleted(&self, key: &ObjectKey, deadline: Instant) -> Result<Deleted, ReadError> {
        let is_taken = self.rows.object(key)?.is_some();
        let (mut last, mut width) = (self.state.counters.version, VERSIONS_AT_FIRST);
        let mut row = None;
        while row.is_none() && last.0 > 0 {
            let before = AppliedVersion(last.0.saturating_sub(width));
            row = self.last_deleted_in(key, before, last, deadline)?;
            (last, width) = (before, width.saturating_mul(2));
        }
        Ok(Deleted { row, is_taken })
    }

    /// The newest of the rows above `after`, up to `last`.
    fn last_deleted_in(
        &self,
        key: &ObjectKey,
        mut after: AppliedVersion,
        last: AppliedVersion,
        deadline: Instant,
    ) -> Result<Option<(AppliedVersion, ObjectRecord)>, ReadError> {
        let mut found = None;
        while after < last {
            if Instant::now() >= deadline {
                return Err(ReadError::Late);
            }
            let rows = self.rows.garbage(after, ROWS_AT_ONCE)?;
            let Some((end, _)) = rows.last() else { break };
            after = *end;
            let of_key = rows
                .into_iter()
                .filter(|(version, row)| *version <= last && row.by_delete && !row.doomed && row.key == *key);
            found = of_key.map(|(version, row)| (version, row.record)).last().or(found);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hayrick_disk::FaultyDisk;
    use hayrick_protocol::command::{Command, Delete, Precondition, Session, Undelete};
    use hayrick_protocol::{EpochId, Seq};

    use super::*;
    use crate::machine::Machine;
    use crate::machine_tests::{commit, entry, feed, open, prelude};

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(name).expect("a key")
    }

    fn session(seq: u32) -> Session {
        Session { epoch: EpochId(1), seq: Seq(seq), resolved_below: Seq(seq) }
    }

    fn delete(seq: u32, name: &str) -> Command {
        Command::Delete(Delete { session: session(seq), key: key(name), precondition: Precondition::None })
    }

    fn undelete(seq: u32, name: &str, garbage: u64) -> Command {
        Command::Undelete(Undelete {
            session: session(seq),
            key: key(name),
            garbage: AppliedVersion(garbage),
        })
    }

    /// Version of the row and whether the key is taken.
    async fn look(machine: &Machine, name: &str) -> (Option<u64>, bool) {
        let view = machine.view().await.expect("a view");
        let deadline = Instant::now() + Duration::from_secs(60);
        let Deleted { row, is_taken } = view.deleted(&key(name), deadline).expect("readable");
        (row.map(|(version, _)| version.0), is_taken)
    }

    #[tokio::test]
    async fn what_could_be_brought_back_is_listed_by_pages() {
        let disk = FaultyDisk::new(1);
        let mut machine = open(&disk, "/m");
        feed(&mut machine, &[entry(0, &prelude())]).await;
        let commits: Vec<_> = (1..=6)
            .zip(["p/a", "p/b", "p/c", "q", "p/d", "p/e"])
            .map(|(seq, key)| commit(seq, key))
            .collect();
        feed(&mut machine, &[entry(1, &commits)]).await;
        let deletes: Vec<_> =
            (7..).zip(["p/c", "q", "p/a", "p/b", "p/d"]).map(|(seq, key)| delete(seq, key)).collect();
        feed(&mut machine, &[entry(2, &deletes)]).await;
        // One is put again; one is put and deleted again; one is overwritten, which is no delete.
        feed(
            &mut machine,
            &[entry(3, &[commit(12, "p/a"), commit(13, "p/c"), delete(14, "p/c"), commit(15, "p/e")])],
        )
        .await;
        let page = |after, limit| {
            let page = machine
                .frozen()
                .expect("a view")
                .deleted_page("p/", AppliedVersion(after), limit)
                .expect("readable");
            let keys: Vec<String> = page.keys.iter().map(|key| key.as_str().to_owned()).collect();
            (keys, page.next.map(|next| next.0))
        };
        assert_eq!(page(0, 10), (["p/c", "p/b", "p/d"].map(str::to_owned).to_vec(), None));
        let (first, next) = page(0, 2);
        assert_eq!(first, ["p/c", "p/b"]);
        let (rest, end) = page(next.expect("there is more"), 10);
        assert_eq!(
            (rest, end),
            (["p/d", "p/c"].map(str::to_owned).to_vec(), None),
            "its second delete is on this page"
        );
    }

    #[tokio::test]
    async fn the_last_delete_counts_and_neither_overwrites_nor_what_is_doomed() {
        let disk = FaultyDisk::new(1);
        let mut machine = open(&disk, "/m");
        feed(&mut machine, &[entry(0, &prelude())]).await;
        assert_eq!(look(&machine, "a").await, (None, false), "never there");
        feed(&mut machine, &[entry(1, &[commit(1, "a"), commit(2, "a"), commit(3, "b")])]).await;
        assert_eq!(look(&machine, "a").await, (None, true), "what was overwritten does not come back");
        feed(&mut machine, &[entry(2, &[delete(4, "a"), delete(5, "b")])]).await;
        assert_eq!(look(&machine, "a").await, (Some(4), false));
        feed(&mut machine, &[entry(3, &[commit(6, "a")])]).await;
        assert_eq!(look(&machine, "a").await, (Some(4), true), "something newer has the key");
        feed(&mut machine, &[entry(4, &[delete(7, "a")])]).await;
        assert_eq!(look(&machine, "a").await, (Some(7), false), "the last of two");
        assert_eq!(look(&machine, "b").await, (Some(5), false), "of this key alone");
        machine.checkpoint().await.expect("durable");
        assert_eq!(look(&machine, "a").await, (Some(7), false), "from the file as from memory");
        feed(&mut machine, &[entry(5, &[undelete(8, "a", 7)])]).await;
        assert_eq!(
            look(&machine, "a").await,
            (Some(4), true),
            "that row is gone, and the older one is hidden"
        );
        let doom = Command::Doom(vec![AppliedVersion(4), AppliedVersion(5)]);
        feed(&mut machine, &[entry(6, &[doom])]).await;
        assert_eq!(look(&machine, "a").await, (None, true));
        assert_eq!(look(&machine, "b").await, (None, false), "what is doomed does not come back");
    }

    #[tokio::test]
    async fn however_much_garbage_came_since_each_row_is_found_once_and_a_deadline_ends_the_search() {
        let disk = FaultyDisk::new(1);
        let mut machine = open(&disk, "/m");
        let mut commands = prelude();
        // Versions 1 to 4: behind them come more rows than are looked through at first, or read at once.
        commands.extend([commit(1, "a"), delete(2, "a"), commit(3, "a"), delete(4, "a")]);
        let overwrites = 4 * VERSIONS_AT_FIRST as u32;
        commands.extend((5..=4 + overwrites).map(|seq| commit(seq, "other")));
        commands.extend([commit(5 + overwrites, "late"), delete(6 + overwrites, "late")]);
        feed(&mut machine, &[entry(0, &commands)]).await;
        assert_eq!(look(&machine, "a").await, (Some(4), false));
        assert_eq!(look(&machine, "late").await, (Some(u64::from(6 + overwrites)), false));
        assert_eq!(look(&machine, "other").await, (None, true));
        let view = machine.view().await.expect("a view");
        assert_eq!(view.deleted(&key("a"), Instant::now()), Err(ReadError::Late));
        // In each window alone: the newest of it, and nothing from outside.
        let deadline = Instant::now() + Duration::from_secs(60);
        let in_window = |after: u64, last: u64| {
            let found =
                view.last_deleted_in(&key("a"), AppliedVersion(after), AppliedVersion(last), deadline);
            found.expect("readable").map(|(version, _)| version.0)
        };
        assert_eq!(in_window(0, 3), Some(2));
        assert_eq!(in_window(2, 3), None);
        assert_eq!(in_window(3, 4), Some(4));
        assert_eq!(in_window(4, 3000), None);
    }
}
