//! Which needles that a volume holds are dead: nobody will ever ask that volume for them.
//!
//! A needle is dead on a volume if it is an orphan, of an epoch that is fenced and named by neither index nor garbage; or if
//! the volume neither is nor becomes a member of its placement, and all members are up and are known to hold all that they
//! must. In doubt it is not: a restored index names members of long ago, and what is up may be damaged; and what was thought to
//! be missing is dead nowhere. Owns these rules. Whoever asks has made sure that this node has applied all that was acknowledged before the volume was asked what
//! it holds: then an orphan stays one for ever, and a volume that becomes a member later is asked what it holds anew.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use hayrick_planted::{self as planted, Bug};
use hayrick_protocol::messages::volume::Listed;
use hayrick_protocol::record::ObjectRecord;
use hayrick_protocol::{AppliedVersion, NeedleId, PlacementId, VolumeId};

use crate::errors::ReadError;
use crate::store::StoreError;
use crate::view::View;

/// Garbage rows that are read at once.
const GARBAGE_AT_ONCE: usize = 8192;

/// Needles that are remembered of garbage between two pages of a list.
const NAMES_MAX: usize = 1 << 22;

/// Needles that garbage names, as far as it was looked through: for the next page only what came since is. What is reaped or
/// brought back meanwhile stays among them, which calls nothing dead that is not.
#[derive(Debug, Default)]
pub struct GarbageNames {
    needles: HashSet<NeedleId>,
    up_to: AppliedVersion,
    /// There are more than are remembered: all garbage is looked through each time.
    overflows: bool,
}

impl GarbageNames {
    /// Takes out what garbage names, doomed or not: the reaper has it dropped.
    fn take_out(&mut self, view: &View, unnamed: &mut HashSet<NeedleId>) -> Result<(), StoreError> {
        if unnamed.is_empty() {
            return Ok(());
        }
        let mut after = if self.overflows { AppliedVersion::default() } else { self.up_to };
        loop {
            let rows = view.rows.garbage(after, GARBAGE_AT_ONCE)?;
            let Some((last, _)) = rows.last() else { break };
            after = *last;
            for (_, row) in &rows {
                unnamed.remove(&row.record.needle);
                if !self.overflows {
                    self.needles.insert(row.record.needle);
                }
            }
            if self.needles.len() > NAMES_MAX {
                unnamed.retain(|needle| !self.needles.contains(needle));
                *self = Self { overflows: true, ..Self::default() };
            }
        }
        self.up_to = after;
        unnamed.retain(|needle| !self.needles.contains(needle));
        Ok(())
    }
}

/// What of a volume's needles is dead.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dead {
    /// Those that are, in the order in which they were listed.
    pub needles: Vec<NeedleId>,
    /// Members of placements that the volume has nothing to do with, and of whom it is not known whether they hold
    /// everything: with that, more of its needles might be dead.
    pub unsure: BTreeSet<VolumeId>,
}

/// Which needles are dead on this volume, if those in `whole` are up and hold all that they must. Reads the index: not for
/// async threads.
pub(crate) fn dead(
    view: &Arc<View>,
    volume: VolumeId,
    listed: &[Listed],
    whole: &BTreeSet<VolumeId>,
    names: &mut GarbageNames,
) -> Result<Dead, ReadError> {
    let mut dead = HashSet::new();
    let mut unsure = BTreeSet::new();
    let mut unnamed = HashSet::new();
    for one in listed {
        let others = others(view, volume, one.placement);
        let doubtful = others.iter().flat_map(|members| members.iter()).filter(|id| !whole.contains(id));
        unsure.extend(doubtful.copied());
        if others.is_some_and(|members| members.iter().all(|id| whole.contains(id))) {
            if may_be_the_last(view, one)? {
                continue;
            }
            // Nor does garbage that nobody seemed to have.
            let some_unheld = view.state.copies.get(&one.placement).is_some_and(|copies| copies.unheld > 0);
            let sure = if some_unheld { &mut unnamed } else { &mut dead };
            sure.insert(one.needle);
        } else if (is_fenced(view, one.needle) || planted::is(Bug::OrphansWithoutFence))
            && !is_live(view, one)?
            && !planted::is(Bug::OrphansKept)
        {
            unnamed.insert(one.needle);
        }
    }
    names.take_out(view, &mut unnamed)?;
    dead.extend(unnamed);
    let needles = listed.iter().map(|one| one.needle).filter(|needle| dead.contains(needle)).collect();
    Ok(Dead { needles, unsure })
}

