//! Three nodes in one process, over wires that can be cut, on disks that can crash.

mod elections;
mod joint;
mod nodes;
mod slow_snapshot;
mod wires;

use std::time::Duration;

use bytes::Bytes;
use hayrick_protocol::command::{Command, Refusal, Reply};
use hayrick_protocol::messages::master::{ProposeError, ReadIndexError};
use hayrick_protocol::{ClusterId, NodeId, PlacementId};
use hayrick_raft_store::{ChangeError, Listing, Page, Role, Status};
use tokio::time::Instant;

use crate::nodes::{Cluster, commit, key, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_elect_commit_and_agree() {
    let cluster = Cluster::start(3, |_| ()).await;
    let epoch = cluster.form().await;
    // Repeated where the leader changes meanwhile, as it may on a busy machine.
    let proposals = (1..=200).map(|seq| cluster.propose(vec![commit(epoch, seq), commit(epoch, seq)]));
    for replies in futures_util::future::join_all(proposals).await {
        assert!(matches!(replies[0], Reply::Applied(_)));
        assert_eq!(replies[0], replies[1], "the second sending is answered as the first");
    }
    cluster.agree().await;
    for node in cluster.nodes() {
        assert_eq!(node.get(&key(7)).expect("readable").expect("there").size, 10);
        let listing = |prefix: &str, start: &str| Listing {
            prefix: prefix.to_owned(),
            start: start.to_owned(),
            delimiter: None,
            limit: 10,
        };
        let page = node.list(&listing("dir/", "dir/00100")).expect("readable");
        assert_eq!(page.objects.first().map(|(first, _)| first), Some(&key(100)));
        assert_eq!((page.objects.len(), page.next), (10, Some(key(110))));
        assert_eq!(node.list(&listing("dirt", "")).expect("readable"), Page::default());
        let status = node.status();
        assert_eq!((status.counters.objects, status.voters.len()), (200, 3));
        assert_eq!(node.copies().await.expect("readable")[&PlacementId(1)].live.count, 200);
        assert_eq!(node.cluster().id(), ClusterId([7; 16]));
    }
}

/// On one thread, where nothing goes on between the opening and the question but what the opening waits for.
#[tokio::test]
async fn a_node_knows_whose_majority_decides_once_it_is_open() {
    let mut cluster = Cluster::start(1, |_| ()).await;
    cluster.form().await;
    cluster.kill(NodeId(1), None).await;
    let node = cluster.open(NodeId(1)).await;
    let alone = [NodeId(1)].into();
    let voters = node.voter_sets();
    assert!(voters.is_majority(&alone), "it would wait for ever for a majority: {voters:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_replaced_and_catches_up_when_it_returns() {
    let mut cluster = Cluster::start(3, |_| ()).await;
    let epoch = cluster.form().await;
    cluster.propose(vec![commit(epoch, 1)]).await;
    for round in 0..3 {
        let dead = cluster.leader().await.status().node;
        cluster.kill(dead, Some(round)).await;
        let before = Instant::now();
        cluster.propose(vec![commit(epoch, 10 + round as u32)]).await;
        println!("round {round}: failover took {:?}", before.elapsed());
        cluster.open(dead).await;
        cluster.agree().await;
    }
    for seq in [1, 10, 11, 12] {
        assert!(cluster.node(NodeId(1)).get(&key(seq)).expect("readable").is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_is_set_back_gets_its_log_again_and_ends_no_leader() {
    let mut cluster = Cluster::start(3, |_| ()).await;
    let epoch = cluster.form().await;
    cluster.propose(vec![commit(epoch, 1)]).await;
    cluster.agree().await;
    let leader = cluster.leader().await;
    let (leads, term) = (leader.status().node, leader.status().term);
    let follower = cluster.nodes().iter().map(|node| node.status().node).find(|id| *id != leads);
    let follower = follower.expect("there are three");
    cluster.kill(follower, None).await;
    let before = cluster.disks[&follower].moments().pop().expect("the present one").restart();
    cluster.open(follower).await;
    for seq in 2..20 {
        cluster.propose(vec![commit(epoch, seq)]).await;
    }
    cluster.agree().await;
    cluster.kill(follower, None).await;
    cluster.disks.insert(follower, before);
    cluster.open(follower).await;
    cluster.propose(vec![commit(epoch, 20)]).await;
    cluster.agree().await;
    for seq in 1..=20 {
        assert!(cluster.node(follower).get(&key(seq)).expect("readable").is_some(), "{seq}");
    }
    assert!(cluster.node(leads).status().stopped.is_none(), "since term {term}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_off_leader_proposes_nothing_and_answers_no_read() {
    let cluster = Cluster::start(3, |_| ()).await;
    let epoch = cluster.form().await;
    let old = cluster.leader().await;
    let id = old.status().node;
    cluster.cut(id);
    // It may not know yet: then the outcome is unknown, and never a success.
    let first = old.propose(vec![commit(epoch, 1)], Instant::now() + Duration::from_secs(1)).await;
    assert!(matches!(first, Err(ProposeError::Unknown(_) | ProposeError::NoQuorum)), "{first:?}");
    let deadline = soon();
    while old.status().has_quorum {
        assert!(Instant::now() < deadline, "it notices");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let later = old.propose(vec![commit(epoch, 2)], Instant::now() + Duration::from_secs(1)).await;
    assert_eq!(later, Err(ProposeError::NoQuorum));
    let read = old.read_index(Instant::now() + Duration::from_secs(1)).await;
    assert!(matches!(read, Err(ReadIndexError::NoQuorum | ReadIndexError::NotLeader { .. })), "{read:?}");
    assert!(!old.status().has_quorum);
    cluster.propose(vec![commit(epoch, 3)]).await;
    cluster.heal();
    cluster.agree().await;
    assert!(old.get(&key(3)).expect("readable").is_some());
    assert!(old.get(&key(2)).expect("readable").is_none(), "it was surely not proposed");
    let follower =
        cluster.nodes().into_iter().find(|node| node.status().role == Role::Follower).expect("two follow");
    let refused = follower.propose(vec![commit(epoch, 4)], soon()).await;
    assert!(matches!(refused, Err(ProposeError::NotLeader { leader: Some(_) })), "{refused:?}");
    // Its entry was replaced, and asking again with the same seq does it once.
    let again = cluster.propose(vec![commit(epoch, 1)]).await;
    assert_eq!(again, cluster.propose(vec![commit(epoch, 1)]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_away_longer_than_the_log_is_kept_comes_back_by_snapshot() {
    let mut cluster = Cluster::start(3, |options| {
        options.snapshot_after_entries = 20;
        options.log_keep_entries = 10;
        options.snapshot_chunk_bytes = 4 << 10;
    })
    .await;
    let epoch = cluster.form().await;
    // Enough for several chunks, whenever the snapshot is taken.
    cluster.propose((1001..=1300).map(|seq| commit(epoch, seq)).collect()).await;
    let leader = cluster.leader().await.status().node;
    let away = cluster.disks.keys().copied().find(|id| *id != leader).expect("there are three");
    cluster.kill(away, None).await;
    let before = cluster.node(leader).status().log.last;
    for seq in 1..=300 {
        cluster.propose(vec![commit(epoch, seq)]).await;
    }
    let deadline = soon();
    // Whoever leads then: nobody has the entries any more.
    while cluster.nodes().iter().any(|node| node.status().log.first <= before + 10) {
        assert!(Instant::now() < deadline, "the logs are purged");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let node = cluster.open(away).await;
    cluster.agree().await;
    assert!(cluster.wires.chunks() > 5, "it came in pieces");
    assert!(node.get(&key(300)).expect("readable").is_some());
    // And it is whole: it survives a power failure, and takes part.
    drop(node);
    cluster.kill(away, Some(5)).await;
    cluster.open(away).await;
    cluster.propose(vec![commit(epoch, 301)]).await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_the_power_failure_of_all() {
    let mut cluster = Cluster::start(3, |options| options.checkpoint_after_rows = 50).await;
    let epoch = cluster.form().await;
    let mut seq = 0;
    for seed in 0..4 {
        println!("seed {seed}");
        for _ in 0..40 {
            seq += 1;
            cluster.propose(vec![commit(epoch, seq)]).await;
        }
        for id in cluster.disks.keys().copied().collect::<Vec<_>>() {
            cluster.kill(id, Some(seed)).await;
        }
        for id in cluster.disks.keys().copied().collect::<Vec<_>>() {
            cluster.open(id).await;
        }
        cluster.agree().await;
        for seq in 1..=seq {
            assert!(
                cluster.node(NodeId(2)).get(&key(seq)).expect("readable").is_some(),
                "seed {seed}, seq {seq}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_without_losing_a_proposal() {
    let cluster = Cluster::start(3, |_| ()).await;
    let epoch = cluster.form().await;
    let deadline = soon();
    loop {
        let leader = cluster.leader().await;
        let own = leader.status().node;
        let to = cluster.disks.keys().copied().find(|id| *id != own).expect("there are three");
        // It ends with the other one leading. On a busy machine another election may come first.
        match leader.transfer_leader(to, Instant::now() + Duration::from_secs(2)).await {
            Ok(()) => break,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    }
    assert!(matches!(cluster.propose(vec![commit(epoch, 1)]).await[..], [Reply::Applied(_)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_node_finds_all_again_and_fenced_epochs_stay_fenced() {
    let cluster = Cluster::start(1, |_| ()).await;
    let epoch = cluster.form().await;
    cluster.propose(vec![commit(epoch, 1), Command::FenceEpoch(epoch)]).await;
    let node = cluster.wires.take(NodeId(1)).expect("it runs");
    let hash = node.state_hash().await.expect("readable").1;
    node.shutdown().await;
    let node = cluster.open(NodeId(1)).await;
    assert!(!node.is_pristine());
    assert_eq!(node.state_hash().await.expect("readable").1, hash);
    let replies = cluster.propose(vec![commit(epoch, 2)]).await;
    assert_eq!(replies, vec![Reply::Refused(Refusal::Fenced)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_from_another_master_is_refused_in_words() {
    let cluster = Cluster::start(1, |_| ()).await;
    let epoch = cluster.form().await;
    let node = cluster.leader().await;
    let mut bytes: Vec<u8> = Vec::new();
    for n in 0..2000u64 {
        let noise = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bytes.push((noise >> 56) as u8 & if n % 3 == 0 { 1 } else { 0xff });
        if n % 7 == 0 {
            bytes.drain(..bytes.len() / 2);
        }
        let _ = node.handle((n % 8) as u8, Bytes::copy_from_slice(&bytes)).await;
    }
    assert!(node.handle(200, Bytes::new()).await.expect_err("unknown").contains("not known"));
    assert!(matches!(cluster.propose(vec![commit(epoch, 1)]).await[..], [Reply::Applied(_)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fourth_node_catches_up_and_votes() {
    let mut cluster = Cluster::start(3, |_| ()).await;
    let epoch = cluster.form().await;
    cluster.propose((1..=50).map(|seq| commit(epoch, seq)).collect()).await;
    let id = NodeId(4);
    let new = cluster.open_new(id).await;

    let unknown = cluster.change(|leader| async move { leader.promote(id, soon()).await }).await;
    assert_eq!(unknown, Err(ChangeError::NotAMember(id)), "nobody votes who is not sent the log first");
    cluster.enter(id).await.expect("it votes");
    assert_eq!(cluster.voters().await, [1, 2, 3, 4]);
    cluster.agree().await;
    assert!(new.get(&key(50)).expect("readable").is_some());

    cluster.enter(id).await.expect("it votes already");
    let elsewhere = cluster
        .change(|leader| async move { leader.add_learner(id, "elsewhere".into(), soon()).await })
        .await;
    assert_eq!(elsewhere, Err(ChangeError::OtherAddress { id, known: "master-4".into() }));

    // Its vote counts: with one of the first three away, the other three go on.
    let leader = cluster.leader().await.status().node;
    let away = (1..=3).map(NodeId).find(|other| *other != leader).expect("there are three");
    cluster.kill(away, None).await;
    let before = cluster.voters().await;
    assert_eq!(before.len(), 4);
    cluster.propose(vec![commit(epoch, 51)]).await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_enters_while_another_one_is_down() {
    let mut cluster = Cluster::start(3, |_| ()).await;
    let epoch = cluster.form().await;
    let leader = cluster.leader().await.status().node;
    let down = (1..=3).map(NodeId).find(|other| *other != leader).expect("there are three");
    cluster.kill(down, None).await;
    cluster.open_new(NodeId(4)).await;
    cluster.enter(NodeId(4)).await.expect("three of four are there");
    cluster.propose(vec![commit(epoch, 1)]).await;
    cluster.open(down).await;
    cluster.agree().await;
    assert_eq!(cluster.node(down).voters().len(), 4, "it learned of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_that_is_not_there_never_votes() {
    let cluster = Cluster::start(3, |_| ()).await;
    let epoch = cluster.form().await;
    let leader = cluster.leader().await;
    leader.add_learner(NodeId(4), "master-4".into(), soon()).await.expect("a learner costs nothing");
    let lags = leader.promote(NodeId(4), soon()).await;
    assert_eq!(lags, Err(ChangeError::Lags { id: NodeId(4), lag_entries: None }));
    cluster.propose(vec![commit(epoch, 1)]).await;
    cluster.remove(NodeId(4)).await.expect("nobody misses it");
    assert_eq!(cluster.leader().await.status().learners, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_is_removed_and_disturbs_nobody() {
    let mut cluster = Cluster::start(3, |_| ()).await;
    let epoch = cluster.form().await;
    let leader = cluster.leader().await.status();
    let gone = (1..=3).map(NodeId).find(|other| *other != leader.node).expect("there are three");
    cluster.remove(gone).await.expect("removed");
    cluster.remove(gone).await.expect("removed already");
    assert!(!cluster.voters().await.contains(&gone.0));
    // It runs on, and would stand for election for longer than a failover takes.
    let until = Instant::now() + Duration::from_secs(3);
    let mut seq = 0;
    while Instant::now() < until {
        seq += 1;
        cluster.propose(vec![commit(epoch, seq)]).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_ne!(cluster.node(gone).status().role, Role::Leader);
    cluster.forget(gone).await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_removed_hands_over_first() {
    let mut cluster = Cluster::start(3, |_| ()).await;
    let epoch = cluster.form().await;
    let old = cluster.leader().await;
    let id = old.status().node;
    match old.remove_member(id, soon()).await {
        Err(ChangeError::NotLeader { .. }) => {}
        other => panic!("it would have led on without a vote: {other:?}"),
    }
    cluster.remove(id).await.expect("the new leader does it");
    assert_ne!(cluster.leader().await.status().node, id);
    assert_eq!(cluster.voters().await.len(), 2);
    cluster.forget(id).await;
    cluster.propose(vec![commit(epoch, 1)]).await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_node_is_replaced_by_one_with_a_new_id() {
    let mut cluster = Cluster::start(3, |_| ()).await;
    let epoch = cluster.form().await;
    cluster.propose(vec![commit(epoch, 1)]).await;
    let dead = cluster.leader().await.status().node;
    cluster.forget(dead).await;
    cluster.remove(dead).await.expect("two of three are there, and will be two of two");
    cluster.open_new(NodeId(4)).await;
    cluster.enter(NodeId(4)).await.expect("it votes");
    assert_eq!(cluster.voters().await.len(), 3);
    cluster.agree().await;
    // Whole again: any one may die.
    let next = cluster.leader().await.status().node;
    cluster.kill(next, Some(1)).await;
    cluster.propose(vec![commit(epoch, 2)]).await;
    cluster.open(next).await;
    cluster.agree().await;
    assert!(cluster.node(NodeId(4)).get(&key(1)).expect("readable").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_removed_without_whom_nothing_could_be_decided() {
    let mut cluster = Cluster::start(3, |_| ()).await;
    let epoch = cluster.form().await;
    let leader = cluster.leader().await.status().node;
    let others: Vec<NodeId> = (1..=3).map(NodeId).filter(|other| *other != leader).collect();
    cluster.kill(others[0], None).await;
    // For as long as an election takes it may still look alive.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let refused = cluster.remove(others[1]).await;
    let no_majority = ChangeError::NoMajority { id: others[1], staying: 2, silent: vec![others[0]] };
    assert_eq!(refused, Err(no_majority));
    cluster.propose(vec![commit(epoch, 1)]).await;
    cluster.remove(others[0]).await.expect("the dead one may go");
    cluster.remove(others[1]).await.expect("then the other one");
    let last = cluster.remove(leader).await;
    assert_eq!(last, Err(ChangeError::LastVoter(leader)));
    cluster.propose(vec![commit(epoch, 2)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_change_is_refused_while_one_is_under_way_and_half_a_change_is_ended() {
    let mut cluster = Cluster::start(3, |_| ()).await;
    let epoch = cluster.form().await;
    let id = NodeId(4);
    cluster.open_new(id).await;
    let leader = cluster.leader().await;
    let own = leader.status().node;
    leader.add_learner(id, "master-4".into(), soon()).await.expect("a learner");
    let has_caught_up = |status: Status| {
        status.followers.iter().any(|follower| follower.node == id && follower.lag_entries == Some(0))
    };
    let deadline = soon();
    while !has_caught_up(leader.status()) {
        assert!(Instant::now() < deadline, "it catches up");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // From here on nothing is decided. The change is in the leader's log and goes on for itself.
    for other in (1..=4).map(NodeId).filter(|other| *other != own) {
        cluster.cut(other);
    }
    let pending = leader.promote(id, Instant::now() + Duration::from_millis(200)).await;
    assert!(matches!(pending, Err(ChangeError::Unknown(_))), "{pending:?}");
    let second = leader.remove_member(id, Instant::now() + Duration::from_secs(1)).await;
    assert_eq!(second, Err(ChangeError::UnderWay));
    cluster.heal();
    // Whatever became of it, whoever leads now: asked again it is done, and nothing joint is left.
    cluster.enter(id).await.expect("it votes");
    cluster.change(|leader| async move { leader.settle_membership(soon()).await }).await.expect("settled");
    assert_eq!(cluster.voters().await, [1, 2, 3, 4]);
    cluster.propose(vec![commit(epoch, 1)]).await;
    cluster.agree().await;
}
