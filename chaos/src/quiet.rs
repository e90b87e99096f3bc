//! After the storm: everything is made well, and then all is looked at.
//!
//! Healing is timed from the outside, with the load still on. Then the clients stop, repair gets the time that it needs, the
//! masters' states are compared, the masters are restarted so that writes which nobody committed are nobody's for good, and
//! every key is read through every master.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use hayrick_launcher::Role;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, timeout};

use crate::history::{Answer, Call, History, Value};
use crate::record::{CheckSeen, Quiet, StateSeen};
use crate::scene::{PAUSE, Scene};
use crate::workload::ask;

/// Between two readings of all copies.
const MENDED_PAUSE: Duration = Duration::from_secs(1);
/// Reading all copies takes seconds.
const READ_COPIES_TIMEOUT: Duration = Duration::from_secs(20);
const AGREED_TIMEOUT: Duration = Duration::from_secs(10);
const HASH_TIMEOUT: Duration = Duration::from_secs(10);
/// A key that cannot be read at once may be on a server that is busy.
const READ_AGAIN: u32 = 20;
/// So long after the time for all keys the last of them may still be tried again.
const READ_OVERTIME: Duration = Duration::from_secs(5);
/// Keys that are read at a time.
const READS_AT_ONCE: usize = 12;

/// Undoes whatever is still broken: every link passes, every disk is well, every member runs.
pub(crate) fn heal(scene: &Scene) -> Result<()> {
    scene.links.heal();
    for role in [Role::Master, Role::Volume] {
        for number in scene.members(role) {
            scene.resume((role, number))?;
            if scene.layout.is_chaos {
                scene.order_disk((role, number), "")?;
            }
        }
    }
    scene.start_all()
}

/// How long it takes from now until every master takes a write, and gives it back; who ends meanwhile is started again.
pub(crate) async fn serves_again(scene: &Arc<Scene>, patience: Duration) -> (Option<u64>, Option<u64>) {
    let began = Instant::now();
    let (mut written, mut read) = (None, None);
    while began.elapsed() < patience && (written.is_none() || read.is_none()) {
        // A server that had given up its disk ends late.
        let _ = scene.start_all();
        let masters = scene.members(Role::Master);
        let each = masters.iter().map(|master| async move {
            let key = format!("probe/{master}");
            let stored = scene.client(*master).put(&key, "probe").await.is_ok();
            (stored, stored && scene.client(*master).get(&key).await.is_ok())
        });
        let answers: Vec<(bool, bool)> = join_all(each).await;
        let after = || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if written.is_none() && answers.iter().all(|(stored, _)| *stored) {
            written = Some(after());
        }
        if read.is_none() && answers.iter().all(|(_, given)| *given) {
            read = Some(after());
        }
        sleep(PAUSE).await;
    }
    (written, read)
}

/// Looks at all of it, once no client is at work any more. Each of what has to come to an end by itself has that long, and
/// all of it three times as long; to read all keys there is that long again. If it `ends_early`, the first thing that does not
/// come to its end is the last one looked at.
pub(crate) async fn look(
    scene: &Arc<Scene>,
    history: &History,
    quiet: &mut Quiet,
    patience: Duration,
    ends_early: bool,
) {
    let deadline = Instant::now() + 3 * patience;
    let left = || patience.min(deadline.saturating_duration_since(Instant::now()));
    quiet.unfinished.extend(repaired(scene, left()).await.err().map(in_words));
    if quiet.unfinished.is_empty() || !ends_early {
        // What only a master's memory holds is gone with a new start.
        quiet.states_before = states(scene).await;
    }
    for number in scene.members(Role::Master) {
        if ends_early && !(quiet.unfinished.is_empty() && quiet.not_back.is_empty()) {
            return;
        }
        quiet.not_back.extend(restart(scene, number, left()).await.err().map(in_words));
    }
    match timeout(2 * left() + READ_COPIES_TIMEOUT, swept(scene, left())).await {
        Ok(Ok(seen)) => quiet.check = Some(seen),
        Ok(Err(error)) => quiet.unfinished.push(in_words(error.context("the check of all copies"))),
        Err(_) => quiet.unfinished.push("the check of all copies did not end in time".to_owned()),
    }
    read_all(scene, history, quiet, Instant::now() + patience).await;
    quiet.states = states(scene).await;
}

fn in_words(trouble: anyhow::Error) -> String {
    format!("{trouble:#}")
}

async fn repaired(scene: &Arc<Scene>, patience: Duration) -> Result<()> {
    let what = "all volumes are up and every object has its copies";
    scene.until(what, patience, async || scene.is_whole().await).await
}

/// An epoch ends with its gateway: what was appended under it and never committed is nobody's from then on.
async fn restart(scene: &Arc<Scene>, number: u32, patience: Duration) -> Result<()> {
    let process = scene.process((Role::Master, number));
    if process.is_running() {
        block_in_place(|| process.stop())?;
    }
    scene.spawn((Role::Master, number))?;
    let what = format!("master {number} serves after a restart");
    scene.until(&what, patience, async || Ok(scene.client(number).ready().await?)).await
}

