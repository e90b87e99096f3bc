//! `hayrick inspect segment`: the needles of a volume, file by file.
//!
//! Owns what is asked and in what order it is printed; `segment_text` and `segment_json` own how it looks, and the volume's
//! own code reads the file. Invariant: what is printed does not grow with the file unless it was asked to.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::builder::BoolishValueParser;
use hayrick_disk::RealDisk;
use hayrick_volume::{SegmentFile, segments_in};

use crate::commands::inspect::{segment_json, segment_text};
use crate::exit::{Exit, WrongUse};
use crate::output;

/// Rows of a table, if nothing else is said.
const ROWS_MAX_DEFAULT: u64 = 100;

/// Show what is in a segment: header, needles, damaged stretches, live and dead bytes
///
/// A needle counts as dead when a later record of the same file replaced or dropped it. Whether one that counts as live
/// was dropped, or moved, by a record of a later file, only the volume knows. Of a file that a running volume appends to,
/// the last records may be missing or look torn. Nothing is written.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick inspect segment needles/                           all segments in it, a line each
  hayrick inspect segment needles/0000000000000001.seg       one of them
  hayrick inspect segment FILE --needles --limit 0           with all its records
  hayrick inspect segment FILE --json --needles | jq -r '.records[] | select(.what == \"live\") | .key'")]
pub(crate) struct Args {
    /// A segment file, or a directory of them
    path: PathBuf,
    /// Show each record, too: needles, tombstones, marks, damage
    #[arg(long, env = "HAYRICK_NEEDLES", value_parser = BoolishValueParser::new())]
    needles: bool,
    /// Records to show at most, 0 for all [default: 100, with --json all]
    #[arg(long, env = "HAYRICK_LIMIT", value_name = "N", requires = "needles")]
    limit: Option<u64>,
    /// Print JSON: one document
    #[arg(long, env = "HAYRICK_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    if !args.path.is_dir() {
        return one(args);
    }
    if args.needles {
        let text = "--needles shows the records of one segment: name its file, not a directory";
        return Err(WrongUse(text.to_owned()).into());
    }
    all(args)
}

fn one(args: &Args) -> Result<Exit> {
    let file = SegmentFile::open(&RealDisk, &args.path)?;
    let mut out = io::BufWriter::new(output::stdout());
    if args.json {
        segment_json::begin(&mut out, &args.path, file.summary())?;
    } else {
        writeln!(out, "{}", segment_text::summary(&args.path, file.summary()))?;
    }
    if args.needles {
        rows(args, &file, &mut out).with_context(|| format!("cannot read {}", shown(&args.path)))?;
    }
    if args.json {
        segment_json::end(&mut out)?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn rows(args: &Args, file: &SegmentFile, out: &mut dyn Write) -> io::Result<()> {
    let limit = match args.limit {
        Some(0) => u64::MAX,
        Some(limit) => limit,
        None if args.json => u64::MAX,
        None => ROWS_MAX_DEFAULT,
    };
    if args.json {
        segment_json::begin_records(out)?;
    } else {
        writeln!(out, "\n{}", segment_text::titles())?;
    }
    let mut shown = 0;
    file.rows(&mut |row| {
        if args.json {
            segment_json::record(out, &row, shown == 0)?;
        } else {
            writeln!(out, "{}", segment_text::row(&row))?;
        }
        shown += 1;
        Ok(if shown < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    let more = file.summary().rows().saturating_sub(shown);
    if args.json {
        segment_json::end_records(out)
    } else if more > 0 {
        writeln!(out, "… and {more} more; --limit 0 shows all")
    } else {
        Ok(())
    }
}

/// A line for each segment, as soon as it is read.
fn all(args: &Args) -> Result<Exit> {
    let dir = shown(&args.path);
    let paths = segments_in(&RealDisk, &args.path).with_context(|| format!("cannot list {dir}"))?;
    if paths.is_empty() {
        bail!("there is no segment in {dir}; a volume keeps them in `needles` in its data directory");
    }
    let mut exit = Exit::Done;
    if !args.json {
        output::line(&segment_text::line_titles())?;
    }
    for (number, path) in paths.iter().enumerate() {
        let found = SegmentFile::open(&RealDisk, path);
        if found.is_err() {
            exit = Exit::Failed;
        }
        match found {
            found if args.json => {
                let text =
                    output::json_line(&segment_json::line(path, found.as_ref().map(SegmentFile::summary)));
                output::line(&format!("{}{text}", if number == 0 { "[\n" } else { ",\n" }))?;
            }
            Ok(file) => output::line(&segment_text::line(file.summary()))?,
            Err(error) => output::noted(&format!("hayrick: {:#}", anyhow::Error::from(error))),
        }
    }
    if args.json {
        output::line("]")?;
    }
    Ok(exit)
}

/// A path for people.
fn shown(path: &Path) -> String {
    output::escaped(path.as_os_str().as_encoded_bytes())
}
