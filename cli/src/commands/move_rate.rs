//! `hayrick move-rate`: how fast copies are made and moved.

use std::str::FromStr;

use anyhow::Result;
use clap::builder::BoolishValueParser;
use hayrick_client::{Error, MoveRate};
use serde_json::json;

use crate::commands::connect::Connect;
use crate::exit::{Exit, WrongUse};
use crate::output;
use crate::units::{bytes, parse_size};

/// Show or set how fast copies are made and moved: repair, drain and rebalance
///
/// So many bytes a second each volume gives or takes at most, whoever leads; it holds at once, for what is under way, too, and
/// until it is set anew. What has one copy left is not held back. `default` is what the masters were started with, --move-rate.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick move-rate                  what it is
  hayrick move-rate 200MiB           at night
  hayrick move-rate default")]
pub(crate) struct Args {
    /// Bytes a second, as 64KiB (the least) or 50MiB, or default
    #[arg(value_name = "RATE|default")]
    rate: Option<Rate>,
    /// Print JSON
    #[arg(long, env = "HAYRICK_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// What it is to be; none is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate(Option<u64>);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "default" {
            return Ok(Self(None));
        }
        parse_size(text).map(|rate| Self(Some(rate))).map_err(|why| format!("{why}, or default"))
    }
}

pub(crate) fn run(args: Args) -> Result<Exit> {
    args.connect.run(|client| async move {
        let said = match args.rate {
            Some(Rate(rate)) => Some(client.set_move_rate(rate).await.map_err(out_of_bounds)?),
            None => None,
        };
        match said {
            Some(said) if !args.json => output::line(&said)?,
            _ => show(&client.move_rate().await?, args.json)?,
        }
        Ok(Exit::Done)
    })
}

/// What a master finds wrong with a rate is wrong use of the command.
fn out_of_bounds(error: Error) -> anyhow::Error {
    match error {
        Error::Refused { status: 400, message } => WrongUse(message).into(),
        error => error.into(),
    }
}

fn show(rate: &MoveRate, as_json: bool) -> std::io::Result<()> {
    let MoveRate { bytes_per_s, is_default } = rate;
    if as_json {
        return output::json(&json!({ "bytes_per_s": bytes_per_s, "default": is_default }));
    }
    let origin = if *is_default { "the masters' --move-rate" } else { "set for the whole cluster" };
    output::line(&format!("{} a second each volume, {origin}", bytes(*bytes_per_s)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_size_or_the_default() {
        assert_eq!("64KiB".parse(), Ok(Rate(Some(64 << 10))));
        assert_eq!("default".parse(), Ok(Rate(None)));
        assert!("fast".parse::<Rate>().expect_err("no rate").contains("default"));
    }
}
