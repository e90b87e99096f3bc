//! Why an object is where it is: what every master says of it, what is said of its copies, and that what is foretold of a
//! volume's death is what happens when it dies.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_client::Client;
use hayrick_client::explanation::{CopyState, Explanation, MemberShown};
use hayrick_integration_tests::content::{self, Content};
use hayrick_integration_tests::{cluster, command, raw, segments, wait};
use tokio::task::block_in_place;

const OBJECTS: usize = 60;
const SIZE_BYTES: usize = 3000;
const STATE_TIMEOUT: Duration = Duration::from_secs(60);
const HEALED_TIMEOUT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_master_says_the_same_of_an_object_and_of_one_that_is_not_there() -> Result<()> {
    let cluster = cluster::start(4).await?;
    let clients = cluster::client_each(&cluster)?;
    settled(&clients[0]).await?;
    let key = "photos/große katze?.jpg";
    clients[0].put(key, "meow").await?;
    let head = clients[0].head(key).await?;
    let mut told = BTreeSet::new();
    for client in &clients {
        let mut shown = client.explain(key, None).await?;
        let placement = shown.placement.as_ref().context("it lies somewhere")?;
        ensure!(shown.exists && shown.key == key && shown.without.is_none() && shown.moving.is_none());
        ensure!(ids(&placement.members) == cluster::volumes_of(&head.placement), "{placement:?}, {head:?}");
        ensure!(placement.is_current && shown.current.as_ref() == Some(placement), "{shown:?}");
        ensure!(states(placement.members.iter()) == [Some(CopyState::Verified); 3], "{placement:?}");
        ensure!(placement.members.iter().all(|member| member.state == "up"), "{placement:?}");
        let taken: BTreeSet<u32> =
            shown.ring.steps.iter().filter(|step| step.taken).map(|step| step.volume).collect();
        ensure!(taken == ids(&placement.members).into_iter().collect(), "{:?}", shown.ring);
        ensure!(shown.ring.steps.len() == 4, "each volume was taken or passed over: {:?}", shown.ring);
        let object = shown.object.as_ref().context("there is one")?;
        ensure!((&object.etag, object.size, object.needle) == (&head.etag, 4, head.needle), "{object:?}");
        shown.node = 0;
        told.insert(shown.to_string());
    }
    ensure!(told.len() == 1, "{told:#?}");

    let missing = clients[1].explain("photos/dog.jpg", Some(1)).await?;
    ensure!(!missing.exists && missing.object.is_none() && missing.placement.is_none(), "{missing:?}");
    let current = missing.current.context("its partition has a placement")?;
    ensure!(states(current.members.iter()) == [None; 3], "{current:?}");
    ensure!(missing.without.is_some_and(|without| without.writes_go_to == [2, 3, 4]));

    let addr = cluster.master(2).http_addr();
    as_it_is_asked_for(addr).await?;
    let (text, code) = command::run(&cluster, &["explain", key])?;
    ensure!(code == 0 && text.contains("its copy is verified"), "{code}: {text}");
    let (text, code) = command::run(&cluster, &["explain", "photos/dog.jpg", "--json"])?;
    let json: serde_json::Value = serde_json::from_str(&text)?;
    ensure!(code == 3 && json["exists"] == false, "{code}: {text}");
    let (text, code) = command::run(&cluster, &["explain", key, "--without", "9"])?;
    ensure!(code == 2 && text.contains("there are 1, 2, 3, 4"), "{code}: {text}");
    cluster::no_panics(&cluster)
}

