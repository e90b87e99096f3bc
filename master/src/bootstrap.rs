//! Whether there is a cluster already, and whether this master may vote in it.
//!
//! Owns the questions a master asks before it does anything, and which answers admit it (`admission`): a master takes part in
//! no Raft request and stands for no election until it formed the cluster itself, or the leader registered its directory; and
//! after each start until a majority has answered what it holds. Leaves the forming to Raft. Invariant: a master whose directory was
//! wiped or set back to an older state never votes again under its old id, so far as a majority can tell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hayrick_protocol::command::{Command, Refusal, Reply};
use hayrick_protocol::messages::master::{Belonging, Greeting, Propose, ProposeError};
use hayrick_protocol::{ClusterId, InstanceId, NodeId, cluster_map};
use hayrick_rpc::{CallError, RefusalReason};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::admission::{replaced, rolled_back};
use crate::cluster::members::greet;
use crate::join;
use crate::master::Master;
use crate::meta::Standing;
use crate::restore;
use crate::wrong_port;

/// Between two rounds of questions.
pub(crate) const ASK_EVERY: Duration = Duration::from_millis(200);
/// What one round may take.
pub(crate) const ASK_PATIENCE: Duration = Duration::from_millis(300);
/// Masters are started one after the other: what stands in the way for longer is told.
pub(crate) const QUIET: Duration = Duration::from_secs(2);
/// What the leader may take to register this master.
const REGISTER_PATIENCE: Duration = Duration::from_secs(2);

/// From here on this master takes part in Raft.
pub(crate) fn admit(master: &Master, standing: Standing, cluster: ClusterId) {
    let admission = &master.admission;
    admission.save(standing, cluster);
    if admission.failure().is_none() && admission.admit() {
        master.node.stand_for_election();
    }
}

/// This master's directory was set back, as `witness` has seen: it votes for nobody any more, itself among them, and ends.
fn was_set_back(master: &Master, witness: &str, missing: &str) {
    master.node.stay_out_of_elections();
    master.admission.fail(rolled_back(&master.options, witness, missing));
}

/// What a round of answers means.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// A majority says that there is no cluster.
    Form,
    /// There is one, and it does not know this master yet, or knows this very directory.
    Enter { cluster: ClusterId, leader: Option<NodeId> },
    /// There is one, and it knows another directory under this id.
    Replaced(InstanceId),
    /// There is one, and it removed this master.
    Removed,
    /// There is one, and this master is none of its masters.
    Stranger(ClusterId),
    /// Somebody saw more on this master's disk than it holds now.
    RolledBack(String),
    /// Too few have answered.
    AskAgain,
}

/// Meets the other masters, and remembers the cluster once it is known.
pub(crate) async fn run(master: Arc<Master>) {
    match &master.options.join {
        Some(address) if master.node.is_pristine() => {
            if let Some(cluster) = join::enter(&master, address).await {
                admit(&master, Standing::Admitted, cluster);
            }
        }
        _ if master.admission.standing() == Standing::Restored => restore::meet(&master).await,
        // Let in before, and stopped before the log came: those who are in greet it.
        _ if !master.node.is_pristine() || master.options.masters.is_empty() => come_back(&master).await,
        _ => meet(&master).await,
    }
    if master.admission.failure().is_none() {
        tokio::spawn(remember_cluster(master));
    }
}

/// Asks until the answers mean something, and does that. That too few answer is told where readiness is; what they
/// say instead of an answer is told here.
async fn meet(master: &Master) {
    let began = Instant::now();
    let mut told = String::new();
    while !master.stopping.is_cancelled() {
        let others = master.options.masters.keys().copied().collect();
        let (answers, silence) = ask(master, others).await;
        let answers: Vec<Greeting> = answers.into_values().collect();
        match decide(master.options.masters.len(), master.own.instance, &answers) {
            Decision::Form => return form(master).await,
            Decision::Replaced(instance) => {
                return master.admission.fail(replaced(master.options.id, instance));
            }
            Decision::Removed => return master.admission.remove(),
            Decision::Stranger(cluster) => {
                return master.admission.fail(stranger(master.options.id, cluster));
            }
            Decision::RolledBack(reason) => {
                return was_set_back(master, "another master", &reason);
            }
            Decision::Enter { cluster, leader } => {
                master.peers.local().set_cluster(cluster);
                let was_let_in = master.admission.standing() >= Standing::Admitted;
                if was_let_in && answers.len() >= master.options.masters.len() / 2 {
                    return admit(master, Standing::Admitted, cluster);
                }
                if !was_let_in && enter(master, cluster, leader).await {
                    return;
                }
            }
            Decision::AskAgain => {
                tell(master, "whether there is a cluster", began, &mut told, &silence).await;
            }
        }
        pause(master).await;
    }
}

