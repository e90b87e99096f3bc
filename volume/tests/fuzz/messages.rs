//! What servers say to each other, what is kept in rows, and needles: each decoder, given any bytes.

use hayrick_protocol::cluster_map::VolumeStatus;
use hayrick_protocol::codec;
use hayrick_protocol::command::Command;
use hayrick_protocol::messages::Message;
use hayrick_protocol::messages::master::{
    Greet, HandOver, Heartbeat, Propose, Raft, ReadIndex, Register, ReportVolume,
};
use hayrick_protocol::messages::volume::{
    Append, Damaged, Delete, Fetch, List, Probe, Pull, Read, Status, Verify,
};
use hayrick_protocol::needle::{self, Header, WIRE_SALT};
use hayrick_protocol::record::{Garbage, ObjectRecord};

/// As each message, each reply, and each row.
pub(crate) fn all(bytes: &[u8]) {
    message::<Append>(bytes);
    message::<Probe>(bytes);
    message::<Read>(bytes);
    message::<Delete>(bytes);
    message::<Status>(bytes);
    message::<List>(bytes);
    message::<Fetch>(bytes);
    message::<Pull>(bytes);
    message::<Damaged>(bytes);
    message::<Verify>(bytes);
    message::<Raft>(bytes);
    message::<Propose>(bytes);
    message::<ReadIndex>(bytes);
    message::<Heartbeat>(bytes);
    message::<Register>(bytes);
    message::<ReportVolume>(bytes);
    message::<Greet>(bytes);
    message::<HandOver>(bytes);
    let _ = codec::decode::<VolumeStatus>(bytes);
    if let Ok(command) = codec::decode::<Command>(bytes) {
        let again = codec::decode::<Command>(&codec::encode(&command));
        assert!(again.is_ok_and(|again| again == command), "what was decoded is encoded as itself");
    }
    let _ = ObjectRecord::decode(bytes);
    let _ = Garbage::decode(bytes);
}

fn message<M: Message>(bytes: &[u8]) {
    let _ = codec::decode::<M>(bytes);
    let _ = codec::decode::<M::Reply>(bytes);
}

/// As what comes over a connection: its first bytes, and frames.
pub(crate) fn frames(bytes: &[u8]) {
    hayrick_rpc::fuzz::hello(bytes);
    hayrick_rpc::fuzz::frames(bytes, 1 + bytes.len() / 3).iter().for_each(|head| all(head));
}

/// As a needle.
pub(crate) fn needle(bytes: &[u8]) {
    for salt in [WIRE_SALT, 1] {
        let Ok(needle) = needle::parse(bytes, salt) else { continue };
        assert_eq!(Header::peek(bytes), Some(needle.header));
        assert!(needle.header.total_len() <= bytes.len());
    }
}
