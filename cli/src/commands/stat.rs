//! `hayrick stat`: what is known of an object without its bytes.

use anyhow::Result;
use clap::builder::BoolishValueParser;
use hayrick_client::ObjectMeta;
use serde_json::{Map, Value, json};

use crate::commands::connect::Connect;
use crate::exit::Exit;
use crate::{output, units};

/// Show an object's headers: size, ETag, type, version, where it lives
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick stat photos/cat.jpg
  hayrick stat photos/cat.jpg --json | jq -r .etag")]
pub(crate) struct Args {
    /// The object's key
    key: String,
    /// Print JSON
    #[arg(long, env = "HAYRICK_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: Args) -> Result<Exit> {
    args.connect.run(|client| async move {
        let meta = client.head(&args.key).await?;
        if args.json {
            output::json(&as_json(&args.key, &meta))?;
        } else {
            output::line(&output::pairs(&as_pairs(&args.key, &meta)))?;
        }
        Ok(Exit::Done)
    })
}

/// Headers that a user of `put` or curl gave, as opposed to those that the fields above them say already.
fn kept(meta: &ObjectMeta) -> impl Iterator<Item = (&str, &str)> {
    const KEPT: [&str; 5] =
        ["content-encoding", "content-disposition", "content-language", "cache-control", "expires"];
    meta.headers
        .iter()
        .filter(|(name, _)| KEPT.contains(&name.as_str()) || name.as_str().starts_with("hayrick-meta-"))
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
}

fn as_pairs(key: &str, meta: &ObjectMeta) -> Vec<(String, String)> {
    let size = match meta.size_bytes {
        small @ 0..1024 => format!("{small} B"),
        large => format!("{large} B ({})", units::bytes(large)),
    };
    let fixed = [
        ("key", key.to_owned()),
        ("size", size),
        ("etag", meta.etag.clone()),
        ("content-type", meta.content_type.clone()),
        ("modified", meta.modified.clone()),
        ("version", meta.version.to_string()),
        ("placement", meta.placement.clone()),
        ("needle", meta.needle.to_string()),
    ];
    let fixed = fixed.into_iter().map(|(name, value)| (name.to_owned(), value));
    fixed.chain(kept(meta).map(|(name, value)| (name.to_owned(), value.to_owned()))).collect()
}

fn as_json(key: &str, meta: &ObjectMeta) -> Value {
    let headers: Map<String, Value> =
        kept(meta).map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    json!({
        "key": key,
        "size": meta.size_bytes,
        "etag": meta.etag,
        "content_type": meta.content_type,
        "modified": meta.modified,
        "version": meta.version,
        "placement": meta.placement,
        "needle": meta.needle,
        "headers": headers,
    })
}