/// The members of a placement that the volume has nothing to do with; none of one that it is, or becomes, a member of, and of
/// one that there is not.
fn others(view: &View, volume: VolumeId, placement: PlacementId) -> Option<&[VolumeId]> {
    let table = &view.state.cluster.table;
    let row = table.placement(placement)?;
    let is_newcomer = table.moves.get(&placement).is_some_and(|begun| begun.newcomer == volume);
    (!is_newcomer && !row.members.contains(&volume)).then_some(&row.members)
}

/// Whether the needle is one that nobody seemed to have.
fn may_be_the_last(view: &View, one: &Listed) -> Result<bool, StoreError> {
    let some_miss = view.state.copies.get(&one.placement).is_some_and(|copies| copies.missing.count > 0);
    let is_missed = |record: ObjectRecord| record.missing && record.needle == one.needle;
    Ok(some_miss && view.rows.object(&one.key)?.is_some_and(is_missed))
}

/// Whether no commit of the needle's epoch is accepted any more.
pub(crate) fn is_fenced(view: &View, needle: NeedleId) -> bool {
    let epoch = needle.epoch();
    epoch.0 <= view.state.next.epoch && !view.state.sessions.contains_key(&epoch)
}

fn is_live(view: &View, one: &Listed) -> Result<bool, StoreError> {
    Ok(view.rows.object(&one.key)?.is_some_and(|record| record.needle == one.needle))
}

#[cfg(test)]
mod tests {
    use hayrick_disk::FaultyDisk;
    use hayrick_protocol::command::{Command, Delete, Examined, Named, Precondition, Row, Session};
    use hayrick_protocol::{EpochId, Generation, NodeId, ObjectKey, Seq};

    use super::*;
    use crate::machine::Machine;
    use crate::machine_tests::{commit, entry, feed, open, prelude, table};

    const MEMBER: VolumeId = VolumeId(1);
    const STRANGER: VolumeId = VolumeId(3);

    fn listed(epoch: u32, seq: u32, key: &str) -> Listed {
        let key = ObjectKey::new(key).expect("a key");
        let placement = PlacementId(u32::from(key.partition(4).0) + 1);
        let needle = NeedleId::new(EpochId(epoch), Seq(seq));
        Listed { segment: 1, placement, needle, bytes: 64, key }
    }

    async fn seqs(machine: &Machine, volume: VolumeId, listed: &[Listed]) -> Vec<u32> {
        seqs_if(machine, volume, listed, &[1, 2]).await
    }

    /// If these volumes are up and hold all that they must.
    async fn seqs_if(machine: &Machine, volume: VolumeId, listed: &[Listed], whole: &[u32]) -> Vec<u32> {
        let view = machine.view().await.expect("a view");
        let whole = whole.iter().copied().map(VolumeId).collect();
        let found = dead(&view, volume, listed, &whole, &mut GarbageNames::default()).expect("readable");
        found.needles.iter().map(|needle| needle.seq().0).collect()
    }

    fn delete(seq: u32, key: &str) -> Command {
        let session = Session { epoch: EpochId(1), seq: Seq(seq), resolved_below: Seq(seq) };
        let key = ObjectKey::new(key).expect("a key");
        Command::Delete(Delete { session, key, precondition: Precondition::None })
    }

