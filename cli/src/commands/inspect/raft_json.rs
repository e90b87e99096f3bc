//! A Raft directory for programs.

use std::ops::Range;

use hayrick_disk::Seal;
use hayrick_raft_store::inspect::{Amount, EntryId, Index, IndexState, Inspection, Log, LogFile, Membership};
use serde_json::{Value, json};

pub(crate) fn document(found: &Inspection) -> Value {
    json!({
        "path": found.dir.to_string_lossy(),
        "in_use": found.in_use,
        "log": log(&found.log),
        "index": index(&found.index),
        "leftovers": found.leftovers,
    })
}

fn log(log: &Log) -> Value {
    json!({
        "missing": log.missing,
        "vote": log.vote.map(|(term, node, elected)| json!({ "term": term, "node": node, "elected": elected })),
        "purged": log.purged.map(entry),
        "committed": log.committed.map(entry),
        "last": log.last.map(entry),
        "entries": log.entries.map(|(first, last, count)| json!({ "first": first, "last": last, "count": count })),
        "membership": log.membership.as_ref().map(membership),
        "bytes": log.bytes,
        "problem": log.problem,
        "files": log.files.iter().map(file).collect::<Vec<_>>(),
    })
}

fn entry(id: EntryId) -> Value {
    json!({ "term": id.term, "node": id.node, "index": id.index, "of_backup": id.is_of_backup() })
}

fn membership(found: &Membership) -> Value {
    let nodes = found.nodes.iter().map(|(id, peer)| json!({ "id": id, "peer": peer }));
    json!({
        "at": found.at.map(entry),
        "voters": found.voters,
        "nodes": nodes.collect::<Vec<_>>(),
    })
}

fn file(file: &LogFile) -> Value {
    let found = match &file.found {
        Ok(found) => found,
        Err(why) => return json!({ "name": file.name, "error": why }),
    };
    let (seal, tail) = (&found.seal, Some(&found.tail).filter(|tail| !tail.is_empty()));
    let (count, bytes, damaged) = &found.damage;
    json!({
        "name": file.name,
        "bytes": found.bytes,
        "header": if found.header_is_good { "good" } else { "damaged" },
        "seal": match seal { Seal::None => "none", Seal::Damaged => "damaged", Seal::At(_) => "good" },
        "end": found.end,
        "records": found.records,
        "entries": found.entries.map(|(first, last)| json!({ "first": first, "last": last })),
        "damage": { "count": count, "bytes": bytes },
        "damaged": damaged.iter().map(range).collect::<Vec<_>>(),
        "tail": tail.map(range),
        "unreadable": found.unreadable.as_ref().map(range),
    })
}

fn range(range: &Range<u64>) -> Value {
    json!({ "from": range.start, "to": range.end })
}

fn index(state: &IndexState) -> Value {
    match state {
        IndexState::Missing => json!({ "state": "missing" }),
        IndexState::InUse => json!({ "state": "in use" }),
        IndexState::Damaged { bytes, what } => {
            json!({ "state": "damaged", "bytes": bytes, "problem": what })
        }
        IndexState::Read(index) => read_index(index),
    }
}

fn read_index(index: &Index) -> Value {
    let counters = &index.counters;
    let small = index.small.iter().map(|(name, found)| (name.replace(' ', "_"), amount(*found)));
    json!({
        "state": if index.problem.is_some() { "damaged" } else { "good" },
        "problem": index.problem,
        "bytes": index.bytes,
        "applied": index.applied.map(entry),
        "membership": index.membership.as_ref().map(membership),
        "cluster": index.cluster.map(|config| config.cluster.to_string()),
        "objects": amount(index.objects),
        "garbage": amount(index.garbage),
        "small": small.collect::<serde_json::Map<_, _>>(),
        "counters": {
            "version": counters.version,
            "objects": counters.objects,
            "object_bytes": counters.object_bytes,
            "garbage_needles": counters.garbage_needles,
            "garbage_bytes": counters.garbage_bytes,
        },
    })
}

fn amount(amount: Amount) -> Value {
    json!({ "rows": amount.rows, "bytes": amount.bytes })
}
