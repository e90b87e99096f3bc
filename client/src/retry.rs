//! Which master is asked next, how often all of them are, and when none may be.
//!
//! Invariant: after a write left this process, it goes to another master only if the connection was never made, or what answered
//! surely did nothing: a server of ours by 503, which promises no effect now or later, or a stranger that does not know such
//! requests. All that may be asked again is, round after round, for as long as the client's patience says; a cluster that changes
//! its leader is no error to who can wait two seconds.

use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;
use reqwest::{RequestBuilder, Response};
use tokio::time::{Instant, sleep};

use crate::broken::{in_words, is_refused};
use crate::{Client, Error};

/// The most of an error's text that is kept.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// Between two rounds over the masters where none said how long (`Retry-After`); twice as long each time.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// In every answer of a master or volume (docs/http.md), by its name in small letters; of nobody else it is believed that something was
/// done, or that there is no such key.
pub const SERVER_KIND: &str = "hayrick-server";
const NOT_OURS: &str =
    "what answers there is no master of Hayrick, or a proxy took `Hayrick-Server` out of its answer";
const A_VOLUME: &str = "that is the port of a volume";
const NOT_OURS_AND_UNKNOWN: &str =
    "no server of Hayrick answered, or something in between took `Hayrick-Server` out of its answer";

/// What a request does, and so what a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Has no effect, and may be asked until the cluster can answer.
    Read,
    /// The same, about a master and its cluster: that it cannot serve is the answer, and not waited out.
    Look,
    Write,
    /// The same, of the cluster itself: who makes one decides what to wait for.
    Change,
}

impl Kind {
    fn is_write(self) -> bool {
        matches!(self, Self::Write | Self::Change)
    }

    fn waits(self) -> bool {
        matches!(self, Self::Read | Self::Write)
    }
}

/// An answer that is neither an error nor a reason to ask another master.
pub(crate) struct Answer {
    /// Who answered.
    pub(crate) master: usize,
    pub(crate) response: Response,
}

/// No master answered in one round.
struct Failed {
    error: Error,
    again: Again,
}

/// Whether another round may bring an answer, and surely repeats nothing that may have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    No,
    Soon,
    After(Duration),
}

impl Client {
    /// Sends the request that `build` makes for a URL to one master after the other until one answers it.
    pub(crate) async fn send(
        &self,
        kind: Kind,
        target: &str,
        build: impl Fn(String) -> RequestBuilder,
    ) -> Result<Answer, Error> {
        self.send_while(kind, target, build, || true).await
    }

    /// The same of a request whose body may be gone once it was begun; `can_repeat` says whether it is there.
    pub(crate) async fn send_while(
        &self,
        kind: Kind,
        target: &str,
        build: impl Fn(String) -> RequestBuilder,
        can_repeat: impl Fn() -> bool,
    ) -> Result<Answer, Error> {
        let (begun, mut pause) = (Instant::now(), PAUSE_FIRST);
        loop {
            let failed = match self.round(kind, target, &build, &can_repeat).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let left = self.patience.saturating_sub(begun.elapsed());
            let wait = match failed.again {
                Again::After(said) => said.max(pause),
                Again::Soon => pause.min(left),
                Again::No => return Err(failed.error),
            };
            if !kind.waits() || left.is_zero() || wait > left {
                return Err(failed.error);
            }
            self.on_wait.tell(&failed.error);
            sleep(wait).await;
            pause = (2 * pause).min(PAUSE_MAX);
        }
    }

