//! A master whose directory is an older state of itself is not let back in: it may have voted, and acknowledged writes, that
//! it knows nothing of.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::gate::Gate;
use hayrick_integration_tests::{cluster, directory, objects, wait};
use hayrick_launcher::{Cluster, Process};
use tokio::task::block_in_place;

const VOLUMES: u32 = 3;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(30);
/// `Greet`, as `protocol/src/messages/master.rs` numbers it.
const GREET: u16 = 0x0207;
/// What is seen is written down every few seconds.
const SEEN_TIMEOUT: Duration = Duration::from_secs(60);
/// Records of the log, as docs/format.md has them: first byte, kinds, and bytes in front of the payload.
const RECORD: u8 = 0xa7;
const ENTRY: u8 = 1;
const START: u8 = 7;
const RECORD_HEAD: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_was_set_back_is_stopped_by_those_that_went_on() -> Result<()> {
    let cluster = cluster::start(VOLUMES).await?;
    let leader = cluster::leader(&cluster).await?;
    for id in [leader % 3 + 1, leader] {
        let victim = cluster.master(id);
        let other = id % 3 + 1;
        let old = old_state(&cluster, victim).await?;
        advance(&cluster, id, &format!("{id}/after")).await?;

        block_in_place(|| victim.kill())?;
        let newest = victim.data_dir().with_extension("newest");
        std::fs::rename(victim.data_dir(), &newest)?;
        for _ in 0..2 {
            directory::copy(&old, victim.data_dir())?;
            refused(victim)?;
            std::fs::remove_dir_all(victim.data_dir())?;
        }
        objects::put(&cluster, other, &format!("{id}/meanwhile")).await?;

        std::fs::rename(&newest, victim.data_dir())?;
        block_in_place(|| victim.start())?;
        cluster::all_up(&cluster, VOLUMES).await?;
        for prefix in ["after", "meanwhile"] {
            objects::intact(&cluster, id, &format!("{id}/{prefix}")).await?;
        }
    }
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_was_set_back_while_all_were_down_is_stopped_too() -> Result<()> {
    let cluster = cluster::start(VOLUMES).await?;
    let victim = cluster.master(cluster::leader(&cluster).await?);
    let old = old_state(&cluster, victim).await?;
    advance(&cluster, victim.number(), "after").await?;
    cluster.kill_all()?;
    std::fs::remove_dir_all(victim.data_dir())?;
    directory::copy(&old, victim.data_dir())?;

    let others: Vec<&Process> =
        cluster.masters().iter().filter(|master| master.number() != victim.number()).collect();
    block_in_place(|| {
        // With one of the others it would be a majority.
        victim.spawn()?;
        for process in others.iter().copied().chain(cluster.volumes()) {
            process.spawn()?;
        }
        Ok::<_, hayrick_launcher::Error>(())
    })?;
    ended_saying_rolled_back(victim)?;
    for other in others {
        objects::put(&cluster, other.number(), &format!("through/{}", other.number())).await?;
        objects::intact(&cluster, other.number(), "after").await?;
    }
    cluster::no_panics(&cluster)
}

/// Found by `hayrick prove --mix wrong-disks --seconds 180 --seed 1`: a master with an older disk named the leader of an earlier term,
/// before it was told that it was set back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_takes_part_in_nothing_yet_names_no_leader_of_its_disk() -> Result<()> {
    let mut cluster = cluster::builder(VOLUMES)?.build()?;
    let gates = Gate::before_masters(&mut cluster).await?;
    block_in_place(|| cluster.start())?;
    cluster::all_up(&cluster, VOLUMES).await?;
    let leader = cluster::leader(&cluster).await?;
    let waiting = cluster.master(leader % 3 + 1);
    objects::put(&cluster, waiting.number(), "before").await?;
    block_in_place(|| waiting.kill())?;
    gates.iter().for_each(|gate| gate.hold(GREET));
    block_in_place(|| waiting.start())?;
    let gate = &gates[leader as usize - 1];
    wait::until("it reaches the leader, and has no answer", REFUSAL_TIMEOUT, async || {
        ensure!(gate.counts().held > 0, "{:?}", gate.counts());
        Ok(())
    })
    .await?;
    let client = cluster::client(&[waiting.http_addr().to_string()])?;
    let status = client.status().await?;
    ensure!(status.leader.is_none(), "it names master {:?} in term {}", status.leader, status.term);

    gates.iter().for_each(Gate::release);
    wait::until("it hears the leader", REFUSAL_TIMEOUT, async || {
        let named = client.status().await?.leader;
        ensure!(named.is_some(), "it names {named:?}");
        Ok(())
    })
    .await?;
    cluster::no_panics(&cluster)
}

