//! `GET /-/move-rate`, `PUT /-/move-rate`: how fast copies are made and moved, while the cluster serves.
//!
//! Owns the reading of a rate and what is said of it. The rate is the cluster's, and whoever leads keeps to it; none is set
//! until somebody does, and each master leads with its own `--move-rate` then. May be repeated.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use hayrick_protocol::command::{Command, Reply};
use hayrick_protocol::size;
use hayrick_web::Problem;
use http::StatusCode;
use serde_json::json;

use super::body::words;
use super::plain;
use super::problem::{bad_request, not_now, not_proposed, unknown_change};
use super::system::{json_answer, json_text};
use crate::gateway::read_index::{NotLinearizable, linearize};
use crate::leader;
use crate::master::Master;
use crate::options::check_move_rate;

const WANTED: &str = "send bytes a second, as 64KiB or 50MiB, or the word default";

/// What holds.
pub(super) async fn show(master: &Arc<Master>) -> Result<Response, Problem> {
    linearize(master, super::deadline(master)).await.map_err(|NotLinearizable(text)| not_now(text))?;
    let is_default = master.node.cluster().move_rate.is_none();
    Ok(json_answer(json_text(&json!({ "bytes_per_s": master.move_bytes_per_s(), "default": is_default }))))
}

/// Sets it.
pub(super) async fn set(master: &Arc<Master>, body: Body) -> Result<Response, Problem> {
    let text = words(body, WANTED).await?;
    let deadline = super::deadline(master);
    let rate = read(&text).map_err(bad_request)?;
    let replies = leader::propose_until(master, vec![Command::SetMoveRate(rate)], deadline, false).await;
    match replies.map_err(|error| not_proposed(master, &error))?.as_slice() {
        [Reply::Done] => Ok(plain(StatusCode::OK, done(rate))),
        [Reply::Refused(refusal)] => Err(bad_request(refusal.to_string())),
        _ => Err(unknown_change("apply's reply does not fit the command")),
    }
}

/// A rate, or none for the default.
fn read(text: &[u8]) -> Result<Option<u64>, String> {
    let text = std::str::from_utf8(text).map_err(|_| format!("the body is no text; {WANTED}"))?;
    if text.trim() == "default" {
        return Ok(None);
    }
    let rate = size::parse(text).map_err(|why| format!("{why}, or the word default"))?;
    check_move_rate(rate).map_err(|why| format!("the rate is {why}"))?;
    Ok(Some(rate))
}

fn done(rate: Option<u64>) -> String {
    match rate {
        Some(rate) => {
            format!("each volume gives and takes {} a second at most, whoever leads\n", size::shown(rate))
        }
        None => "each volume gives and takes at most what the leader's --move-rate says\n".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_size_within_its_bounds_or_the_default() {
        assert_eq!(read(b"64KiB\n"), Ok(Some(64 << 10)));
        assert_eq!(read(b"1TiB"), Ok(Some(1 << 40)));
        assert_eq!(read(b" default\n"), Ok(None));
        for (wrong, word) in [
            (&b"63KiB"[..], "64KiB"),
            (b"0", "64KiB"),
            (b"2TiB", "1TiB"),
            (b"fast", "default"),
            (b"", "default"),
            (b"50 MB", "64MiB"),
            (b"\xff", "no text"),
        ] {
            let why = read(wrong).expect_err("no rate");
            assert!(why.contains(word), "{why}");
        }
    }
}
