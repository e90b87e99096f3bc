//! The state machine: the same entries give the same state, however they are batched, and whatever happens in between.

use std::sync::Arc;

use futures_util::stream;
use hayrick_disk::{Disk, FaultyDisk, Op};
use hayrick_protocol::cluster_map::{ClusterConfig, TableChange, VolumeState};
use hayrick_protocol::command::{
    Command, Commit, Delete, Examined, Named, Precondition, RegisterVolume, Row, Session as Sending,
    StateChange, Undelete,
};
use hayrick_protocol::record::{Headers, ObjectRecord};
use hayrick_protocol::{
    AppliedVersion, ClusterId, EpochId, Generation, InstanceId, NeedleId, NodeId, ObjectKey, PartitionId,
    PlacementId, Seq, VolumeId,
};
use openraft::EntryPayload;
use openraft::storage::RaftStateMachine;
use proptest::prelude::*;

use crate::apply::apply;
use crate::apply::transcripts::MemoryRows;
use crate::machine::Machine;
use crate::options::Options;
use crate::state::State;
use crate::types::{Commands, Entry, LeaderId, LogId};

pub(crate) fn open(disk: &FaultyDisk, dir: &str) -> Machine {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    disk.create_dir_all(dir.as_ref()).expect("a directory");
    let options =
        Options { checkpoint_after_rows: 7, index_cache_bytes: 1 << 20, ..Options::new(NodeId(1), dir) };
    Machine::open(disk, &options).expect("the index opens")
}

pub(crate) fn entry(index: u64, commands: &[Command]) -> Entry {
    let framed = Commands::frame(commands);
    let commands = Commands::join([(commands.len(), &framed)].into_iter());
    Entry {
        log_id: LogId::new(LeaderId { term: 1, node_id: 1 }, index),
        payload: EntryPayload::Normal(commands),
    }
}

pub(crate) async fn feed(machine: &mut Machine, entries: &[Entry]) {
    let items: Vec<_> = entries.iter().map(|entry| Ok((entry.clone(), None))).collect();
    machine.apply(stream::iter(items)).await.expect("applied");
}

async fn hash(machine: &Machine) -> u128 {
    machine.view().await.expect("a view").hash().expect("readable")
}

/// What a cluster needs before commits are accepted.
pub(crate) fn prelude() -> Vec<Command> {
    let mut commands = vec![Command::FormCluster(ClusterConfig {
        cluster: ClusterId([9; 16]),
        partitions: 4,
        replicas: 3,
        min_replicas: 1,
    })];
    commands.extend((1..=3).map(|n| register(n, "v")));
    commands.push(Command::OpenEpoch { master: NodeId(1), at_start: true, nonce: 1 });
    commands.extend((0..4).map(|partition| table(3, u64::from(partition), partition, vec![1, 2])));
    commands
}

fn register(n: u8, addr: &str) -> Command {
    Command::RegisterVolume(RegisterVolume {
        instance: InstanceId([n; 16]),
        volume: None,
        addr: addr.to_owned(),
        peer: "p".to_owned(),
        zone: String::new(),
        capacity_bytes: 1,
    })
}

pub(crate) fn table(map_version: u64, table_version: u64, partition: u16, members: Vec<u32>) -> Command {
    let members = members.into_iter().map(VolumeId).collect();
    let changes = vec![TableChange { partition: PartitionId(partition), members }];
    Command::ChangeTable { map_version, table_version, changes }
}

/// An object, in whichever partition it is of.
pub(crate) fn commit(seq: u32, key: &str) -> Command {
    let key = ObjectKey::new(key).expect("a key");
    let placement = PlacementId(u32::from(key.partition(4).0) + 1);
    Command::Commit(Commit {
        session: Sending { epoch: EpochId(1), seq: Seq(seq), resolved_below: Seq(seq) },
        key,
        placement,
        generation: Generation(1),
        size: 1,
        crc: 1,
        md5: [1; 16],
        headers: Headers::default(),
        precondition: Precondition::None,
        now_ms: 1,
    })
}

fn sending() -> impl Strategy<Value = Sending> {
    (1u32..4, 1u32..40, 0u32..30).prop_map(|(epoch, seq, below)| Sending {
        epoch: EpochId(epoch),
        seq: Seq(seq),
        resolved_below: Seq(below),
    })
}

