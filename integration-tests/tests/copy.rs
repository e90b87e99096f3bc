//! `hayrick cp -r` of thousands of files: interrupted or killed at any moment, and with a master killed meanwhile, the same command given
//! again ends with exactly the right tree, both ways.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::TryStreamExt;
use hayrick_client::Client;
use hayrick_integration_tests::content::Content;
use hayrick_integration_tests::{cluster, content, figure, wait};
use hayrick_launcher::Cluster;
use rand::Rng;
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::block_in_place;

const FILES: usize = 5000;
const FILE_BYTES_MAX: usize = 16 << 10;
/// Of those some are read twice, and sent as they are read.
const LARGE_FILES: usize = 5;
const LARGE_FILE_BYTES: usize = 3 << 20;
const VOLUMES: u32 = 4;
const PREFIX: &str = "copied/";
const TIMEOUT: Duration = Duration::from_secs(120);

type Tree = BTreeMap<String, Bytes>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_copy_is_finished_by_the_next_though_a_master_is_killed() -> Result<()> {
    let seed = content::seed("copy");
    let mut moments = content::rng(seed, 1);
    let dir = tempfile::tempdir()?;
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let tree = make_tree(seed, &from)?;
    let cluster = cluster::start(VOLUMES).await?;
    let any = cluster::client_any(&cluster)?;
    let target = format!("hay:{PREFIX}");

    // Up: interrupted, and given again while the leader dies and comes back.
    let up = [path(&from)?, &target];
    let mut moment = || moments.random_range(1..FILES as u64 / 4);
    let first = moment();
    figure::say(&format!("interrupted once {first} of {FILES} are stored"));
    let copy = start(&cluster, &up)?;
    stored(&any, first).await?;
    is_interrupted(&interrupt(copy)?)?;
    let second = any.status().await?.objects + moment();
    figure::say(&format!("the leader is killed once {second} are stored"));
    let copy = start(&cluster, &up)?;
    stored(&any, second).await?;
    let leader = cluster::leader(&cluster).await?;
    block_in_place(|| cluster.master(leader).kill())?;
    is_done(&end(copy)?)?;
    block_in_place(|| cluster.master(leader).start())?;
    cluster::all_up(&cluster, VOLUMES).await?;
    let keys: Vec<String> = any.list_all("").try_collect().await?;
    let expected: Vec<String> = tree.keys().map(|name| format!("{PREFIX}{name}")).collect();
    ensure!(keys == expected, "{} keys are there, {} are right", keys.len(), expected.len());

    // Down: the same, with a follower.
    let down = [target.as_str(), path(&to)?];
    let first = moment();
    figure::say(&format!("interrupted once {first} of {FILES} are fetched"));
    let copy = start(&cluster, &down)?;
    fetched(&to, first).await?;
    is_interrupted(&interrupt(copy)?)?;
    let left = read_tree(&to)?;
    let is_right = |(name, bytes): (&String, &Bytes)| tree.get(name) == Some(bytes);
    ensure!(left.iter().all(is_right), "an interrupted copy leaves whole files, and nothing beside them");
    let second = left.len() as u64 + moment();
    figure::say(&format!("killed once {second} of {FILES} are fetched"));
    let copy = start(&cluster, &down)?;
    fetched(&to, second).await?;
    kill_process(Pid::from_child(&copy), Signal::KILL)?;
    end(copy)?;
    let third = read_tree(&to)?.len() as u64 + moment();
    let copy = start(&cluster, &down)?;
    fetched(&to, third).await?;
    let follower = cluster::leader(&cluster).await? % 3 + 1;
    block_in_place(|| cluster.master(follower).kill())?;
    is_done(&end(copy)?)?;
    ensure!(read_tree(&to)? == tree, "the tree is not the one that was copied");

    block_in_place(|| cluster.master(follower).start())?;
    cluster::all_up(&cluster, VOLUMES).await?;
    let again = end(start(&cluster, &up)?)?;
    is_done(&again)?;
    ensure!(told(&again).contains(&format!("{} there already", tree.len())), "{}", told(&again));
    cluster::no_panics(&cluster)
}

fn make_tree(seed: u64, dir: &Path) -> Result<Tree> {
    let small = Content::randoms(seed, 0, FILES - LARGE_FILES, FILE_BYTES_MAX);
    let large = Content::of_size(seed, LARGE_FILES, LARGE_FILE_BYTES);
    let mut tree = Tree::new();
    for (number, content) in small.chain(large).enumerate() {
        // Of a directory and of a file beside it, whose names differ behind where one ends.
        let name = format!("{}{}/ü {number}.txt", number % 7, ["", "-", "/a"][number % 3]);
        let path = dir.join(&name);
        std::fs::create_dir_all(path.parent().context("it has one")?)?;
        std::fs::write(&path, content.bytes())?;
        tree.insert(name, content.bytes());
    }
    Ok(tree)
}

fn read_tree(dir: &Path) -> Result<Tree> {
    let (mut tree, mut left) = (Tree::new(), vec![dir.to_owned()]);
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(&next)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                left.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(dir)?.to_owned();
                tree.insert(path(&name)?.to_owned(), std::fs::read(entry.path())?.into());
            }
        }
    }
    Ok(tree)
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("it is UTF-8")
}

fn start(cluster: &Cluster, ends: &[&str; 2]) -> Result<Child> {
    let servers: Vec<String> = cluster.client_addrs().iter().map(ToString::to_string).collect();
    let mut command = Command::new(cluster::binary()?);
    command.args(["cp", "-r"]).args(ends).args(["--server", &servers.join(",")]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command.spawn()?)
}

/// Waits until so many objects are stored.
async fn stored(any: &Client, count: u64) -> Result<()> {
    wait::until("enough is stored", TIMEOUT, async || {
        let objects = any.status().await?.objects;
        ensure!(objects >= count, "{objects} of {count}");
        Ok(())
    })
    .await
}

/// Waits until so many files are there, those that are being written counted.
async fn fetched(dir: &Path, count: u64) -> Result<()> {
    wait::until("enough is fetched", TIMEOUT, async || {
        let (mut files, mut left) = (0, vec![dir.to_owned()]);
        while let Some(next) = left.pop() {
            for entry in std::fs::read_dir(&next)?.flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => left.push(entry.path()),
                    // One may have been renamed just now.
                    _ => files += 1,
                }
            }
        }
        ensure!(files >= count, "{files} of {count}");
        Ok(())
    })
    .await
}

fn interrupt(copy: Child) -> Result<Output> {
    kill_process(Pid::from_child(&copy), Signal::INT)?;
    end(copy)
}

fn end(copy: Child) -> Result<Output> {
    Ok(block_in_place(|| copy.wait_with_output())?)
}

fn told(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).into_owned()
}

fn is_interrupted(output: &Output) -> Result<()> {
    let is_so = [Some(1), Some(5)].contains(&output.status.code()) && told(output).contains("interrupted: ");
    ensure!(is_so, "{}: {}", output.status, told(output));
    Ok(())
}

fn is_done(output: &Output) -> Result<()> {
    figure::say(told(output).trim());
    ensure!(output.status.success(), "{}: {}", output.status, told(output));
    Ok(())
}