/// What the others answer, and what the rest say instead.
async fn ask(master: &Master, others: Vec<NodeId>) -> (BTreeMap<NodeId, Greeting>, Vec<(NodeId, CallError)>) {
    let (mut answers, mut silence) = (BTreeMap::new(), Vec::new());
    for (id, answer) in greet(master, others, ASK_PATIENCE).await {
        match answer {
            Ok(greeting) => drop(answers.insert(id, greeting)),
            Err(error) => silence.push((id, error)),
        }
    }
    (answers, silence)
}

/// Tells why others do not answer: when it takes longer than to start masters one after the other, and only what is new.
async fn tell(
    master: &Master,
    waiting_for: &str,
    began: Instant,
    told: &mut String,
    silence: &[(NodeId, CallError)],
) {
    if began.elapsed() < QUIET {
        return;
    }
    let reasons = join_all(silence.iter().map(async |(id, error)| match error {
        CallError::NotSent { why } => format!("master {id}: {why}"),
        error => wrong_port::entry(master, *id, error).await,
    }));
    let reasons = reasons.await.join("; ");
    if reasons != *told {
        info!("waiting for a majority of the masters to say {waiting_for}: {reasons}");
        *told = reasons;
    }
}

async fn pause(master: &Master) {
    tokio::select! {
        () = sleep(ASK_EVERY) => {}
        () = master.stopping.cancelled() => {}
    }
}

fn decide(masters: usize, own: InstanceId, answers: &[Greeting]) -> Decision {
    let known = || answers.iter().filter(|answer| answer.cluster.is_known());
    if known().any(|answer| answer.you_are == Belonging::Removed) {
        return Decision::Removed;
    }
    if let Some(other) = known().filter_map(|answer| answer.knows_you_as).find(|instance| *instance != own) {
        return Decision::Replaced(other);
    }
    if let Some(missing) = answers.iter().find_map(|answer| answer.rolled_back.clone()) {
        return Decision::RolledBack(missing);
    }
    if let Some(first) = known().next() {
        if known().all(|answer| answer.you_are == Belonging::Stranger) {
            return Decision::Stranger(first.cluster);
        }
        let leader = known().find_map(|answer| answer.leader);
        return Decision::Enter { cluster: first.cluster, leader };
    }
    let say_no = 1 + answers.len();
    if say_no > masters / 2 { Decision::Form } else { Decision::AskAgain }
}

/// Why a master that its cluster does not know does not start.
fn stranger(id: NodeId, cluster: ClusterId) -> String {
    format!(
        "the masters of --masters form the cluster {cluster}, and master {id} is none of its masters; to enter it, start \
         with --join HOST:PORT, the peer address of one of them, instead of --masters"
    )
}

async fn form(master: &Master) {
    admit(master, Standing::Admitted, ClusterId::UNKNOWN);
    if !master.admission.is_admitted() {
        return;
    }
    match master.node.initialize(master.options.masters.clone()).await {
        Ok(()) => info!(masters = master.options.masters.len(), "no master knows a cluster: forming one"),
        Err(error) => master.admission.fail(format!("the cluster could not be formed: {error}")),
    }
}

/// Has the leader register this directory; until it has, this master takes part in nothing.
async fn enter(master: &Master, cluster: ClusterId, leader: Option<NodeId>) -> bool {
    let Some(client) = leader.and_then(|id| master.peers.master(id)) else { return false };
    let commands = vec![Command::RegisterMaster(master.own.clone())];
    let deadline = Instant::now() + REGISTER_PATIENCE;
    let answer = client.call(&Propose { commands }, Vec::new(), deadline).await;
    match answer.map(|(reply, _)| reply) {
        Ok(Ok(replies)) if replies == [Reply::Done] => {
            info!(%cluster, "entering the cluster: its leader registered this master");
            admit(master, Standing::Admitted, cluster);
            return true;
        }
        Ok(Ok(replies)) => match replies.as_slice() {
            [Reply::Refused(Refusal::OtherInstance(instance))] => {
                master.admission.fail(replaced(master.options.id, *instance));
                return true;
            }
            other => warn!(?other, "the leader did not register this master"),
        },
        Ok(Err(error @ ProposeError::NotLeader { .. })) => debug!(%error, "asking again"),
        Ok(Err(error)) => info!(%error, "the leader did not register this master yet"),
        Err(error) => info!(%error, "the leader did not register this master yet"),
    }
    false
}

