//! Apply as it can be read: `tests/transcripts/*.txt` hold commands, and below each the reply and the rows it changed.
//!
//! `UPDATE_TRANSCRIPTS=1 cargo test -p hayrick-raft-store` writes the files anew; the diff is then to be read.
//! A line `>` is a command (`name field=value …`), `#` a remark; all else is output.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use hayrick_protocol::cluster_map::{ClusterConfig, Master, TableChange, VolumeState};
use hayrick_protocol::command::{
    Command, Commit, Delete, Examined, Named, Precondition, RegisterVolume, Row, Session as Sending,
    StateChange, Undelete,
};
use hayrick_protocol::record::{Garbage, Headers, ObjectRecord};
use hayrick_protocol::{
    AppliedVersion, ClusterId, EpochId, Generation, InstanceId, NeedleId, NodeId, ObjectKey, PartitionId,
    PlacementId, Seq, VolumeId,
};

use super::{Rows, apply};
use crate::state::{RowKey, State};
use crate::store::StoreError;

/// Rows in memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct MemoryRows {
    pub(crate) objects: BTreeMap<ObjectKey, ObjectRecord>,
    pub(crate) garbage: BTreeMap<AppliedVersion, Garbage>,
}

impl Rows for MemoryRows {
    fn object(&mut self, key: &ObjectKey) -> Result<Option<ObjectRecord>, StoreError> {
        Ok(self.objects.get(key).cloned())
    }

    fn put_object(&mut self, key: &ObjectKey, record: &ObjectRecord) -> Result<(), StoreError> {
        self.objects.insert(key.clone(), record.clone());
        Ok(())
    }

    fn remove_object(&mut self, key: &ObjectKey) -> Result<(), StoreError> {
        self.objects.remove(key);
        Ok(())
    }

    fn garbage(&mut self, version: AppliedVersion) -> Result<Option<Garbage>, StoreError> {
        Ok(self.garbage.get(&version).cloned())
    }

    fn put_garbage(&mut self, version: AppliedVersion, garbage: &Garbage) -> Result<(), StoreError> {
        self.garbage.insert(version, garbage.clone());
        Ok(())
    }

    fn remove_garbage(&mut self, version: AppliedVersion) -> Result<(), StoreError> {
        self.garbage.remove(&version);
        Ok(())
    }
}

#[test]
fn transcripts_are_as_they_were() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut seen = 0;
    for file in std::fs::read_dir(dir).expect("the transcripts") {
        let path = file.expect("an entry").path();
        check(&path);
        seen += 1;
    }
    assert!(seen >= 5, "{seen} transcripts");
}

fn check(path: &Path) {
    let text = std::fs::read_to_string(path).expect("readable");
    let (mut state, mut rows) = (State::default(), MemoryRows::default());
    let mut out = String::new();
    for line in text.lines().filter(|line| line.is_empty() || line.starts_with(['>', '#'])) {
        writeln!(out, "{line}").expect("a string");
        if let Some(command) = line.strip_prefix("> ") {
            run(&mut state, &mut rows, command, &mut out);
        }
    }
    if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
        return std::fs::write(path, &out).expect("written");
    }
    assert!(out == text, "{} differs; what came out:\n{out}", path.display());
}

fn run(state: &mut State, rows: &mut MemoryRows, line: &str, out: &mut String) {
    let before = (state.clone(), rows.clone());
    state.changed.clear();
    let reply = apply(state, rows, parse(line)).expect("rows in memory do not fail");
    writeln!(out, "{reply:?}").expect("a string");
    for key in state.changed.clone() {
        show_row(&before.0, state, key, out);
    }
    let keys = before.1.objects.keys().chain(rows.objects.keys());
    for key in keys.collect::<std::collections::BTreeSet<_>>() {
        if before.1.objects.get(key) != rows.objects.get(key) {
            let shown = rows.objects.get(key).map_or("gone".into(), show_record);
            writeln!(out, "  object {key}: {shown}").expect("a string");
        }
    }
    let versions = before.1.garbage.keys().chain(rows.garbage.keys());
    for version in versions.collect::<std::collections::BTreeSet<_>>() {
        if before.1.garbage.get(version) != rows.garbage.get(version) {
            let shown = rows.garbage.get(version).map_or("gone".into(), |garbage| {
                let how = if garbage.by_delete { "deleted" } else { "overwritten" };
                let doomed = if garbage.doomed { ", doomed" } else { "" };
                format!("{} {how}{doomed}, {}", garbage.key, show_record(&garbage.record))
            });
            writeln!(out, "  garbage {version}: {shown}").expect("a string");
        }
    }
}

fn show_record(record: &ObjectRecord) -> String {
    let ObjectRecord { needle, placement, size, version, .. } = record;
    let missing = if record.missing { ", missing" } else { "" };
    format!(
        "needle {}/{}, placement {placement}, {size} bytes, version {version}{missing}",
        needle.epoch(),
        needle.seq()
    )
}

