//! A PUT whose way to the end is closed while it is under way is begun anew, or handed over, and its client hears nothing of
//! it. And a master that stops leaves nothing behind that would have to be closed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_chaos::relay::{Cause, Links, Node, Trouble};
use hayrick_client::{Client, VolumeChange};
use hayrick_integration_tests::gate::Gate;
use hayrick_integration_tests::{cluster, ledger, metrics, raw, wait};
use hayrick_launcher::Cluster;
use tokio::task::block_in_place;

const TIMEOUT: Duration = Duration::from_secs(40);
/// `Propose`, as `protocol/src/messages/master.rs` numbers it.
const PROPOSE: u16 = 0x0202;
/// Longer than anything here takes on a busy machine.
const LONG: [&str; 2] = ["--request-timeout", "20s"];
const FENCE_AFTER: [&str; 2] = ["--fence-after", "1s"];
const FENCED: &str = "hayrick_leader_fenced_epochs_total";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_whose_placement_changed_under_it_is_stored_where_it_belongs_now() -> Result<()> {
    let mut cluster = cluster::with_master_args(cluster::builder(4)?, &LONG).build()?;
    let gates = Gate::before_masters(&mut cluster).await?;
    block_in_place(|| cluster.start())?;
    cluster::all_up(&cluster, 4).await?;
    let leader = cluster::leader(&cluster).await?;
    let (leads, follows) = (client_of(&cluster, leader)?, client_of(&cluster, leader % 3 + 1)?);
    follows.put("moved", "before").await?;
    let before = leads.explain("moved", None).await?.current.context("it takes writes")?;
    let member = before.members.first().context("it has members")?.volume;

    // All members have the bytes; what says so does not arrive.
    let gate = &gates[leader as usize - 1];
    gate.hold(PROPOSE);
    let put = {
        let follows = follows.clone();
        tokio::spawn(async move { follows.put("moved", "after").await })
    };
    wait::until("its commit waits", TIMEOUT, async || {
        ensure!(gate.counts().held > 0, "{:?}", gate.counts());
        Ok(())
    })
    .await?;
    leads.change_volume(member.into(), VolumeChange::Drain).await?;
    wait::until("its partition is written elsewhere", TIMEOUT, async || {
        let now = leads.explain("moved", None).await?.current.context("it takes writes")?;
        ensure!(now.id != before.id, "placement {} takes its writes", now.id);
        Ok(())
    })
    .await?;
    gate.release();
    put.await?.context("the PUT, its placement changed")?;
    let lies_on = cluster::volumes_of(&follows.head("moved").await?.placement);
    ensure!(lies_on.len() == 3 && !lies_on.contains(&member), "it lies on {lies_on:?}, not on {member}");
    reads(&cluster, "moved", b"after").await?;
    let own = "begun_anew::a_put_whose_placement_changed_under_it_is_stored_where_it_belongs_now";
    metrics::moved(own, &cluster).await?;
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_of_a_master_that_was_given_up_meanwhile_is_stored_under_a_new_epoch() -> Result<()> {
    let cluster = cluster::start_set(3, &FENCE_AFTER).await?;
    let leader = cluster::leader(&cluster).await?;
    let paused = cluster.master(leader % 3 + 1);
    // It may find out only by a write, and stand for election when it is back: until that is over it is asked again.
    let client = Client::builder([paused.http_addr().to_string()]).patience(TIMEOUT).build()?;
    client.put("epoch", "before").await?;
    block_in_place(|| paused.pause())?;
    fenced(&cluster, leader).await?;
    block_in_place(|| paused.resume())?;
    client.put("epoch", "after").await?;
    reads(&cluster, "epoch", b"after").await?;
    let own = "begun_anew::a_put_of_a_master_that_was_given_up_meanwhile_is_stored_under_a_new_epoch";
    metrics::moved(own, &cluster).await?;
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_whose_master_does_not_reach_a_volume_is_handed_over() -> Result<()> {
    let mut cluster = cluster::with_master_args(cluster::builder(3)?, &LONG).build()?;
    // Nothing is torn, so nothing is drawn.
    let links = Links::new(0);
    let addr = links.before(cluster.volume(1).peer_addr(), || Node::Volume(1)).await?;
    cluster.volume(1).set_flag("--peer-advertise", addr.to_string());
    block_in_place(|| cluster.start())?;
    cluster::all_up(&cluster, 3).await?;
    let leader = cluster::leader(&cluster).await?;
    let cut_off = leader % 3 + 1;
    let held = Trouble { held: true, ..Trouble::default() };
    links.trouble(Cause(1), Node::Master(cut_off.into()), Node::Volume(1), held);
    let put = "PUT /handed/over HTTP/1.1\r\nHost: x\r\nX-Request-Id: handed-1\r\nConnection: close\r\nContent-Length: 5\r\n\r\nwhole";
    let answer = raw::send(cluster.master(cut_off).http_addr(), put.as_bytes()).await?;
    ensure!(answer.status == Some(201), "{:?}", answer.text);
    // Twice it waited for the volume in vain: that is slow, and said.
    wait::until("its master tells of a slow request", TIMEOUT, async || {
        let log = std::fs::read_to_string(cluster.master(cut_off).log_path())?;
        let slow = log.lines().find(|line| line.contains("a slow request")).context("it does not")?;
        let all = ["WARN", "/handed/over", "201", "handed-1", "replication "];
        ensure!(all.iter().all(|part| slow.contains(part)), "{slow}");
        Ok(())
    })
    .await?;
    let lies_on = cluster::volumes_of(&client_of(&cluster, cut_off)?.head("handed/over").await?.placement);
    ensure!(lies_on.len() == 3, "no volume is done without: {lies_on:?}");
    reads(&cluster, "handed/over", b"whole").await?;
    metrics::moved("begun_anew::a_put_whose_master_does_not_reach_a_volume_is_handed_over", &cluster).await?;
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_stops_fences_its_own_epoch_and_one_that_dies_is_fenced() -> Result<()> {
    let builder = cluster::with_master_args(cluster::builder(3)?, &FENCE_AFTER).masters(5);
    let cluster = cluster::start_with(builder, 3).await?;
    let leader = cluster::leader(&cluster).await?;
    let (stops, dies) = (cluster.master(leader % 5 + 1), cluster.master((leader + 1) % 5 + 1));
    for master in [stops, dies] {
        client_of(&cluster, master.number())?.put("before", "kept").await?;
    }
    block_in_place(|| stops.stop())?;
    block_in_place(|| dies.kill())?;
    // The one that stopped has been silent for longer: had it left its epoch, that would be fenced, too.
    let fenced = fenced(&cluster, leader).await?;
    ensure!(fenced == 1.0, "{fenced} epochs were fenced by the leader");
    for master in [stops, dies] {
        block_in_place(|| master.start())?;
    }
    cluster::all_up(&cluster, 3).await?;
    reads(&cluster, "before", b"kept").await?;
    cluster::no_panics(&cluster)
}

/// Waits until the leader has fenced an epoch; how many it was.
async fn fenced(cluster: &Cluster, leader: u32) -> Result<f64> {
    wait::until("an epoch is fenced by the leader", TIMEOUT, async || {
        let shown = metrics::of(cluster.master(leader)).await?;
        let fenced = shown.get(FENCED).copied().context(FENCED)?;
        ensure!(fenced > 0.0, "none is");
        Ok(fenced)
    })
    .await
}

/// Whether every master reads this.
async fn reads(cluster: &Cluster, key: &str, bytes: &[u8]) -> Result<()> {
    for client in cluster::client_each(cluster)? {
        let found = ledger::read(&client, key).await?;
        ensure!(found.as_deref() == Some(bytes), "{key} reads {found:?}");
    }
    Ok(())
}

fn client_of(cluster: &Cluster, id: u32) -> Result<Client> {
    cluster::client(&[cluster.master(id).http_addr().to_string()])
}
