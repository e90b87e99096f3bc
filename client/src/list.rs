//! Listing: pages of objects in the order of their keys, or all of them as a stream.
//!
//! Owns how a listing is asked for and its pages put together. Invariant: what a stream gives begins with the prefix that
//! was asked for, also where a URL cannot carry all of it (see `prefix_path`).

use std::collections::VecDeque;

use futures_util::{Stream, TryStreamExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::client::{prefix_path, query_value};
use crate::retry::{Answer, Kind};
use crate::{Client, Error};

/// How to list.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// At most so many a page: 1 to 10 000; 1000 unless said. A page may be shorter; only an empty `next` ends a listing.
    pub limit: Option<u32>,
    /// Begin with this key, itself included.
    pub start: Option<String>,
    /// Keys that go on behind the prefix up to this text, as `/`, are shown as one: the prefix that they have in common.
    pub delimiter: Option<String>,
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Page<T = String> {
    /// The first key not shown; empty at the end.
    pub next: String,
    /// The keys, in order.
    pub keys: Vec<T>,
    /// With a delimiter: what other keys begin with, up to it and with it, in order.
    #[serde(default = "Vec::new")]
    pub prefixes: Vec<String>,
}

/// What a listing with details says of an object.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ListedObject {
    /// Its key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// The MD5 of the bytes, in hex.
    pub etag: String,
    /// When it was put, as RFC 3339 writes it.
    pub modified: String,
    /// As it was put.
    pub content_type: String,
}

/// One line of a listing with a delimiter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed<T = String> {
    /// A key, or the object of it.
    Key(T),
    /// What the keys of several objects begin with.
    Prefix(String),
}

/// What a page lists: names, or objects.
pub trait Entry: DeserializeOwned + Send + Sync + 'static + sealed::Sealed {
    /// Its key.
    fn key(&self) -> &str;
}

mod sealed {
    pub trait Sealed {
        /// The parameter that asks for it.
        const ASK: &'static str;
    }

    impl Sealed for String {
        const ASK: &'static str = "";
    }

    impl Sealed for super::ListedObject {
        const ASK: &'static str = "&detail";
    }
}

impl Entry for String {
    fn key(&self) -> &str {
        self
    }
}

impl Entry for ListedObject {
    fn key(&self) -> &str {
        &self.key
    }
}

impl<T: Entry> Listed<T> {
    /// Where it stands in the order.
    fn place(&self) -> &str {
        match self {
            Self::Key(entry) => entry.key(),
            Self::Prefix(prefix) => prefix,
        }
    }
}

/// What a stream remembers between two lines.
struct Cursor<T> {
    client: Client,
    prefix: String,
    options: ListOptions,
    page: VecDeque<Listed<T>>,
    is_last: bool,
}

impl Client {
    /// One page of the keys that begin with `prefix`.
    ///
    /// # Errors
    /// When no master can tell; [`Error::BadPrefix`] when no key begins with it.
    pub async fn list(&self, prefix: &str, options: &ListOptions) -> Result<Page, Error> {
        self.page(prefix, options).await
    }

