//! One run of one mix: start a cluster, load it, break it on a schedule drawn from a seed, heal it, and look at all of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use crate::checkers;
use crate::clock::{Clock, seconds};
use crate::faults::{self, Running};
use crate::history::{History, Moment};
use crate::mixes::{self, Mix};
use crate::quiet;
use crate::record::{Plan, Quiet, Record};
use crate::report::Run;
use crate::report::standing::Standing;
use crate::scene::{Layout, Scene};
use crate::steady::Steady;
use crate::verdict::{Outcome, Verdict};
use crate::watch::Watch;
use crate::workload::{Load, Tally, Workload};

/// Masters and volumes of the cluster under test, and those that may come later.
const MASTERS: u32 = 3;
const VOLUMES: u32 = 4;
const SPARE_MASTERS: u32 = 3;
const SPARE_VOLUMES: u32 = 1;
/// Short times, so that minutes show what days would: a volume is judged and replaced in seconds, garbage and snapshots come
/// and go all the time.
const MASTER_FLAGS: [(&str, &str); 9] = [
    ("--partitions", "64"),
    ("--request-timeout", "2s"),
    ("--reap-after", "4s"),
    ("--down-after", "1s"),
    ("--repair-after", "3s"),
    ("--fence-after", "5s"),
    ("--move-rate", "1GiB"),
    ("--snapshot-after", "1000"),
    ("--log-keep", "1000"),
];
const VOLUME_FLAGS: [(&str, &str); 1] = [("--scrub-rate", "100MiB")];
/// The load runs alone before the first fault, so that there is something to lose.
const BEFORE: Duration = Duration::from_secs(2);
/// Faults that come together begin so many seconds one after the other.
const APART: std::ops::Range<f64> = 0.0..1.0;
/// See the checker of this.
const AGAIN_MAX: Duration = Duration::from_secs(16);
/// Between two words of how it goes.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The binary: `hayrick`, or `hayrick-chaos`.
    pub binary: PathBuf,
    /// Whether it is the build that can break disks and have a bug.
    pub is_chaos: bool,
    /// What that binary is, so that no other is called the same: its build, version and bytes.
    pub version: String,
    /// The bug it shall have.
    pub bug: Option<String>,
    /// From which all that is drawn is drawn.
    pub seed: u64,
    /// How long it is broken.
    pub breaks: Duration,
    /// What clients do.
    pub load: Load,
    /// How long whatever has to come to an end by itself may take once all is mended.
    pub patience: Duration,
    /// The checkers that end a run as soon as one of them finds that what clients saw breaks its promise: it then does not
    /// look at what is left. With none of them, a run looks at all of it.
    pub ends_early_for: &'static [&'static str],
    /// Where the cluster's files go; a directory of its own is made for each run, and removed unless a promise was broken.
    pub dir: PathBuf,
}

impl Options {
    fn ends_early(&self) -> bool {
        !self.ends_early_for.is_empty()
    }

    /// Whether one of those that may end a run early has found something.
    fn has_found_enough(&self, run: &Run) -> bool {
        run.verdicts.iter().any(|verdict| {
            verdict.outcome == Outcome::Violated && self.ends_early_for.contains(&verdict.checker.as_str())
        })
    }
}

/// How a run goes.
#[derive(Debug, Clone)]
pub struct Progress {
    /// What is done now, in two or three words.
    pub doing: &'static str,
    /// Since the run began.
    pub elapsed: Duration,
    /// Faults that were undone so far.
    pub faults: usize,
    /// What is broken now.
    pub broken: Vec<String>,
    /// How clients fare.
    pub tally: Tally,
}

