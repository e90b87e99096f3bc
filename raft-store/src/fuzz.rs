//! What a fuzzer gives bytes to: records of the log, and what masters send each other. No part of the API.
//!
//! Owns what must hold of them whatever the bytes are; decoding is `log_record`'s, `wire`'s and `snapshot`'s.

use bytes::Bytes;
use hayrick_disk::{ALIGN, Format, Record};
use hayrick_protocol::command::Command;
use openraft::EntryPayload;

use crate::log_record::{self, Content, LogFormat, Start};
use crate::snapshot::Chunk;
use crate::types::{Commands, Entry, LeaderId, LogId, Vote};
use crate::wire::{self, ChunkReply};

/// Reads bytes as a record of a log file of this salt.
///
/// # Panics
/// When a record that is read is not the same after it was written again.
pub fn record(bytes: &[u8], salt: u64) {
    let head = LogFormat::head(bytes, salt);
    if LogFormat::verify(bytes, salt) {
        assert_eq!(head.map(|head| head.len), Some(bytes.len()));
    }
    let content = log_record::content(bytes);
    let Ok(entry) = log_record::read_entry(bytes.to_vec()) else { return };
    assert_eq!(content, Ok(Content::Entry(entry.log_id)), "both read the same entry");
    if let EntryPayload::Normal(commands) = &entry.payload {
        // Who proposed them encoded them; a log from elsewhere need not be so.
        let _ = commands.decode();
    }
    let again = sealed(log_record::entry(&entry), salt);
    assert!(LogFormat::verify(&again, salt));
    assert_eq!(log_record::read_entry(again), Ok(entry));
}

/// Makes the checksums of a record right again.
pub fn repair(bytes: &mut [u8], salt: u64) {
    let Some((header, rest)) = bytes.split_first_chunk_mut::<16>() else { return };
    let len = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
    let crc = crc32c::crc32c(rest.get(..len).unwrap_or_default());
    header[8..12].copy_from_slice(&crc.to_le_bytes());
    LogFormat::seal(bytes, salt, false);
}

/// Reads bytes as each request and reply that masters send each other about the log.
pub fn wire(bytes: &[u8]) {
    let whole = Bytes::copy_from_slice(bytes);
    if let Ok(request) = wire::read_append(&whole) {
        assert!(
            wire::read_append(&wire::append(&request)).is_ok_and(|again| again.entries == request.entries)
        );
    }
    let _ = wire::read_append_reply(bytes);
    let _ = wire::read_vote(bytes);
    let _ = wire::read_vote_reply(bytes);
    let _ = wire::read_transfer(bytes);
    let _ = wire::read_transfer_reply(bytes);
    if let Ok(chunk) = Chunk::decode(&whole) {
        assert_eq!(Chunk::decode(&chunk.encode()), Ok(chunk));
    }
    let _ = ChunkReply::decode(bytes);
}

/// One record of each kind.
pub fn records(salt: u64) -> Vec<Vec<u8>> {
    let id = LogId::new(LeaderId { term: 2, node_id: 3 }, 9);
    let vote = Vote::new_committed(2, 3);
    let commands = Commands::frame(&[Command::Doom(Vec::new())]);
    let payload = EntryPayload::Normal(Commands::join([(1, &commands)].into_iter()));
    let start = Start { vote: Some(vote), purged: Some(id), committed: None, last: Some(id) };
    let small = [
        log_record::vote(&vote),
        log_record::truncate(Some(&id)),
        log_record::purge(&id),
        log_record::committed(None),
        LogFormat::mark(),
        log_record::start(&start),
    ];
    let entries =
        [payload, EntryPayload::Blank].map(|payload| log_record::entry(&Entry { log_id: id, payload }));
    entries
        .into_iter()
        .chain(small.into_iter().map(Record::from))
        .map(|record| sealed(record, salt))
        .collect()
}

/// As the stream does it: chunks behind each other, zeros, checksums.
fn sealed(record: Record, salt: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = record.0.concat();
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
    LogFormat::seal(&mut bytes, salt, true);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_each_kind_are_read_and_a_repaired_one_too() {
        for mut bytes in records(7) {
            assert!(LogFormat::verify(&bytes, 7));
            record(&bytes, 7);
            wire(&bytes[16..]);
            bytes[8] ^= 1;
            assert!(!LogFormat::verify(&bytes, 7));
            repair(&mut bytes, 7);
            assert!(LogFormat::verify(&bytes, 7));
        }
    }
}
