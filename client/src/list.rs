//! Listing: pages of keys in order, or all of them as a stream.

use std::collections::VecDeque;

use futures_util::Stream;
use serde::Deserialize;

use crate::client::{prefix_path, query_value};
use crate::retry::{Answer, Kind};
use crate::{Client, Error};

/// How to list.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// At most so many a page: 1 to 10 000; 1000 unless said.
    pub limit: Option<u32>,
    /// Begin with this key, itself included.
    pub start: Option<String>,
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Page {
    /// The first key not shown; empty at the end.
    pub next: String,
    /// The keys, in order.
    pub keys: Vec<String>,
}

/// What a stream of keys remembers between two of them.
struct Cursor {
    page: VecDeque<String>,
    /// Where the next page begins; `None` after the last one.
    next: Option<String>,
}

impl Client {
    /// One page of the keys that begin with `prefix`.
    ///
    /// # Errors
    /// When no master can tell.
    pub async fn list(&self, prefix: &str, options: &ListOptions) -> Result<Page, Error> {
        self.json(&target(prefix, options)).await
    }

    /// All keys that begin with `prefix`, asked for page by page. Each page is linearizable, the whole is not: keys
    /// that come or go meanwhile may be seen or not.
    pub fn list_all<'a>(&'a self, prefix: &'a str) -> impl Stream<Item = Result<String, Error>> + 'a {
        let first = Cursor { page: VecDeque::new(), next: Some(String::new()) };
        futures_util::stream::try_unfold(first, move |mut cursor| async move {
            loop {
                if let Some(key) = cursor.page.pop_front() {
                    return Ok(Some((key, cursor)));
                }
                let Some(start) = cursor.next.take() else { return Ok(None) };
                let start = Some(start).filter(|start| !start.is_empty());
                let page = self.list(prefix, &ListOptions { limit: None, start }).await?;
                cursor.next = Some(page.next).filter(|next| !next.is_empty());
                cursor.page = page.keys.into();
            }
        })
    }

    /// Asks for JSON and reads it.
    pub(crate) async fn json<T: serde::de::DeserializeOwned>(&self, target: &str) -> Result<T, Error> {
        let answer = self.send(Kind::Read, target, |url| self.reads.get(url)).await?;
        self.read_json(answer).await
    }

    /// The JSON of an answer.
    pub(crate) async fn read_json<T: serde::de::DeserializeOwned>(&self, answer: Answer) -> Result<T, Error> {
        let bytes = answer.response.bytes().await.map_err(|error| Error::body(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| Error::BadAnswer {
            master: self.masters()[answer.master].clone(),
            message: error.to_string(),
        })
    }
}

fn target(prefix: &str, options: &ListOptions) -> String {
    let mut target = format!("{}?list", prefix_path(prefix));
    if let Some(limit) = options.limit {
        target.push_str(&format!("&limit={limit}"));
    }
    if let Some(start) = &options.start {
        target.push_str(&format!("&start={}", query_value(start)));
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_and_start_are_encoded_apart() {
        let options = ListOptions { limit: Some(5), start: Some("a/b c".into()) };
        assert_eq!(target("a/", &options), "/a/?list&limit=5&start=a%2Fb%20c");
        assert_eq!(target("", &ListOptions::default()), "/?list");
    }
}
