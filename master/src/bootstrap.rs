//! Whether there is a cluster already, and whether this master may vote in it.
//!
//! Owns the questions a master with an empty directory asks before it does anything, and its *admission*: a master
//! takes part in no Raft request until it formed the cluster itself, or the leader registered its directory. Leaves
//! the forming to Raft. Invariant: a master whose directory was wiped never votes again under its old id, so far as
//! a majority of the others can tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hayrick_protocol::command::{Command, Refusal, Reply};
use hayrick_protocol::messages::master::{Belonging, Greeting, Propose, ProposeError};
use hayrick_protocol::{ClusterId, InstanceId, NodeId};
use hayrick_rpc::{CallError, RefusalReason};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::cluster::members::greet;
use crate::join;
use crate::master::Master;
use crate::meta::{Directory, Meta, Standing};
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

/// Whether this master may vote, remembered in its data directory.
pub(crate) struct Admission {
    admitted: AtomicBool,
    file: Mutex<(Directory, Meta)>,
    failed: watch::Sender<Option<String>>,
}

impl Admission {
    /// As the directory has it.
    pub(crate) fn new(directory: Directory, meta: Meta) -> Self {
        Self {
            admitted: AtomicBool::new(matches!(meta.standing, Standing::Admitted | Standing::Member)),
            file: Mutex::new((directory, meta)),
            failed: watch::Sender::new(None),
        }
    }

    /// Whether this master may take part in Raft.
    pub(crate) fn is_admitted(&self) -> bool {
        self.admitted.load(Ordering::Acquire)
    }

    /// The first reason why this master cannot go on wins; whoever started it ends it.
    pub(crate) fn fail(&self, reason: String) {
        self.failed.send_if_modified(|failed| failed.is_none() && failed.replace(reason).is_none());
    }

    /// The reason why this master cannot go on, if there is one.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failed.borrow().clone()
    }

    /// Waits until this master cannot go on.
    pub(crate) async fn failed(&self) -> String {
        let mut failed = self.failed.subscribe();
        match failed.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Durable before this master takes part in anything. Written a few times in a directory's life, so that waiting
    /// for the disk right here hurts nobody.
    pub(crate) fn save(&self, standing: Standing, cluster: ClusterId) {
        let mut file = self.file.lock();
        let (directory, meta) = &mut *file;
        let changed = Meta {
            standing: meta.standing.max(standing),
            cluster: if cluster.is_known() { cluster } else { meta.cluster },
            ..*meta
        };
        if changed != *meta {
            if let Err(error) = directory.save(&changed) {
                self.fail(error.to_string());
                return;
            }
            *meta = changed;
        }
        self.admitted.store(true, Ordering::Release);
    }

    /// This master was removed: from here on it takes part in nothing, also after a restart, and is about to end.
    pub(crate) fn remove(&self) {
        self.admitted.store(false, Ordering::Release);
        let mut file = self.file.lock();
        let (directory, meta) = &mut *file;
        *meta = Meta { standing: Standing::Removed, ..*meta };
        if let Err(error) = directory.save(meta) {
            // The others say it again at the next start.
            warn!(%error, "that this master was removed could not be written down");
        }
        self.fail(removed(meta.id));
    }

    pub(crate) fn cluster(&self) -> ClusterId {
        self.file.lock().1.cluster
    }
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
    /// Too few have answered.
    AskAgain,
}