fn key() -> impl Strategy<Value = ObjectKey> {
    (0u8..12).prop_map(|n| ObjectKey::new(&format!("key-{n}")).expect("a key"))
}

fn precondition() -> impl Strategy<Value = Precondition> {
    prop_oneof![
        4 => Just(Precondition::None),
        1 => Just(Precondition::Absent),
        1 => Just(Precondition::Present),
        1 => (0u8..4).prop_map(|n| Precondition::Matches(vec![[n; 16]])),
    ]
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    let commit = (sending(), key(), 1u32..7, 1u32..4, 0u32..99, 0u8..4, precondition()).prop_map(
        |(session, key, placement, generation, size, md5, precondition)| {
            Command::Commit(Commit {
                session,
                key,
                placement: PlacementId(placement),
                generation: Generation(generation),
                size,
                crc: 5,
                md5: [md5; 16],
                headers: Headers::default(),
                precondition,
                now_ms: 7,
            })
        },
    );
    let delete = (sending(), key(), precondition())
        .prop_map(|(session, key, precondition)| Command::Delete(Delete { session, key, precondition }));
    let undelete = (sending(), key(), 0u64..60).prop_map(|(session, key, garbage)| {
        Command::Undelete(Undelete { session, key, garbage: AppliedVersion(garbage) })
    });
    let versions = || prop::collection::vec((0u64..60).prop_map(AppliedVersion), 0..4);
    let members = prop::sample::subsequence(vec![1u32, 2, 3], 0..=3);
    prop_oneof![
        30 => commit,
        10 => delete,
        10 => undelete,
        3 => (1u64..4, any::<bool>(), 0u64..4)
            .prop_map(|(m, at_start, nonce)| Command::OpenEpoch { master: NodeId(m), at_start, nonce }),
        1 => (1u32..5).prop_map(|epoch| Command::FenceEpoch(EpochId(epoch))),
        3 => (3u64..6, 4u64..9, 0u16..5, members).prop_map(|(m, t, p, members)| table(m, t, p, members)),
        1 => (1u8..5, "[ab]").prop_map(|(n, addr)| register(n, &addr)),
        1 => (1u32..4, any::<bool>()).prop_map(|(id, up)| {
            let (from, to) = if up { (VolumeState::Down, VolumeState::Up) } else { (VolumeState::Up, VolumeState::Down) };
            Command::SetVolumeStates(vec![StateChange { volume: VolumeId(id), from, to }])
        }),
        3 => versions().prop_map(Command::Doom),
        3 => versions().prop_map(Command::Reaped),
        6 => a_move(),
        1 => any::<bool>().prop_map(Command::Rebalance),
        2 => prop::collection::vec(examined(), 0..4).prop_map(Command::Forget),
        6 => named().prop_map(|named| Command::Missing(vec![named])),
        4 => (examined(), named())
            .prop_map(|(placement, named)| Command::Found { placement, needles: vec![named] }),
        1 => any::<Option<u64>>().prop_map(|rate| Command::SetMoveRate(rate.map(|rate| rate >> 24))),
    ]
}

fn examined() -> impl Strategy<Value = Examined> {
    (1u32..7, 1u32..4).prop_map(|(placement, generation)| Examined {
        placement: PlacementId(placement),
        generation: Generation(generation),
    })
}

fn named() -> impl Strategy<Value = Named> {
    let by =
        prop_oneof![key().prop_map(Row::Object), (0u64..60).prop_map(|at| Row::Garbage(AppliedVersion(at)))];
    (1u32..40, by).prop_map(|(seq, by)| Named { needle: NeedleId::new(EpochId(1), Seq(seq)), by })
}

/// The commands with three of four client requests aimed at what is there when they come: numbers and keys out of all their
/// ranges hardly ever meet an open epoch, the current placement and a garbage row.
fn aimed(prelude: &[Command], batches: &[Vec<Command>]) -> Vec<Vec<Command>> {
    let (mut state, mut rows) = (State::default(), MemoryRows::default());
    let mut number = 0usize;
    let mut run = |command: &Command| {
        let mut command = command.clone();
        number += 1;
        if !number.is_multiple_of(4) {
            aim(&mut command, &state, &rows, number);
        }
        apply(&mut state, &mut rows, command.clone()).expect("rows in memory do not fail");
        command
    };
    prelude.iter().for_each(|command| drop(run(command)));
    batches.iter().map(|batch| batch.iter().map(&mut run).collect()).collect()
}