/// Runs one mix; `tell` hears how it goes about once a second.
///
/// # Errors
/// When the cluster does not start, or the harness itself cannot go on, or did not all the time. A broken promise is no error.
pub async fn run(mix: &Mix, options: &Options, mut tell: impl FnMut(&Progress)) -> Result<Run> {
    let dir = options.dir.join(mix.name);
    if dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    let (clock, steady) = (Clock::start(), Steady::start());
    let mut phase = Phase { clock, doing: "starting a cluster", faults: 0, tell: &mut tell };
    let starting = phase.until(Scene::start(layout(mix, options, &dir), clock), Tally::default);
    let scene = starting.await.context("the cluster did not start")?;
    if mix.power && !options.is_chaos {
        scene.leave_out("no power was cut: what was written reached the disk (only hayrick-chaos can keep it back: make chaos)");
    }
    let watch = Watch::start(&scene);
    let workload = Workload::start(&scene, options.load, options.seed);
    let mut schedule = Schedule::new(mix, options);
    schedule.run(&scene, &workload, options.breaks, &mut tell).await?;

    let mut phase = Phase { clock, doing: "healing", faults: scene.faults_so_far(), tell: &mut tell };
    quiet::heal(&scene)?;
    let loaded = clock.now();
    let serves_again = quiet::serves_again(&scene, again_patience(options));
    let (writes_again_ms, reads_again_ms) = phase.until(serves_again, || workload.tally()).await;
    let tally = workload.tally();
    let history = phase.until(workload.finish(), || tally).await?;
    let quiet = Quiet { writes_again_ms, reads_again_ms, ..Quiet::default() };
    let record = record(mix, options, &scene, history, quiet, loaded);
    phase.doing = "judging";
    let early = options.ends_early();
    let mut run = Run { record, verdicts: Vec::new() };
    if early {
        watch.add_to(&mut run.record);
        run = phase.until(judged(run.record, checkers::judge_history), || tally).await?;
    }
    if !options.has_found_enough(&run) {
        phase.doing = "reading everything back";
        let Record { history, quiet, .. } = &mut run.record;
        phase.until(quiet::look(&scene, history, quiet, options.patience, early), || tally).await;
        note(&scene, &mut run.record);
        watch.add_to(&mut run.record);
        phase.doing = "judging";
        run = phase.until(judged(run.record, checkers::judge), || tally).await?;
    }
    scene.cluster.kill_all()?;
    if let Some(still) = steady.stood_still() {
        bail!(
            "this program stood still for {} s, as one does that is stopped or whose machine sleeps; what it saw says nothing",
            still.as_secs()
        );
    }
    Ok(run)
}

/// Judges it on a thread for that, as a search may take minutes.
async fn judged(record: Record, by: fn(&Record) -> Vec<Verdict>) -> Result<Run> {
    let judging = spawn_blocking(move || Run { verdicts: by(&record), record });
    judging.await.context("a checker panicked")
}

/// What is done before and after the faults, of which is told once a second as well.
struct Phase<'a, T> {
    clock: Clock,
    doing: &'static str,
    faults: usize,
    tell: &'a mut T,
}

impl<T: FnMut(&Progress)> Phase<'_, T> {
    /// Tells that this is done until it is.
    async fn until<R>(&mut self, work: impl Future<Output = R>, tally: impl Fn() -> Tally) -> R {
        let mut work = pin!(work);
        loop {
            (self.tell)(&Progress {
                doing: self.doing,
                elapsed: Duration::from_nanos(self.clock.now().0),
                faults: self.faults,
                broken: Vec::new(),
                tally: tally(),
            });
            if let Ok(done) = timeout(TELL_EVERY, &mut work).await {
                return done;
            }
        }
    }
}

/// Service that is not back in this time breaks the promise; how late it is in the end is of interest otherwise.
fn again_patience(options: &Options) -> Duration {
    if options.ends_early() { AGAIN_MAX.min(options.patience) } else { options.patience }
}

/// Removes what a run left on the disk, unless somebody will want to look at it.
///
/// # Errors
/// When a directory cannot be removed.
pub fn clean_up(run: &Run, dir: &Path) -> Result<()> {
    let dir = dir.join(&run.record.plan.mix);
    if Standing::of(run) < Standing::ProvedNothing && dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    Ok(())
}

fn layout(mix: &Mix, options: &Options, dir: &Path) -> Layout {
    Layout {
        binary: options.binary.clone(),
        is_chaos: options.is_chaos,
        bug: options.bug.clone(),
        dir: dir.to_owned(),
        masters: MASTERS,
        volumes: VOLUMES,
        spare_masters: SPARE_MASTERS,
        spare_volumes: SPARE_VOLUMES,
        flips: mix.flips,
        segment_size: mix.segment_size,
        master_flags: master_flags(mix),
        volume_flags: VOLUME_FLAGS.to_vec(),
        forget: mix.power && options.is_chaos,
        seed: options.seed,
    }
}

/// Those of the mix, and those of all mixes that it does not set otherwise.
fn master_flags(mix: &Mix) -> Vec<(&'static str, &'static str)> {
    let own = mix.master_flags;
    let common = MASTER_FLAGS.iter().filter(|(flag, _)| own.iter().all(|(other, _)| other != flag));
    common.chain(own).copied().collect()
}

