//! `hayrick put`: one file under one key.
//!
//! Owns what is read and what is said of it. A file, and standard input that is short, can be sent to another master when one
//! refuses; of a longer input the beginning is gone then.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::builder::BoolishValueParser;
use futures_util::{StreamExt, stream};
use hayrick_client::{Condition, Error, PutOptions, Source};
use hayrick_protocol::limits::OBJECT_BYTES_MAX;
use tokio::task::spawn_blocking;

use crate::commands::connect::Connect;
use crate::commands::interrupt::{Interrupt, Words};
use crate::commands::media_type;
use crate::exit::{Exit, WrongUse};
use crate::output;

/// Standard input up to this size is held, and so can be sent again.
const HELD_BYTES_MAX: usize = 1 << 20;
const PIECE_BYTES: usize = 256 << 10;
const NOTHING_STORED: &str = "interrupted: nothing was stored";
const SLASH: &str = "hayrick: this key begins with a slash, which is part of it: over HTTP it is two, as in http://HOST:PORT//…";

/// Store a file under a key, replacing what was there
///
/// Prints the key and the ETag (the MD5 in hex) once the bytes are durable on every copy, and are those that were read.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick put photos/cat.jpg cat.jpg
  date | hayrick put logs/now                          from standard input
  hayrick put a.js.gz a.js.gz --content-type text/javascript --header Content-Encoding=gzip --meta author=me
  hayrick put --if-absent locks/backup me.txt          exit code 4 if somebody was faster
  hayrick put --if-match 9e107d9d372bb6826bd81d3542a419d6 notes.txt new.txt")]
pub(crate) struct Args {
    /// The object's key: 1 to 1024 bytes of text, any slashes
    key: String,
    /// The file; `-` or nothing is standard input
    file: Option<PathBuf>,
    /// Kept, and returned with the object [default: what the file's name, or else the key, stands for]
    #[arg(long, env = "HAYRICK_CONTENT_TYPE", value_name = "TYPE")]
    content_type: Option<String>,
    /// Kept in the same way: Content-Encoding, -Disposition, -Language, Cache-Control, Expires
    #[arg(long, env = "HAYRICK_HEADER", value_name = "NAME=VALUE", value_parser = named)]
    header: Vec<(String, String)>,
    /// Kept in the same way, as Hayrick-Meta-NAME
    #[arg(long, env = "HAYRICK_META", value_name = "NAME=VALUE", value_parser = named)]
    meta: Vec<(String, String)>,
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
    let file = args.file.filter(|path| path != Path::new("-"));
    let condition = match args.if_match {
        _ if args.if_absent => Condition::Absent,
        Some(etag) => Condition::Matches(etag.trim_matches('"').to_owned()),
        None => Condition::None,
    };
    let named = file.as_deref().unwrap_or(Path::new(&args.key));
    let content_type = args.content_type.or_else(|| media_type::of(named));
    let options = PutOptions { content_type, headers: args.header, meta: args.meta, condition };
    let key = args.key;
    args.connect.run(|client| async move {
        let second = || format!("ended at once; {}", may_be_there(&key));
        let catch = || Interrupt::catch(Words { first: None, second: second() });
        let (source, mut interrupt) = match file {
            // Who is at the keyboard ends the reading as they are used to.
            None => (of_reader(io::stdin()).await.context("cannot read standard input")?, catch()?),
            Some(path) => {
                let mut interrupt = catch()?;
                let source = tokio::select! {
                    biased;
                    () = interrupt.comes() => bail!(NOTHING_STORED),
                    source = of_file(&path) => source?,
                };
                (source, interrupt)
            }
        };
        let sent = Arc::<AtomicU64>::default();
        let source = source.counted(Arc::clone(&sent));
        let outcome = tokio::select! {
            biased;
            () = interrupt.comes() => {
                // A master stores nothing of which it has not all.
                let is_part = source.bytes_known().is_some_and(|all| sent.load(Ordering::Relaxed) < all);
                if is_part {
                    bail!(NOTHING_STORED)
                }
                return Err(Error::Unknown { message: may_be_there(&key) }).context("interrupted");
            }
            outcome = client.put_from(&key, &source, &options) => outcome?,
        };
        output::line(&format!("{key}  {}", outcome.etag))?;
        if key.starts_with('/') {
            output::noted(SLASH);
        }
        Ok(Exit::Done)
    })
}

fn may_be_there(key: &str) -> String {
    format!("{} may have been stored", output::escaped(key.as_bytes()))
}

fn named(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

async fn of_file(path: &Path) -> Result<Source> {
    let shown = path.display();
    let about = match tokio::fs::metadata(path).await {
        // Who knows `cp` gives the file first.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("cannot open {shown}: {error}; the key comes first, then the file: hayrick put KEY FILE")
        }
        about => about.with_context(|| format!("cannot open {shown}"))?,
    };
    if about.is_dir() {
        let text =
            format!("{shown} is a directory; hayrick cp -r {shown} hay:PREFIX/ stores all that is in it");
        return Err(WrongUse(text).into());
    }
    not_too_large(about.len()).with_context(|| shown.to_string())?;
    if about.is_file() {
        return Source::file(path).await.with_context(|| format!("cannot read {shown}"));
    }
    // A pipe or a device.
    let open = path.to_owned();
    let opened = spawn_blocking(move || std::fs::File::open(open)).await?;
    let file = opened.with_context(|| format!("cannot open {shown}"))?;
    of_reader(file).await.with_context(|| format!("cannot read {shown}"))
}

/// What comes until its end; held whole if that is not much.
async fn of_reader(reader: impl Read + Send + 'static) -> io::Result<Source> {
    let (reader, head) = read_up_to(reader, HELD_BYTES_MAX).await?;
    if head.len() < HELD_BYTES_MAX {
        return Ok(Source::bytes(head).await);
    }
    let rest = stream::try_unfold((reader, head.len()), |(reader, sum)| async move {
        let (reader, piece) = read_up_to(reader, PIECE_BYTES).await?;
        let sum = sum + piece.len();
        if sum > OBJECT_BYTES_MAX {
            return Err(io::Error::other(too_large()));
        }
        Ok((!piece.is_empty()).then_some((piece, (reader, sum))))
    });
    Ok(Source::stream(stream::once(async move { Ok(head) }).chain(rest), None))
}

/// The next bytes, fewer only at the end; on a thread of its own, as some readers wait for people.
async fn read_up_to<R: Read + Send + 'static>(mut reader: R, most: usize) -> io::Result<(R, Bytes)> {
    let read = spawn_blocking(move || {
        let mut piece = Vec::new();
        reader.by_ref().take(most as u64).read_to_end(&mut piece)?;
        Ok((reader, piece.into()))
    });
    read.await.map_err(io::Error::other)?
}

/// Refuses what no cluster takes, before it is read.
///
/// # Errors
/// When it has more bytes than an object can have.
pub(crate) fn not_too_large(bytes: u64) -> Result<()> {
    if bytes > OBJECT_BYTES_MAX as u64 { bail!(too_large()) } else { Ok(()) }
}

fn too_large() -> String {
    format!(
        "it is over {OBJECT_BYTES_MAX} bytes, the most that an object can have; cut it into several objects"
    )
}
