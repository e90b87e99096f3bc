//! A segment for programs: one document, its records streamed, so that any size of file can be shown.

use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use hayrick_disk::Seal;
use hayrick_volume::{Amount, InspectError, Row, Summary};
use serde_json::{Value, json};

use crate::output;

/// Writes the document but for its closing brace.
pub(crate) fn begin(out: &mut dyn Write, path: &Path, summary: &Summary) -> io::Result<()> {
    let text = output::json_line(&document(path, summary));
    write!(out, "{}", text.strip_suffix('}').expect("a JSON object ends with a brace"))
}

pub(crate) fn end(out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "}}")
}

pub(crate) fn begin_records(out: &mut dyn Write) -> io::Result<()> {
    write!(out, ",\"records\":[")
}

/// Writes a record, on a line of its own.
pub(crate) fn record(out: &mut dyn Write, row: &Row<'_>, is_first: bool) -> io::Result<()> {
    write!(out, "{}{}", if is_first { "\n" } else { ",\n" }, output::json_line(&row_document(row)))
}

pub(crate) fn end_records(out: &mut dyn Write) -> io::Result<()> {
    write!(out, "\n]")
}

/// One segment among others, or why it cannot be looked into.
pub(crate) fn line(path: &Path, found: Result<&Summary, &InspectError>) -> Value {
    match found {
        Ok(summary) => document(path, summary),
        Err(error) => {
            let mut text = error.to_string();
            if let Some(source) = std::error::Error::source(error) {
                text = format!("{text}: {source}");
            }
            json!({ "path": path.to_string_lossy(), "error": text })
        }
    }
}

fn document(path: &Path, summary: &Summary) -> Value {
    let seal = match summary.seal {
        Seal::None => "none",
        Seal::Damaged => "damaged",
        Seal::At(_) => "good",
    };
    let tail = Some(&summary.tail).filter(|tail| !tail.is_empty());
    json!({
        "path": path.to_string_lossy(),
        "id": summary.id.to_string(),
        "misnamed": summary.is_misnamed,
        "version": summary.version,
        "salt": format!("{:016x}", summary.salt),
        "capacity": summary.capacity_bytes,
        "bytes": summary.file_bytes,
        "header": if summary.header_is_good { "good" } else { "damaged" },
        "seal": seal,
        "gone": summary.is_gone,
        "end": summary.end,
        "batches": summary.batches,
        "live": amount(summary.live),
        "dead": amount(summary.dead),
        "tombstones": amount(summary.tombstones),
        "marks": amount(summary.marks),
        "damage": amount(summary.damage),
        "damaged": summary.damaged.iter().map(range).collect::<Vec<_>>(),
        "tail": tail.map(range),
        "unreadable": summary.unreadable.as_ref().map(range),
    })
}

fn amount(amount: Amount) -> Value {
    json!({ "count": amount.count, "bytes": amount.bytes })
}

fn range(range: &Range<u64>) -> Value {
    json!({ "from": range.start, "to": range.end })
}

fn row_document(row: &Row<'_>) -> Value {
    match *row {
        Row::Needle { offset, bytes, header, key, is_live } => {
            let mut document = json!({
                "what": if is_live { "live" } else { "dead" },
                "offset": offset,
                "bytes": bytes,
                "id": header.id,
                "placement": header.placement,
                "size": header.data_len,
                "created": header.created_s,
                "key": String::from_utf8_lossy(key),
            });
            if std::str::from_utf8(key).is_err() {
                document["key_escaped"] = output::escaped(key).into();
            }
            document
        }
        Row::Tombstone { offset, bytes, id, placement } => {
            json!({ "what": "tombstone", "offset": offset, "bytes": bytes, "id": id, "placement": placement })
        }
        Row::Mark { offset, bytes } => json!({ "what": "mark", "offset": offset, "bytes": bytes }),
        Row::Damage { offset, bytes } => json!({ "what": "damage", "offset": offset, "bytes": bytes }),
    }
}
