//! How a master enters a running cluster (`--join`).
//!
//! Owns the asking: any master of the cluster says who leads, and the leader registers this directory and sends it the log.
//! Leaves the vote to the leader's duty (`cluster/change`), which gives it once the log is here. Invariant: this master
//! takes part in no Raft request before the leader has registered its directory under its id.

use std::time::Duration;

use hayrick_protocol::ClusterId;
use hayrick_protocol::messages::Identity;
use hayrick_protocol::messages::master::{Belonging, ChangeMasters, ChangeMastersError, Greeting};
use hayrick_rpc::Client;
use tokio::time::{Instant, sleep};
use tracing::info;

use crate::admission::{removed, replaced, rolled_back};
use crate::cluster::members::introduction;
use crate::master::Master;
use crate::wrong_port;

/// Between two attempts.
const ASK_EVERY: Duration = Duration::from_millis(300);
/// What a greeting may take.
const GREET_PATIENCE: Duration = Duration::from_millis(800);
/// What the leader may take to let this master in.
const ADMIT_PATIENCE: Duration = Duration::from_secs(3);
/// Masters may be started together: what stands in the way for longer is told.
const QUIET: Duration = Duration::from_secs(2);

/// Why this master is not in yet.
enum NotYet {
    /// To be asked again: the reason.
    Later(String),
    /// It never will be: the reason.
    Never(String),
}

/// Asks at `address`, the peer port of any master of the cluster, until the leader lets this master in; its cluster then.
/// `None` when it never will, which `admission` tells, or this master stops before.
pub(crate) async fn enter(master: &Master, address: &str) -> Option<ClusterId> {
    let began = Instant::now();
    let mut told = String::new();
    while !master.stopping.is_cancelled() {
        match ask(master, address).await {
            Ok(cluster) => {
                info!(%cluster, "entering the cluster: its leader registered this master and sends it the log");
                return Some(cluster);
            }
            Err(NotYet::Never(reason)) => {
                master.admission.fail(reason);
                return None;
            }
            Err(NotYet::Later(reason)) if reason != told && began.elapsed() >= QUIET => {
                info!("not let in by the cluster yet, asking again: {reason}");
                told = reason;
            }
            Err(NotYet::Later(_)) => {}
        }
        tokio::select! {
            () = sleep(ASK_EVERY) => {}
            () = master.stopping.cancelled() => {}
        }
    }
    None
}

async fn ask(master: &Master, address: &str) -> Result<ClusterId, NotYet> {
    let local = master.peers.local();
    let first = Client::new(local.clone(), address.to_owned(), None);
    // Not admitted yet, it says the same to everybody.
    let introduction = introduction(master, master.options.id);
    let greeting = first.call(&introduction, Vec::new(), Instant::now() + GREET_PATIENCE).await;
    let greeting = match greeting {
        Ok((greeting, _)) => greeting,
        Err(error) => {
            return Err(match wrong_port::of_join(master, &first, &error).await {
                Some(reason) => NotYet::Never(reason),
                None => NotYet::Later(format!("{address}: {error}")),
            });
        }
    };
    if greeting.instance == master.own.instance {
        return Err(NotYet::Never(wrong_port::is_own(master, address)));
    }
    let cluster = cluster_of(master, address, &greeting)?;
    // From here on every connection says so.
    local.set_cluster(cluster);
    let request = ChangeMasters::Admit(master.own.clone());
    let mut client = first;
    // The first one may be no leader, and the one it names may have lost its place meanwhile.
    for _ in 0..2 {
        let answer = client.call(&request, Vec::new(), Instant::now() + ADMIT_PATIENCE).await;
        let (answer, _) = answer.map_err(|error| NotYet::Later(format!("{}: {error}", client.address())))?;
        match answer {
            Ok(_) => return Ok(cluster),
            Err(ChangeMastersError::NotLeader { leader: Some((id, at)) }) => {
                client = Client::new(local.clone(), at, Some(Identity::Master(id)));
            }
            Err(ChangeMastersError::Conflict(reason)) => return Err(NotYet::Never(reason)),
            Err(error) => return Err(NotYet::Later(error.to_string())),
        }
    }
    Err(NotYet::Later("leadership is changing hands".to_owned()))
}

fn cluster_of(master: &Master, address: &str, greeting: &Greeting) -> Result<ClusterId, NotYet> {
    let id = master.options.id;
    if !greeting.cluster.is_known() {
        return Err(NotYet::Later(format!("the master at {address} knows no cluster yet")));
    }
    if greeting.you_are == Belonging::Removed {
        return Err(NotYet::Never(removed(id)));
    }
    match (greeting.knows_you_as, &greeting.rolled_back) {
        (Some(known), _) if known != master.own.instance => Err(NotYet::Never(replaced(id, known))),
        (_, Some(missing)) => {
            Err(NotYet::Never(rolled_back(&master.options, &format!("the master at {address}"), missing)))
        }
        _ => Ok(greeting.cluster),
    }
}
