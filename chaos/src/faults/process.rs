//! Processes that die, stand still, are restarted, or live in another time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use hayrick_launcher::Role;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::{Begun, Kind, Undo, any, follower, leader, names, shuffled};
use crate::clock::seconds;
use crate::scene::{Scene, Server, name};

/// A restart that takes longer is a finding of its own: the next process is not touched before it serves.
const SERVES_TIMEOUT: Duration = Duration::from_secs(30);
/// In this time a dead volume is judged down, and the placements that it was to have are forgotten.
const STALE_SECONDS: std::ops::Range<f64> = 3.5..5.5;
/// The furthest that a clock is wrong.
const SHIFT_SECONDS_MAX: i64 = 3600;
/// Where distributions put the library that shifts clocks.
const FAKETIME: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
];

pub(super) async fn begin(scene: &Arc<Scene>, kind: Kind, rng: &mut StdRng) -> Result<Option<Begun>> {
    let victims: Vec<Server> = match kind {
        Kind::KillLeader | Kind::StopLeader => leader(scene).await.into_iter().collect(),
        Kind::KillMaster => any(scene, Role::Master, rng).into_iter().collect(),
        Kind::StopGateway => follower(scene, rng).await.into_iter().collect(),
        Kind::KillVolumes => shuffled(scene, Role::Volume, rng),
        Kind::KillVolume | Kind::StopVolume => any(scene, Role::Volume, rng).into_iter().collect(),
        Kind::KillMajority => {
            let masters = shuffled(scene, Role::Master, rng);
            masters.into_iter().skip(1).collect()
        }
        Kind::KillAll => [shuffled(scene, Role::Master, rng), shuffled(scene, Role::Volume, rng)].concat(),
        Kind::StaleGateway => return stale_gateway(scene, rng).await,
        Kind::RollingRestart => return rolling_restart(scene, rng).await.map(Some),
        Kind::ShiftClock => return shift_clock(scene, rng),
        other => unreachable!("{other:?} is not of these"),
    };
    if victims.is_empty() {
        return Ok(None);
    }
    let what = names(&victims);
    if matches!(kind, Kind::StopLeader | Kind::StopGateway | Kind::StopVolume) {
        victims.iter().try_for_each(|server| scene.pause(*server))?;
        return Ok(Some((what, Undo::Resume(victims))));
    }
    scene.kill_at_once(&victims)?;
    Ok(Some((what, Undo::Start(victims))))
}

/// A master stands still with the table of placements of a time when a volume was there that is dead now.
async fn stale_gateway(scene: &Scene, rng: &mut StdRng) -> Result<Option<Begun>> {
    let gateway = follower(scene, rng).await;
    let (Some(gateway), Some(volume)) = (gateway, any(scene, Role::Volume, rng)) else { return Ok(None) };
    scene.pause(gateway)?;
    let killed = scene.kill(volume);
    sleep(seconds(rng.random_range(STALE_SECONDS))).await;
    scene.resume(gateway)?;
    killed?;
    let what = format!("{} stands still while {} dies", name(gateway), name(volume));
    Ok(Some((what, Undo::Start(vec![volume]))))
}

/// One after the other, each once the one before serves again.
async fn rolling_restart(scene: &Arc<Scene>, rng: &mut StdRng) -> Result<Begun> {
    let servers = [shuffled(scene, Role::Master, rng), shuffled(scene, Role::Volume, rng)].concat();
    for server in &servers {
        let process = scene.process(*server);
        if process.is_running() {
            block_in_place(|| process.stop())?;
        }
        scene.spawn(*server)?;
        let what = format!("{} serves again", name(*server));
        scene.until(&what, SERVES_TIMEOUT, async || serves(scene, *server).await).await?;
    }
    Ok((names(&servers), Undo::Nothing))
}

/// Whether a server does its work again.
pub(super) async fn serves(scene: &Scene, server: Server) -> Result<()> {
    match server {
        (Role::Master, number) => Ok(scene.client(number).ready().await?),
        server => {
            anyhow::ensure!(scene.process(server).listening_line().is_some(), "it does not listen yet");
            Ok(())
        }
    }
}

fn shift_clock(scene: &Scene, rng: &mut StdRng) -> Result<Option<Begun>> {
    let Some(library) = faketime() else {
        scene.leave_out(
            "libfaketime is not installed (Debian: apt-get install faketime): no clock was shifted",
        );
        return Ok(None);
    };
    let role = if rng.random() { Role::Master } else { Role::Volume };
    let Some(victim) = any(scene, role, rng) else { return Ok(None) };
    let shift = rng.random_range(-SHIFT_SECONDS_MAX..=SHIFT_SECONDS_MAX);
    scene.kill(victim)?;
    let process = scene.process(victim);
    process.set_env("LD_PRELOAD", library);
    process.set_env("FAKETIME", format!("{shift:+}s"));
    // Only what the wall shows is wrong; a clock that counts steadily is one that cannot be shifted.
    process.set_env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    scene.spawn(victim)?;
    Ok(Some((format!("{} {shift:+} s", name(victim)), Undo::Clocks(vec![victim]))))
}

pub(super) fn right_clocks(scene: &Scene, servers: Vec<Server>) -> Result<()> {
    for server in servers {
        scene.kill(server)?;
        let process = scene.process(server);
        for variable in ["LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC"] {
            process.unset_env(variable);
        }
        scene.spawn(server)?;
    }
    Ok(())
}

fn faketime() -> Option<PathBuf> {
    FAKETIME.iter().map(Path::new).find(|path| path.exists()).map(Path::to_owned)
}
