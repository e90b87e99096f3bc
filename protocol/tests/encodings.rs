//! Golden bytes of everything that goes through the codec: a change of what lies in logs, or travels between builds,
//! is seen here before it is seen in a cluster.
//!
//! Each line of the files in `golden/` is a name and the bytes of one value. `UPDATE_GOLDEN=1 cargo test -p
//! hayrick-protocol` writes the file anew; do it only together with a raised version, or before the first release.

use std::fmt::{Debug, Write};

use hayrick_protocol::cluster_map::{
    ClusterConfig, Master, Move, Placement, TableChange, Volume, VolumeState, VolumeStatus,
};
use hayrick_protocol::codec::{self, DecodeError};
use hayrick_protocol::command::{
    Applied, Command, Commit, Delete, Examined, Named, Precondition, Refusal, RegisterVolume, Reply, Row,
    Session, StateChange, Undelete,
};
use hayrick_protocol::held::{Held, LogPosition, Vote, Voters};
use hayrick_protocol::messages::master::{
    Belonging, ChangeMasters, ChangeMastersError, Greet, Greeting, HandOver, HandOverError, Heartbeat,
    HeartbeatReply, MastersChanged, NotResolved, Propose, ProposeError, Raft, ReadIndex, ReadIndexError,
    Register, RegisterError, Registered, ReportVolume, Resolve, Resolved, Stage, Verdict,
};
use hayrick_protocol::messages::moves::{self, AskMoves, MoveKind, Moves};
use hayrick_protocol::messages::volume::{self, Append, AppendError, AppendReply, Appended, Probe, Read};
use hayrick_protocol::messages::volume::{
    Damaged, DamagedPlacements, DropError, Fetch, Fetched, List, ListPosition, Listed, Listing, MadeUp,
    Offer, Offered, Pull, PullError, Pulled, ReadError, ReadReply, Status, Verified, Verify,
};
use hayrick_protocol::messages::{Identity, Message};
use hayrick_protocol::record::Headers;
use hayrick_protocol::{
    AppliedVersion, ClusterId, EpochId, Generation, InstanceId, NeedleId, NodeId, ObjectKey, PartitionId,
    PlacementId, Seq, VolumeId,
};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Values with their bytes, one a line.
#[derive(Default)]
struct Golden(String);

impl Golden {
    /// Notes the bytes of `value`; it reads back, and neither a part of it nor more than it does.
    fn add<T>(&mut self, name: &str, value: &T)
    where
        T: Serialize + DeserializeOwned + PartialEq + Debug,
    {
        let mut bytes = codec::encode(value);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(self.0, "{name} {hex}").expect("writing to a string");
        assert_eq!(&codec::decode::<T>(&bytes).expect("own bytes"), value, "{name}");
        for len in 0..bytes.len() {
            assert!(
                codec::decode::<T>(&bytes[..len]).is_err(),
                "{name}: {len} bytes are taken for all of it"
            );
        }
        bytes.push(0);
        assert!(
            matches!(codec::decode::<T>(&bytes), Err(DecodeError::TrailingBytes(1))),
            "{name}: a byte more"
        );
        bytes[0] = codec::VERSION + 1;
        assert!(
            matches!(codec::decode::<T>(&bytes), Err(DecodeError::Version(_))),
            "{name}: a later version"
        );
    }

    fn add_all<T>(&mut self, name: &str, values: &[T])
    where
        T: Serialize + DeserializeOwned + PartialEq + Debug,
    {
        for (number, value) in values.iter().enumerate() {
            self.add(&format!("{name}/{number}"), value);
        }
    }

    /// A request with its number, and the replies it may get.
    fn message<M>(&mut self, request: &M, replies: &[M::Reply])
    where
        M: Message + PartialEq + Debug,
        M::Reply: PartialEq + Debug,
    {
        self.add(&format!("{:#06x} {}", M::METHOD.0, M::NAME), request);
        self.add_all(&format!("{:#06x} {} reply", M::METHOD.0, M::NAME), replies);
    }

    fn compare(&self, file: &str) {
        let path = format!("{}/tests/golden/{file}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &self.0).expect("the golden bytes can be written");
        }
        let wanted = std::fs::read_to_string(&path).expect("the golden bytes can be read");
        for (is, wanted) in self.0.lines().zip(wanted.lines()) {
            assert_eq!(is, wanted, "other bytes than every build before wrote");
        }
        assert_eq!(self.0.lines().count(), wanted.lines().count(), "a value has come or gone");
    }
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).expect("a good key")
}