/// JSON for programs, text for people; and what cannot be meant is refused.
async fn as_it_is_asked_for(addr: SocketAddr) -> Result<()> {
    let ask = async |target: &str, accept: &str| {
        let request =
            format!("GET /-/explain/{target} HTTP/1.1\r\nHost: x\r\n{accept}Connection: close\r\n\r\n");
        raw::send(addr, request.as_bytes()).await
    };
    for (accept, kind) in [
        ("", "application/json"),
        ("Accept: application/json\r\n", "application/json"),
        ("Accept: */*\r\n", "text/plain; charset=utf-8"),
        ("Accept: text/plain\r\n", "text/plain; charset=utf-8"),
    ] {
        let answer = ask("photos/dog.jpg", accept).await?;
        ensure!(answer.status == Some(200) && answer.field("content-type") == Some(kind), "{answer:?}");
    }
    for (target, why) in [
        ("a?without=9", "there are 1, 2, 3, 4"),
        ("a?without=x", "there are 1, 2, 3, 4"),
        ("a?wihtout=1", "is no parameter; this request takes without"),
        ("", "key"),
    ] {
        let answer = ask(target, "").await?;
        ensure!(answer.status == Some(400) && answer.body().contains(why), "{target}: {answer:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_damaged_or_whose_volume_is_dead_is_said_to_be() -> Result<()> {
    let seed = content::seed("explain damage");
    let cluster = cluster::start(3).await?;
    let any = cluster::client_any(&cluster)?;
    // Of several pieces, of which a later one is damaged.
    let content = Content { seed, size_bytes: 3 << 20 };
    any.put("large", content.bytes()).await?;
    let volume = cluster.volume(2);
    let id = volume.server_id().context("it has an id")?;
    let bytes = content.bytes();
    let at = segments::find(volume.data_dir(), &bytes[..64])?.context("it lies there")?;
    segments::flip(&at.0, at.1 + (5 << 19))?;
    let shown = any.explain("large", None).await?;
    let copies = copies_of(&shown)?;
    ensure!(copies[&id] == CopyState::Damaged, "{shown:?}");
    ensure!(copies.values().filter(|copy| **copy == CopyState::Verified).count() == 2, "{shown:?}");
    wait::until("it is mended", HEALED_TIMEOUT, async || {
        let shown = any.explain("large", None).await?;
        ensure!(
            states(shown.placement.iter().flat_map(|row| &row.members)) == [Some(CopyState::Verified); 3],
            "{shown}"
        );
        Ok(())
    })
    .await?;
    block_in_place(|| volume.kill())?;
    wait::until("it is known to be down, and its copy not to be reached", STATE_TIMEOUT, async || {
        let shown = any.explain("large", None).await?;
        let placement = shown.placement.as_ref().context("it lies somewhere")?;
        ensure!(copies_of(&shown)?[&id] == CopyState::Unreachable, "{shown}");
        ensure!(!placement.is_current && placement.why.contains(&format!("volume {id} is down")), "{shown}");
        Ok(())
    })
    .await?;
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_foretold_of_a_volumes_death_is_what_happens() -> Result<()> {
    let seed = content::seed("foretold");
    let builder = cluster::builder(5)?.master_arg("--repair-after").master_arg("1s");
    let cluster = cluster::start_with(builder, 5).await?;
    let any = cluster::client_any(&cluster)?;
    let mut rng = content::rng(seed, 0);
    settled(&any).await?;
    let keys: Vec<String> = (0..OBJECTS).map(|number| format!("foretold/{number}")).collect();
    for key in &keys {
        any.put(key, Content::random(&mut rng, SIZE_BYTES).bytes()).await?;
    }
    let lost = cluster.volume(1).server_id().context("it has an id")?;
    let mut foretold: BTreeMap<&String, Explanation> = BTreeMap::new();
    for key in &keys {
        // Any master can tell.
        let client = &cluster::client_each(&cluster)?[foretold.len() % 3];
        foretold.insert(key, client.explain(key, Some(lost)).await?);
    }
    block_in_place(|| cluster.volume(1).kill())?;
    healed(&any, lost).await?;
    let mut moved = 0;
    for (key, before) in &foretold {
        let after = any.explain(key, None).await?;
        let without = before.without.as_ref().context("it was asked for")?;
        let members = |shown: &Explanation| -> Result<BTreeSet<u32>> {
            let placement = shown.placement.as_ref().context("it lies somewhere")?;
            Ok(ids(&placement.members).into_iter().collect())
        };
        let mut expected = members(before)?;
        let was_member = expected.remove(&lost);
        ensure!(was_member == without.holds_it, "{before}");
        ensure!(without.copies_left == Some(if was_member { 2 } else { 3 }), "{before}");
        ensure!(without.newcomer.is_some() == was_member, "{before}");
        expected.extend(without.newcomer);
        ensure!(members(&after)? == expected, "foretold: {before}\nwhat came: {after}");
        let writes = after.current.as_ref().map(|row| ids(&row.members));
        ensure!(writes.as_ref() == Some(&without.writes_go_to), "foretold: {before}\nwhat came: {after}");
        moved += usize::from(was_member);
    }
    ensure!(moved > OBJECTS / 4, "only {moved} objects were on it");
    cluster::no_panics(&cluster)
}

/// Waits until the table is that of the volumes there are: the last of them may have come after the first table.
async fn settled(client: &Client) -> Result<()> {
    wait::until("the table fits the volumes", STATE_TIMEOUT, async || {
        for number in 0..OBJECTS {
            let shown = client.explain(&format!("settled/{number}"), None).await?;
            let current = shown.current.as_ref().context("its partition takes no writes yet")?;
            ensure!(shown.ring.has(current), "{shown}");
        }
        Ok(())
    })
    .await
}

async fn healed(client: &Client, lost: u32) -> Result<()> {
    wait::until("every object has all its copies", HEALED_TIMEOUT, async || {
        let status = client.status().await?;
        let state = cluster::volume_state(&status, lost);
        ensure!(
            state == "down" && status.under_replicated == 0,
            "it is {state}, {} lack",
            status.under_replicated
        );
        Ok(())
    })
    .await
}

fn ids(members: &[MemberShown]) -> Vec<u32> {
    members.iter().map(|member| member.volume).collect()
}

fn states<'a>(members: impl Iterator<Item = &'a MemberShown>) -> Vec<Option<CopyState>> {
    members.map(|member| member.copy.as_ref().map(|copy| copy.state)).collect()
}

fn copies_of(shown: &Explanation) -> Result<BTreeMap<u32, CopyState>> {
    let placement = shown.placement.as_ref().context("it lies somewhere")?;
    Ok(placement.members.iter().filter_map(|of| Some((of.volume, of.copy.as_ref()?.state))).collect())
}
