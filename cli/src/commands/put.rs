//! `hayrick put`: one file under one key.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::builder::BoolishValueParser;
use hayrick_client::{Condition, PutOptions};
use hayrick_protocol::limits::OBJECT_BYTES_MAX;

use crate::commands::connect::Connect;
use crate::exit::Exit;
use crate::output;

/// Store a file under a key, replacing what was there
///
/// Prints the key and the ETag (the MD5 in hex) once the bytes are durable on every copy.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick put photos/cat.jpg cat.jpg
  date | hayrick put logs/now                          from standard input
  hayrick put --if-absent locks/backup me.txt          exit code 4 if somebody was faster
  hayrick put --if-match 9e107d9d372bb6826bd81d3542a419d6 notes.txt new.txt")]
pub(crate) struct Args {
    /// The object's key: 1 to 1024 bytes of text, any slashes
    key: String,
    /// The file; `-` or nothing is standard input
    file: Option<PathBuf>,
    /// Kept, and returned with the object [default: application/octet-stream]
    #[arg(long, env = "HAYRICK_CONTENT_TYPE", value_name = "TYPE")]
    content_type: Option<String>,
    /// Only if there is no such object yet
    #[arg(long, env = "HAYRICK_IF_ABSENT", conflicts_with = "if_match", value_parser = BoolishValueParser::new())]
    if_absent: bool,
    /// Only if the object still has this ETag
    #[arg(long, env = "HAYRICK_IF_MATCH", value_name = "ETAG")]
    if_match: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: Args) -> Result<Exit> {
    let body = match args.file.as_deref() {
        None => read(io::stdin().lock(), "standard input")?,
        Some(path) if path == Path::new("-") => read(io::stdin().lock(), "standard input")?,
        Some(path) => {
            let shown = path.display().to_string();
            let file = File::open(path).with_context(|| format!("cannot open {shown}"))?;
            read(file, &shown)?
        }
    };
    let condition = match args.if_match {
        _ if args.if_absent => Condition::Absent,
        Some(etag) => Condition::Matches(etag.trim_matches('"').to_owned()),
        None => Condition::None,
    };
    let options = PutOptions { content_type: args.content_type, condition };
    let key = args.key;
    args.connect.run(|client| async move {
        let outcome = client.put_with(&key, body, &options).await?;
        output::line(&format!("{key}  {}", outcome.etag))?;
        Ok(Exit::Done)
    })
}

/// All of `source`, which no cluster takes if it is over the limit.
fn read(source: impl Read, name: &str) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    let limit = OBJECT_BYTES_MAX as u64;
    source.take(limit + 1).read_to_end(&mut body).with_context(|| format!("cannot read {name}"))?;
    if body.len() > OBJECT_BYTES_MAX {
        bail!(
            "{name} is over {OBJECT_BYTES_MAX} bytes, the most that an object can have; cut it into several objects"
        );
    }
    Ok(body)
}
