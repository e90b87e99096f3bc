//! `hayrick get`: an object's bytes, to standard output or into a file.
//!
//! Invariant: a file that was named with `-o` holds all of the object or what it held before.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use hayrick_client::{GetOptions, Object};

use crate::commands::connect::Connect;
use crate::commands::save::save;
use crate::exit::Exit;
use crate::output;

/// Read an object
///
/// Its bytes are compared with the ETag, the MD5 of what was put, and read on at another master where the connection breaks.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick get photos/cat.jpg -o cat.jpg       written beside it and renamed: never half a file
  hayrick get logs/now | wc -c
  hayrick get no/such/key || echo $?          3: there is no such key")]
pub(crate) struct Args {
    /// The object's key
    key: String,
    /// Where to; `-` or nothing is standard output
    #[arg(short, long, env = "HAYRICK_OUTPUT", value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: Args) -> Result<Exit> {
    let target = args.output.filter(|path| path != Path::new("-"));
    let options = GetOptions { verify: true, ..GetOptions::default() };
    args.connect.run(|client| async move {
        let object = client.get_with(&args.key, &options).await?;
        match target {
            None => copy(object, &mut output::stdout(), "standard output").await?,
            Some(path) => {
                let shown = path.display().to_string();
                save(&path, async |file| copy(object, file, &shown).await).await?;
            }
        }
        Ok(Exit::Done)
    })
}

async fn copy(object: Object, out: &mut impl Write, to: &str) -> Result<()> {
    let not_written = || format!("cannot write {to}");
    let mut chunks = object.stream();
    while let Some(chunk) = chunks.next().await {
        out.write_all(&chunk?).with_context(not_written)?;
    }
    out.flush().with_context(not_written)
}