/// To the disk it looks like a record that was being written when the power failed, which nobody was told of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_whose_last_log_record_was_flipped_is_stopped_too() -> Result<()> {
    let cluster = cluster::start(VOLUMES).await?;
    let leader = cluster::leader(&cluster).await?;
    let victim = cluster.master(leader % 3 + 1);
    objects::put(&cluster, victim.number(), "before").await?;
    block_in_place(|| victim.kill())?;
    let sound = victim.data_dir().with_extension("sound");
    directory::copy(victim.data_dir(), &sound)?;
    flip_last_entry(&victim.data_dir().join("raft").join("log"))?;
    refused(victim)?;

    objects::put(&cluster, leader, "meanwhile").await?;
    std::fs::remove_dir_all(victim.data_dir())?;
    std::fs::rename(&sound, victim.data_dir())?;
    block_in_place(|| victim.start())?;
    cluster::all_up(&cluster, VOLUMES).await?;
    for prefix in ["before", "meanwhile"] {
        objects::intact(&cluster, victim.number(), prefix).await?;
    }
    cluster::no_panics(&cluster)
}

/// Flips a bit in an entry that was surely acknowledged, with some others behind it, and takes away what follows: marks and
/// later entries, from which the log itself would tell that it is damage.
fn flip_last_entry(log: &Path) -> Result<()> {
    const ENTRIES_BEHIND: usize = objects::COUNT / 2;
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(log)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    files.sort();
    let mut found = Vec::new();
    for (file, path) in files.iter().enumerate() {
        let bytes = std::fs::read(path)?;
        let starts = |at: &usize| bytes[*at] == RECORD && bytes[at + 1] == START;
        let mut at = (0..bytes.len() - RECORD_HEAD).step_by(8).find(starts).unwrap_or(bytes.len());
        while at + RECORD_HEAD <= bytes.len() && bytes[at] == RECORD {
            if bytes[at + 1] == ENTRY {
                found.push((file, at));
            }
            let payload = u32::from_le_bytes(bytes[at + 4..at + 8].try_into()?) as usize;
            at += (RECORD_HEAD + payload).next_multiple_of(8);
        }
    }
    let (file, at) = *found.iter().rev().nth(ENTRIES_BEHIND).context("the log has more entries")?;
    ensure!(
        file + 1 == files.len() || found.last().is_some_and(|(last, _)| *last == file),
        "another file follows"
    );
    let mut bytes = std::fs::read(&files[file])?;
    bytes[at + RECORD_HEAD + 24] ^= 0x10;
    let payload = u32::from_le_bytes(bytes[at + 4..at + 8].try_into()?) as usize;
    let end = at + (RECORD_HEAD + payload).next_multiple_of(8);
    bytes[end..].fill(0);
    Ok(std::fs::write(&files[file], bytes)?)
}

/// A copy of what this master's disk held before it went on.
async fn old_state(cluster: &Cluster, victim: &Process) -> Result<PathBuf> {
    objects::put(cluster, victim.number(), &format!("{}/before", victim.number())).await?;
    block_in_place(|| victim.stop())?;
    let old = victim.data_dir().with_extension("old");
    directory::copy(victim.data_dir(), &old)?;
    block_in_place(|| victim.start())?;
    cluster::all_up(cluster, VOLUMES).await?;
    Ok(old)
}

/// Writes, and waits until both others have written down that this master has it.
async fn advance(cluster: &Cluster, id: u32, prefix: &str) -> Result<()> {
    let witnesses = [id % 3 + 1, (id + 1) % 3 + 1];
    let before = witnesses.map(|witness| seen(cluster, witness, id).unwrap_or(0));
    objects::put(cluster, id, prefix).await?;
    wait::until("the others write down what they saw", SEEN_TIMEOUT, async || {
        for (witness, before) in witnesses.iter().zip(before) {
            let now = seen(cluster, *witness, id)?;
            ensure!(now > before + objects::COUNT as u64 / 2, "master {witness} saw {before} and now {now}");
        }
        Ok(())
    })
    .await
}

/// The committed entry that `witness` wrote down to have seen on master `id`.
fn seen(cluster: &Cluster, witness: u32, id: u32) -> Result<u64> {
    let text = std::fs::read_to_string(cluster.master(witness).data_dir().join("masters-seen"))?;
    let line = text.lines().find(|line| line.starts_with(&format!("{id} "))).context("not seen yet")?;
    let words: Vec<&str> = line.split(' ').collect();
    let at = words.iter().position(|word| *word == "committed").context("it says what is committed")?;
    Ok(words[at + 1].parse()?)
}

fn refused(victim: &Process) -> Result<()> {
    block_in_place(|| victim.spawn())?;
    ended_saying_rolled_back(victim)
}

fn ended_saying_rolled_back(victim: &Process) -> Result<()> {
    let status = block_in_place(|| victim.wait_ended(REFUSAL_TIMEOUT))?;
    let (said, id) = (victim.log_tail(), victim.number());
    ensure!(!status.success(), "it ended with {status}: {said}");
    for words in ["was rolled back", "put the newest state back", &format!("hayrick master remove {id}")] {
        ensure!(said.contains(words), "it does not say {words:?}: {said}");
    }
    Ok(())
}
