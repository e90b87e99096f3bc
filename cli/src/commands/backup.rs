//! `hayrick backup`: the whole index of a cluster, into a file.
//!
//! Invariant: what is written was verified while it came; a file that was named holds a whole backup or what it held before.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use hayrick_client::Client;
use hayrick_raft_store::backup::Decoder;

use crate::commands::connect::Connect;
use crate::commands::save::save;
use crate::exit::Exit;
use crate::output;
use crate::units;

/// Save the whole index: with it and the volumes a cluster that lost all its masters is formed anew
///
/// The index says which objects there are and which volumes hold them; their bytes are not in it. It is as it was at one
/// moment after the command was given, and verified while it is written. `hayrick master --restore` takes it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick backup /backup/hayrick-$(date +%F)      written beside it and renamed: never half a backup
  hayrick backup - | zstd > hayrick.zst
  hayrick master --restore FILE --id 1 --data EMPTY_DIR --masters …     the way back, see docs/operations.md")]
pub(crate) struct Args {
    /// Where to; `-` is standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: Args) -> Result<Exit> {
    args.connect.run(|client| async move {
        if args.file == Path::new("-") {
            let told = copy(&client, &mut output::stdout(), "standard output").await?;
            output::noted(&told);
        } else {
            let (mut told, shown) = (String::new(), args.file.display().to_string());
            save(&args.file, async |file| {
                told = copy(&client, file, &shown).await?;
                Ok(())
            })
            .await?;
            output::line(&told)?;
        }
        Ok(Exit::Done)
    })
}

/// Writes a backup, and says what it was.
async fn copy(client: &Client, out: &mut impl Write, to: &str) -> Result<String> {
    let not_written = || format!("cannot write {to}");
    let mut chunks = client.backup().await?;
    let mut decoder = Decoder::default();
    let mut bytes = 0;
    let what = "what came is no backup that could be used; take it again, or from another master (--server)";
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.context("the backup is not whole; take it again, or from another master (--server)")?;
        decoder.feed(&chunk);
        while decoder.next_part().context(what)?.is_some() {}
        out.write_all(&chunk).with_context(not_written)?;
        bytes += chunk.len() as u64;
    }
    out.flush().with_context(not_written)?;
    let (header, sum, objects) = decoder.finish().context(what)?;
    Ok(format!(
        "cluster {}, entry {}: {objects} objects, {} rows, {bytes} bytes ({}), hash {:032x}",
        header.config.cluster,
        header.applied.index,
        sum.rows,
        units::bytes(bytes),
        sum.hash
    ))
}
