//! `GET /{prefix}?list`: objects in the order of their keys, a page at a time, linearizable like any read; and `?unlinked`,
//! what was deleted and can be brought back.
//!
//! Owns how a page is asked for and shown: names, or with `detail` objects; with `delimiter` what many keys have in
//! common as one. Leaves the walk to `raft-store`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::response::Response;
use hayrick_planted::{self as planted, Bug};
use hayrick_protocol::key::percent_decode;
use hayrick_protocol::limits::{
    HEADERS_BYTES_MAX, KEY_BYTES_MAX, LIST_DELIMITER_BYTES_MAX, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX,
    LIST_PAGE_BYTES_MAX,
};
use hayrick_protocol::record::ObjectRecord;
use hayrick_protocol::{AppliedVersion, ObjectKey};
use hayrick_raft_store::{Listing, Node, Page, ReadError};
use hayrick_web::{Consistency, Problem, parameter, parameter_text};
use http::Uri;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::get::consistent;
use super::problem::{bad_request, no_memory_to_answer, not_now};
use super::{Head, fields, switch, system};
use crate::master::Master;

/// What an object of a page takes beside its key and type: names, size, ETag, date, quotes.
const ENTRY_BYTES_BESIDE: usize = 192;

#[derive(Serialize)]
struct Shown<'a> {
    next: &'a str,
    keys: Vec<Entry<'a>>,
    /// Only where a delimiter was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    prefixes: Option<&'a [String]>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Entry<'a> {
    Name(&'a str),
    Object { key: &'a str, size: u32, etag: String, modified: String, content_type: &'a str },
}

pub(super) async fn answer(master: &Arc<Master>, request: &Head) -> Result<Response, Problem> {
    let uri = request.uri();
    let listing = listing(uri)?;
    let consistency = Consistency::of(uri)?;
    let (with_prefixes, with_detail) = (listing.delimiter.is_some(), switch(request, "detail")?);
    let deadline = super::deadline(master);
    if !planted::is(Bug::ListFromOwnState) {
        consistent(master, consistency, deadline).await?;
    }
    page(master, listing.limit, deadline, move |node| {
        node.list(&listing).map(|page| text(&page, with_prefixes, with_detail))
    })
    .await
}

/// `?unlinked`: what an undelete would bring back. Its pages go by the versions at which keys were deleted.
pub(super) async fn answer_deleted(master: &Arc<Master>, request: &Head) -> Result<Response, Problem> {
    let uri = request.uri();
    let (prefix, limit) = (prefix(uri)?, limit(uri)?);
    let after = match parameter(uri, "start") {
        None | Some("") => AppliedVersion::default(),
        Some(text) => text.parse().map(AppliedVersion).map_err(|_| {
            bad_request(format!(
                "start={text} is no `next` of a page of what was deleted; begin without start"
            ))
        })?,
    };
    let deadline = super::deadline(master);
    consistent(master, Consistency::Linearizable, deadline).await?;
    page(master, limit, deadline, move |node| {
        let page = node.deleted_page(&prefix, after, limit)?;
        Ok(system::json_text(&Shown {
            next: &page.next.map(|next| next.to_string()).unwrap_or_default(),
            keys: page.keys.iter().map(|key| Entry::Name(key.as_str())).collect(),
            prefixes: None,
        }))
    })
    .await
}

/// The most that the text of a page takes: quotes and backslashes in keys are escaped, and each entry has names of its own.
fn text_bytes_max(limit: usize) -> usize {
    let all = 2 * LIST_PAGE_BYTES_MAX + LIST_LIMIT_MAX * ENTRY_BYTES_BESIDE;
    all.min((limit + 1) * (2 * (KEY_BYTES_MAX + HEADERS_BYTES_MAX) + ENTRY_BYTES_BESIDE))
}

