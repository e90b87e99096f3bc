//! What is seen of the cluster from outside while it runs: who is said to lead, what each process takes, and how often the
//! interesting things happened.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::record::{LeaderSeen, Record, Resources};
use crate::report::figures::Figures;
use crate::scene::{Scene, name, server_of};

/// Between two questions of who leads.
const LEADER_EVERY: Duration = Duration::from_millis(250);
/// Between two looks at what the processes take, and at their counters.
const RESOURCES_EVERY: Duration = Duration::from_millis(1000);
const METRICS_TIMEOUT: Duration = Duration::from_millis(500);
/// How counters are called on the wire, before and behind what they are called here.
const METRIC_PREFIX: &str = "hayrick_";
const METRIC_SUFFIX: &str = "_total";
/// How the system marks the file of a descriptor that was unlinked.
const NAMELESS: &[u8] = b" (deleted)";

/// Everything that was seen so far.
#[derive(Debug, Clone, Default)]
struct Seen {
    /// Who is said to lead, whenever a master changed its mind.
    leaders: Vec<LeaderSeen>,
    /// What the processes take.
    resources: Vec<Resources>,
    /// Of each run of a process, what its counters showed last.
    counters: BTreeMap<(String, u32), BTreeMap<String, u64>>,
}

/// Looks until it is dropped.
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    _tasks: JoinSet<()>,
}

impl Watch {
    /// Begins to look.
    pub fn start(scene: &Arc<Scene>) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let mut tasks = JoinSet::new();
        for master in scene.cluster.masters() {
            tasks.spawn(leaders(Arc::clone(scene), master.number(), Arc::clone(&seen)));
        }
        tasks.spawn(resources(Arc::clone(scene), Arc::clone(&seen)));
        Self { seen, _tasks: tasks }
    }

    /// Puts all that was seen so far into the record.
    pub fn add_to(&self, record: &mut Record) {
        let seen = lock(&self.seen).clone();
        record.reached.extend(seen.reached());
        record.leaders = seen.leaders;
        record.resources = seen.resources;
        // The first leader of a cluster is no election that a fault brought about, and those later than the load are not counted.
        let elections = Figures::of(record).elections.saturating_sub(1);
        record.reached.insert("elections".to_owned(), elections);
    }
}

impl Seen {
    /// How often each thing happened, over all runs of all processes. A process that is killed takes with it what it counted
    /// since it was asked last, so it may have been more.
    fn reached(&self) -> BTreeMap<String, u64> {
        let mut reached = BTreeMap::new();
        for counters in self.counters.values() {
            for (name, count) in counters {
                *reached.entry(name.clone()).or_insert(0) += count;
            }
        }
        reached
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn leaders(scene: Arc<Scene>, master: u32, seen: Arc<Mutex<Seen>>) {
    let mut ticks = interval(LEADER_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = None;
    loop {
        ticks.tick().await;
        let at = scene.clock.now();
        let Some(status) = scene.status(master).await else { continue };
        let leader = status.leader.and_then(|leader| u32::try_from(leader).ok());
        if last != Some((status.term, leader)) {
            last = Some((status.term, leader));
            lock(&seen).leaders.push(LeaderSeen { at, by: master, term: status.term, leader });
        }
    }
}

async fn resources(scene: Arc<Scene>, seen: Arc<Mutex<Seen>>) {
    let mut ticks = interval(RESOURCES_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let http = reqwest::Client::builder().no_proxy().timeout(METRICS_TIMEOUT).build().unwrap_or_default();
    loop {
        ticks.tick().await;
        scene.learn_numbers();
        let at = scene.clock.now();
        let mut asked = JoinSet::new();
        for process in scene.cluster.processes() {
            let Some(pid) = process.pid() else { continue };
            let name = name(server_of(process));
            if let Some(taken) = taken(at, &name, pid) {
                lock(&seen).resources.push(taken);
            }
            let request = http.get(format!("http://{}/-/metrics", process.http_addr())).send();
            asked.spawn(async move {
                let answer = timeout(METRICS_TIMEOUT, async { request.await.ok()?.text().await.ok() }).await;
                Some(((name, pid), counters(&answer.ok()??)))
            });
        }
        while let Some(answer) = asked.join_next().await {
            if let Ok(Some((run, counters))) = answer
                && !counters.is_empty()
            {
                lock(&seen).counters.insert(run, counters);
            }
        }
    }
}

/// What a process takes, by what the system says of it.
fn taken(at: crate::history::Moment, process: &str, pid: u32) -> Option<Resources> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let (descriptors, nameless) = descriptors(pid)?;
    Some(Resources {
        at,
        process: process.to_owned(),
        memory_bytes: field("VmRSS:")? * 1024,
        descriptors,
        nameless,
        threads: field("Threads:")?,
    })
}

/// How many descriptors a process has, and how many of files that were unlinked.
fn descriptors(pid: u32) -> Option<(u64, u64)> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let (mut all, mut nameless) = (0, 0);
    for entry in entries.flatten() {
        all += 1;
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        nameless += u64::from(target.as_os_str().as_encoded_bytes().ends_with(NAMELESS));
    }
    Some((all, nameless))
}

/// The counters in a page of metrics, with their labels left out and their values added up.
fn counters(page: &str) -> BTreeMap<String, u64> {
    let mut counters = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.rsplit_once(' ') else { continue };
        let name = name.split('{').next().unwrap_or(name);
        let name = name.strip_prefix(METRIC_PREFIX).and_then(|name| name.strip_suffix(METRIC_SUFFIX));
        if let (Some(name), Ok(value)) = (name, value.parse::<f64>()) {
            *counters.entry(name.to_owned()).or_insert(0) += value as u64;
        }
    }
    counters
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::{put, record, value};
    use crate::history::Moment;

    #[test]
    fn counters_are_read_and_added_over_their_labels() {
        let page = "# HELP hayrick_elections_total x\n# TYPE hayrick_elections_total counter\nhayrick_elections_total 3\n\
            hayrick_refused_total{why=\"stale\"} 2\nhayrick_refused_total{why=\"fenced\"} 5\nhayrick_fill_ratio 0.5\n";
        let expected = [("elections".to_owned(), 3), ("refused".to_owned(), 7)];
        assert_eq!(counters(page), BTreeMap::from(expected));
    }

    #[test]
    fn an_election_is_reached_by_faults_not_by_those_who_look_at_the_end() {
        let seen = |at, term| LeaderSeen { at: Moment(at), by: 1, term, leader: Some(1) };
        let watch = Watch { seen: Arc::default(), _tasks: JoinSet::new() };
        lock(&watch.seen).leaders = vec![seen(1, 1), seen(21, 2), seen(22, 3)];
        let mut record = record(vec![put("k", value(1)).at(0..20).stored()]);
        watch.add_to(&mut record);
        assert_eq!(record.reached["elections"], 0);
        lock(&watch.seen).leaders.insert(1, seen(10, 2));
        watch.add_to(&mut record);
        assert_eq!(record.reached["elections"], 1);
    }

    #[test]
    fn this_process_takes_something() {
        let taken = taken(Moment(0), "this", std::process::id()).expect("procfs");
        assert!(taken.memory_bytes > 0 && taken.descriptors > 2 && taken.threads > 0, "{taken:?}");
    }
}
