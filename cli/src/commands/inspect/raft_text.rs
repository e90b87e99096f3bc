//! A Raft directory for people.

use hayrick_disk::Seal;
use hayrick_raft_store::inspect::{
    Amount, EntryId, FileSummary, Index, IndexState, Inspection, Log, LogFile, Membership,
};

use crate::output::{self, Align};
use crate::units;

/// Damaged stretches that are named of each file.
const STRETCHES_MAX: usize = 20;

pub(crate) fn text(found: &Inspection) -> String {
    let mut parts = vec![pairs(&head(found)), pairs(&log(&found.log))];
    if !found.log.files.is_empty() {
        parts.push(files(&found.log.files));
    }
    parts.push(pairs(&index(&found.index)));
    parts.join("\n\n")
}

fn pairs(rows: &[(&str, String)]) -> String {
    let rows: Vec<_> = rows.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    output::pairs(&rows)
}

fn head(found: &Inspection) -> Vec<(&'static str, String)> {
    let mut rows = vec![("directory", output::escaped(found.dir.as_os_str().as_encoded_bytes()))];
    if found.in_use {
        let text = "by a master that works on it: the end of the log may look torn, the index is left alone";
        rows.push(("in use", text.to_owned()));
    }
    if !found.leftovers.is_empty() {
        let names: Vec<_> = found.leftovers.iter().map(|name| output::escaped(name.as_bytes())).collect();
        rows.push((
            "leftovers",
            format!("{}: parts of snapshots; the next start removes them", names.join(", ")),
        ));
    }
    rows
}

fn log(log: &Log) -> Vec<(&'static str, String)> {
    if log.missing {
        return vec![("log", "missing: there is no directory `log`".to_owned())];
    }
    let vote = log.vote.map(|(term, node, elected)| {
        if (EntryId { term, node: node.0, index: 0 }).is_of_backup() {
            return format!("none since a backup was restored, which begins in term {term}");
        }
        format!("for master {node} in term {term}{}", if elected { ", which was elected" } else { "" })
    });
    let entries = log.entries.map(|(first, last, count)| format!("{first} to {last}, {count} of them"));
    let mut rows = vec![
        ("log", size(log.bytes)),
        ("vote", vote.unwrap_or_else(|| "none".to_owned())),
        ("entries", entries.unwrap_or_else(|| "none".to_owned())),
        ("last", id(log.last)),
        ("purged", id(log.purged)),
        ("committed", id(log.committed)),
    ];
    if let Some(members) = &log.membership {
        rows.push(("members", membership(members)));
    }
    if let Some(problem) = &log.problem {
        rows.push((
            "damaged",
            format!("{}; a master does not start with it", output::escaped(problem.as_bytes())),
        ));
    }
    rows
}

fn id(id: Option<EntryId>) -> String {
    match id {
        None => "none".to_owned(),
        Some(id) if id.is_of_backup() => format!(
            "{}, of term {}, where a restored backup begins: no master led there (its hash ends in {:016x})",
            id.index, id.term, id.node
        ),
        Some(id) => format!("{}, of term {}, led by master {}", id.index, id.term, id.node),
    }
}