/// The answer with a page that is made by walking over the index. Its memory is taken before, as nobody bounds what waits with
/// a page for it.
async fn page(
    master: &Arc<Master>,
    limit: usize,
    deadline: Instant,
    make: impl FnOnce(&Node) -> Result<Vec<u8>, ReadError> + Send + 'static,
) -> Result<Response, Problem> {
    let share = master.gateway.answers.take(text_bytes_max(limit), deadline).await;
    let mut share = share.map_err(no_memory_to_answer)?;
    let Ok(Ok(place)) = timeout_at(deadline, Arc::clone(&master.gateway.lists).acquire_owned()).await else {
        return Err(not_now("too many listings are being made; try again"));
    };
    let node = master.node.clone();
    // Not for the threads that serve requests. It has its place until its end, also where the client is gone.
    let made = tokio::task::spawn_blocking(move || {
        let text = make(&node);
        drop(place);
        text
    });
    let text = made.await.map_err(|_| not_now("this master is stopping"))?;
    let text = text.map_err(|error| not_now(format!("the index could not be read: {error}")))?;
    debug_assert!(text.len() <= text_bytes_max(limit), "{} bytes of a page of {limit}", text.len());
    share.shrink(text.len());
    Ok(system::json_answer(share.hold(text.into())))
}

fn text(page: &Page, with_prefixes: bool, with_detail: bool) -> Vec<u8> {
    let objects = page.objects.iter();
    system::json_text(&Shown {
        next: page.next.as_ref().map(ObjectKey::as_str).unwrap_or_default(),
        keys: match with_detail {
            true => objects.map(|(key, record)| object(key, record)).collect(),
            false => objects.map(|(key, _)| Entry::Name(key.as_str())).collect(),
        },
        prefixes: with_prefixes.then_some(&page.prefixes),
    })
}

fn object<'a>(key: &'a ObjectKey, record: &'a ObjectRecord) -> Entry<'a> {
    let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(record.modified_ms);
    Entry::Object {
        key: key.as_str(),
        size: record.size,
        etag: hex::encode(record.md5),
        modified: humantime::format_rfc3339_millis(modified).to_string(),
        content_type: record.headers.get("content-type").unwrap_or(fields::CONTENT_TYPE_DEFAULT),
    }
}

fn prefix(uri: &Uri) -> Result<String, Problem> {
    let path = uri.path();
    let prefix = percent_decode(path.strip_prefix('/').unwrap_or(path));
    prefix.map_err(|error| bad_request(error.to_string()))
}

fn listing(uri: &Uri) -> Result<Listing, Problem> {
    let delimiter = parameter_text(uri, "delimiter")?;
    if delimiter.as_ref().is_some_and(|it| it.is_empty() || it.len() > LIST_DELIMITER_BYTES_MAX) {
        let text = format!("delimiter= takes 1 to {LIST_DELIMITER_BYTES_MAX} bytes, as in delimiter=/");
        return Err(bad_request(text));
    }
    Ok(Listing {
        prefix: prefix(uri)?,
        start: parameter_text(uri, "start")?.unwrap_or_default(),
        delimiter,
        limit: limit(uri)?,
    })
}

fn limit(uri: &Uri) -> Result<usize, Problem> {
    let Some(text) = parameter(uri, "limit") else { return Ok(LIST_LIMIT_DEFAULT) };
    let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let limit = digits.and_then(|text| text.parse().ok()).filter(|it| (1..=LIST_LIMIT_MAX).contains(it));
    limit.ok_or_else(|| bad_request(format!("limit={text} is not a number from 1 to {LIST_LIMIT_MAX}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uri: &str) -> Result<Listing, String> {
        listing(&uri.parse().expect("a target")).map_err(|problem| problem.text)
    }

    #[test]
    fn a_listing_is_asked_for_by_path_and_parameters() {
        let all = of("/?list").expect("all of it");
        assert_eq!((all.prefix.as_str(), all.start.as_str(), all.delimiter), ("", "", None));
        assert_eq!(all.limit, LIST_LIMIT_DEFAULT);
        let part = of("/a%20b/+?list&start=a+b%2B%C3%A9&delimiter=%2F&limit=7").expect("in order");
        assert_eq!((part.prefix.as_str(), part.start.as_str()), ("a b/+", "a b+é"));
        assert_eq!((part.delimiter.as_deref(), part.limit), (Some("/"), 7));
    }

    #[test]
    fn what_makes_no_listing_is_refused_with_what_is_taken() {
        for limit in ["0", "10001", "+5", "-1", "", "x"] {
            let refusal = of(&format!("/?list&limit={limit}")).expect_err("refused");
            assert!(refusal.contains("1 to 10000"), "{refusal}");
        }
        assert!(of("/?list&delimiter=").expect_err("refused").contains("delimiter=/"));
        assert!(
            of("/?list&delimiter").is_err() && of("/?list&start=%zz").is_err() && of("/%ff?list").is_err()
        );
    }
}