/// How long what was deleted is kept, whatever happens: where a volume is nearly full, garbage goes as soon as no request
/// that began before it can be under way, which is after twice `--request-timeout`.
fn deleted_kept(mix: &Mix) -> Duration {
    duration_of(mix, "--reap-after").min(2 * duration_of(mix, "--request-timeout"))
}

/// What a flag of the masters says, which is a time that all mixes set.
fn duration_of(mix: &Mix, flag: &str) -> Duration {
    let flags = master_flags(mix);
    let text = flags.iter().find(|(name, _)| *name == flag).expect("MASTER_FLAGS has it").1;
    humantime::parse_duration(text).expect("the mixes are written in this crate")
}

/// When what is broken, and mended.
struct Schedule<'a> {
    mix: &'a Mix,
    rng: StdRng,
    running: Vec<(Instant, Running)>,
}

impl<'a> Schedule<'a> {
    fn new(mix: &'a Mix, options: &Options) -> Self {
        Self { mix, rng: StdRng::seed_from_u64(options.seed), running: Vec::new() }
    }

    async fn run(
        &mut self,
        scene: &Arc<Scene>,
        workload: &Workload,
        breaks: Duration,
        tell: &mut impl FnMut(&Progress),
    ) -> Result<()> {
        self.pass(scene, workload, Instant::now() + BEFORE, "warming up", tell).await?;
        let end = Instant::now() + breaks;
        while Instant::now() < end {
            for more in 0..self.rng.random_range(1..=self.mix.together) {
                if more > 0 {
                    let apart = seconds(self.rng.random_range(APART));
                    self.pass(scene, workload, Instant::now() + apart, "breaking", tell).await?;
                }
                self.break_something(scene).await;
            }
            while let Some(until) = self.running.iter().map(|(until, _)| *until).min() {
                self.pass(scene, workload, until, "breaking", tell).await?;
            }
            let Some(peace) = self.peace(end.saturating_duration_since(Instant::now())) else { break };
            self.pass(scene, workload, Instant::now() + peace, "breaking", tell).await?;
        }
        Ok(())
    }

    /// How long there is peace until the next fault; none where that would be too late, as service is timed from the end of the
    /// last one on.
    fn peace(&mut self, left: Duration) -> Option<Duration> {
        let (least, most) = self.mix.peace;
        let peace = seconds(self.rng.random_range(least..=most));
        (peace < left).then_some(peace)
    }

    /// Each fault draws from a seed of its own, so that what one finds does not change what comes after it.
    async fn break_something(&mut self, scene: &Arc<Scene>) {
        let Some(kind) = self.mix.kinds.choose(&mut self.rng).copied() else { return };
        let (least, most) = self.mix.lasts.unwrap_or(kind.lasts());
        let lasts = seconds(self.rng.random_range(least..=most));
        let mut own = StdRng::seed_from_u64(self.rng.random());
        match faults::begin(scene, kind, &mut own).await {
            Ok(Some(running)) => self.running.push((Instant::now() + lasts, running)),
            Ok(None) => {}
            Err(error) => scene.leave_out(format!("a {} could not be carried out: {error:#}", kind.name())),
        }
    }