    /// One page of the objects whose keys begin with `prefix`.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub async fn list_objects(
        &self,
        prefix: &str,
        options: &ListOptions,
    ) -> Result<Page<ListedObject>, Error> {
        self.page(prefix, options).await
    }

    /// All keys that begin with `prefix`, asked for page by page. Each page is linearizable, the whole is not: keys
    /// that come or go meanwhile may be seen or not.
    pub fn list_all(&self, prefix: &str) -> impl Stream<Item = Result<String, Error>> + Send + Unpin + use<> {
        let all = self.list_all_with(prefix, &ListOptions::default());
        Box::pin(all.try_filter_map(|listed| async move {
            // Prefixes come with a delimiter only.
            Ok(if let Listed::Key(key) = listed { Some(key) } else { None })
        }))
    }

    /// The same from `start` on, with a delimiter, and of names or objects, as the caller wants them:
    ///
    /// ```
    /// # mod played { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/master.rs")); }
    /// # const PAGE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 180\r\n\r\n{\"next\":\"\",\"keys\":[{\"key\":\"photos/cat.jpg\",\
    /// #     \"size\":4,\"etag\":\"4a4be40c96ac6314e91d93f38043a634\",\"modified\":\"2026-11-23T10:00:00.000Z\",\"content_type\":\"\"}],\
    /// #     \"prefixes\":[\"photos/2024/\"]}";
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let master = played::master(&[PAGE]).await?;
    /// use futures_util::TryStreamExt;
    /// use hayrick_client::{Client, ListOptions, Listed, ListedObject};
    ///
    /// let client = Client::new([master])?;
    /// let options = ListOptions { delimiter: Some("/".to_owned()), ..ListOptions::default() };
    /// let mut lines = client.list_all_with::<ListedObject>("photos/", &options);
    /// while let Some(line) = lines.try_next().await? {
    ///     match line {
    ///         Listed::Key(object) => println!("{} bytes  {}", object.size, object.key),
    ///         Listed::Prefix(prefix) => println!("           {prefix}"),
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn list_all_with<T: Entry>(
        &self,
        prefix: &str,
        options: &ListOptions,
    ) -> impl Stream<Item = Result<Listed<T>, Error>> + Send + Unpin + use<T> {
        let first = Cursor {
            client: self.clone(),
            prefix: prefix.to_owned(),
            options: options.clone(),
            page: VecDeque::new(),
            is_last: false,
        };
        Box::pin(futures_util::stream::try_unfold(first, |mut cursor| async move {
            loop {
                if let Some(line) = cursor.page.pop_front() {
                    return Ok(Some((line, cursor)));
                }
                if cursor.is_last {
                    return Ok(None);
                }
                cursor.turn().await?;
            }
        }))
    }

    async fn page<T: Entry>(&self, prefix: &str, options: &ListOptions) -> Result<Page<T>, Error> {
        let answer = self.send(Kind::Read, &target::<T>(prefix, options)?, |url| self.reads.get(url)).await?;
        let mut page: Page<T> = self.read_json(answer).await?;
        // Where the whole prefix could not be sent, others follow behind those that begin with it.
        let ends = |key: &str| !key.starts_with(prefix);
        if page.keys.last().is_some_and(|last| ends(last.key()))
            || page.prefixes.last().is_some_and(|last| ends(last))
            || ends(&page.next)
        {
            page.keys.retain(|entry| !ends(entry.key()));
            page.prefixes.retain(|common| !ends(common));
            page.next.clear();
        }
        Ok(page)
    }

    /// Asks what a master says of itself and its cluster, and reads it.
    pub(crate) async fn look_json<T: DeserializeOwned>(&self, target: &str) -> Result<T, Error> {
        let answer = self.send(Kind::Look, target, |url| self.reads.get(url)).await?;
        self.read_json(answer).await
    }

    /// The JSON of an answer.
    pub(crate) async fn read_json<T: DeserializeOwned>(&self, answer: Answer) -> Result<T, Error> {
        let bytes = answer.response.bytes().await.map_err(|error| Error::body(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| Error::BadAnswer {
            master: self.masters()[answer.master].clone(),
            message: error.to_string(),
        })
    }
}

impl<T: Entry> Cursor<T> {
    /// To the next page.
    async fn turn(&mut self) -> Result<(), Error> {
        let page = self.client.page::<T>(&self.prefix, &self.options).await?;
        self.is_last = page.next.is_empty();
        self.options.start = Some(page.next);
        let keys = page.keys.into_iter().map(Listed::Key);
        let mut lines: Vec<Listed<T>> = keys.chain(page.prefixes.into_iter().map(Listed::Prefix)).collect();
        lines.sort_by(|one, other| one.place().cmp(other.place()));
        self.page = lines.into();
        Ok(())
    }
}

fn target<T: Entry>(prefix: &str, options: &ListOptions) -> Result<String, Error> {
    let (path, rest) = prefix_path(prefix)?;
    let mut target = format!("{path}?list{}", T::ASK);
    if let Some(limit) = options.limit {
        target.push_str(&format!("&limit={limit}"));
    }
    let start = options.start.as_deref().filter(|start| !start.is_empty());
    if let Some(start) = start.max(rest) {
        target.push_str(&format!("&start={}", query_value(start)));
    }
    if let Some(delimiter) = &options.delimiter {
        if rest.is_some() && delimiter.starts_with('.') {
            let message = "a delimiter cannot begin with the dot that the prefix ends with".to_owned();
            return Err(Error::BadPrefix { prefix: prefix.to_owned(), message });
        }
        target.push_str(&format!("&delimiter={}", query_value(delimiter)));
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(prefix: &str, options: &ListOptions) -> String {
        target::<String>(prefix, options).expect("it can be listed")
    }

    #[test]
    fn prefix_and_start_are_encoded_apart() {
        let options =
            ListOptions { limit: Some(5), start: Some("a/b c".into()), delimiter: Some("/".into()) };
        assert_eq!(of("a/", &options), "/a/?list&limit=5&start=a%2Fb%20c&delimiter=%2F");
        assert_eq!(of("", &ListOptions::default()), "/?list");
        assert_eq!(target::<ListedObject>("", &ListOptions::default()).expect("all"), "/?list&detail");
    }

    #[test]
    fn what_a_url_cannot_carry_of_a_prefix_is_where_the_listing_starts() {
        let from = |start: &str| ListOptions { start: Some(start.to_owned()), ..ListOptions::default() };
        assert_eq!(of("a/..", &ListOptions::default()), "/a/?list&start=a%2F..");
        assert_eq!(of("a/..", &from("")), "/a/?list&start=a%2F..");
        assert_eq!(of("a/..", &from("a/")), "/a/?list&start=a%2F..", "never before the prefix");
        assert_eq!(of("a/..", &from("a/..b")), "/a/?list&start=a%2F..b");
        let dots = ListOptions { delimiter: Some("..".into()), ..ListOptions::default() };
        assert!(matches!(target::<String>("a/.", &dots), Err(Error::BadPrefix { .. })));
    }
}
