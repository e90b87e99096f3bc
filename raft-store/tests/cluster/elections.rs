//! Who was cut off and comes back ends no leader: it asks whether it could win before it asks for votes. And a leader that
//! nobody answers does not stay one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hayrick_protocol::NodeId;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::nodes::{Cluster, commit, soon};
use crate::wires::{APPEND, PRE_VOTE, VOTE, Wires, rule};

/// Questions by who stands for election: it asks two at a time, and again after each election timeout.
const QUESTIONS: u64 = 8;
/// Who is sent nothing by the leader for longer than this may forget it by the time that it is asked whom it follows: half of
/// the longest election timeout.
const FORGETS: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_cut_off_ends_no_leader() {
    ends_no_leader(|wires, away, _, _| wires.cut(away)).await;
}

/// The others hear each of its questions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_hears_nobody_ends_no_leader() {
    ends_no_leader(|wires, away, leader, other| {
        wires.lose(leader, away);
        wires.lose(other, away);
    })
    .await;
}

/// It has a majority to ask, half of which hears the leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_only_the_leader_cannot_reach_ends_no_leader() {
    ends_no_leader(|wires, away, leader, _| {
        wires.lose(leader, away);
        wires.lose(away, leader);
    })
    .await;
}

/// Cuts a follower off as told (wires, it, the leader, the other one) until it has tried to be elected several times.
async fn ends_no_leader(cut: impl Fn(&Wires, NodeId, NodeId, NodeId)) {
    let cluster = Cluster::start(3, |_| ()).await;
    let epoch = cluster.form().await;
    cluster.agree().await;
    let before = cluster.leader().await.status();
    let mut others = (1..=3).map(NodeId).filter(|id| *id != before.node);
    let (away, other) = others.next().zip(others.next()).expect("there are three");
    let asked = count(&cluster.wires);
    cut(&cluster.wires, away, before.node, other);
    let deadline = soon();
    let questions = || {
        let kinds = [VOTE, PRE_VOTE];
        kinds.iter().filter_map(|kind| asked.lock().asked.get(&(away, *kind)).copied()).sum::<u64>()
    };
    while questions() < QUESTIONS {
        assert!(Instant::now() < deadline, "it stands for election: {:?}", cluster.node(away).status());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    cluster.propose(vec![commit(epoch, 1)]).await;
    let pause = asked.lock().pause(before.node, other);
    cluster.heal();
    let asked_later = count(&cluster.wires);
    cluster.propose(vec![commit(epoch, 2)]).await;
    cluster.agree().await;
    let pause = pause.max(asked_later.lock().pause(before.node, other));

    let votes: Vec<_> = [asked, asked_later]
        .iter()
        .flat_map(|asked| asked.lock().asked.keys().copied().collect::<Vec<_>>())
        .filter(|(_, kind)| *kind == VOTE)
        .map(|(from, _)| from)
        .collect();
    assert!(pause >= FORGETS || !votes.contains(&away), "it asked for votes that it could not get");
    if !votes.is_empty() {
        // So busy is this machine that another one heard nothing of the leader for a moment.
        return;
    }
    for node in cluster.nodes() {
        let after = node.status();
        assert_eq!((after.term, after.leader), (before.term, Some(before.node)), "node {}", after.node);
    }
}

/// Its heartbeats arrive, and nothing comes back: with them it would stay leader for ever, and nothing would be decided.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_hears_nobody_lets_another_one_lead() {
    let cluster = Cluster::start(3, |_| ()).await;
    let epoch = cluster.form().await;
    cluster.propose(vec![commit(epoch, 1)]).await;
    let deaf = cluster.leader().await.status().node;
    let others: Vec<NodeId> = (1..=3).map(NodeId).filter(|id| *id != deaf).collect();
    for other in &others {
        cluster.wires.lose(*other, deaf);
    }
    let deadline = soon();
    let led = || others.iter().find(|id| cluster.node(**id).status().leader.is_some_and(|id| id != deaf));
    while led().is_none() {
        assert!(Instant::now() < deadline, "it still leads: {:?}", cluster.node(others[0]).status());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    cluster.heal();
    cluster.propose(vec![commit(epoch, 2)]).await;
    cluster.agree().await;
}

/// What was sent since it is counted.
#[derive(Default)]
struct Traffic {
    /// How often who asked what.
    asked: BTreeMap<(NodeId, u8), u64>,
    /// When who was sent entries or a heartbeat by whom last, and the longest pause before that.
    led: BTreeMap<(NodeId, NodeId), (Instant, Duration)>,
}

impl Traffic {
    fn pause(&self, leader: NodeId, follower: NodeId) -> Duration {
        self.led
            .get(&(leader, follower))
            .map_or(Duration::MAX, |(last, longest)| last.elapsed().max(*longest))
    }
}

fn count(wires: &Wires) -> Arc<Mutex<Traffic>> {
    let asked = Arc::<Mutex<Traffic>>::default();
    let counting = Arc::clone(&asked);
    wires.set_rule(rule(move |sent| {
        let mut traffic = counting.lock();
        if [VOTE, PRE_VOTE].contains(&sent.kind) {
            *traffic.asked.entry((sent.from, sent.kind)).or_default() += 1;
        }
        if sent.kind == APPEND {
            let now = Instant::now();
            let (last, longest) = traffic.led.entry((sent.from, sent.to)).or_insert((now, Duration::ZERO));
            (*last, *longest) = (now, now.duration_since(*last).max(*longest));
        }
        true
    }));
    asked
}
