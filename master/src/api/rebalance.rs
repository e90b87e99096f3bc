//! `POST /-/rebalance`: what was written before volumes joined moves to where its partitions lie now; `?stop` ends it,
//! `?dry-run` says what would move.
//!
//! Owns the figures. Leaves the moving, and when it is done, to the leader's `repair`. May be repeated.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::Response;
use hayrick_protocol::command::{Command, Reply};
use hayrick_protocol::{PlacementId, VolumeId};
use hayrick_raft_store::{Cluster, Copies};
use hayrick_web::Problem;
use http::StatusCode;
use serde::Serialize;

use super::problem::{bad_request, not_now, not_proposed, unknown_change};
use super::system::{json_answer, json_text};
use super::volumes::about;
use super::{Head, plain, switch};
use crate::gateway::read_index::{NotLinearizable, linearize};
use crate::leader;
use crate::master::Master;

/// What is to be moved.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Moves {
    /// Placements of which a copy moves.
    placements: u64,
    /// Needles, each as often as a copy of it moves.
    needles: u64,
    /// Their bytes.
    bytes: u64,
    /// About how long the busiest volume is at it.
    minutes: u64,
}

/// Answers it.
pub(super) async fn answer(master: &Arc<Master>, request: &Head) -> Result<Response, Problem> {
    let (is_rehearsal, stops) = (switch(request, "dry-run")?, switch(request, "stop")?);
    if is_rehearsal && stops {
        return Err(bad_request("either dry-run, which says what would move, or stop"));
    }
    let deadline = super::deadline(master);
    linearize(master, deadline).await.map_err(|NotLinearizable(text)| not_now(text))?;
    let copies = master.node.copies().await.map_err(|error| not_now(error.to_string()))?;
    let moves = moves(&master.node.cluster(), &copies, master.move_bytes_per_s());
    if is_rehearsal {
        return Ok(json_answer(json_text(&moves)));
    }
    let on = !stops;
    let replies = leader::propose_until(master, vec![Command::Rebalance(on)], deadline, false).await;
    match replies.map_err(|error| not_proposed(master, &error))?.as_slice() {
        [Reply::Done] => Ok(plain(StatusCode::OK, done(on, &moves))),
        _ => Err(unknown_change("apply's reply does not fit the command")),
    }
}

fn moves(cluster: &Cluster, copies: &BTreeMap<PlacementId, Copies>, bytes_per_s: u64) -> Moves {
    let mut moves = Moves::default();
    let mut busy: BTreeMap<VolumeId, u64> = BTreeMap::new();
    for row in cluster.table.placements.values().filter(|row| !cluster.table.is_current(row.id)) {
        let (Some(held), Some(current)) = (copies.get(&row.id), cluster.table.current(row.partition)) else {
            continue;
        };
        if current.members.len() < row.members.len() {
            continue;
        }
        let bytes = held.live.bytes + held.garbage.bytes;
        let comes = current.members.iter().filter(|id| !row.members.contains(id));
        let goes = row.members.iter().filter(|id| !current.members.contains(id));
        let copies = comes.clone().count() as u64;
        comes.chain(goes).for_each(|id| *busy.entry(*id).or_default() += bytes);
        moves.placements += u64::from(copies > 0);
        moves.needles += copies * (held.live.count + held.garbage.count);
        moves.bytes += copies * bytes;
    }
    moves.minutes = busy.values().max().copied().unwrap_or_default() / bytes_per_s.max(1) / 60;
    moves
}

fn done(on: bool, moves: &Moves) -> String {
    let Moves { placements, bytes, minutes, .. } = moves;
    match (on, placements) {
        (true, 0) => "every placement lies where its partition does: nothing is to be moved\n".to_owned(),
        (true, _) => format!(
            "rebalancing: copies of {placements} placements move, {} MiB, in {} at --move-rate; \
             `hayrick status` shows how far it is, `hayrick rebalance --stop` ends it\n",
            bytes.div_ceil(1 << 20),
            about(*minutes)
        ),
        (false, _) => "not rebalancing; what was moved stays where it is\n".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use hayrick_protocol::cluster_map::Placement;
    use hayrick_protocol::digest::SetDigest;
    use hayrick_protocol::{Generation, PartitionId};
    use hayrick_raft_store::Table;

    use super::*;

    #[test]
    fn what_moves_is_what_the_partitions_members_lack() {
        let row = |id, partition, members: &[u32]| Placement {
            id: PlacementId(id),
            partition: PartitionId(partition),
            members: members.iter().copied().map(VolumeId).collect(),
            generation: Generation(1),
        };
        // Of partition 0 two copies move, of 1 none; 2 has fewer members than it had, and waits.
        let rows = [
            row(1, 0, &[1, 4, 5]),
            row(2, 0, &[1, 2, 3]),
            row(3, 1, &[1, 2, 3]),
            row(4, 1, &[1, 2, 3]),
            row(5, 2, &[1, 2]),
            row(6, 2, &[1, 3, 4]),
        ];
        let table = Table {
            current: [1, 3, 5].map(|id| Some(PlacementId(id))).to_vec(),
            placements: rows.map(|row| (row.id, row)).into(),
            ..Table::default()
        };
        let cluster = Cluster { table: Arc::new(table), ..Cluster::default() };
        let held = Copies { live: SetDigest { count: 3, bytes: 600, sum: 1 }, ..Copies::default() };
        let copies = (1..=6).map(|id| (PlacementId(id), held)).collect();
        let found = moves(&cluster, &copies, 10);
        assert_eq!(found, Moves { placements: 1, needles: 6, bytes: 1200, minutes: 1 });
    }
}
