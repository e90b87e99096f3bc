//! Which master is asked next, and when none may be.
//!
//! Invariant: after a write left this process, it goes to another master only if the connection was never made or the
//! answer was 503, which promises no effect now or later.

use http::StatusCode;
use reqwest::{RequestBuilder, Response};

use crate::broken::in_words;
use crate::{Client, Error};

/// The most of an error's text that is kept.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// What a request does, and so what a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
}

/// An answer that is neither an error nor a reason to ask another master.
pub(crate) struct Answer {
    /// Who answered.
    pub(crate) master: usize,
    pub(crate) response: Response,
}

impl Client {
    /// Sends the request that `build` makes for a URL to one master after the other until one answers it.
    pub(crate) async fn send(
        &self,
        kind: Kind,
        target: &str,
        build: impl Fn(String) -> RequestBuilder,
    ) -> Result<Answer, Error> {
        let mut tried = Vec::new();
        let mut refused = None;
        for master in self.order() {
            match build(self.url(master, target)).send().await {
                Ok(response) if may_ask_another(kind, response.status()) => {
                    refused = Some(refusal(kind, target, response).await);
                }
                Ok(response) if response.status().is_success() => {
                    self.prefer(master);
                    return Ok(Answer { master, response });
                }
                Ok(response) => {
                    self.prefer(master);
                    return Err(refusal(kind, target, response).await);
                }
                Err(error) if kind == Kind::Write && !error.is_connect() => {
                    let message = format!("{}: {}", self.masters()[master], in_words(&error));
                    return Err(Error::Unknown { message });
                }
                Err(error) => tried.push((self.masters()[master].clone(), in_words(&error))),
            }
        }
        Err(refused.unwrap_or(Error::NoMaster { tried }))
    }
}

/// 503 promises no effect; a read has none anyway.
fn may_ask_another(kind: Kind, status: StatusCode) -> bool {
    status == StatusCode::SERVICE_UNAVAILABLE || (kind == Kind::Read && status.is_server_error())
}

/// The typed error of an answer that is none of success.
async fn refusal(kind: Kind, target: &str, response: Response) -> Error {
    let status = response.status();
    let message = message(response).await;
    match status {
        StatusCode::NOT_FOUND if !target.starts_with("/-/") => Error::NotFound { key: key_of(target) },
        StatusCode::PRECONDITION_FAILED => Error::PreconditionFailed { message },
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT
            if kind == Kind::Write =>
        {
            Error::Unknown { message }
        }
        _ => Error::Refused { status: status.as_u16(), message },
    }
}

/// The server's one line, or the name of the status if it has none (HEAD).
async fn message(mut response: Response) -> String {
    let status = response.status();
    let mut bytes = Vec::new();
    // A broken body only makes the message shorter.
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() >= MESSAGE_BYTES_MAX {
            bytes.truncate(MESSAGE_BYTES_MAX);
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    // Where JSON was asked for, the line is a part of a problem's description.
    let described = serde_json::from_str::<serde_json::Value>(&text).ok();
    let detail = described.and_then(|problem| Some(problem.get("detail")?.as_str()?.to_owned()));
    let text = detail.unwrap_or(text);
    if text.is_empty() { status.canonical_reason().unwrap_or("no reason given").to_owned() } else { text }
}

fn key_of(target: &str) -> String {
    let path = target.split('?').next().unwrap_or_default();
    percent_encoding::percent_decode_str(path.trim_start_matches('/')).decode_utf8_lossy().into_owned()
}