    #[tokio::test]
    async fn an_orphan_is_dead_once_its_epoch_is_fenced_and_nothing_else_of_a_members_is() {
        let disk = FaultyDisk::new(1);
        let mut machine = open(&disk, "/m");
        let commits = [commit(1, "a"), commit(2, "b"), commit(3, "a"), delete(4, "b")];
        feed(&mut machine, &[entry(0, &prelude()), entry(1, &commits)]).await;
        // Overwritten, deleted, alive; never committed, one of them under a key that lives; and of an epoch yet to come.
        let held = [
            listed(1, 1, "a"),
            listed(1, 2, "b"),
            listed(1, 3, "a"),
            listed(1, 7, "a"),
            listed(1, 8, "c"),
            listed(9, 9, "c"),
        ];
        assert_eq!(seqs(&machine, MEMBER, &held).await, [], "the gateway may commit them yet");
        feed(&mut machine, &[entry(2, &[Command::FenceEpoch(EpochId(1))])]).await;
        assert_eq!(seqs(&machine, MEMBER, &held).await, [7, 8]);
        feed(&mut machine, &[entry(3, &[Command::Doom(vec![AppliedVersion(3), AppliedVersion(4)])])]).await;
        assert_eq!(seqs(&machine, MEMBER, &held).await, [7, 8], "what is doomed is the reaper's");
        feed(&mut machine, &[entry(4, &[Command::Reaped(vec![AppliedVersion(3), AppliedVersion(4)])])]).await;
        assert_eq!(seqs(&machine, MEMBER, &held).await, [1, 2, 7, 8], "what a member kept while it was down");
    }

    #[tokio::test]
    async fn what_becomes_garbage_between_two_pages_is_known_and_is_not_dead() {
        let disk = FaultyDisk::new(1);
        let mut machine = open(&disk, "/m");
        let open_more = Command::OpenEpoch { master: NodeId(2), at_start: true, nonce: 2 };
        let commits = [commit(1, "a"), commit(2, "b"), delete(3, "a"), open_more];
        feed(&mut machine, &[entry(0, &prelude()), entry(1, &commits)]).await;
        feed(&mut machine, &[entry(2, &[Command::FenceEpoch(EpochId(1))])]).await;
        let held = [listed(1, 1, "a"), listed(1, 2, "b"), listed(1, 9, "b")];
        let mut names = GarbageNames::default();
        let page = async |machine: &Machine, names: &mut GarbageNames| {
            let view = machine.view().await.expect("a view");
            let whole = [1, 2].map(VolumeId).into();
            let found = dead(&view, MEMBER, &held, &whole, names).expect("readable");
            found.needles.iter().map(|needle| needle.seq().0).collect::<Vec<_>>()
        };
        assert_eq!(page(&machine, &mut names).await, [9]);
        let session = Session { epoch: EpochId(2), seq: Seq(1), resolved_below: Seq(1) };
        let key = ObjectKey::new("b").expect("a key");
        let late = Command::Delete(Delete { session, key, precondition: Precondition::None });
        feed(&mut machine, &[entry(3, &[late])]).await;
        assert_eq!(page(&machine, &mut names).await, [9]);
        // What is reaped is known as garbage until the next list, which is no harm.
        let versions = vec![AppliedVersion(3), AppliedVersion(4)];
        let (doom, reaped) = (Command::Doom(versions.clone()), Command::Reaped(versions));
        feed(&mut machine, &[entry(4, &[doom, reaped])]).await;
        assert_eq!(page(&machine, &mut names).await, [9]);
        assert_eq!(page(&machine, &mut GarbageNames::default()).await, [1, 2, 9]);
        // With more than can be remembered it is the same.
        let mut many = GarbageNames { overflows: true, ..GarbageNames::default() };
        assert_eq!(page(&machine, &mut many).await, [1, 2, 9]);
    }

