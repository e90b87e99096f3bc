//! Links that are cut, torn, slow or narrow.

use std::time::Duration;

use anyhow::Result;
use hayrick_launcher::Role;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::sleep;

use super::{Begun, Kind, Undo, any, follower, leader, shuffled};
use crate::relay::{Cause, Node, Trouble};
use crate::scene::{Scene, Server, name};

const HELD: Trouble = Trouble { held: true, torn_per_mille: 0, delay: Duration::ZERO, bytes_per_s: 0 };
/// How late things come on a slow link: from a far data centre to a bad day.
const DELAY_MS: (u64, u64) = (5, 200);
/// Of a thousand chunks, so many are torn.
const TORN_PER_MILLE: (u32, u32) = (2, 40);
/// What comes through a narrow link.
const BYTES_PER_S: (u64, u64) = (64 << 10, 1 << 20);
/// What a stale candidate missed, in time.
const MISSED: Duration = Duration::from_secs(1);
/// One of two masters is elected by then: a start, and twice the longest timeout of an election.
const ELECTED: Duration = Duration::from_millis(2500);

pub(super) async fn begin(scene: &Scene, kind: Kind, rng: &mut StdRng) -> Option<Begun> {
    let troubles = Troubles { scene, cause: Cause(rng.random()) };
    let what = match kind {
        Kind::CutFromLeader | Kind::CutToLeader | Kind::CutLeader => {
            let leader = leader(scene).await?;
            let masters = others(scene, leader, &[Role::Master]);
            troubles.hold(leader, &masters, kind != Kind::CutToLeader, kind != Kind::CutFromLeader)?
        }
        Kind::CutGateway => {
            let gateway = follower(scene, rng).await?;
            troubles.hold(gateway, &others(scene, gateway, &[Role::Master]), true, true)?
        }
        Kind::IsolateMaster => {
            let master = any(scene, Role::Master, rng)?;
            troubles.hold(master, &others(scene, master, &[Role::Master, Role::Volume]), true, true)?
        }
        Kind::CutBridge => {
            let masters = shuffled(scene, Role::Master, rng);
            let [one, two, ..] = masters[..] else { return None };
            troubles.cut(one, two)?
        }
        Kind::CutGatewayVolume => {
            troubles.cut(any(scene, Role::Master, rng)?, any(scene, Role::Volume, rng)?)?
        }
        Kind::CutVolume => {
            let volume = any(scene, Role::Volume, rng)?;
            troubles.hold(volume, &others(scene, volume, &[Role::Master, Role::Volume]), true, true)?
        }
        Kind::CutVolumes => {
            let volumes = nodes(scene, Role::Volume);
            troubles.between(&volumes, || HELD);
            "all volumes".to_owned()
        }
        other => troubles.everywhere(other, rng),
    };
    Some((what, Undo::Links(troubles.cause)))
}

/// A follower is cut off while others write; then they die, and one that has it all comes back: the first thing that it hears is
/// that the one that was cut off, which has waited for longer, asks for its vote.
pub(super) async fn stale_candidate(scene: &Scene, rng: &mut StdRng) -> Result<Option<Begun>> {
    let Some(leader) = leader(scene).await else { return Ok(None) };
    let followers = shuffled(scene, Role::Master, rng).into_iter().filter(|master| *master != leader);
    let [stale, voter] = followers.collect::<Vec<_>>()[..] else { return Ok(None) };
    let troubles = Troubles { scene, cause: Cause(rng.random()) };
    troubles.hold(stale, &others(scene, stale, &[Role::Master]), true, true);
    sleep(MISSED).await;
    let killed = scene.kill_at_once(&[leader, voter]);
    scene.links.end(troubles.cause);
    killed?;
    scene.spawn(voter)?;
    sleep(ELECTED).await;
    let what = format!("{} stands, {} votes, {} is dead", name(stale), name(voter), name(leader));
    Ok(Some((what, Undo::Start(vec![leader]))))
}

/// What one fault does to links.
struct Troubles<'a> {
    scene: &'a Scene,
    cause: Cause,
}

impl Troubles<'_> {
    /// Holds what one server sends to others, what they send to it, or both.
    fn hold(&self, server: Server, others: &[Node], from: bool, to: bool) -> Option<String> {
        let node = self.scene.node(server)?;
        for other in others {
            if from {
                self.scene.links.trouble(self.cause, node, *other, HELD);
            }
            if to {
                self.scene.links.trouble(self.cause, *other, node, HELD);
            }
        }
        Some(name(server))
    }

    /// Neither hears of the other.
    fn cut(&self, one: Server, two: Server) -> Option<String> {
        let (first, second) = (self.scene.node(one)?, self.scene.node(two)?);
        self.between(&[first, second], || HELD);
        Some(format!("{} and {}", name(one), name(two)))
    }

    fn everywhere(&self, kind: Kind, rng: &mut StdRng) -> String {
        let all = [nodes(self.scene, Role::Master), nodes(self.scene, Role::Volume)].concat();
        match kind {
            Kind::SlowLinks => {
                // Each way of each link has a delay of its own, and half of them none.
                let (least, most) = DELAY_MS;
                self.between(&all, || {
                    let ms = if rng.random() { rng.random_range(least..=most) } else { 0 };
                    Trouble { delay: Duration::from_millis(ms), ..Trouble::default() }
                });
                format!("{least} to {most} ms")
            }
            Kind::TearLinks => {
                let torn_per_mille = rng.random_range(TORN_PER_MILLE.0..=TORN_PER_MILLE.1);
                self.between(&all, || Trouble { torn_per_mille, ..Trouble::default() });
                format!("{torn_per_mille} ‰")
            }
            Kind::NarrowLinks => {
                let bytes_per_s = rng.random_range(BYTES_PER_S.0..=BYTES_PER_S.1);
                self.between(&all, || Trouble { bytes_per_s, ..Trouble::default() });
                format!("{} KiB/s", bytes_per_s >> 10)
            }
            other => unreachable!("{other:?} is not everywhere"),
        }
    }

    /// Troubles every way between these, each with a trouble of its own.
    fn between(&self, nodes: &[Node], mut trouble: impl FnMut() -> Trouble) {
        for from in nodes {
            for to in nodes.iter().filter(|to| *to != from) {
                self.scene.links.trouble(self.cause, *from, *to, trouble());
            }
        }
    }
}

fn nodes(scene: &Scene, role: Role) -> Vec<Node> {
    scene.members(role).into_iter().filter_map(|number| scene.node((role, number))).collect()
}

fn others(scene: &Scene, than: Server, roles: &[Role]) -> Vec<Node> {
    let own = scene.node(than);
    roles.iter().flat_map(|role| nodes(scene, *role)).filter(|node| Some(*node) != own).collect()
}