    /// Lets time pass until then, or until the first fault is over.
    async fn pass(
        &mut self,
        scene: &Arc<Scene>,
        workload: &Workload,
        until: Instant,
        doing: &'static str,
        tell: &mut impl FnMut(&Progress),
    ) -> Result<()> {
        loop {
            let (over, on): (Vec<_>, Vec<_>) =
                self.running.drain(..).partition(|(until, _)| *until <= Instant::now());
            self.running = on;
            for (_, running) in over {
                running.end(scene).await?;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            tell(&Progress {
                doing,
                elapsed: Duration::from_nanos(scene.clock.now().0),
                faults: scene.faults_so_far(),
                broken: self.running.iter().map(|(_, running)| running.title()).collect(),
                tally: workload.tally(),
            });
            sleep(left.min(TELL_EVERY)).await;
        }
    }
}

/// What will be run.
pub fn plan(mix: &Mix, options: &Options) -> Plan {
    Plan {
        mix: mix.name.to_owned(),
        about: mix.about.to_owned(),
        seed: options.seed,
        seconds: options.breaks.as_secs(),
        masters: MASTERS,
        volumes: VOLUMES,
        deleted_kept_ms: u64::try_from(deleted_kept(mix).as_millis()).unwrap_or(u64::MAX),
        binary: options.version.clone(),
        bug: options.bug.clone(),
        replay: replay(mix, options),
        must_reach: must_reach(mix, options),
    }
}

/// A kill leaves no torn tail unless it is a power cut.
fn must_reach(mix: &Mix, options: &Options) -> Vec<String> {
    let late = if options.breaks < mixes::RARE_AFTER { &[] } else { mix.must_reach_late };
    let can = |name: &&&str| options.is_chaos || **name != mixes::TORN_TAILS;
    mix.must_reach.iter().chain(late).filter(can).map(|name| (*name).to_owned()).collect()
}

/// The load that a user's machine is put under.
pub fn load() -> Load {
    Load::default()
}

fn record(
    mix: &Mix,
    options: &Options,
    scene: &Scene,
    history: History,
    quiet: Quiet,
    loaded: Moment,
) -> Record {
    let mut record = Record {
        plan: plan(mix, options),
        began: humantime::format_rfc3339_micros(scene.clock.began()).to_string(),
        loaded,
        ended: scene.clock.now(),
        history,
        faults: Vec::new(),
        leaders: Vec::new(),
        lives: Vec::new(),
        resources: Vec::new(),
        reached: BTreeMap::new(),
        quiet,
        logs: scene.logs(),
        panics: Vec::new(),
        strangers: Vec::new(),
        left_out: Vec::new(),
    };
    note(scene, &mut record);
    record
}

/// What was noted of the cluster so far.
fn note(scene: &Scene, record: &mut Record) {
    scene.note_in(record);
    record.panics = scene.panics();
    record.ended = scene.clock.now();
    let unknown = record.history.operations.iter().filter(|operation| operation.answer.is_unknown());
    record.reached.insert("unknown_outcomes".to_owned(), unknown.count() as u64);
    record.reached.insert("torn_connections".to_owned(), scene.links.torn());
    record.reached.insert("strange_masters".to_owned(), record.strangers.len() as u64);
}

fn replay(mix: &Mix, options: &Options) -> String {
    let bug = options.bug.as_ref().map(|bug| format!(" --bug {bug}")).unwrap_or_default();
    format!(
        "{} prove --mix {} --seconds {} --seed {}{bug}",
        options.binary.file_name().map_or_else(|| "hayrick".into(), |name| name.to_string_lossy()),
        mix.name,
        options.breaks.as_secs(),
        options.seed
    )
}

/// A seed that nobody chose.
pub fn random_seed() -> u64 {
    // Short enough to be said on the telephone.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    StdRng::seed_from_u64(u64::try_from(now.as_nanos()).unwrap_or(0)).random_range(0..1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bugs, mixes};

    #[tokio::test(start_paused = true)]
    async fn whatever_takes_long_is_told_of_each_second() {
        let mut told = Vec::new();
        let mut tell = |progress: &Progress| told.push((progress.doing, progress.elapsed.as_secs()));
        let mut phase = Phase { clock: Clock::start(), doing: "judging", faults: 0, tell: &mut tell };
        phase.until(sleep(Duration::from_millis(2500)), Tally::default).await;
        assert_eq!(told, [("judging", 0), ("judging", 1), ("judging", 2)]);
    }

    #[test]
    fn in_every_mix_what_is_deleted_is_kept_for_longer_than_clients_wait_until_they_bring_it_back() {
        for mix in mixes::ALL.iter().chain(bugs::ALL.iter().map(|planted| planted.mix)) {
            assert!(deleted_kept(mix) >= Duration::from_secs(4), "{}", mix.name);
        }
        let usual = mixes::named("leader-kills").expect("there is one");
        assert_eq!(deleted_kept(usual), Duration::from_secs(4));
        let of = |flags| deleted_kept(&Mix { master_flags: flags, ..*usual });
        assert_eq!(of(&[("--reap-after", "3500ms")]), Duration::from_millis(3500));
        assert_eq!(of(&[("--reap-after", "1m")]), Duration::from_secs(4), "twice --request-timeout");
    }

    #[test]
    fn there_is_peace_before_another_fault_and_none_after_the_last() {
        let mix = mixes::named("leader-kills").expect("there is one");
        let (least, most) = (seconds(mix.peace.0), seconds(mix.peace.1));
        let mut schedule = Schedule { mix, rng: StdRng::seed_from_u64(1), running: Vec::new() };
        for _ in 0..100 {
            assert_eq!(schedule.peace(Duration::ZERO), None);
            assert_eq!(schedule.peace(least), None);
            assert!(schedule.peace(most + least).is_some_and(|peace| least <= peace && peace <= most));
        }
    }
}
