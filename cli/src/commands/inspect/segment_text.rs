//! A segment for people: a summary, and tables whose lines can be printed as they come.

use std::ops::Range;
use std::path::Path;

use hayrick_disk::Seal;
use hayrick_volume::{Amount, Row, Summary};

use crate::output;
use crate::units;

/// Damaged stretches that a summary names.
const STRETCHES_MAX: usize = 20;

pub(crate) fn summary(path: &Path, summary: &Summary) -> String {
    let mut rows = vec![
        ("segment", summary.id.to_string()),
        ("file", output::escaped(path.as_os_str().as_encoded_bytes())),
        ("header", header(summary)),
        ("length", length(summary)),
        ("sealed", sealed(summary)),
        ("live", amount(summary.live, ["needle", "needles"])),
        ("dead", amount(summary.dead, ["needle", "needles"])),
        ("tombstones", amount(summary.tombstones, [""; 2])),
        ("marks", format!("{}, in {} group commits", amount(summary.marks, [""; 2]), summary.batches)),
        ("damaged", amount(summary.damage, ["stretch", "stretches"])),
    ];
    rows.extend(summary.damaged.iter().take(STRETCHES_MAX).map(|range| ("", stretch(range))));
    if summary.damage.count > STRETCHES_MAX as u64 {
        rows.push(("", "… --needles lists the others, too".to_owned()));
    }
    if !summary.tail.is_empty() {
        let tail = stretch(&summary.tail);
        rows.push(("tail", format!("{tail}, no record: a torn group commit, or one that is on its way")));
    }
    if let Some(range) = &summary.unreadable {
        rows.push(("unreadable", format!("{}: the disk refused blocks of it", stretch(range))));
    }
    let rows: Vec<_> = rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    output::pairs(&rows)
        + "\n\nDead is what a later record of this file replaced or dropped; of later files only the volume knows."
}

fn header(summary: &Summary) -> String {
    let damaged = if summary.header_is_good { "" } else { "damaged; as it stands: " };
    let misnamed = if summary.is_misnamed {
        "; its file has another number, so a volume takes it for damaged"
    } else {
        ""
    };
    format!("{damaged}version {}, salt {:016x}{misnamed}", summary.version, summary.salt)
}

fn is_cut(summary: &Summary) -> bool {
    summary.file_bytes < summary.capacity_bytes && summary.header_is_good
}

fn length(summary: &Summary) -> String {
    let there = size(summary.file_bytes);
    if is_cut(summary) {
        format!("{there}; it was cut: it should have {}", size(summary.capacity_bytes))
    } else {
        there
    }
}

fn sealed(summary: &Summary) -> String {
    match summary.seal {
        _ if summary.is_gone => "it says that it is gone: the next start removes it".to_owned(),
        Seal::At(end) => format!("yes, its records end at {end}"),
        Seal::Damaged => format!("its seal is damaged; its records end at {}", summary.end),
        Seal::None => format!("no, its records end at {} so far", summary.end),
    }
}

fn amount(Amount { count, bytes }: Amount, [one, many]: [&str; 2]) -> String {
    match count {
        0 => "none".to_owned(),
        1 => format!("{}, {}", format!("1 {one}").trim_end(), size(bytes)),
        _ => format!("{}, {}", format!("{count} {many}").trim_end(), size(bytes)),
    }
}

fn stretch(range: &Range<u64>) -> String {
    format!("{} to {} ({})", range.start, range.end, units::bytes(range.end - range.start))
}

fn size(bytes: u64) -> String {
    match bytes {
        small @ 0..1024 => format!("{small} B"),
        large => format!("{large} B ({})", units::bytes(large)),
    }
}

pub(crate) fn titles() -> String {
    record(["offset", "bytes", "what", "needle", "placement", "size"], "key")
}

pub(crate) fn row(row: &Row<'_>) -> String {
    let cells = |offset: u64, bytes: u64, what, id: String, placement: String, size: String, key: &str| {
        record([&offset.to_string(), &bytes.to_string(), what, &id, &placement, &size], key)
    };
    let none = || "-".to_owned();
    match *row {
        Row::Needle { offset, bytes, header, key, is_live } => {
            let what = if is_live { "live" } else { "dead" };
            let (id, placement) = (header.id.to_string(), header.placement.to_string());
            cells(offset, bytes, what, id, placement, header.data_len.to_string(), &output::escaped(key))
        }
        Row::Tombstone { offset, bytes, id, placement } => {
            cells(offset, bytes, "tombstone", id.to_string(), placement.to_string(), none(), "-")
        }
        Row::Mark { offset, bytes } => cells(offset, bytes, "mark", none(), none(), none(), "-"),
        Row::Damage { offset, bytes } => cells(offset, bytes, "damage", none(), none(), none(), "-"),
    }
}

/// The widths are those of the largest usual numbers: a line is printed before the next is known.
fn record([offset, bytes, what, id, placement, size]: [&str; 6], key: &str) -> String {
    format!("{offset:>11}  {bytes:>9}  {what:<9}  {id:>20}  {placement:>9}  {size:>9}  {key}")
}

pub(crate) fn line_titles() -> String {
    segment(["segment", "state", "end", "live", "bytes", "dead", "bytes", "tombstones", "damaged"])
}

/// One segment among others.
pub(crate) fn line(summary: &Summary) -> String {
    let state = match summary.seal {
        _ if !summary.header_is_good => "bad header",
        _ if is_cut(summary) => "cut",
        _ if summary.is_misnamed => "misnamed",
        _ if summary.is_gone => "gone",
        Seal::At(_) => "sealed",
        Seal::Damaged => "bad seal",
        Seal::None => "open",
    };
    let numbers = [
        summary.end,
        summary.live.count,
        summary.live.bytes,
        summary.dead.count,
        summary.dead.bytes,
        summary.tombstones.count,
        summary.damage.bytes,
    ]
    .map(|number| number.to_string());
    let [end, live, live_bytes, dead, dead_bytes, tombstones, damaged] =
        numbers.each_ref().map(String::as_str);
    segment([&summary.id.to_string(), state, end, live, live_bytes, dead, dead_bytes, tombstones, damaged])
}

fn segment([id, state, end, live, live_bytes, dead, dead_bytes, tombstones, damaged]: [&str; 9]) -> String {
    format!(
        "{id:<16}  {state:<10}  {end:>11}  {live:>9}  {live_bytes:>11}  {dead:>9}  {dead_bytes:>11}  {tombstones:>10}  {damaged:>9}"
    )
}
