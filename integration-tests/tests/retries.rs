//! Claim 7: a commit whose answer was lost, and which is therefore repeated, is applied once.
//!
//! Each master's peer port has a proxy before it, which the others dial. The leader's proxy loses every answer while a
//! write goes through a follower, until the leader shows the write as done; then it cuts the connections and passes
//! again. A second application would show: a create answers 412 to its own success, a delete 404. And where no answer comes
//! until the end of the request, that is what its client is told.

use std::cell::Cell;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_client::{Client, Condition, Error, PutOptions};
use hayrick_integration_tests::proxy::{Answers, Proxy};
use hayrick_integration_tests::{cluster, ledger, metrics, raw, wait};
use hayrick_launcher::{Cluster, Role};
use tokio::task::block_in_place;

const ROUNDS: usize = 20;
const LANDED_TIMEOUT: Duration = Duration::from_secs(5);
const PUT: &str =
    "PUT /unknown/http HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmeow";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_was_lost_is_applied_once() -> Result<()> {
    let (cluster, proxies) = with_proxies().await?;
    for round in 0..ROUNDS {
        let leader = cluster::leader(&cluster).await?;
        let path = Path::of(&cluster, &proxies, leader)?;
        path.round(round).await.with_context(|| format!("round {round}, leader {leader}"))?;
    }
    metrics::moved("retries::a_commit_whose_answer_was_lost_is_applied_once", &cluster).await?;
    cluster::no_panics(&cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_never_comes_is_504_and_the_write_may_be_there() -> Result<()> {
    let (cluster, proxies) = with_proxies().await?;
    let leader = cluster::leader(&cluster).await?;
    let path = Path::of(&cluster, &proxies, leader)?;
    let follower = cluster.master(leader % 3 + 1).http_addr();
    let file = cluster.dir().join("cat.gif");
    std::fs::write(&file, "meow")?;
    let file = file.to_str().context("a path of UTF-8")?;

    let unknown = path.silent(async || raw::send(follower, PUT.as_bytes()).await).await?;
    ensure!(unknown.status == Some(504), "{:?}", unknown.text);
    ensure!(unknown.body().contains("outcome unknown"), "it says what that means: {:?}", unknown.text);
    let mut command = Command::new(cluster::binary()?);
    command.args(["put", "unknown/put", file, "--server", &follower.to_string()]);
    let output = path.silent(async || Ok(block_in_place(|| command.output())?)).await?;
    ensure!(output.status.code() == Some(5), "{output:?}");
    for key in ["unknown/http", "unknown/put"] {
        path.holds(key, Some("meow")).await.with_context(|| format!("{key} may be there, and is"))?;
    }
    let own = "retries::a_commit_whose_answer_never_comes_is_504_and_the_write_may_be_there";
    metrics::moved(own, &cluster).await?;
    cluster::no_panics(&cluster)
}

/// A cluster whose masters reach each other through these, and the proxy of each.
async fn with_proxies() -> Result<(Cluster, Vec<Proxy>)> {
    let mut cluster = cluster::builder(3)?.build()?;
    let mut proxies = Vec::new();
    for id in 1..=3 {
        let proxy = Proxy::start(cluster.master(id).peer_addr()).await?;
        cluster.advertise_peer(Role::Master, id, proxy.addr());
        proxies.push(proxy);
    }
    block_in_place(|| cluster.start())?;
    cluster::all_up(&cluster, 3).await?;
    Ok((cluster, proxies))
}

/// A write's way: through a follower, over the leader's proxy, to the leader.
struct Path<'a> {
    follower: Client,
    leader: Client,
    proxy: &'a Proxy,
}

impl<'a> Path<'a> {
    fn of(cluster: &Cluster, proxies: &'a [Proxy], leader: u32) -> Result<Self> {
        let client = |id: u32| cluster::client(&[cluster.master(id).http_addr().to_string()]);
        Ok(Self {
            follower: client(leader % 3 + 1)?,
            leader: client(leader)?,
            proxy: &proxies[leader as usize - 1],
        })
    }

    async fn round(&self, round: usize) -> Result<()> {
        let key = format!("retry/{round}");
        let objects = self.leader.status().await?.objects;

        let absent = PutOptions { condition: Condition::Absent, ..PutOptions::default() };
        let create = self.follower.put_with(&key, "once", &absent);
        let created = self.lose_answer(create, async || self.holds(&key, Some("once")).await).await?;
        ensure!(created.created, "the repeated create says replaced");

        let matches = PutOptions { condition: Condition::Matches(created.etag), ..PutOptions::default() };
        let swap = self.follower.put_with(&key, "twice", &matches);
        let swapped = self.lose_answer(swap, async || self.holds(&key, Some("twice")).await).await?;
        ensure!(swapped.version > created.version, "the version did not grow");
        ensure!(self.leader.status().await?.objects == objects + 1, "objects were counted twice");

        let delete = self.follower.delete(&key);
        self.lose_answer(delete, async || self.holds(&key, None).await).await?;
        ensure!(self.leader.status().await?.objects == objects, "the delete was counted twice");
        Ok(())
    }

    /// Runs `write` while the leader's answers are lost all the time; then waits until writes are answered again.
    async fn silent<T>(&self, write: impl AsyncFnOnce() -> Result<T>) -> Result<T> {
        self.proxy.set_answers(Answers::Lose);
        let answer = write().await;
        self.proxy.cut();
        self.proxy.set_answers(Answers::Pass);
        wait::until("the follower takes writes again", cluster::READY_TIMEOUT, async || {
            self.follower.put("unknown/after", "heard").await?;
            Ok(())
        })
        .await?;
        answer
    }

    /// Runs `write` while the leader's answers are lost, until `landed`; then lets them pass and returns its answer.
    async fn lose_answer<T>(
        &self,
        write: impl Future<Output = Result<T, Error>>,
        landed: impl AsyncFn() -> Result<()>,
    ) -> Result<T> {
        let lost_before = self.proxy.lost();
        let answered = Cell::new(false);
        self.proxy.set_answers(Answers::Lose);
        let write = async {
            let answer = write.await;
            answered.set(true);
            answer
        };
        let restore = async {
            let landed =
                wait::until("the write has landed and an answer is lost", LANDED_TIMEOUT, async || {
                    landed().await?;
                    ensure!(self.proxy.lost() > lost_before, "the proxy has lost nothing");
                    Ok(())
                });
            let landed = landed.await;
            let early = answered.get();
            self.proxy.cut();
            self.proxy.set_answers(Answers::Pass);
            landed?;
            // The connections are gone that its answer could have come by: it is lost if it had not come until then.
            ensure!(!early, "the write was answered before anything was repeated");
            Ok(())
        };
        let (answer, lost) = futures_util::future::join(write, restore).await;
        lost?;
        answer.context("the write, its answer lost once")
    }

    async fn holds(&self, key: &str, expected: Option<&str>) -> Result<()> {
        let found = ledger::read(&self.leader, key).await?;
        ensure!(found.as_deref() == expected.map(str::as_bytes), "the leader has {found:?}");
        Ok(())
    }
}