fn show_row(before: &State, after: &State, key: RowKey, out: &mut String) {
    if before.row(key) == after.row(key) {
        return;
    }
    let (table, map) = (&after.cluster.table, &after.cluster.map);
    let gone = || "gone".to_owned();
    let shown = match key {
        RowKey::Config => format!("{:?}", after.cluster.config),
        RowKey::Counters => {
            let (now, next) = (after.counters, after.next);
            format!(
                "version {}; {} objects, {} bytes{}; {} garbage, {} bytes; last ids: volume {}, placement {}, epoch {}",
                now.version,
                now.objects,
                now.object_bytes,
                if now.missing > 0 { format!(", {} missing", now.missing) } else { String::new() },
                now.garbage_needles,
                now.garbage_bytes,
                next.volume,
                next.placement,
                next.epoch
            )
        }
        RowKey::MapVersion => map.version.to_string(),
        RowKey::TableVersion => table.version.to_string(),
        RowKey::Volume(id) => map.volumes.get(&id).map_or_else(gone, |v| {
            format!(
                "{} at {} {} in {:?}, {} bytes, {}",
                v.instance, v.addr, v.peer, v.zone, v.capacity_bytes, v.state
            )
        }),
        RowKey::Placement(id) => table.placements.get(&id).map_or_else(gone, |p| {
            let members: Vec<u32> = p.members.iter().map(|id| id.0).collect();
            format!("partition {}, members {members:?}, generation {}", p.partition, p.generation)
        }),
        RowKey::Current(id) => {
            table.current[usize::from(id.0)].map_or_else(gone, |id| format!("placement {id}"))
        }
        RowKey::Master(id) => after
            .cluster
            .masters
            .get(&id)
            .map_or_else(gone, |m| format!("{} at {} {}", m.instance, m.client, m.peer)),
        RowKey::Session(id) => after.sessions.get(&id).map_or_else(gone, |session| {
            let seqs: Vec<u32> = session.answers.keys().map(|seq| seq.0).collect();
            let (master, below) = (session.epoch.master, session.resolved_below);
            format!("of master {master}, resolved below {below}, remembers {seqs:?}")
        }),
        RowKey::Copies(id) => after.copies.get(&id).map_or_else(gone, |copies| {
            let (live, garbage) = (copies.live, copies.garbage);
            let (lc, lb, gc, gb) = (live.count, live.bytes, garbage.count, garbage.bytes);
            let missing = match copies.missing.count {
                0 => String::new(),
                count => format!(", {count} missing with {} bytes", copies.missing.bytes),
            };
            let unheld =
                if copies.unheld > 0 { format!(", {} garbage unheld", copies.unheld) } else { String::new() };
            format!("{lc} live with {lb} bytes, {gc} garbage with {gb} bytes{missing}{unheld}")
        }),
        RowKey::Removed(id) => format!("{}", after.cluster.removed.contains(&id)),
        RowKey::Rebalances => format!("{}", after.cluster.rebalances),
        RowKey::MoveRate => format!("{:?}", after.cluster.move_rate),
        RowKey::Move(id) => {
            table.moves.get(&id).map_or_else(gone, |begun| format!("newcomer volume {}", begun.newcomer))
        }
        RowKey::Starts(id) => after.starts.get(&id).map_or_else(gone, |nonces| format!("{nonces:?}")),
    };
    writeln!(out, "  {key:?}: {shown}").expect("a string");
}

/// The fields of one line.
struct Fields<'a>(BTreeMap<&'a str, &'a str>);

impl Fields<'_> {
    fn text(&self, name: &str) -> String {
        self.0.get(name).copied().unwrap_or_default().to_owned()
    }

    fn number<T: TryFrom<u64>>(&self, name: &str, otherwise: u64) -> T {
        let number = self.0.get(name).map_or(otherwise, |text| text.parse().expect("a number"));
        T::try_from(number).ok().expect("it fits")
    }

    fn list(&self, name: &str) -> Vec<u64> {
        let text = self.text(name);
        text.split(',').filter(|part| !part.is_empty()).map(|part| part.parse().expect("a number")).collect()
    }

    fn volume_state(&self, name: &str) -> VolumeState {
        match &*self.text(name) {
            "up" => VolumeState::Up,
            "suspect" => VolumeState::Suspect,
            "down" => VolumeState::Down,
            "full" => VolumeState::Full,
            "removed" => VolumeState::Removed,
            other => panic!("{other} is no state in transcripts"),
        }
    }

    fn instance(&self) -> InstanceId {
        InstanceId([self.number("instance", 1); 16])
    }

    fn sending(&self) -> Sending {
        Sending {
            epoch: EpochId(self.number("epoch", 1)),
            seq: Seq(self.number("seq", 1)),
            resolved_below: Seq(self.number("resolved_below", 1)),
        }
    }

    fn generation(&self) -> Generation {
        Generation(self.number("generation", 1))
    }

    fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.text("key")).expect("a key")
    }

    fn precondition(&self) -> Precondition {
        match &*self.text("if") {
            "" => Precondition::None,
            "absent" => Precondition::Absent,
            "present" => Precondition::Present,
            md5 => Precondition::Matches(vec![[md5.parse().expect("a number"); 16]]),
        }
    }
}

