//! All masters are lost, the volumes are not: a backup of the index brings back what was in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use hayrick_client::Client;
use hayrick_integration_tests::{cluster, content, ledger};
use hayrick_launcher::Cluster;
use rand::{Rng, RngCore};
use tokio::task::block_in_place;

const VOLUMES: u32 = 3;
const OBJECTS: usize = 60;
const OBJECT_BYTES_MAX: usize = 200 << 10;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(30);
const RESTORE: &str = "HAYRICK_RESTORE";

/// A run of `hayrick` to its end.
fn hayrick(args: &[&str]) -> Result<Output> {
    let mut command = Command::new(cluster::binary()?);
    command.args(args).stdin(Stdio::null());
    block_in_place(|| command.output()).context("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn put(
    client: &Client,
    held: &mut BTreeMap<String, Bytes>,
    key: String,
    rng: &mut impl RngCore,
) -> Result<()> {
    let mut body = vec![0; rng.random_range(0..OBJECT_BYTES_MAX)];
    rng.fill_bytes(&mut body);
    client.put(&key, Bytes::from(body.clone())).await.with_context(|| key.clone())?;
    held.insert(key, body.into());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_backed_up_is_read_back_after_all_masters_are_lost() -> Result<()> {
    let mut rng = content::rng(content::seed("backup"), 1);
    let cluster = cluster::start(VOLUMES).await?;
    let clients = cluster::client_each(&cluster)?;
    let mut held = BTreeMap::new();
    for number in 0..OBJECTS {
        put(&clients[number % 3], &mut held, format!("backed-up/{number}"), &mut rng).await?;
    }
    // Some garbage, too.
    put(&clients[0], &mut held, "backed-up/1".to_owned(), &mut rng).await?;
    clients[1].delete("backed-up/2").await?;
    held.remove("backed-up/2");
    let file = cluster.dir().join("backup");
    take(&cluster, &file).await?;

    let mut later = BTreeMap::new();
    for number in 0..OBJECTS / 2 {
        put(&clients[number % 3], &mut later, format!("later/{number}"), &mut rng).await?;
    }
    // What the backup knows of these is garbage by now, and not reaped yet.
    clients[0].put("backed-up/3", "replaced").await?;
    clients[1].delete("backed-up/4").await?;
    let version = clients[0].head("later/0").await?.version;

    block_in_place(|| cluster.kill_all())?;
    for master in cluster.masters() {
        std::fs::remove_dir_all(master.data_dir())?;
    }
    // A majority will do: the third gets the state by snapshot.
    for id in [1, 2] {
        cluster.master(id).set_env(RESTORE, &file);
    }
    block_in_place(|| cluster.start_all())?;
    cluster::all_up(&cluster, VOLUMES).await?;
    for client in &clients {
        for (key, body) in &held {
            let found = ledger::read(client, key).await.with_context(|| key.clone())?;
            ensure!(found.as_ref() == Some(body), "{key} is not what it was in the backup");
        }
        for key in later.keys().map(String::as_str).chain(["backed-up/2"]) {
            ensure!(ledger::read(client, key).await?.is_none(), "{key} is not in the backup");
        }
    }
    for number in 0..OBJECTS {
        put(&clients[number % 3], &mut held, format!("new/{number}"), &mut rng).await?;
    }
    let new = clients[2].head("new/0").await?.version;
    ensure!(new > version, "version {new} was handed out before, the last one was {version}");
    for (number, (key, body)) in held.iter().enumerate() {
        let found = ledger::read(&clients[number % 3], key).await?;
        ensure!(found.as_ref() == Some(body), "{key} reads back as something else");
    }
    restored_once(&cluster, &held).await?;
    cluster::no_panics(&cluster)
}

async fn take(cluster: &Cluster, file: &Path) -> Result<()> {
    let server = cluster.client_addrs()[1].to_string();
    let path = file.to_str().context("a path of UTF-8")?;
    let output = hayrick(&["backup", path, "--server", &server])?;
    let said = text(&output.stdout);
    ensure!(output.status.success(), "{}", text(&output.stderr));
    ensure!(said.contains(&format!(": {} objects, ", OBJECTS - 1)), "{said}");
    let piped = hayrick(&["backup", "-", "--server", &server])?;
    ensure!(piped.status.success() && piped.stdout.starts_with(b"hrickBAK"), "{}", text(&piped.stderr));

    // What cannot be used is refused in a sentence, and nothing is left behind that would be refused the next time.
    let whole = std::fs::read(file)?;
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    let mut later = whole.clone();
    later[8] = 2;
    let cut = &whole[..whole.len() - 9];
    for (bytes, word) in [
        (&damaged[..], "bad was not restored: it is damaged at byte"),
        (&damaged[..], "Copy it again from where it was written"),
        (cut, "cut off"),
        (&later[..], "format version 2"),
        (b"?", "no backup"),
    ] {
        let (bad, data) = (cluster.dir().join("bad"), cluster.dir().join("refused"));
        std::fs::write(&bad, bytes)?;
        let [bad, data] = [&bad, &data].map(|path| path.to_str().unwrap_or_default());
        let ports = ["--listen", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0"];
        let flags = ["master", "--id", "1", "--masters", "1=127.0.0.1:1", "--data", data, "--restore", bad];
        let output = hayrick(&[&flags[..], &ports].concat())?;
        let said = text(&output.stderr);
        ensure!(output.status.code() == Some(1) && said.contains(word), "{word:?}: {said}");
        ensure!(!Path::new(data).exists(), "{word:?}: something is left behind");
    }
    Ok(())
}

/// The flag does nothing a second time: neither in a directory that was restored, nor for a master that has voted since.
async fn restored_once(cluster: &Cluster, held: &BTreeMap<String, Bytes>) -> Result<()> {
    let victim = cluster.master(2);
    let client = cluster::client(&[victim.http_addr().to_string()])?;
    let ends = |words: &str| -> Result<()> {
        let status = block_in_place(|| {
            victim.spawn()?;
            victim.wait_ended(REFUSAL_TIMEOUT)
        })?;
        let said = victim.log_tail();
        ensure!(!status.success() && said.contains(words), "it does not say {words:?}: {said}");
        Ok(())
    };
    block_in_place(|| victim.stop())?;
    ends("start it without --restore")?;

    let aside = victim.data_dir().with_extension("aside");
    std::fs::rename(victim.data_dir(), &aside)?;
    ends("the cluster knows master 2 by another data directory")?;

    std::fs::remove_dir_all(victim.data_dir())?;
    std::fs::rename(&aside, victim.data_dir())?;
    victim.unset_env(RESTORE);
    block_in_place(|| victim.start())?;
    cluster::all_up(cluster, VOLUMES).await?;
    let (key, body) = held.iter().next_back().context("there are objects")?;
    ensure!(ledger::read(&client, key).await?.as_ref() == Some(body), "{key} reads back as something else");
    Ok(())
}