/// A master that was in before takes part again once a majority has answered, itself among it, and nobody saw more on its
/// disk than it holds: those who decide now, which may be others than when it left.
async fn come_back(master: &Master) {
    let began = Instant::now();
    let mut told = String::new();
    let mut heard = BTreeSet::from([master.options.id]);
    let mut voters = master.node.voter_sets();
    while !master.stopping.is_cancelled() {
        if master.is_removed() {
            return master.admission.remove();
        }
        if voters.is_majority(&heard) {
            let admission = &master.admission;
            return admit(master, admission.standing(), admission.cluster());
        }
        let cluster = master.node.cluster();
        let named = voters.sets.iter().flatten().chain(cluster.masters.keys()).copied();
        let (answers, silence) = ask(master, named.chain(master.peers.masters()).collect()).await;
        for (id, answer) in &answers {
            if objects(master, *id, answer) {
                return;
            }
            if answer.voters.at > voters.at {
                voters = answer.voters.clone();
            }
        }
        let witnesses = answers.into_iter().filter(|(id, answer)| is_witness(&cluster.masters, *id, answer));
        heard.extend(witnesses.map(|(id, _)| id));
        let stranger = silence.iter().find_map(|(id, error)| match error {
            CallError::Refused(refusal) if refusal.reason == RefusalReason::OtherCluster => {
                Some((id, refusal))
            }
            _ => None,
        });
        if let Some((id, refusal)) = stranger.filter(|_| heard.len() == 1) {
            return master.admission.fail(format!(
                "this data directory belongs to the cluster {}, and master {id} of --masters is of another one: {refusal}; name the \
                 masters of its own cluster, or give this master an empty --data",
                master.admission.cluster()
            ));
        }
        tell(master, "whether this one is an older state of itself", began, &mut told, &silence).await;
        pause(master).await;
    }
}

/// Whether who answers as master `id` has the directory that master `id` ever had. One that was wiped has seen nothing, and
/// is let in no more.
fn is_witness(masters: &BTreeMap<NodeId, cluster_map::Master>, id: NodeId, answer: &Greeting) -> bool {
    masters.get(&id).is_none_or(|known| known.instance == answer.instance)
}

/// Whether master `id` says why this one must not go on, which is heeded then. In the order of [`decide`]: a directory that is
/// another one lacks what was seen, too, and is to be told that it is another one, whichever answer comes first.
pub(crate) fn objects(master: &Master, id: NodeId, answer: &Greeting) -> bool {
    let known = answer.knows_you_as.filter(|known| *known != master.own.instance);
    match (answer.you_are, known, &answer.rolled_back) {
        (Belonging::Removed, ..) => master.admission.remove(),
        (_, Some(known), _) => master.admission.fail(replaced(master.options.id, known)),
        (_, None, Some(missing)) => was_set_back(master, &format!("master {id}"), missing),
        (_, None, None) => return false,
    }
    true
}

/// Once Raft says which cluster this is, the directory and every connection say so too.
async fn remember_cluster(master: Arc<Master>) {
    let mut progress = master.node.watch();
    let config = loop {
        if let Some(config) = master.node.cluster().config {
            break config;
        }
        tokio::select! {
            changed = progress.changed() => if changed.is_err() { return },
            () = master.stopping.cancelled() => return,
        }
    };
    let remembered = master.admission.cluster();
    if remembered.is_known() && remembered != config.cluster {
        let found = config.cluster;
        let text =
            format!("this data directory belongs to the cluster {remembered}, but its index to {found}");
        return master.admission.fail(text);
    }
    master.peers.local().set_cluster(config.cluster);
    master.admission.save(Standing::Member, config.cluster);
    let options = &master.options;
    let told = (options.partitions, options.replicas, options.min_replicas);
    let fixed = (config.partitions, config.replicas, config.min_replicas);
    if told != fixed && !options.masters.is_empty() {
        warn!(
            "the cluster was formed with --partitions {}, --replicas {} and --min-replicas {}, which are fixed; other \
             values are not used",
            config.partitions, config.replicas, config.min_replicas
        );
    }
}

