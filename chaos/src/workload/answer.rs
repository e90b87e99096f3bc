//! A request, and what its answer means: done, failed for sure, or unknown.

use bytes::Bytes;
use hayrick_client::{Client, Condition as Asked, Error, ListOptions, PutOptions};

use super::value;
use crate::history::{Answer, Call, Condition, Value};

/// More keys than a list of ours ever has.
const LIST_LIMIT: u32 = 10_000;

/// Asks, and says what came of it.
pub(crate) async fn of(client: &Client, call: &Call, bytes: Bytes) -> Answer {
    match call {
        Call::Get { key } => get(client, key).await,
        Call::Head { key } => match client.head(key).await {
            Ok(meta) => found(&meta.etag),
            Err(error) => failed_read(&error),
        },
        Call::Put { key, value, condition, .. } => {
            let options = PutOptions { condition: asked(*condition), ..PutOptions::default() };
            match client.put_with(key, bytes, &options).await {
                Ok(outcome) if Value::from_etag(&outcome.etag) == Some(*value) => Answer::Stored,
                Ok(outcome) => Answer::Wrong { why: format!("stored, with the ETag {:?}", outcome.etag) },
                Err(error @ Error::Damaged { .. }) => Answer::Wrong { why: format!("stored: {error}") },
                Err(error) => failed_write(&error),
            }
        }
        Call::Delete { key, condition } => match client.delete_with(key, &asked(*condition)).await {
            Ok(()) => Answer::Deleted,
            Err(error) => failed_write(&error),
        },
        Call::Undelete { key } => undeleted(client.undelete(key).await),
        Call::List { prefix } => {
            let options = ListOptions { limit: Some(LIST_LIMIT), ..ListOptions::default() };
            match client.list(prefix, &options).await {
                Ok(page) if page.next.is_empty() => listed(prefix, page.keys),
                Ok(page) => Answer::Wrong { why: format!("a list of {} keys goes on", page.keys.len()) },
                Err(error) => failed_read(&error),
            }
        }
    }
}

async fn get(client: &Client, key: &str) -> Answer {
    let object = match client.get(key).await {
        Ok(object) => object,
        Err(error) => return failed_read(&error),
    };
    let etag = object.meta().etag.clone();
    match object.bytes().await {
        Ok(bytes) if value::of(&bytes).to_string() == etag => found(&etag),
        Ok(bytes) => Answer::Wrong {
            why: format!("{} bytes with the MD5 {}, and the ETag {etag:?}", bytes.len(), value::of(&bytes)),
        },
        Err(error) => failed_read(&error),
    }
}

fn found(etag: &str) -> Answer {
    match Value::from_etag(etag) {
        Some(value) => Answer::Found(value),
        None => Answer::Wrong { why: format!("the ETag {etag:?} is no MD5") },
    }
}

/// What of a list is right or wrong by itself: its keys are those of the prefix, each once, in order.
fn listed(prefix: &str, keys: Vec<String>) -> Answer {
    let stray = keys.iter().find(|key| !key.starts_with(prefix));
    let disorder = keys.windows(2).find(|pair| pair[0] >= pair[1]);
    match (stray, disorder) {
        (Some(key), _) => Answer::Wrong { why: format!("a list of {prefix:?} names {key:?}") },
        (None, Some([one, other])) if one == other => {
            Answer::Wrong { why: format!("a list of {prefix:?} names {one:?} twice") }
        }
        (None, Some(pair)) => {
            Answer::Wrong { why: format!("a list of {prefix:?} names {:?} before {:?}", pair[0], pair[1]) }
        }
        (None, None) => Answer::Listed(keys),
    }
}

fn asked(condition: Condition) -> Asked {
    match condition {
        Condition::Always => Asked::None,
        Condition::Absent => Asked::Absent,
        Condition::Matches(value) => Asked::Matches(value.to_string()),
    }
}

fn undeleted(outcome: Result<(), Error>) -> Answer {
    match outcome {
        Ok(()) => Answer::BroughtBack,
        Err(Error::NothingToBringBack { .. }) => Answer::NothingToBringBack,
        Err(Error::Taken { .. }) => Answer::Taken,
        Err(error) => failed_write(&error),
    }
}

fn failed_read(error: &Error) -> Answer {
    match error {
        Error::NotFound { .. } => Answer::Absent,
        Error::BadAnswer { .. } => Answer::Wrong { why: error.to_string() },
        _ => refused(error),
    }
}

fn failed_write(error: &Error) -> Answer {
    match error {
        Error::NotFound { .. } => Answer::Absent,
        Error::PreconditionFailed { .. } => Answer::ConditionFailed,
        Error::Refused { .. } | Error::NoRoom { .. } | Error::TooLarge { .. } | Error::NoMaster { .. } => {
            refused(error)
        }
        // All that the contract does not call a refusal.
        _ => Answer::Unknown { why: error.to_string() },
    }
}

fn refused(error: &Error) -> Answer {
    Answer::Refused { status: error.status().unwrap_or(0), why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_with_a_key_twice_or_out_of_order_or_of_another_prefix_is_wrong() {
        let of = |keys: &[&str]| listed("a/", keys.iter().map(|&key| key.to_owned()).collect());
        let right = |keys: &[&str]| Answer::Listed(keys.iter().map(|&key| key.to_owned()).collect());
        for keys in [&[][..], &["a/1"], &["a/1", "a/10", "a/2"]] {
            assert_eq!(of(keys), right(keys));
        }
        for (keys, says) in [
            (&["a/1", "a/1"][..], "\"a/1\" twice"),
            (&["a/1", "a/2", "a/1"], "\"a/2\" before \"a/1\""),
            (&["a/1", "b/1"], "\"b/1\""),
            (&["a"], "\"a\""),
        ] {
            match of(keys) {
                Answer::Wrong { why } => assert!(why.contains(says), "{why}"),
                other => panic!("{keys:?} is {other:?}"),
            }
        }
    }

    #[test]
    fn what_became_of_an_undelete_is_told_apart() {
        let message = String::new;
        assert_eq!(undeleted(Ok(())), Answer::BroughtBack);
        let nothing = Error::NothingToBringBack { message: message() };
        assert_eq!(undeleted(Err(nothing)), Answer::NothingToBringBack);
        assert_eq!(undeleted(Err(Error::Taken { message: message() })), Answer::Taken);
        assert!(undeleted(Err(Error::Unknown { message: message() })).is_unknown());
        let refused = undeleted(Err(Error::Refused { status: 503, message: message() }));
        assert!(matches!(refused, Answer::Refused { status: 503, .. }), "{refused:?}");
    }
}