/// Meets the other masters, and remembers the cluster once it is known.
pub(crate) async fn run(master: Arc<Master>) {
    match &master.options.join {
        Some(address) if master.node.is_pristine() => {
            if let Some(cluster) = join::enter(&master, address).await {
                master.admission.save(Standing::Admitted, cluster);
            }
        }
        _ if !master.node.is_pristine() && !master.admission.is_admitted() => restore::meet(&master).await,
        _ if !master.node.is_pristine() => look_around(&master).await,
        // Let in before, and stopped before the log came: the leader sends it.
        _ if master.options.masters.is_empty() => {}
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
    let mut told = Vec::new();
    while !master.stopping.is_cancelled() {
        let others = master.options.masters.keys().copied().collect();
        let (mut answers, mut silence) = (Vec::new(), Vec::new());
        for (id, answer) in greet(master, others, ASK_PATIENCE).await {
            match answer {
                Ok(greeting) => answers.push(greeting),
                Err(CallError::NotSent { why }) => silence.push(format!("master {id}: {why}")),
                Err(error) => silence.push(wrong_port::entry(master, id, &error).await),
            }
        }
        match decide(master.options.masters.len(), master.own.instance, &answers) {
            Decision::Form => return form(master).await,
            Decision::Replaced(instance) => {
                return master.admission.fail(replaced(master.options.id, instance));
            }
            Decision::Removed => return master.admission.remove(),
            Decision::Stranger(cluster) => {
                return master.admission.fail(stranger(master.options.id, cluster));
            }
            Decision::Enter { cluster, leader } => {
                master.peers.local().set_cluster(cluster);
                if master.admission.is_admitted() || enter(master, cluster, leader).await {
                    return;
                }
            }
            Decision::AskAgain if began.elapsed() >= QUIET && told != silence => {
                told = silence;
                let reasons = told.join("; ");
                info!("waiting for a majority of the masters to say whether there is a cluster: {reasons}");
            }
            Decision::AskAgain => {}
        }
        tokio::select! {
            () = sleep(ASK_EVERY) => {}
            () = master.stopping.cancelled() => {}
        }
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

/// Why a master whose directory is another one than its cluster knows does not start.
pub(crate) fn replaced(id: NodeId, known: InstanceId) -> String {
    format!(
        "the cluster knows master {id} by another data directory ({known}): this one is empty or a copy, and must not \
         vote in its place; start it with its own directory. Where that is lost, replace it: `hayrick master remove {id}`, \
         then a master with an empty directory, an id that was never used, and --join"
    )
}

/// Why a master that was removed does not go on.
pub(crate) fn removed(id: NodeId) -> String {
    format!(
        "master {id} was removed from its cluster for good, and serves no more; its data directory is of no use. A new \
         master takes its place with an empty directory, an id that was never used, and --join"
    )
}

/// Why a master that its cluster does not know does not start.
fn stranger(id: NodeId, cluster: ClusterId) -> String {
    format!(
        "the masters of --masters form the cluster {cluster}, and master {id} is none of its masters; to enter it, start \
         with --join HOST:PORT, the peer address of one of them, instead of --masters"
    )
}

async fn form(master: &Master) {
    master.admission.save(Standing::Admitted, ClusterId::UNKNOWN);
    if master.admission.failure().is_some() {
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
            master.admission.save(Standing::Admitted, cluster);
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

/// A master with a log asks nobody for leave, but it does not start into a cluster that is not its own.
async fn look_around(master: &Master) {
    let known = master.node.cluster();
    let others = master.voters().into_iter().chain(known.masters.keys().copied()).collect();
    let answers = greet(master, others, ASK_PATIENCE).await;
    let says_removed =
        |answer: &Result<Greeting, _>| answer.as_ref().is_ok_and(|it| it.you_are == Belonging::Removed);
    if master.is_removed() || answers.iter().any(|(_, answer)| says_removed(answer)) {
        return master.admission.remove();
    }
    if answers.iter().any(|(_, answer)| answer.is_ok()) {
        return;
    }
    let stranger = answers.iter().find_map(|(id, answer)| match answer {
        Err(CallError::Refused(refusal)) if refusal.reason == RefusalReason::OtherCluster => {
            Some((id, refusal))
        }
        _ => None,
    });
    if let Some((id, refusal)) = stranger {
        master.admission.fail(format!(
            "this data directory belongs to the cluster {}, and master {id} of --masters is of another one: {refusal}",
            master.admission.cluster()
        ));
    }
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
    use super::*;

    const OWN: InstanceId = InstanceId([1; 16]);
    const OTHER: InstanceId = InstanceId([2; 16]);
    const CLUSTER: ClusterId = ClusterId([9; 16]);

    fn no_cluster() -> Greeting {
        Greeting { cluster: ClusterId::UNKNOWN, ..cluster(None, None) }
    }

    fn cluster(knows_you_as: Option<InstanceId>, leader: Option<NodeId>) -> Greeting {
        let (client, you_are) = (String::new(), Belonging::Member);
        Greeting { instance: OTHER, cluster: CLUSTER, knows_you_as, leader, client, you_are }
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