fn headers() -> Headers {
    let entries = [("content-type", "image/png"), ("hayrick-meta-owner", "ann")];
    Headers::new(entries.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
        .expect("kept ones")
}

fn session() -> Session {
    Session { epoch: EpochId(3), seq: Seq(300), resolved_below: Seq(299) }
}

fn commit(precondition: Precondition) -> Commit {
    Commit {
        session: session(),
        key: key("photos/cat.jpg"),
        placement: PlacementId(77),
        generation: Generation(2),
        size: 70_000,
        crc: 0xdead_beef,
        md5: [0x11; 16],
        headers: headers(),
        precondition,
        now_ms: 1_700_000_000_000,
    }
}

fn register() -> RegisterVolume {
    RegisterVolume {
        instance: InstanceId([2; 16]),
        volume: Some(VolumeId(4)),
        addr: "127.0.0.1:9091".into(),
        peer: "127.0.0.1:9093".into(),
        zone: "a".into(),
        capacity_bytes: 1 << 40,
    }
}

fn config() -> ClusterConfig {
    ClusterConfig { cluster: ClusterId([9; 16]), partitions: 4096, replicas: 3, min_replicas: 2 }
}

fn master() -> Master {
    Master { id: NodeId(1), instance: InstanceId([1; 16]), client: "c:9090".into(), peer: "p:9092".into() }
}

fn volume_status() -> VolumeStatus {
    VolumeStatus {
        capacity_bytes: 1 << 40,
        used_bytes: 1 << 30,
        free_bytes: 1 << 20,
        needles: 12,
        segments: 3,
        bad: 1,
        bad_bytes: 64,
        full: true,
        read_only: Some("EIO".into()),
        stalled_ms: 250,
        uncompared: true,
        dead_bytes: 1 << 25,
    }
}

const STATES: [VolumeState; 7] = [
    VolumeState::Up,
    VolumeState::Suspect,
    VolumeState::Down,
    VolumeState::Full,
    VolumeState::ReadOnly,
    VolumeState::Draining,
    VolumeState::Removed,
];

const EXAMINED: Examined = Examined { placement: PlacementId(77), generation: Generation(6) };

fn commands() -> Vec<Command> {
    let change = TableChange { partition: PartitionId(5), members: vec![VolumeId(1), VolumeId(300)] };
    vec![
        Command::FormCluster(config()),
        Command::RegisterMaster(master()),
        Command::OpenEpoch { master: NodeId(1), at_start: true, nonce: u64::MAX },
        Command::FenceEpoch(EpochId(3)),
        Command::Commit(commit(Precondition::None)),
        Command::Commit(commit(Precondition::Absent)),
        Command::Commit(commit(Precondition::Present)),
        Command::Commit(commit(Precondition::Matches(vec![[7; 16], [8; 16]]))),
        Command::Delete(Delete { session: session(), key: key("a"), precondition: Precondition::None }),
        Command::RegisterVolume(register()),
        Command::SetVolumeStates(STATES.iter().map(|state| change_to(*state)).collect()),
        Command::ChangeTable { map_version: 7, table_version: 8, changes: vec![change] },
        Command::Doom(vec![AppliedVersion(9), AppliedVersion(1 << 40)]),
        Command::Reaped(vec![AppliedVersion(9)]),
        Command::RemoveMaster(NodeId(3)),
        Command::BeginMove { placement: EXAMINED, newcomer: VolumeId(5) },
        Command::ReplaceMember { placement: EXAMINED, out: Some(VolumeId(1)), newcomer: VolumeId(5) },
        Command::ReplaceMember { placement: EXAMINED, out: None, newcomer: VolumeId(5) },
        Command::AbandonMove { placement: EXAMINED, newcomer: VolumeId(5) },
        Command::Rebalance(true),
        Command::Undelete(Undelete { session: session(), key: key("a"), garbage: AppliedVersion(1 << 40) }),
        Command::SetMoveRate(Some(50 << 20)),
        Command::SetMoveRate(None),
        Command::Forget(vec![EXAMINED]),
        Command::Missing(vec![Named { needle: NeedleId(9), by: Row::Object(key("a")) }]),
        Command::Found {
            placement: EXAMINED,
            needles: vec![Named { needle: NeedleId(9), by: Row::Garbage(AppliedVersion(1 << 40)) }],
        },
    ]
}

fn moves() -> Moves {
    let step = |kind, from, eta_ms| moves::Move {
        kind,
        placement: PlacementId(77),
        placements: 128,
        from,
        to: VolumeId(5),
        done: 1 << 20,
        total: 1 << 30,
        bytes_per_s: 50 << 20,
        eta_ms,
    };
    Moves {
        running: vec![
            step(MoveKind::Repair, Some(VolumeId(1)), Some(20_460)),
            step(MoveKind::Drain, Some(VolumeId(300)), None),
            step(MoveKind::Rebalance, None, None),
        ],
        waiting: vec!["why".into()],
        placements_left: 300,
        bytes_left: 1 << 40,
        bytes_per_s: 150 << 20,
        eta_ms: Some(25_000),
        move_rate: 50 << 20,
    }
}

fn change_to(to: VolumeState) -> StateChange {
    StateChange { volume: VolumeId(1), from: VolumeState::Suspect, to }
}

fn applied() -> Applied {
    Applied { version: AppliedVersion(12), replaced: true }
}

fn replies() -> Vec<Reply> {
    let refusals = [
        Refusal::StalePlacement,
        Refusal::PreconditionFailed,
        Refusal::NotFound,
        Refusal::Fenced,
        Refusal::AlreadyResolved,
        Refusal::WindowFull,
        Refusal::StaleTable,
        Refusal::Invalid("why".into()),
        Refusal::OtherInstance(InstanceId([2; 16])),
        Refusal::NotFormed,
        Refusal::MasterRemoved,
    ];
    let mut replies = vec![
        Reply::Done,
        Reply::Applied(applied()),
        Reply::ClusterFormed(ClusterId([9; 16])),
        Reply::EpochOpened(EpochId(3)),
        Reply::VolumeRegistered(VolumeId(4)),
    ];
    replies.extend(refusals.map(Reply::Refused));
    replies
}

#[test]
fn bytes_of_commands_replies_and_state_rows_are_golden() {
    let mut golden = Golden::default();
    golden.add_all("command", &commands());
    golden.add_all("reply", &replies());
    golden.add("config", &config());
    golden.add("master", &master());
    let volume = Volume {
        id: VolumeId(4),
        instance: InstanceId([2; 16]),
        addr: "v:9091".into(),
        peer: "v:9093".into(),
        zone: "b".into(),
        capacity_bytes: 1 << 40,
        state: VolumeState::Down,
    };
    golden.add("volume", &volume);
    let placement = Placement {
        id: PlacementId(77),
        partition: PartitionId(4095),
        members: vec![VolumeId(1), VolumeId(2), VolumeId(3)],
        generation: Generation(6),
    };
    golden.add("placement", &placement);
    golden.add("move", &Move { newcomer: VolumeId(5) });
    golden.compare("commands.txt");
}

#[test]
fn bytes_of_messages_between_masters_are_golden() {
    let mut golden = Golden::default();
    golden.add_all("identity", &[Identity::Master(NodeId(1)), Identity::Volume(VolumeId(4))]);
    golden.message(&Raft { group: 0, kind: 3 }, &[Ok(()), Err("no".into())]);
    let propose_errors = [
        ProposeError::NotLeader { leader: Some(NodeId(2)) },
        ProposeError::NoQuorum,
        ProposeError::Overloaded,
        ProposeError::Unknown("why".into()),
    ];
    let mut answers = vec![Ok(replies())];
    answers.extend(propose_errors.map(Err));
    golden.message(&Propose { commands: commands() }, &answers);
    let no_leader = ReadIndexError::NotLeader { leader: None };
    golden.message(&AskMoves, &[Some(moves()), Some(Moves::default()), None]);
    golden.message(&ReadIndex, &[Ok(812), Err(no_leader), Err(ReadIndexError::NoQuorum)]);
    let vote = Vote { term: 7, node: NodeId(2), committed: true };
    let held = Held {
        vote: Some(vote),
        last: Some(LogPosition { term: 7, node: NodeId(2), index: 812 }),
        committed: 811,
    };
    let greet =
        |stage| Greet { node: NodeId(1), instance: InstanceId([1; 16]), peer: "p:9092".into(), held, stage };
    let greeting = |you_are| Greeting {
        instance: InstanceId([3; 16]),
        cluster: ClusterId([9; 16]),
        knows_you_as: Some(InstanceId([1; 16])),
        leader: Some(NodeId(3)),
        client: "c:9090".into(),
        you_are,
        voters: Voters { at: held.last, sets: vec![[1, 2, 3].map(NodeId).into()] },
        rolled_back: (you_are == Belonging::Stranger).then(|| "why".into()),
    };
    golden.message(
        &greet(Stage::Starting),
        &[Belonging::Stranger, Belonging::Member, Belonging::Removed].map(greeting),
    );
    let changed = [
        Ok(MastersChanged::Learner(None)),
        Ok(MastersChanged::Learner(Some(7))),
        Ok(MastersChanged::Voter),
        Ok(MastersChanged::Removed),
        Ok(MastersChanged::Leads),
        Err(ChangeMastersError::NotLeader { leader: Some((NodeId(2), "p:9092".into())) }),
        Err(ChangeMastersError::Conflict("why".into())),
        Err(ChangeMastersError::Busy("why".into())),
        Err(ChangeMastersError::NotFound("why".into())),
        Err(ChangeMastersError::Later("why".into())),
        Err(ChangeMastersError::Unknown("why".into())),
    ];
    golden.add_all("greet", &[greet(Stage::Started), greet(Stage::Running)]);
    golden.message(&ChangeMasters::Admit(master()), &changed);
    golden.add_all("change", &[ChangeMasters::Remove(NodeId(3)), ChangeMasters::Transfer(NodeId(2))]);
    let hand_over = HandOver {
        key: key("k"),
        headers: headers(),
        precondition: Precondition::Absent,
        md5: [0x22; 16],
        deadline_ms: 4800,
    };
    let refused = HandOverError::Refused { status: 412, text: "no".into() };
    golden.message(&hand_over, &[Ok(applied()), Err(refused), Err(HandOverError::Unknown("why".into()))]);
    golden.compare("masters.txt");
}

#[test]
fn bytes_of_messages_with_volumes_are_golden() {
    let mut golden = Golden::default();
    let heartbeat = Heartbeat {
        volume: VolumeId(4),
        instance: InstanceId([2; 16]),
        process: 1 << 60,
        status: volume_status(),
    };
    let known = HeartbeatReply::Known(vec!["p:9092".into(), "p:9192".into()]);
    let beats = [known, HeartbeatReply::Register, HeartbeatReply::Refused("why".into())];
    golden.message(&heartbeat, &beats);
    let registration = Register { volume: register(), process: 7, cluster: ClusterId::UNKNOWN };
    let registered = Registered { volume: VolumeId(4), cluster: ClusterId([9; 16]) };
    let later = RegisterError::Later("no leader".into());
    golden.message(&registration, &[Ok(registered), Err(later), Err(RegisterError::Never("why".into()))]);
    let report = ReportVolume { volume: VolumeId(4), placement: PlacementId(77), cause: "silent".into() };
    golden.message(&report, &[Verdict::Works, Verdict::Avoided, Verdict::NotLeader]);
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let resolve = Resolve { key: key("k"), fields: vec![field("if-match", "*")], stale: false };
    let resolved = |needle| Resolved {
        needle,
        crc: 7,
        range_counts: true,
        fields: vec![field("etag", "\"00\"")],
        master: "c:9090".into(),
    };
    let not_resolved = NotResolved { status: 404, text: "no".into() };
    let needle = Some(NeedleId::new(EpochId(3), Seq(300)));
    golden.message(&resolve, &[Ok(resolved(needle)), Ok(resolved(None)), Err(not_resolved)]);

    let needle = NeedleId::new(EpochId(3), Seq(300));
    let failures = [
        AppendError::Malformed("why".into()),
        AppendError::Conflict(needle),
        AppendError::Full { used_bytes: 9, reserve_bytes: 8 },
        AppendError::Busy,
        AppendError::ReadOnly("EIO".into()),
        AppendError::Failed("why".into()),
    ];
    let mut appended = vec![Ok(Appended { needle, crc: 7 })];
    appended.extend(failures.map(Err));
    golden.message(&Append { needles: 7 }, &[AppendReply(appended)]);
    golden.message(&Probe, &[Ok(volume_status()), Err(AppendError::Busy)]);
    let read = Read { needle, first_block: 1, blocks: u32::MAX, with_table: true };
    let read_reply =
        ReadReply { placement: PlacementId(77), size: 70_000, data_bytes: 65_536, table_bytes: 8 };
    let read_errors =
        [ReadError::NotFound, ReadError::Damaged, ReadError::Disk("EIO".into()), ReadError::Range];
    let mut answers = vec![Ok(read_reply)];
    answers.extend(read_errors.map(Err));
    golden.message(&read, &answers);
    golden.message(&volume::Delete { needles: vec![needle] }, &[Ok(()), Err(AppendError::Busy)]);
    golden.message(&Status, &[volume_status()]);
    add_lists_and_pulls(&mut golden, needle);
    golden.compare("volumes.txt");
}

fn add_lists_and_pulls(golden: &mut Golden, needle: NeedleId) {
    let placements = vec![PlacementId(7), PlacementId(77)];
    let from = ListPosition { segment: 2, placement: PlacementId(7), needle };
    let listed =
        Listed { segment: 2, placement: PlacementId(77), needle, bytes: 1088, key: key("photos/cat.jpg") };
    let listing = Listing { needles: vec![listed], next: Some(from) };
    let no_more = Listing { needles: Vec::new(), next: None };
    let disk = ReadError::Disk("EIO".into());
    golden.message(
        &List { placements: placements.clone(), from, only_looks: true },
        &[Ok(listing), Ok(no_more.clone()), Err(disk.clone())],
    );
    golden.message(&Fetch { needles: vec![needle] }, &[Fetched(vec![Ok(()), Err(disk)])]);
    let only = vec![needle];
    let pull =
        Pull { source: VolumeId(4), address: "v:9093".into(), placements, from, bytes_max: 4 << 20, only };
    let pulled = Pulled { next: Some(from), listed: 300, needles: 2, bytes: 2176, failed: 1 };
    let errors = [PullError::Source("silent".into()), PullError::Append(AppendError::Busy)];
    let mut answers = vec![Ok(pulled), Ok(Pulled { next: None, ..pulled })];
    answers.extend(errors.map(Err));
    golden.message(&pull, &answers);
    let damaged = DamagedPlacements { placements: vec![PlacementId(7)], others: true, any: true, mark: 9 };
    golden.message(&Damaged, &[DamagedPlacements::default(), damaged]);
    golden.message(&MadeUp { mark: 9 }, &[()]);
    let offered = Offered { listing: no_more.clone(), ticket: 1 << 60 };
    golden.message(&Offer { from }, &[Ok(offered), Err(ReadError::Disk("EIO".into()))]);
    let verify = Verify { placements: vec![PlacementId(7)], from, bytes_max: 1 << 20 };
    let checks = vec![Ok(0xdead_beef), Err(ReadError::Damaged), Err(ReadError::NotFound)];
    let verified = Verified { listing: no_more, checks };
    golden.message(&verify, &[Ok(verified), Err(ReadError::Disk("EIO".into()))]);
    let drop = volume::Drop { ticket: 1 << 60, needles: vec![needle] };
    golden.message(&drop, &[Ok(()), Err(DropError::Stale), Err(AppendError::Busy.into())]);
}

#[test]
fn what_no_client_may_send_is_refused_in_a_message_too() {
    let hidden = |from: &str, to: &str| {
        let mut bytes = codec::encode(&Command::Commit(commit(Precondition::None)));
        let at =
            bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect("it is in there");
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        codec::decode::<Command>(&bytes)
    };
    assert!(hidden("photos/cat.jpg", "photos/dog.jpg").is_ok());
    assert!(hidden("photos/cat.jpg", "/../os/cat.jpg").is_err(), "a key with a `..` segment");
    assert!(hidden("content-type", "content-tape").is_err(), "a header that is not kept");

    // A record has one byte for the length of a name: what is longer must not reach the state.
    let name = format!("hayrick-meta-{}", "x".repeat(300));
    let long_name = codec::encode(&vec![(name, String::from("v"))]);
    assert!(codec::decode::<Headers>(&long_name).is_err());
    let long_value = codec::encode(&vec![(String::from("content-type"), "v".repeat(70_000))]);
    assert!(codec::decode::<Headers>(&long_value).is_err());
}

#[test]
fn a_claimed_length_is_not_believed() {
    // bincode's marks for a 32-bit and a 64-bit number, as lengths of lists of all sorts.
    let claims = [[&[252][..], &[0xff; 4]].concat(), [&[253][..], &[0xff; 8]].concat()];
    for claim in claims {
        let bytes = [&[codec::VERSION][..], &claim, &[0; 100]].concat();
        assert!(codec::decode::<Propose>(&bytes).is_err());
        assert!(codec::decode::<AppendReply>(&bytes).is_err());
        assert!(codec::decode::<volume::Delete>(&bytes).is_err());
        assert!(codec::decode::<String>(&bytes).is_err());
        assert!(codec::decode::<Vec<Vec<[u8; 16]>>>(&bytes).is_err());
    }
}

fn any_precondition() -> impl Strategy<Value = Precondition> {
    prop_oneof![
        Just(Precondition::None),
        Just(Precondition::Absent),
        Just(Precondition::Present),
        proptest::collection::vec(any::<[u8; 16]>(), 0..5).prop_map(Precondition::Matches),
    ]
}

fn any_session() -> impl Strategy<Value = Session> {
    any::<(u32, u32, u32)>().prop_map(|(epoch, seq, below)| Session {
        epoch: EpochId(epoch),
        seq: Seq(seq),
        resolved_below: Seq(below),
    })
}

fn any_command() -> impl Strategy<Value = Command> {
    let name = "[a-zäöü/]{1,40}";
    let commit =
        (any_session(), name, any_precondition(), any::<(u32, u32, u32, u32, u64)>(), any::<[u8; 16]>())
            .prop_filter_map("a key", |(session, name, precondition, numbers, md5)| {
                Some(Command::Commit(Commit {
                    session,
                    key: ObjectKey::new(&name).ok()?,
                    placement: PlacementId(numbers.0),
                    generation: Generation(numbers.1),
                    size: numbers.2,
                    crc: numbers.3,
                    md5,
                    headers: headers(),
                    precondition,
                    now_ms: numbers.4,
                }))
            });
    let delete = (any_session(), name, any_precondition()).prop_filter_map(
        "a key",
        |(session, name, precondition)| {
            Some(Command::Delete(Delete { session, key: ObjectKey::new(&name).ok()?, precondition }))
        },
    );
    let undelete =
        (any_session(), name, any::<u64>()).prop_filter_map("a key", |(session, name, garbage)| {
            let garbage = AppliedVersion(garbage);
            Some(Command::Undelete(Undelete { session, key: ObjectKey::new(&name).ok()?, garbage }))
        });
    let open = any::<(u64, bool, u64)>().prop_map(|(master, at_start, nonce)| Command::OpenEpoch {
        master: NodeId(master),
        at_start,
        nonce,
    });
    let change = (any::<u16>(), proptest::collection::vec(any::<u32>().prop_map(VolumeId), 0..8))
        .prop_map(|(partition, members)| TableChange { partition: PartitionId(partition), members });
    let table = (any::<(u64, u64)>(), proptest::collection::vec(change, 0..20)).prop_map(
        |((map_version, table_version), changes)| Command::ChangeTable {
            map_version,
            table_version,
            changes,
        },
    );
    let state = (0..STATES.len()).prop_map(|at| STATES[at]);
    let states = (any::<u32>(), state.clone(), state).prop_map(|(volume, from, to)| StateChange {
        volume: VolumeId(volume),
        from,
        to,
    });
    let states = proptest::collection::vec(states, 0..9).prop_map(Command::SetVolumeStates);
    let doom =
        proptest::collection::vec(any::<u64>().prop_map(AppliedVersion), 0..20).prop_map(Command::Doom);
    let replace = any::<(u32, u32, Option<u32>, u32)>().prop_map(|(placement, generation, out, newcomer)| {
        let placement = Examined { placement: PlacementId(placement), generation: Generation(generation) };
        Command::ReplaceMember { placement, out: out.map(VolumeId), newcomer: VolumeId(newcomer) }
    });
    prop_oneof![commit, delete, undelete, open, table, states, doom, replace]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn commands_round_trip(command in any_command()) {
        prop_assert_eq!(codec::decode::<Command>(&codec::encode(&command)).expect("own bytes"), command);
    }

    #[test]
    fn garbage_and_damaged_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        commands in proptest::collection::vec(any_command(), 1..4),
        at: proptest::sample::Index,
        flip in 1u8..,
    ) {
        let mut versioned = bytes.clone();
        versioned.insert(0, codec::VERSION);
        let mut damaged = codec::encode(&Propose { commands });
        let at = at.index(damaged.len());
        damaged[at] ^= flip;
        for bytes in [bytes, versioned, damaged] {
            let _ = codec::decode::<Propose>(&bytes);
            let _ = codec::decode::<Vec<Reply>>(&bytes);
            let _ = codec::decode::<Register>(&bytes);
            let _ = codec::decode::<Heartbeat>(&bytes);
            let _ = codec::decode::<HandOver>(&bytes);
            let _ = codec::decode::<Resolve>(&bytes);
            let _ = codec::decode::<AppendReply>(&bytes);
            let _ = codec::decode::<volume::Delete>(&bytes);
            let _ = codec::decode::<Placement>(&bytes);
            let _ = codec::decode::<Listing>(&bytes);
            let _ = codec::decode::<Pull>(&bytes);
        }
    }
}
