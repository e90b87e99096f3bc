//! A leader that dies in the middle of a change of the membership: the next one ends it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use hayrick_disk::Disk;
use hayrick_protocol::NodeId;
use hayrick_raft_store::{ChangeError, Node, Options, inspect};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::nodes::{Cluster, commit, soon};
use crate::wires::{APPEND, Rule, rule};

const FOURTH: NodeId = NodeId(4);

/// Long, so that no leader loses its place here but by being killed.
fn patient(options: &mut Options) {
    options.election = std::time::Duration::from_secs(1)..std::time::Duration::from_secs(2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_after_one_that_died_while_a_voter_came_in_ends_the_change() {
    let mut cluster = Cluster::start(3, patient).await;
    let epoch = cluster.form().await;
    let dead = die_while_the_fourth_comes_in(&mut cluster).await;
    cluster.change(|leader| async move { leader.settle_membership(soon()).await }).await.expect("settled");
    cluster.open(dead).await;
    cluster.propose(vec![commit(epoch, 1)]).await;
    cluster.agree().await;
    for id in (1..=4).map(NodeId) {
        has_on_disk(&cluster, id, &[vec![1, 2, 3, 4]]).await;
    }
    the_next_change_works(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_change_ends_the_one_that_a_dead_leader_left() {
    let mut cluster = Cluster::start(3, patient).await;
    cluster.form().await;
    let dead = die_while_the_fourth_comes_in(&mut cluster).await;
    the_next_change_works(&mut cluster).await;
    cluster.open(dead).await;
    cluster.agree().await;
    has_on_disk(&cluster, dead, &[vec![1, 2, 3]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_whose_leader_died_is_ended_once_it_is_back() {
    let mut cluster = Cluster::start(3, patient).await;
    let epoch = cluster.form().await;
    let leader = cluster.leader().await.status().node;
    let gone = (1..=3).map(NodeId).find(|id| *id != leader).expect("there are three");
    let remove = move |leader: Node| -> BoxFuture<'static, _> {
        Box::pin(async move { leader.remove_member(gone, soon()).await })
    };
    let dead = die_amid(&mut cluster, remove).await;
    // Of the two that stay, it is one: without it nothing is decided, neither now nor after the change.
    cluster.open(dead).await;
    cluster.change(|leader| async move { leader.settle_membership(soon()).await }).await.expect("settled");
    cluster.forget(gone).await;
    cluster.propose(vec![commit(epoch, 1)]).await;
    cluster.agree().await;
    let staying: Vec<u64> = (1..=3).filter(|id| *id != gone.0).collect();
    for id in &staying {
        has_on_disk(&cluster, NodeId(*id), std::slice::from_ref(&staying)).await;
    }
}

async fn die_while_the_fourth_comes_in(cluster: &mut Cluster) -> NodeId {
    cluster.open_new(FOURTH).await;
    let enters = |leader: Node| async move { leader.add_learner(FOURTH, "master-4".into(), soon()).await };
    cluster.change(enters).await.expect("a learner");
    let promote = |leader: Node| -> BoxFuture<'static, _> {
        Box::pin(async move { leader.promote(FOURTH, soon()).await })
    };
    let dead = die_amid(cluster, promote).await;
    let next = cluster.leader().await.status().node;
    // What the dead one left, and no other change can be.
    has_on_disk(cluster, next, &[vec![1, 2, 3], vec![1, 2, 3, 4]]).await;
    dead
}

/// Has the leader begin a change, and kills it when the first of the two entries is decided and nobody else has the second.
async fn die_amid(
    cluster: &mut Cluster,
    change: impl Fn(Node) -> BoxFuture<'static, Result<(), ChangeError>>,
) -> NodeId {
    let deadline = soon();
    loop {
        let leader = cluster.leader().await;
        let lost = Arc::new(Notify::new());
        cluster.wires.set_rule(the_second_membership_is_lost(Arc::clone(&lost)));
        tokio::select! {
            () = lost.notified() => {
                let dead = leader.status().node;
                cluster.kill(dead, None).await;
                cluster.heal();
                return dead;
            }
            result = change(leader.clone()) => {
                assert!(matches!(result, Err(ChangeError::Lags { .. })), "it had not begun: {result:?}");
                assert!(tokio::time::Instant::now() < deadline, "{result:?}");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    }
}

/// Of the entries that change the membership from now on, only the first gets to others.
fn the_second_membership_is_lost(lost: Arc<Notify>) -> Rule {
    let seen = Mutex::new(BTreeSet::new());
    rule(move |sent| {
        if sent.kind != APPEND {
            return true;
        }
        let mut seen = seen.lock();
        seen.extend(memberships(&sent.body));
        let passes = memberships(&sent.body).iter().all(|index| seen.first() == Some(index));
        if !passes {
            lost.notify_one();
        }
        passes
    })
}

/// The entries of an append that change the membership. The layout is that of raft-store's `wire`.
fn memberships(append: &[u8]) -> Vec<u64> {
    const LOG_ID_BYTES: usize = 24;
    const MEMBERSHIP: u8 = 2;
    let mut rest = append;
    let mut take = |len: usize| rest.split_off(..len).expect("it is an append");
    take(17);
    for _ in 0..2 {
        if take(1) == [1] {
            take(LOG_ID_BYTES);
        }
    }
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let count = number(take(4));
    let mut found = Vec::new();
    for _ in 0..count {
        let index = number(&take(LOG_ID_BYTES)[16..]);
        if take(1) == [MEMBERSHIP] {
            found.push(index);
        }
        let len = number(take(4));
        take(usize::try_from(len).expect("it is short"));
    }
    found
}

/// Who votes by the node's own log; of two sets, a majority of each is needed.
fn voters(cluster: &Cluster, id: NodeId) -> Vec<Vec<u64>> {
    let disk: Arc<dyn Disk> =
        Arc::new(cluster.disks[&id].moments().pop().expect("the present one").restart());
    let found = inspect::inspect(&disk, Path::new("/master")).expect("a sound disk");
    let membership = found.log.membership.expect("the first entry has it");
    membership.voters.iter().map(|set| set.iter().map(|id| id.0).collect()).collect()
}

/// Waits until a node's log says so. A node that has applied an entry need not have it on its own disk: a majority has.
async fn has_on_disk(cluster: &Cluster, id: NodeId, wanted: &[Vec<u64>]) {
    let deadline = soon();
    while voters(cluster, id) != wanted {
        assert!(tokio::time::Instant::now() < deadline, "node {id}: {:?}", voters(cluster, id));
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

async fn the_next_change_works(cluster: &mut Cluster) {
    cluster.remove(FOURTH).await.expect("removed");
    cluster.forget(FOURTH).await;
    cluster.agree().await;
    for node in cluster.nodes() {
        has_on_disk(cluster, node.status().node, &[vec![1, 2, 3]]).await;
    }
}
