//! Disks that are slow, full, hang or fail: by orders that the build for chaos tests reads while it runs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use hayrick_launcher::Role;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::{Begun, Kind, Undo, names, running};
use crate::clock::seconds;
use crate::scene::{Scene, Server, name};

/// A server whose disk failed may end by itself; so long it is waited for, to be started anew.
const ENDS_TIMEOUT: Duration = Duration::from_millis(500);
/// So many seconds after their disks became slow, they are in the middle of writes.
const SLOW_SECONDS: std::ops::Range<f64> = 0.3..0.7;
/// Of at most so many calls one fails.
const FAILS_MAX: u32 = 20;

pub(super) async fn begin(scene: &Arc<Scene>, kind: Kind, rng: &mut StdRng) -> Result<Option<Begun>> {
    if !scene.layout.is_chaos {
        scene.leave_out("disks were not broken: only the build hayrick-chaos can do that (make chaos)");
        return Ok(None);
    }
    if kind == Kind::KillMidWrite {
        return kill_mid_write(scene, rng).await;
    }
    if kind == Kind::FullDisks {
        let volumes = well(scene, Role::Volume);
        if volumes.is_empty() {
            return Ok(None);
        }
        volumes.iter().try_for_each(|volume| scene.order_disk(*volume, "full = true\n"))?;
        return Ok(Some((names(&volumes), Undo::Disks(volumes))));
    }
    let role = match kind {
        Kind::FailReads => Role::Volume,
        _ if rng.random() => Role::Master,
        _ => Role::Volume,
    };
    let Some(victim) = well(scene, role).choose(rng).copied() else { return Ok(None) };
    let (orders, what) = match kind {
        Kind::SlowDisk => {
            let ms = rng.random_range(20..=400);
            (format!("slow = \"{ms}ms\"\n"), format!("{} by {ms} ms", name(victim)))
        }
        Kind::FullDisk => ("full = true\n".to_owned(), name(victim)),
        Kind::HangDisk => ("hang = true\n".to_owned(), name(victim)),
        Kind::FailSyncs => failing("sync", 1, victim, rng),
        Kind::FailWrites => failing("write", 1, victim, rng),
        Kind::FailReads => failing("read", 2, victim, rng),
        other => unreachable!("{other:?} is not of these"),
    };
    scene.order_disk(victim, &orders)?;
    let undo = match kind {
        Kind::FailSyncs | Kind::FailWrites => Undo::NewStart(victim),
        _ => Undo::Disks(vec![victim]),
    };
    Ok(Some((what, undo)))
}

/// What a volume was about to write is nobody's yet; what masters were may be committed by one of them.
async fn kill_mid_write(scene: &Scene, rng: &mut StdRng) -> Result<Option<Begun>> {
    let mut victims = well(scene, if rng.random_ratio(1, 4) { Role::Volume } else { Role::Master });
    if victims.first().is_some_and(|(role, _)| *role == Role::Volume) {
        victims.shuffle(rng);
        victims.truncate(1);
    }
    if victims.is_empty() {
        return Ok(None);
    }
    let ms = rng.random_range(100..=400);
    let slow = format!("slow = \"{ms}ms\"\n");
    victims.iter().try_for_each(|victim| scene.order_disk(*victim, &slow))?;
    sleep(seconds(rng.random_range(SLOW_SECONDS))).await;
    let killed = scene.kill_at_once(&victims);
    victims.iter().try_for_each(|victim| scene.order_disk(*victim, ""))?;
    killed?;
    Ok(Some((format!("{} by {ms} ms", names(&victims)), Undo::Start(victims))))
}

/// Of so many calls or up to [`FAILS_MAX`], one fails.
fn failing(call: &str, at_least: u32, victim: Server, rng: &mut StdRng) -> (String, String) {
    let every = rng.random_range(at_least..=FAILS_MAX);
    (format!("eio = \"{call}\"\nevery = {every}\n"), format!("{}, one of {every}", name(victim)))
}

/// Those whose disk has no fault: two of one disk would both end with the first.
fn well(scene: &Scene, role: Role) -> Vec<Server> {
    running(scene, role).into_iter().filter(|server| !scene.has_bad_disk(*server)).collect()
}

/// The disk was looked at, and is well.
pub(super) fn start_anew(scene: &Scene, server: Server) -> Result<()> {
    scene.order_disk(server, "")?;
    if scene.is_killed(server) {
        return Ok(());
    }
    // It may have given up by itself.
    scene.kill(server)?;
    scene.spawn(server)
}

/// The disks are well again. Who gave up for want of a disk is started by somebody who mended it.
pub(super) async fn end(scene: &Scene, servers: Vec<Server>) -> Result<()> {
    for server in servers {
        scene.order_disk(server, "")?;
        let process = scene.process(server);
        let _ = block_in_place(|| process.wait_ended(ENDS_TIMEOUT));
        if scene.gave_up(server) {
            scene.spawn(server)?;
        }
    }
    Ok(())
}