/// A new seq of an open epoch; the current placement; any of the rows, also of an overwrite or doomed.
fn aim(command: &mut Command, state: &State, rows: &MemoryRows, number: usize) {
    if let (Some(sending), Some((epoch, session))) = (command.session_mut(), state.sessions.last_key_value())
    {
        let last = session.answers.last_key_value().map_or(0, |(seq, _)| seq.0);
        let seq = Seq(session.resolved_below.0.max(last + 1));
        *sending = Sending { epoch: *epoch, seq, resolved_below: session.resolved_below };
    }
    match command {
        Command::Commit(commit) => {
            if let Some(placement) = state.cluster.table.current(commit.key.partition(4)) {
                (commit.placement, commit.generation) = (placement.id, placement.generation);
            }
        }
        Command::Undelete(undelete) if !rows.garbage.is_empty() => {
            let row = rows.garbage.iter().nth(number % rows.garbage.len());
            let (version, row) = row.expect("so many there are");
            (undelete.garbage, undelete.key) = (*version, row.key.clone());
        }
        Command::Missing(all) => all.iter_mut().for_each(|named| aim_at_row(named, rows)),
        Command::Found { placement, needles } => {
            needles.iter_mut().for_each(|named| aim_at_row(named, rows));
            let of = needles.first().and_then(|named| record_of(named, rows)).map(|record| record.placement);
            if let Some(row) = of.and_then(|id| state.cluster.table.placement(id)) {
                *placement = Examined { placement: row.id, generation: row.generation };
            }
        }
        _ => {}
    }
}

fn record_of<'a>(named: &Named, rows: &'a MemoryRows) -> Option<&'a ObjectRecord> {
    match &named.by {
        Row::Object(key) => rows.objects.get(key),
        Row::Garbage(version) => rows.garbage.get(version).map(|row| &row.record),
    }
}

fn aim_at_row(named: &mut Named, rows: &MemoryRows) {
    named.needle = record_of(named, rows).map_or(named.needle, |record| record.needle);
}