    #[tokio::test]
    async fn garbage_that_nobody_seemed_to_have_is_dead_nowhere_before_it_is_reaped() {
        let disk = FaultyDisk::new(1);
        let mut machine = open(&disk, "/m");
        let commits = [commit(1, "a"), commit(2, "a"), delete(3, "a")];
        feed(&mut machine, &[entry(0, &prelude()), entry(1, &commits)]).await;
        let held = [listed(1, 1, "a"), listed(1, 2, "a")];
        assert_eq!(seqs(&machine, STRANGER, &held).await, [1, 2], "the members have them");
        let named = Named { needle: held[1].needle, by: Row::Garbage(AppliedVersion(3)) };
        feed(&mut machine, &[entry(2, &[Command::Missing(vec![named])])]).await;
        assert_eq!(seqs(&machine, STRANGER, &held).await, [], "an undelete may ask for it");
        let versions = vec![AppliedVersion(2), AppliedVersion(3)];
        let (doom, reaped) = (Command::Doom(versions.clone()), Command::Reaped(versions));
        feed(&mut machine, &[entry(3, &[doom, reaped])]).await;
        assert_eq!(seqs(&machine, STRANGER, &held).await, [1, 2]);
    }

    #[tokio::test]
    async fn what_lies_on_a_volume_that_is_no_member_is_dead_while_all_members_are_up() {
        let disk = FaultyDisk::new(1);
        let mut machine = open(&disk, "/m");
        let open_more = Command::OpenEpoch { master: NodeId(2), at_start: true, nonce: 2 };
        feed(&mut machine, &[entry(0, &prelude()), entry(1, &[commit(1, "a"), open_more])]).await;
        let live = listed(1, 1, "a");
        let partition = live.key.partition(4).0;
        assert_eq!(seqs(&machine, MEMBER, std::slice::from_ref(&live)).await, []);
        assert_eq!(seqs(&machine, STRANGER, std::slice::from_ref(&live)).await, [1]);
        let one = std::slice::from_ref(&live);
        assert_eq!(seqs_if(&machine, STRANGER, one, &[1]).await, [], "it may be the last copy");
        let view = machine.view().await.expect("a view");
        let names = &mut GarbageNames::default();
        let found = dead(&view, STRANGER, one, &[MEMBER].into(), names).expect("readable");
        assert_eq!(found.unsure, [VolumeId(2)].into());
        let fence = Command::FenceEpoch(EpochId(1));
        feed(&mut machine, &[entry(2, &[fence])]).await;
        let orphan = Listed { needle: NeedleId::new(EpochId(1), Seq(9)), ..live.clone() };
        assert_eq!(
            seqs_if(&machine, STRANGER, &[live.clone(), orphan], &[]).await,
            [9],
            "an orphan is one anywhere"
        );
        // Nobody seemed to have it: whoever does keeps it.
        let named = Named { needle: live.needle, by: Row::Object(live.key.clone()) };
        feed(&mut machine, &[entry(3, &[Command::Missing(vec![named.clone()])])]).await;
        assert_eq!(seqs(&machine, STRANGER, std::slice::from_ref(&live)).await, []);
        let placement = Examined { placement: live.placement, generation: Generation(1) };
        let found = Command::Found { placement, needles: vec![named] };
        feed(&mut machine, &[entry(4, &[found])]).await;
        assert_eq!(seqs(&machine, STRANGER, std::slice::from_ref(&live)).await, [1]);
        // Closed, it is about to gain that volume.
        let placement = Examined { placement: live.placement, generation: Generation(3) };
        let begin = Command::BeginMove { placement, newcomer: STRANGER };
        feed(&mut machine, &[entry(5, &[table(3, 4, partition, vec![2, 3]), begin])]).await;
        assert_eq!(seqs(&machine, STRANGER, std::slice::from_ref(&live)).await, []);
        let abandon = Command::AbandonMove { placement, newcomer: STRANGER };
        feed(&mut machine, &[entry(6, &[abandon])]).await;
        assert_eq!(seqs(&machine, STRANGER, std::slice::from_ref(&live)).await, [1]);
    }
}