/// Waits until what is nobody's is gone, and reads every copy of all that is left.
async fn swept(scene: &Arc<Scene>, patience: Duration) -> Result<CheckSeen> {
    let any = scene.members(Role::Master).first().copied().context("there is no master")?;
    let client = scene.client(any);
    let swept = scene
        .until("what is nobody's is gone", patience, async || {
            let total = client.check(false, |_| ()).await?.total;
            for (what, sum) in [
                ("nobody's", total.orphan),
                ("unaccounted for", total.unaccounted),
                ("left over", total.left_over),
                ("moving", total.moving),
            ] {
                ensure!(sum.needles == 0, "{} needles are {what}, {} bytes", sum.needles, sum.bytes);
            }
            Ok(())
        })
        .await;
    // What flipped and was not read since comes to light now, and is mended; what does not go by that is broken.
    let mut report = client.check(true, |_| ()).await?;
    let until = Instant::now() + patience;
    while !report.findings.is_empty() && Instant::now() < until {
        sleep(MENDED_PAUSE).await;
        report = client.check(true, |_| ()).await?;
    }
    let findings = report.findings.iter();
    Ok(CheckSeen {
        objects: report.total.live.needles,
        wrong_copies: findings
            .map(|finding| format!("{} {}: {}", finding.count, finding.kind, finding.lines.join("; ")))
            .collect(),
        unaccounted: swept.err().map(|error| format!("{error:#}")).into_iter().collect(),
    })
}

/// What came of reading one key through every master.
enum ReadBack {
    /// What each found.
    Found(Vec<Option<Value>>),
    /// One of them could not give it, and said why.
    Unreadable(String),
    /// One of them gave bytes that are not right, and what is wrong with them.
    Wrong(String),
    /// The time was over before all had been asked.
    NotTried,
}

/// Reads every key that was ever written, through every master. Those of which not all could be asked until the deadline are left
/// out: nothing is known of them.
async fn read_all(scene: &Arc<Scene>, history: &History, quiet: &mut Quiet, deadline: Instant) {
    let written = history.operations.iter().filter(|operation| operation.is_write());
    let keys: BTreeSet<String> = written.filter_map(|operation| operation.key().map(str::to_owned)).collect();
    let masters = scene.members(Role::Master);
    let reads = keys.into_iter().map(|key| {
        let masters = masters.clone();
        async move {
            let read_back = read_through(scene, &masters, &key, deadline).await;
            (key, read_back)
        }
    });
    let mut reads = stream::iter(reads).buffer_unordered(READS_AT_ONCE);
    let mut not_tried = 0;
    while let Some((key, read_back)) = reads.next().await {
        match read_back {
            ReadBack::Found(found) => drop(quiet.found.insert(key, found)),
            ReadBack::Unreadable(why) => drop(quiet.unreadable.insert(key, why)),
            ReadBack::Wrong(why) => {
                quiet.wrong.insert(key.clone());
                quiet.unreadable.insert(key, why);
            }
            ReadBack::NotTried => not_tried += 1,
        }
    }
    if not_tried > 0 {
        scene.leave_out(format!("{not_tried} keys were not read back: there was no time left"));
    }
}

async fn read_through(scene: &Scene, masters: &[u32], key: &str, deadline: Instant) -> ReadBack {
    let mut found = Vec::new();
    for &master in masters {
        if Instant::now() > deadline {
            return ReadBack::NotTried;
        }
        match read(scene, master, key, deadline + READ_OVERTIME).await {
            Answer::Found(value) => found.push(Some(value)),
            Answer::Absent => found.push(None),
            Answer::Wrong { why } => return ReadBack::Wrong(format!("through master {master}: {why}")),
            Answer::Refused { why, .. } | Answer::Unknown { why } => {
                return ReadBack::Unreadable(format!("through master {master}: {why}"));
            }
            other => return ReadBack::Unreadable(format!("through master {master}: {other:?}")),
        }
    }
    ReadBack::Found(found)
}

/// Reads at least once, and again until then, until something is known.
async fn read(scene: &Scene, master: u32, key: &str, until: Instant) -> Answer {
    let mut tries = 0;
    loop {
        let answer = ask(scene.client(master), &Call::Get { key: key.to_owned() }, Bytes::new()).await;
        tries += 1;
        let is_known = matches!(answer, Answer::Found(_) | Answer::Absent | Answer::Wrong { .. });
        if is_known || tries >= READ_AGAIN || Instant::now() > until {
            return answer;
        }
        sleep(PAUSE).await;
    }
}

/// The hash of each master's state, all at the same index if they get there. They are asked at once, as what repair and clean-up
/// do goes on.
async fn states(scene: &Arc<Scene>) -> Vec<StateSeen> {
    let http = reqwest::Client::builder().no_proxy().timeout(HASH_TIMEOUT).build().unwrap_or_default();
    let began = Instant::now();
    loop {
        let masters = scene.members(Role::Master);
        let asked = masters.iter().map(|&master| {
            let addr = scene.process((Role::Master, master)).http_addr();
            state(&http, master, format!("http://{addr}/-/status?state-hash"))
        });
        let states: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
        let indices: BTreeSet<u64> = states.iter().map(|state| state.applied).collect();
        let all = states.len() == masters.len();
        if (all && indices.len() == 1) || began.elapsed() > AGREED_TIMEOUT {
            return states;
        }
        sleep(PAUSE).await;
    }
}

async fn state(http: &reqwest::Client, master: u32, url: String) -> Option<StateSeen> {
    let text = http.get(url).send().await.ok()?.text().await.ok()?;
    let status: serde_json::Value = serde_json::from_str(&text).ok()?;
    let hash = status["state_hash"].as_str()?.to_owned();
    Some(StateSeen { master, applied: status["applied"].as_u64()?, hash })
}