fn membership(found: &Membership) -> String {
    let voters: Vec<String> = found
        .voters
        .iter()
        .map(|set| set.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        .collect();
    let votes = |id| found.voters.iter().any(|set| set.contains(id));
    let nodes = found.nodes.iter().map(|(id, peer)| {
        let learner = if votes(id) { "" } else { " (learner)" };
        format!("{id}={}{learner}", output::escaped(peer.as_bytes()))
    });
    let at = found.at.map_or_else(String::new, |at| format!("; since entry {}", at.index));
    format!("voters {}; {}{at}", voters.join(" and "), nodes.collect::<Vec<_>>().join(", "))
}

fn files(files: &[LogFile]) -> String {
    let columns = [
        ("file", Align::Left),
        ("state", Align::Left),
        ("bytes", Align::Right),
        ("end", Align::Right),
        ("records", Align::Right),
        ("first", Align::Right),
        ("last", Align::Right),
        ("damaged", Align::Right),
        ("torn", Align::Right),
    ];
    let mut below = Vec::new();
    let rows: Vec<Vec<String>> = files
        .iter()
        .map(|file| {
            let name = output::escaped(file.name.as_bytes());
            match &file.found {
                Ok(found) => {
                    below.extend(details(&name, found));
                    row(name, found)
                }
                Err(why) => {
                    below.push(format!("{name}: {}", output::escaped(why.as_bytes())));
                    vec![name, "unreadable".to_owned()]
                }
            }
        })
        .collect();
    let table = output::table(&columns, &rows);
    if below.is_empty() { table } else { format!("{table}\n\n{}", below.join("\n")) }
}

fn row(name: String, found: &FileSummary) -> Vec<String> {
    let records: u64 = found.records.values().sum();
    let state = match found.seal {
        _ if !found.header_is_good => "bad header",
        Seal::At(_) => "sealed",
        Seal::Damaged => "bad seal",
        Seal::None if records == 0 && found.damage.0 == 0 => "spare",
        Seal::None => "open",
    };
    let entry =
        |which: fn((u64, u64)) -> u64| found.entries.map_or_else(String::new, |e| which(e).to_string());
    vec![
        name,
        state.to_owned(),
        found.bytes.to_string(),
        found.end.to_string(),
        records.to_string(),
        entry(|entries| entries.0),
        entry(|entries| entries.1),
        found.damage.1.to_string(),
        (found.tail.end - found.tail.start).to_string(),
    ]
}

/// What of a file needs more words than a row has.
fn details(name: &str, found: &FileSummary) -> Vec<String> {
    let (count, _, listed) = &found.damage;
    let mut lines: Vec<String> = listed
        .iter()
        .take(STRETCHES_MAX)
        .map(|range| format!("{name}: damaged from {} to {}", range.start, range.end))
        .collect();
    if *count > STRETCHES_MAX as u64 {
        lines.push(format!("{name}: … {count} damaged stretches in all"));
    }
    if !found.tail.is_empty() {
        let (start, end) = (found.tail.start, found.tail.end);
        lines.push(format!(
            "{name}: no record from {start} to {end}: a torn group commit, or one that is on its way"
        ));
    }
    if let Some(range) = &found.unreadable {
        lines.push(format!("{name}: the disk refused blocks from {} to {}", range.start, range.end));
    }
    lines
}

fn index(state: &IndexState) -> Vec<(&'static str, String)> {
    let index = match state {
        IndexState::Missing => return vec![("index", "none".to_owned())],
        IndexState::InUse => {
            return vec![("index", "not looked at, as it is in use; `hayrick status` tells more".to_owned())];
        }
        IndexState::Damaged { bytes, what } => {
            let what = output::escaped(what.as_bytes());
            return vec![
                ("index", size(*bytes)),
                ("damaged", format!("{what}; a master does not start with it")),
            ];
        }
        IndexState::Read(index) => index,
    };
    let mut rows = vec![("index", size(index.bytes)), ("applied", id(index.applied))];
    if let Some(config) = &index.cluster {
        rows.push((
            "cluster",
            format!(
                "{}, {} partitions, {} copies, {} needed for a write",
                config.cluster, config.partitions, config.replicas, config.min_replicas
            ),
        ));
    }
    if let Some(members) = &index.membership {
        rows.push(("members", membership(members)));
    }
    rows.extend(tables(index));
    if let Some(problem) = &index.problem {
        let text = output::escaped(problem.as_bytes());
        rows.push(("damaged", format!("{text}; counted is what comes before it")));
    }
    rows
}

fn tables(index: &Index) -> Vec<(&'static str, String)> {
    let counters = &index.counters;
    let against = |found: u64, told: u64| match found == told || index.problem.is_some() {
        true => String::new(),
        false => format!("; the state says {told}"),
    };
    let mut rows = vec![
        ("objects", amount(index.objects) + &against(index.objects.rows, counters.objects)),
        ("garbage", amount(index.garbage) + &against(index.garbage.rows, counters.garbage_needles)),
    ];
    rows.extend(index.small.iter().map(|(name, found)| (*name, amount(*found))));
    rows
}

fn amount(amount: Amount) -> String {
    match amount.rows {
        1 => format!("1 row, {}", size(amount.bytes)),
        rows => format!("{rows} rows, {}", size(amount.bytes)),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        small @ 0..1024 => format!("{small} B"),
        large => format!("{large} B ({})", units::bytes(large)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_backup_begins_is_not_taken_for_a_masters_work() {
        let led = EntryId { term: 7, node: 2, index: 812 };
        assert_eq!(id(Some(led)), "812, of term 7, led by master 2");
        let begins = EntryId { term: (1 << 32) + 7, node: 0x1187_0000_0000_0001, index: 812 };
        let shown = id(Some(begins));
        assert!(shown.starts_with("812, of term 4294967303, where a restored backup begins"), "{shown}");
        assert!(!shown.contains("led by"), "{shown}");
        let since = EntryId { node: 2, ..begins };
        assert!(id(Some(since)).ends_with("led by master 2"));
    }
}
