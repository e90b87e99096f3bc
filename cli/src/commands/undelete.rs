//! `hayrick undelete`: what a delete took away, one key after the other.

use anyhow::Result;

use crate::commands::connect::Connect;
use crate::commands::failures::tell_at_once;
use crate::exit::{self, Exit};

/// Bring back deleted objects
///
/// What a delete took away stays on the volumes for the masters' --reap-after, an hour unless said. Within that it comes back
/// as it was: bytes, headers, ETag and date. If the key was put and deleted several times, what the last delete took away
/// comes back. What was overwritten does not, and what is there is never replaced.
///
/// Goes on with the next key when one cannot be brought back: 3 when there is nothing to bring back, 4 when something newer
/// has the key. Of several keys the exit code is that of the outcome which needs a look most: 5 before 1 before 2 before 4
/// before 3.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick rm photos/cat.jpg
  hayrick undelete photos/cat.jpg                 that was a mistake
  hayrick undelete photos/cat.jpg photos/dog.jpg")]
pub(crate) struct Args {
    /// The objects' keys
    #[arg(required = true)]
    keys: Vec<String>,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: Args) -> Result<Exit> {
    args.connect.run(|client| async move {
        let mut ends = Vec::new();
        for key in &args.keys {
            if let Err(error) = client.undelete(key).await {
                ends.push(tell_at_once(key, &error.into()));
            }
        }
        Ok(exit::worst(ends))
    })
}
