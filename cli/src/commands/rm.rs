//! `hayrick rm`: objects, one after the other.

use anyhow::Result;
use hayrick_client::{Condition, Error};

use crate::commands::connect::Connect;
use crate::exit::{self, Exit};

/// Delete objects
///
/// Goes on with the next key when one cannot be deleted. The exit code is that of the outcome which needs a look most:
/// 5 before 1 before 2 before 4 before 3.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick rm photos/cat.jpg photos/dog.jpg
  hayrick rm --if-match 9e107d9d372bb6826bd81d3542a419d6 notes.txt     only if it is still the one I saw")]
pub(crate) struct Args {
    /// The objects' keys
    #[arg(required = true)]
    keys: Vec<String>,
    /// Only if the object still has this ETag
    #[arg(long, env = "HAYRICK_IF_MATCH", value_name = "ETAG")]
    if_match: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: Args) -> Result<Exit> {
    let condition = match args.if_match {
        Some(etag) => Condition::Matches(etag.trim_matches('"').to_owned()),
        None => Condition::None,
    };
    args.connect.run(|client| async move {
        let mut ends = Vec::new();
        for key in &args.keys {
            if let Err(error) = client.delete_with(key, &condition).await {
                let names_key = matches!(error, Error::NotFound { .. });
                let error = anyhow::Error::new(error);
                ends.push(exit::of(&error));
                let key = if names_key { String::new() } else { format!("{key}: ") };
                eprintln!("hayrick: {key}{error:#}");
            }
        }
        Ok(exit::worst(ends))
    })
}