fn parse(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let name = words.next().expect("a command");
    let fields = Fields(words.map(|word| word.split_once('=').expect("name=value")).collect());
    match name {
        "form" => Command::FormCluster(ClusterConfig {
            cluster: ClusterId([fields.number("cluster", 9); 16]),
            partitions: fields.number("partitions", 1),
            replicas: fields.number("replicas", 3),
            min_replicas: fields.number("min_replicas", 2),
        }),
        "master" => Command::RegisterMaster(Master {
            id: NodeId(fields.number("id", 1)),
            instance: fields.instance(),
            client: fields.text("client"),
            peer: fields.text("peer"),
        }),
        "volume" | "volumes" => parse_volumes(name, &fields),
        "table" => Command::ChangeTable {
            map_version: fields.number("map", 0),
            table_version: fields.number("table", 0),
            changes: vec![TableChange {
                partition: PartitionId(fields.number("partition", 0)),
                members: fields.list("members").into_iter().map(|id| VolumeId(id as u32)).collect(),
            }],
        },
        "open" => Command::OpenEpoch {
            master: NodeId(fields.number("master", 1)),
            at_start: fields.text("at_start") == "yes",
            nonce: fields.number("nonce", 1),
        },
        "remove" => Command::RemoveMaster(NodeId(fields.number("id", 1))),
        "missing" | "found" => parse_named(name, &fields),
        "begin" | "replace" | "abandon" | "rebalance" | "forget" | "rate" => parse_move(name, &fields),
        "fence" => Command::FenceEpoch(EpochId(fields.number("epoch", 1))),
        "commit" => Command::Commit(Commit {
            session: fields.sending(),
            key: fields.key(),
            placement: PlacementId(fields.number("placement", 1)),
            generation: fields.generation(),
            size: fields.number("size", 10),
            crc: 1,
            md5: [fields.number("md5", 1); 16],
            headers: Headers::default(),
            precondition: fields.precondition(),
            now_ms: 1000,
        }),
        "delete" => Command::Delete(Delete {
            session: fields.sending(),
            key: fields.key(),
            precondition: fields.precondition(),
        }),
        "undelete" => Command::Undelete(Undelete {
            session: fields.sending(),
            key: fields.key(),
            garbage: AppliedVersion(fields.number("garbage", 0)),
        }),
        "doom" => Command::Doom(fields.list("versions").into_iter().map(AppliedVersion).collect()),
        "reaped" => Command::Reaped(fields.list("versions").into_iter().map(AppliedVersion).collect()),
        other => panic!("{other} is no command in transcripts"),
    }
}

fn parse_move(name: &str, fields: &Fields<'_>) -> Command {
    let placement =
        Examined { placement: PlacementId(fields.number("placement", 1)), generation: fields.generation() };
    let newcomer = VolumeId(fields.number("newcomer", 0));
    match name {
        "rebalance" => Command::Rebalance(fields.text("on") == "yes"),
        "rate" => {
            let is_set = fields.0.contains_key("bytes_per_s");
            Command::SetMoveRate(is_set.then(|| fields.number("bytes_per_s", 0)))
        }
        "begin" => Command::BeginMove { placement, newcomer },
        "abandon" => Command::AbandonMove { placement, newcomer },
        "forget" => Command::Forget(vec![placement]),
        _ => {
            let out = fields.0.contains_key("out").then(|| VolumeId(fields.number("out", 0)));
            Command::ReplaceMember { placement, out, newcomer }
        }
    }
}

fn parse_named(name: &str, fields: &Fields<'_>) -> Command {
    let by = match fields.0.get("garbage") {
        Some(_) => Row::Garbage(AppliedVersion(fields.number("garbage", 0))),
        None => Row::Object(fields.key()),
    };
    let named = Named { needle: NeedleId::new(EpochId(1), Seq(fields.number("seq", 1))), by };
    if name == "missing" {
        return Command::Missing(vec![named]);
    }
    let placement =
        Examined { placement: PlacementId(fields.number("placement", 1)), generation: fields.generation() };
    Command::Found { placement, needles: vec![named] }
}

fn parse_volumes(name: &str, fields: &Fields<'_>) -> Command {
    if name == "volumes" {
        let (from, to) = (fields.volume_state("from"), fields.volume_state("to"));
        let ids = fields.list("ids").into_iter();
        let change = |id| StateChange { volume: VolumeId(id as u32), from, to };
        return Command::SetVolumeStates(ids.map(change).collect());
    }
    Command::RegisterVolume(RegisterVolume {
        instance: fields.instance(),
        volume: fields.0.contains_key("id").then(|| VolumeId(fields.number("id", 0))),
        addr: fields.text("addr"),
        peer: fields.text("peer"),
        zone: fields.text("zone"),
        capacity_bytes: fields.number("capacity", 100),
    })
}
