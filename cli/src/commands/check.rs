//! `hayrick check`: the volumes against the index.

use std::io::{self, Write};

use anyhow::Result;
use clap::builder::BoolishValueParser;
use hayrick_client::check::{Finding, Progress, Report, VolumeChecked};

use crate::commands::connect::Connect;
use crate::exit::Exit;
use crate::output::{self, Align};
use crate::screen;
use crate::units::bytes;

/// Compare what lies on the volumes with the index
///
/// Every volume lists all that it holds, and each needle is looked up: live ones; garbage, which is reaped in time; left-over
/// ones, which a former member keeps until the present ones are known to be whole; orphans of writes that never committed,
/// which go by themselves; and unaccounted ones, of writes in flight or of gateways whose epoch is open still. Counts, sizes
/// and ids of what must be there are compared with the index, placement by placement.
///
/// With --deep each needle is read, too, and its checksums are compared with the index, as fast as the volumes' --scrub-rate
/// allows: 50 MiB a second and volume unless said.
///
/// Nothing is changed. The exit code is 1 if anything is not as it should be.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick check                                       seconds, or minutes for many millions of needles
  hayrick check --deep                                reads all bytes
  hayrick check --json | jq '.total.orphan.bytes'     what writes that never committed take yet
  hayrick check --json | jq -r '.findings[].lines[]'")]
pub(crate) struct Args {
    /// Read all bytes, too, and verify them
    #[arg(long, env = "HAYRICK_DEEP", value_parser = BoolishValueParser::new())]
    deep: bool,
    /// Print JSON
    #[arg(long, env = "HAYRICK_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: Args) -> Result<Exit> {
    args.connect.run(|client| async move {
        let is_watched = screen::obeys(&io::stderr());
        let report = client
            .check(args.deep, |progress| {
                if is_watched {
                    // Who watches sees the next line, if not this one.
                    let _ = write!(io::stderr(), "\r\x1b[K{}", so_far(progress));
                }
            })
            .await;
        if is_watched {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
        let report = report?;
        if args.json {
            output::json(&serde_json::to_value(&report)?)?;
        } else {
            output::line(&in_words(&report))?;
        }
        Ok(if report.findings.is_empty() { Exit::Done } else { Exit::Failed })
    })
}

fn so_far(progress: &Progress) -> String {
    let Progress { volume, needles, bytes: seen, placements_done, placements } = progress;
    format!(
        "{placements_done} of {placements} placements, {needles} needles, {}; volume {volume}",
        bytes(*seen)
    )
}

fn in_words(report: &Report) -> String {
    let what =
        if report.deep { "all bytes were read" } else { "lists were compared; --deep reads all bytes, too" };
    let head = format!(
        "master {} checked {} placements in {}.{} s: {what}",
        report.node,
        report.placements,
        report.took_ms / 1000,
        report.took_ms % 1000 / 100
    );
    let mut parts = vec![head, holdings(report), space(&report.volumes)];
    parts.extend(report.findings.iter().map(finding));
    if report.findings.is_empty() {
        parts.push("Everything is as it should be.".to_owned());
    }
    parts.join("\n\n")
}

/// Needles and bytes of each class: a row for each volume, and one for all.
fn holdings(report: &Report) -> String {
    let names = report.total.parts().map(|(name, _)| name);
    let mut columns = vec![("volume", Align::Right)];
    columns.extend(names.map(|name| (name, Align::Right)));
    let cells = |held: &hayrick_client::check::Held| {
        held.parts().map(|(_, sum)| match sum.needles {
            0 => String::new(),
            needles => format!("{needles}, {}", bytes(sum.bytes)),
        })
    };
    let mut rows: Vec<Vec<String>> = Vec::new();
    for volume in &report.volumes {
        rows.push([volume.id.to_string()].into_iter().chain(cells(&volume.held)).collect());
    }
    rows.push(["all".to_owned()].into_iter().chain(cells(&report.total)).collect());
    output::table(&columns, &rows)
}

fn space(volumes: &[VolumeChecked]) -> String {
    let columns = [
        ("volume", Align::Right),
        ("state", Align::Left),
        ("used", Align::Right),
        ("to-compact", Align::Right),
        ("free", Align::Right),
        ("lacks", Align::Right),
        ("wrong", Align::Right),
        ("bad", Align::Right),
    ];
    let row = |volume: &VolumeChecked| {
        vec![
            volume.id.to_string(),
            volume.state.clone(),
            bytes(volume.used),
            bytes(volume.dead_bytes),
            bytes(volume.free),
            volume.lacks.needles.to_string(),
            volume.wrong.to_string(),
            volume.bad.to_string(),
        ]
    };
    output::table(&columns, &volumes.iter().map(row).collect::<Vec<_>>())
}

fn finding(finding: &Finding) -> String {
    let title = match finding.kind.as_str() {
        "volume" => "volumes that do not show what they hold",
        "copies" => "placements with too few copies",
        "lacks" => "placements of which a volume does not hold all that it must",
        "wrong" => "needles that are damaged, or not what the index says",
        "bad" => "volumes that know of damage",
        other => other,
    };
    let mut lines = vec![format!("{} {title}:", finding.count)];
    lines.extend(finding.lines.iter().map(|line| format!("  {line}")));
    let more = finding.count.saturating_sub(finding.lines.len() as u64);
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    lines.push(format!("  What to do: {}.", finding.advice));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use hayrick_client::check::{Held, Sum};

    use super::*;

    #[test]
    fn what_was_found_is_told_in_plain_words() {
        let held = Held {
            live: Sum { needles: 3, bytes: 3072 },
            orphan: Sum { needles: 1, bytes: 40 },
            ..Held::default()
        };
        let volume = VolumeChecked {
            id: 2,
            state: "up".into(),
            held,
            used: 4096,
            free: 1 << 20,
            ..VolumeChecked::default()
        };
        let finding = Finding {
            kind: "lacks".into(),
            count: 3,
            lines: vec!["volume 2: one".into(), "volume 2: two".into()],
            advice: "wait".into(),
        };
        let mut report = Report {
            node: 1,
            took_ms: 2_345,
            volumes: vec![volume],
            total: held,
            placements: 9,
            findings: vec![finding],
            ..Report::default()
        };
        let expected = "\
master 1 checked 9 placements in 2.3 s: lists were compared; --deep reads all bytes, too

volume        live  moving  garbage  left-over   orphan  unaccounted
     2  3, 3.0 KiB       -        -          -  1, 40 B            -
   all  3, 3.0 KiB       -        -          -  1, 40 B            -

volume  state     used  to-compact     free  lacks  wrong  bad
     2  up     4.0 KiB         0 B  1.0 MiB      0      0    0

3 placements of which a volume does not hold all that it must:
  volume 2: one
  volume 2: two
  and 1 more
  What to do: wait.";
        assert_eq!(in_words(&report), expected);
        report.findings.clear();
        assert!(in_words(&report).ends_with("\n\nEverything is as it should be."));
    }
}