    /// Asks each master once.
    async fn round(
        &self,
        kind: Kind,
        target: &str,
        build: &impl Fn(String) -> RequestBuilder,
        can_repeat: &impl Fn() -> bool,
    ) -> Result<Answer, Failed> {
        let (mut tried, mut refused, mut again) = (Vec::new(), None, Again::No);
        for master in self.order() {
            if !can_repeat() {
                again = Again::No;
                break;
            }
            match build(self.url(master, target)).send().await {
                Ok(response) if of_stranger(kind, &response) == Stranger::DidNothing => {
                    tried.push((self.masters()[master].clone(), NOT_OURS.to_owned()));
                }
                Ok(response) if is_refused_by_volume(&response) => {
                    tried.push((self.masters()[master].clone(), A_VOLUME.to_owned()));
                }
                Ok(response) if of_stranger(kind, &response) == Stranger::MayHaveDoneIt => {
                    let (addr, status) = (&self.masters()[master], response.status());
                    let message = format!("{addr}: {status}, and {NOT_OURS_AND_UNKNOWN}");
                    return Err(Failed { error: Error::Unknown { message }, again: Again::No });
                }
                Ok(response) if may_ask_another(kind, response.status()) => {
                    again = again.or(after(&response));
                    refused = Some(refusal(kind, target, response).await);
                }
                Ok(response) if response.status().is_success() => {
                    self.prefer(master);
                    return Ok(Answer { master, response });
                }
                Ok(response) => {
                    self.prefer(master);
                    return Err(Failed { error: refusal(kind, target, response).await, again: Again::No });
                }
                Err(error) if kind.is_write() && !error.is_connect() => {
                    let message = format!("{}: {}", self.masters()[master], in_words(&error));
                    return Err(Failed { error: Error::Unknown { message }, again: Again::No });
                }
                Err(error) => {
                    // Where nobody listens at all, a wrong address is likelier than a master that is about to start.
                    again = if is_refused(&error) { again } else { again.or(Again::Soon) };
                    tried.push((self.masters()[master].clone(), in_words(&error)));
                }
            }
        }
        Err(Failed { error: refused.unwrap_or(Error::NoMaster { tried }), again })
    }
}

impl Again {
    /// The sooner of two.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, other) | (other, Self::No) => other,
            (Self::After(one), Self::After(other)) => Self::After(one.min(other)),
            _ => Self::Soon,
        }
    }
}

/// What is to be made of an answer that does not say that it is of a server of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stranger {
    /// It says so, or refuses what it was asked: who stands in between may do that, too.
    Believed,
    DidNothing,
    /// A server of ours did it behind a proxy that tells less than it heard, or one that broke off and is said to be busy.
    MayHaveDoneIt,
}

fn of_stranger(kind: Kind, response: &Response) -> Stranger {
    let status = response.status();
    if response.headers().contains_key(SERVER_KIND) {
        return Stranger::Believed;
    }
    if status.is_redirection() || [StatusCode::NOT_FOUND, StatusCode::NOT_IMPLEMENTED].contains(&status) {
        return Stranger::DidNothing;
    }
    match (kind.is_write(), status.is_success() || status == StatusCode::SERVICE_UNAVAILABLE) {
        (true, true) => Stranger::MayHaveDoneIt,
        (false, _) if status.is_success() => Stranger::DidNothing,
        _ => Stranger::Believed,
    }
}

/// A volume answers reads as a master does, and takes nothing else.
fn is_refused_by_volume(response: &Response) -> bool {
    response.status() == StatusCode::METHOD_NOT_ALLOWED
        && response.headers().get(SERVER_KIND).is_some_and(|kind| kind == "volume")
}

/// 503 promises no effect; a read has none anyway.
fn may_ask_another(kind: Kind, status: StatusCode) -> bool {
    status == StatusCode::SERVICE_UNAVAILABLE || (!kind.is_write() && status.is_server_error())
}

/// When the server wants to be asked again. Ours say seconds; of a date it is not known whose clock is right.
fn after(response: &Response) -> Again {
    let said = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    said.map_or(Again::Soon, |seconds| Again::After(Duration::from_secs(seconds)))
}

/// The typed error of an answer that is none of success.
async fn refusal(kind: Kind, target: &str, response: Response) -> Error {
    let status = response.status();
    let message = message(response).await;
    match status {
        StatusCode::NOT_MODIFIED => Error::NotModified { key: key_of(target) },
        StatusCode::NOT_FOUND if !target.starts_with("/-/") => Error::NotFound { key: key_of(target) },
        StatusCode::PRECONDITION_FAILED => Error::PreconditionFailed { message },
        StatusCode::PAYLOAD_TOO_LARGE => Error::TooLarge { message },
        StatusCode::INSUFFICIENT_STORAGE => Error::NoRoom { message },
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT
            if kind.is_write() =>
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
    let encoded = path.strip_prefix('/').unwrap_or(path);
    percent_encoding::percent_decode_str(encoded).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_masters_the_one_that_answers_sooner_is_waited_for() {
        let after = |seconds| Again::After(Duration::from_secs(seconds));
        assert_eq!(Again::No.or(Again::No), Again::No);
        assert_eq!(Again::No.or(after(3)), after(3));
        assert_eq!(after(3).or(after(1)), after(1));
        assert_eq!(after(1).or(Again::Soon), Again::Soon);
    }

    #[test]
    fn a_key_is_told_as_it_is() {
        assert_eq!(key_of("/a%20b?list"), "a b");
        assert_eq!(key_of("//a"), "/a");
    }
}
