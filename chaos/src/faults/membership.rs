//! Members that come and go by order of somebody, while all runs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_client::{MasterAdded, VolumeChange};
use hayrick_launcher::Role;
use rand::rngs::StdRng;
use tokio::task::block_in_place;

use super::{Begun, Kind, Undo, any, shuffled};
use crate::relay::Node;
use crate::scene::{Scene, Server, name};

/// A change of members takes some rounds; under load and other faults more.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);
/// As long a drain is looked at; then it is called off, as somebody in a hurry does.
const DRAIN_PATIENCE: Duration = Duration::from_secs(4);

pub(super) async fn begin(scene: &Arc<Scene>, kind: Kind, rng: &mut StdRng) -> Result<Option<Begun>> {
    match kind {
        Kind::TransferLeader => {
            let Some(to) = any(scene, Role::Master, rng) else { return Ok(None) };
            // Refused where it leads already, or lags: nothing is wrong with that.
            let outcome = scene.client(to.1).transfer_leader(to.1.into()).await;
            let what = format!("to {}{}", name(to), if outcome.is_ok() { "" } else { ", refused" });
            Ok(Some((what, Undo::Nothing)))
        }
        Kind::ReplaceMaster => {
            let victim = any(scene, Role::Master, rng);
            let (Some(victim), Some(_)) = (victim, scene.spare(Role::Master)) else { return Ok(None) };
            let newcomer = replace(scene, victim).await?;
            Ok(Some((format!("{} by {}", name(victim), name(newcomer)), Undo::Nothing)))
        }
        Kind::DrainVolume => drain(scene, rng).await,
        other => unreachable!("{other:?} is not of these"),
    }
}

/// Removes a master for good, and has the spare one enter.
pub(super) async fn replace(scene: &Arc<Scene>, victim: Server) -> Result<Server> {
    let newcomer = scene.spare(Role::Master).context("no master is laid out to replace another")?;
    let others: Vec<u32> =
        scene.members(Role::Master).into_iter().filter(|number| *number != victim.1).collect();
    let asked = others.first().copied().context("nobody is left to be asked")?;
    scene
        .until("a master is removed", CHANGE_TIMEOUT, async || {
            match scene.client(asked).remove_master(victim.1.into()).await {
                Err(error) if error.status() != Some(404) => Err(error.into()),
                _ => Ok(()),
            }
        })
        .await?;
    if scene.process(victim).is_running() {
        scene.kill(victim)?;
    }
    scene.left(victim);

    let Some(Node::Master(id)) = scene.node(newcomer) else { unreachable!("a master") };
    let process = scene.process(newcomer);
    // The one that it was laid out to ask may be the one that went.
    let peer = scene.peer((Role::Master, asked));
    process.set_flag("--join", peer.to_string());
    block_in_place(|| process.start())?;
    scene.joined(newcomer);
    let peer = scene.peer(newcomer).to_string();
    scene
        .until("a new master votes", CHANGE_TIMEOUT, async || {
            match scene.client(asked).add_master(id, &peer).await? {
                MasterAdded::Votes => Ok(()),
                MasterAdded::CatchesUp(words) => anyhow::bail!(words),
            }
        })
        .await?;
    Ok(newcomer)
}

/// A new volume comes where one is laid out; another is drained, and taken back.
async fn drain(scene: &Arc<Scene>, rng: &mut StdRng) -> Result<Option<Begun>> {
    let mut what = String::new();
    if let Some(newcomer) = scene.spare(Role::Volume) {
        let process = scene.process(newcomer);
        if block_in_place(|| process.start()).is_ok() {
            scene.learn_numbers();
            scene.joined(newcomer);
            what = format!("{} came, ", name(newcomer));
        }
    }
    let volumes = shuffled(scene, Role::Volume, rng);
    let drained = volumes.into_iter().find_map(|volume| Some((volume, scene.node(volume)?)));
    let (Some((volume, Node::Volume(id))), Some(master)) = (drained, any(scene, Role::Master, rng)) else {
        return Ok(None);
    };
    let client = scene.client(master.1);
    if let Err(error) = client.change_volume(id, VolumeChange::Drain).await {
        // Where too few would be left, for one.
        what = format!("{what}{} not drained: {error}", name(volume));
    } else {
        let gone = scene
            .until("a volume is drained", DRAIN_PATIENCE, async || {
                let status = scene.status(master.1).await.context("no answer")?;
                let state = status.volumes.iter().find(|volume| volume.id == id);
                ensure!(state.is_some_and(|volume| volume.needles == 0), "it holds something");
                Ok(())
            })
            .await;
        what = format!("{what}{} drained{}", name(volume), if gone.is_ok() { "" } else { " in part" });
        // It takes writes again, whatever a leader that changes meanwhile says at first.
        scene
            .until("a volume is taken back", CHANGE_TIMEOUT, async || {
                let leader = scene.leader().await.context("nobody leads")?;
                scene.client(leader).change_volume(id, VolumeChange::Undrain).await?;
                Ok(())
            })
            .await?;
    }
    Ok(Some((what, Undo::Nothing)))
}