#[cfg(test)]
mod tests {
    use hayrick_protocol::held::Voters;

    use super::*;

    const OWN: InstanceId = InstanceId([1; 16]);
    const OTHER: InstanceId = InstanceId([2; 16]);
    const CLUSTER: ClusterId = ClusterId([9; 16]);

    fn no_cluster() -> Greeting {
        Greeting { cluster: ClusterId::UNKNOWN, ..cluster(None, None) }
    }

    fn cluster(knows_you_as: Option<InstanceId>, leader: Option<NodeId>) -> Greeting {
        let (client, you_are) = (String::new(), Belonging::Member);
        Greeting {
            instance: OTHER,
            cluster: CLUSTER,
            knows_you_as,
            leader,
            client,
            you_are,
            voters: Voters::default(),
            rolled_back: None,
        }
    }

    #[test]
    fn a_cluster_is_formed_only_when_a_majority_says_there_is_none() {
        assert_eq!(decide(3, OWN, &[]), Decision::AskAgain);
        assert_eq!(decide(3, OWN, &[no_cluster()]), Decision::Form);
        assert_eq!(decide(4, OWN, &[no_cluster()]), Decision::AskAgain);
        assert_eq!(decide(5, OWN, &[no_cluster()]), Decision::AskAgain);
        assert_eq!(decide(5, OWN, &[no_cluster(), no_cluster()]), Decision::Form);
        assert_eq!(decide(1, OWN, &[]), Decision::Form);
    }

    #[test]
    fn one_master_that_knows_a_cluster_outweighs_all_that_do_not() {
        let answers = [no_cluster(), cluster(None, None), cluster(None, Some(NodeId(3))), no_cluster()];
        let entered = Decision::Enter { cluster: CLUSTER, leader: Some(NodeId(3)) };
        assert_eq!(decide(5, OWN, &answers), entered);
    }

    #[test]
    fn who_is_no_member_is_told_to_join() {
        let stranger = || Greeting { you_are: Belonging::Stranger, ..cluster(None, Some(NodeId(3))) };
        assert_eq!(decide(4, OWN, &[no_cluster(), stranger()]), Decision::Stranger(CLUSTER));
        // One that lags may not know of it yet.
        let answers = [stranger(), cluster(None, Some(NodeId(3)))];
        assert!(matches!(decide(4, OWN, &answers), Decision::Enter { .. }));
    }

    #[test]
    fn who_has_another_directory_than_it_had_is_no_witness() {
        let known = |instance| cluster_map::Master {
            id: NodeId(2),
            instance,
            client: String::new(),
            peer: String::new(),
        };
        let masters = |instance| BTreeMap::from([(NodeId(2), known(instance))]);
        let answer = cluster(None, None);
        assert!(is_witness(&masters(OTHER), NodeId(2), &answer));
        assert!(!is_witness(&masters(OWN), NodeId(2), &answer), "it was wiped");
        assert!(is_witness(&BTreeMap::new(), NodeId(2), &answer), "the cluster was formed a moment ago");
    }

    #[test]
    fn who_was_set_back_does_not_enter() {
        let set_back = Greeting { rolled_back: Some("why".to_owned()), ..cluster(Some(OWN), None) };
        let answers = [cluster(Some(OWN), Some(NodeId(3))), set_back.clone()];
        assert_eq!(decide(3, OWN, &answers), Decision::RolledBack("why".to_owned()));
        assert_eq!(decide(3, OTHER, &[set_back]), Decision::Replaced(OWN), "it is another directory");
    }

    #[test]
    fn a_wiped_directory_is_not_let_in_whatever_others_have_heard() {
        let answers = [cluster(None, None), cluster(Some(OTHER), Some(NodeId(2)))];
        assert_eq!(decide(3, OWN, &answers), Decision::Replaced(OTHER));
        let same = [cluster(Some(OWN), Some(NodeId(2)))];
        assert!(matches!(decide(3, OWN, &same), Decision::Enter { .. }));
        let gone = Greeting { you_are: Belonging::Removed, ..cluster(None, None) };
        assert_eq!(decide(3, OWN, &[cluster(Some(OWN), None), gone]), Decision::Removed);
        let text = replaced(NodeId(1), OTHER);
        assert!(text.contains("hayrick master remove 1") && text.contains("--join"), "{text}");
    }
}
