//! `hayrick ls`: keys in order, page after page.
//!
//! Invariant: all lines of a page are printed before the next one is waited for, and nothing of them is kept: a listing may be of
//! any length, and a page may take its time.

use std::io::{BufWriter, Write};

use anyhow::Result;
use clap::builder::BoolishValueParser;
use futures_util::{FutureExt, TryStreamExt};
use hayrick_client::{Client, Entry, ListOptions, Listed, ListedObject};
use serde_json::{Value, json};

use crate::commands::connect::Connect;
use crate::exit::Exit;
use crate::output::{self, Stdout};

/// List keys in order
///
/// Keys that go on behind the next slash are shown as what they have in common, as directories would be; with -r each by
/// itself. PREFIX is a text that keys begin with: photos also lists photos-of-cats.
///
/// Each page of a thousand is a linearizable read; keys that come or go while a longer list is read may be in it or not.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick ls                    what there is, up to the first slash
  hayrick ls photos/            what is right below it
  hayrick ls photos/ -l         with size, date and ETag
  hayrick ls -r photos/         all keys that begin with photos/
  hayrick ls -lr --json | jq -r '.[] | select(.size > 1000000) | .key'")]
pub(crate) struct Args {
    /// Only keys that begin with this
    #[arg(default_value = "")]
    prefix: String,
    /// Size in bytes, date and ETag (the MD5), too
    #[arg(short, long, env = "HAYRICK_LONG", value_parser = BoolishValueParser::new())]
    long: bool,
    /// All keys, also behind further slashes
    #[arg(short, long, env = "HAYRICK_RECURSIVE", value_parser = BoolishValueParser::new())]
    recursive: bool,
    /// Print a JSON list of objects with `key` or `prefix`, one a line
    #[arg(long, env = "HAYRICK_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: Args) -> Result<Exit> {
    let wanted = &args;
    args.connect.run(|client| async move {
        if wanted.long {
            print::<ListedObject>(&client, wanted).await?;
        } else {
            print::<String>(&client, wanted).await?;
        }
        Ok(Exit::Done)
    })
}

/// How an entry is shown.
trait Row: Entry {
    fn text(&self) -> String;
    fn json(&self) -> Value;
    /// Of what many keys have in common.
    fn prefix_text(prefix: &str) -> String;
}

impl Row for String {
    fn text(&self) -> String {
        self.clone()
    }

    fn json(&self) -> Value {
        json!({ "key": self })
    }

    fn prefix_text(prefix: &str) -> String {
        prefix.to_owned()
    }
}

impl Row for ListedObject {
    fn text(&self) -> String {
        long(&self.size.to_string(), &self.modified, &self.etag, &self.key)
    }

    fn json(&self) -> Value {
        json!({
            "key": self.key,
            "size": self.size,
            "etag": self.etag,
            "modified": self.modified,
            "content_type": self.content_type,
        })
    }

    fn prefix_text(prefix: &str) -> String {
        long("-", "-", "-", prefix)
    }
}

/// Columns as wide as what they hold at most: the lines before are printed already.
fn long(size: &str, modified: &str, etag: &str, key: &str) -> String {
    format!("{size:>9}  {modified:<24}  {etag:<32}  {key}")
}

async fn print<T: Row>(client: &Client, args: &Args) -> Result<()> {
    let delimiter = (!args.recursive).then(|| "/".to_owned());
    let options = ListOptions { delimiter, ..ListOptions::default() };
    let mut lines = client.list_all_with::<T>(&args.prefix, &options);
    let mut out = Out { lines: 0, json: args.json, to: BufWriter::new(output::stdout()) };
    loop {
        let next = match lines.try_next().now_or_never() {
            Some(next) => next?,
            None => {
                out.to.flush()?;
                lines.try_next().await?
            }
        };
        let Some(line) = next else { return out.end() };
        match line {
            Listed::Key(entry) => out.line(|| entry.text(), || entry.json())?,
            Listed::Prefix(prefix) => {
                out.line(|| T::prefix_text(&prefix), || json!({ "prefix": prefix }))?;
            }
        }
    }
}

struct Out {
    lines: u64,
    json: bool,
    to: BufWriter<Stdout>,
}

impl Out {
    fn line(&mut self, text: impl FnOnce() -> String, json: impl FnOnce() -> Value) -> Result<()> {
        match (self.json, self.lines) {
            (false, _) => writeln!(self.to, "{}", text())?,
            (true, 0) => write!(self.to, "[\n{}", json())?,
            (true, _) => write!(self.to, ",\n{}", json())?,
        }
        self.lines += 1;
        Ok(())
    }

    fn end(mut self) -> Result<()> {
        match (self.json, self.lines) {
            (false, _) => {}
            (true, 0) => writeln!(self.to, "[]")?,
            (true, _) => writeln!(self.to, "\n]")?,
        }
        self.to.flush()?;
        Ok(())
    }
}