/// A step of a placement's gaining a member, which may or may not fit the state.
fn a_move() -> impl Strategy<Value = Command> {
    let out = prop::option::of((1u32..4).prop_map(VolumeId));
    (examined(), 0u8..5, out, (1u32..4).prop_map(VolumeId)).prop_map(|(placement, step, out, newcomer)| {
        match step {
            0 => Command::AbandonMove { placement, newcomer },
            1 | 2 => Command::ReplaceMember { placement, out, newcomer },
            _ => Command::BeginMove { placement, newcomer },
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// One applies entry by entry; one all at once, and is killed now and then; one starts from a snapshot half-way.
    #[test]
    fn batching_restarts_and_snapshots_do_not_change_the_state(
        random in prop::collection::vec(prop::collection::vec(command(), 0..6), 1..40),
        kills in prop::collection::vec(1usize..40, 0..4),
        seed: u64,
    ) {
        let mut entries = vec![entry(0, &prelude())];
        let random = aimed(&prelude(), &random);
        entries.extend(random.iter().zip(1..).map(|(commands, index)| entry(index, commands)));
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let disk = FaultyDisk::new(seed);
            let mut one = open(&disk, "/one");
            for entry in &entries {
                feed(&mut one, std::slice::from_ref(entry)).await;
            }
            let want = hash(&one).await;

            let mut killed = FaultyDisk::new(seed);
            let mut two = open(&killed, "/two");
            for kill in kills {
                let from = two.applied_now().last.map_or(0, |id| id.index as usize + 1);
                feed(&mut two, &entries[from..entries.len().min(from.max(kill))]).await;
                killed = killed.crash(seed);
                two = open(&killed, "/two");
            }
            let from = two.applied_now().last.map_or(0, |id| id.index as usize + 1);
            feed(&mut two, &entries[from..]).await;
            assert_eq!(hash(&two).await, want, "killed and started again");
            two.stop().await.expect("stopped");
            assert_eq!(hash(&open(&killed.crash(seed), "/two")).await, want, "stopped, and started again");

            let half = entries.len() / 2;
            let mut source = open(&disk, "/source");
            feed(&mut source, &entries[..half]).await;
            let mut three = open(&disk, "/three");
            if let Some(snapshot) = source.get_current_snapshot().await.expect("a snapshot") {
                three.install_snapshot(&snapshot.meta, snapshot.snapshot).await.expect("installed");
            }
            assert_eq!(hash(&three).await, hash(&source).await, "installed");
            feed(&mut three, &entries[half..]).await;
            assert_eq!(hash(&three).await, want, "from a snapshot on");
        });
    }

    /// What is counted, kept and remembered is what is there.
    #[test]
    fn counters_and_digests_are_exact(random in prop::collection::vec(command(), 0..300)) {
        let (mut state, mut rows) = (State::default(), MemoryRows::default());
        let random = aimed(&prelude(), &[random]).concat();
        for command in prelude().into_iter().chain(random) {
            apply(&mut state, &mut rows, command).expect("rows in memory do not fail");
        }
        let counters = state.counters;
        prop_assert_eq!(counters.objects, rows.objects.len() as u64);
        prop_assert_eq!(counters.garbage_needles, rows.garbage.len() as u64);
        prop_assert_eq!(counters.missing, rows.objects.values().filter(|record| record.missing).count() as u64);
        prop_assert_eq!(counters.object_bytes, rows.objects.values().map(|r| u64::from(r.size)).sum::<u64>());
        let mut copies = std::collections::BTreeMap::<_, crate::status::Copies>::new();
        for record in rows.objects.values() {
            let copies = copies.entry(record.placement).or_default();
            let digest = if record.missing { &mut copies.missing } else { &mut copies.live };
            digest.add(record.needle, record.size);
        }
        for garbage in rows.garbage.values() {
            let record = &garbage.record;
            let copies = copies.entry(record.placement).or_default();
            if garbage.doomed || record.missing {
                copies.unheld += 1;
            } else {
                copies.garbage.add(record.needle, record.size);
            }
        }
        prop_assert!(copies.keys().all(|id| state.cluster.table.placement(*id).is_some()), "one was forgotten");
        prop_assert_eq!(&*state.copies, &copies);
        let loaded = State::load(state.rows()).expect("own rows");
        prop_assert!(loaded.rows().eq(state.rows()));
        prop_assert_eq!(&loaded.cluster, &state.cluster);
        prop_assert_eq!(&loaded.sessions, &state.sessions);
    }
}

#[tokio::test]
async fn an_index_that_was_flipped_is_refused_or_stops_but_never_panics() {
    let disk = FaultyDisk::new(3);
    let mut machine = open(&disk, "/m");
    feed(&mut machine, &[entry(0, &prelude())]).await;
    machine.stop().await.expect("stopped");
    drop(machine);
    let path = std::path::Path::new("/m/index.redb");
    let len = disk.bytes(path).expect("the index").len() as u64;
    let want = hash(&open(&disk.restart(), "/m")).await;
    let mut refused = 0;
    for offset in (0..len).step_by(509) {
        let flipped = disk.restart();
        let bytes = disk.bytes(path).expect("the index");
        flipped.overwrite(path, offset, &[bytes[offset as usize] ^ 0x55]);
        let shared: Arc<dyn Disk> = Arc::new(flipped);
        let options = Options { index_cache_bytes: 1 << 20, ..Options::new(NodeId(1), "/m") };
        match Machine::open(shared, &options) {
            Ok(machine) => match machine.view().await.expect("it does not know yet").hash() {
                Ok(found) => assert_eq!(found, want, "offset {offset}: another state was taken for ours"),
                Err(_) => refused += 1,
            },
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0, "the header of the file is looked at");
}

#[tokio::test]
async fn who_reads_while_a_snapshot_is_put_in_place_comes_to_an_end() {
    let disk = FaultyDisk::new(1);
    let (mut source, mut target) = (open(&disk, "/source"), open(&disk, "/target"));
    feed(&mut source, &[entry(0, &prelude())]).await;
    feed(&mut target, &[entry(0, &prelude()[..1])]).await;
    let (before, view) = (target.frozen().expect("rows"), target.view().await.expect("a view"));
    let hash_before = hash(&target).await;
    let snapshot = source.get_current_snapshot().await.expect("readable").expect("there is something");
    target.install_snapshot(&snapshot.meta, snapshot.snapshot).await.expect("installed");
    before.objects(b"", |_, _| panic!("there was none")).expect("readable");
    assert_eq!(view.hash().expect("readable"), hash_before);
    assert_eq!(hash(&target).await, hash(&source).await);
}

#[tokio::test]
async fn a_view_stays_as_it_was_taken() {
    let disk = FaultyDisk::new(1);
    let mut machine = open(&disk, "/m");
    feed(&mut machine, &[entry(0, &prelude()), entry(1, &[commit(1, "key")])]).await;
    let view = machine.view().await.expect("a view");
    let before = Arc::clone(&view).hash().expect("readable");
    feed(&mut machine, &[entry(2, &[commit(2, "key"), table(3, 4, 0, vec![2, 3])])]).await;
    assert_eq!(view.hash().expect("readable"), before);
    assert_ne!(hash(&machine).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apply_goes_on_while_a_checkpoint_is_written_until_far_too_much_has_gathered() {
    let disk = FaultyDisk::new(1);
    let mut machine = open(&disk, "/m");
    feed(&mut machine, &[entry(0, &prelude())]).await;
    machine.checkpoint().await.expect("durable");
    let gate = disk.gate(Op::Sync.on("index.redb"));
    let entries: Vec<Entry> =
        (1..=100u32).map(|n| entry(n.into(), &[commit(n, &format!("key-{n}"))])).collect();
    feed(&mut machine, &entries[..7]).await;
    gate.wait_for_arrival();
    feed(&mut machine, &entries[7..20]).await;
    assert_eq!(*machine.applied().borrow(), 20, "the checkpoint hangs");
    for n in 1..=20 {
        let key = ObjectKey::new(&format!("key-{n}")).expect("a key");
        assert!(machine.object(&key).expect("readable").is_some(), "key-{n}");
    }
    let before = hash(&machine).await;
    let mut feeder = machine.clone();
    let rest = tokio::spawn(async move { feed(&mut feeder, &entries[20..]).await });
    let mut applied = machine.applied();
    // Where it stops, it has the lock of nobody who reads.
    applied.wait_for(|applied| *applied > 20).await.expect("it goes on");
    assert_ne!(hash(&machine).await, before);
    gate.open();
    rest.await.expect("it comes to its end");
    assert_eq!(*applied.borrow(), 100);
    let want = hash(&machine).await;
    machine.stop().await.expect("durable");
    assert_eq!(hash(&open(&disk.crash(0), "/m")).await, want);
}

#[tokio::test]
async fn where_a_checkpoint_hangs_the_memory_for_what_is_applied_is_bounded() {
    let disk = FaultyDisk::new(1);
    let mut machine = open(&disk, "/m");
    feed(&mut machine, &[entry(0, &prelude())]).await;
    let gate = disk.gate(Op::Sync.on("index.redb"));
    let mut feeder = machine.clone();
    let rest = tokio::spawn(async move {
        for n in 1..=1000u32 {
            feed(&mut feeder, &[entry(n.into(), &[commit(n, &format!("key-{n}"))])]).await;
        }
    });
    let mut applied = machine.applied();
    // Four times the seven rows at which a checkpoint is due, and as much as one is made of that has begun already.
    applied.wait_for(|applied| *applied >= 27).await.expect("up to there it goes on");
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(*applied.borrow() <= 35, "{}", *applied.borrow());
    gate.open();
    rest.await.expect("and then to its end");
    machine.stop().await.expect("durable");
}

#[tokio::test]
async fn after_a_failed_checkpoint_nothing_is_applied_nor_made_durable() {
    let disk = FaultyDisk::new(1);
    let mut machine = open(&disk, "/m");
    feed(&mut machine, &[entry(0, &prelude())]).await;
    machine.checkpoint().await.expect("durable");
    let want = hash(&machine).await;
    feed(&mut machine, &[entry(1, &[commit(1, "key")])]).await;
    disk.fail(Op::Sync.on("index.redb"), 1);
    machine.checkpoint().await.expect_err("its sync failed");
    assert!(machine.failed().is_some());
    let more = vec![Ok((entry(2, &[commit(2, "key")]), None))];
    machine.apply(stream::iter(more)).await.expect_err("it has stopped");
    machine.checkpoint().await.expect_err("and tries no sync again");
    assert_eq!(hash(&open(&disk.crash(1), "/m")).await, want, "what the log has is applied anew");
}
