//! What each key may hold, by the answers its owner got.
//!
//! Every key has one owner, whose requests follow each other, so the ledger is exact: after an acknowledged write a key
//! holds that and nothing else; after an unknown outcome it may hold either, for ever, and its owner leaves it alone.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use hayrick_client::{Client, Error};

use crate::content::Content;

/// How many keys are verified at once, and put by [`fill`].
const VERIFY_CONCURRENCY: usize = 16;
const FILL_CONCURRENCY: usize = 16;
/// How many wrong keys are shown.
const SHOWN_MAX: usize = 10;

/// What a key may hold: one of these; `None` is no object.
#[derive(Clone, Debug)]
pub struct Possible {
    /// All it may hold.
    pub contents: Vec<Option<Content>>,
}

/// What each key may hold.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// By key.
    pub keys: BTreeMap<String, Possible>,
}

impl Possible {
    /// Exactly this.
    pub fn exactly(content: Option<Content>) -> Self {
        Self { contents: vec![content] }
    }

    /// Whether its owner may still write it: only while it is known what it holds.
    pub fn is_certain(&self) -> bool {
        self.contents.len() == 1
    }

    /// Whether these bytes, or their absence, are among what it may hold.
    pub fn allows(&self, found: Option<&[u8]>) -> bool {
        self.contents.iter().any(|content| match (content, found) {
            (None, None) => true,
            (Some(content), Some(bytes)) => content.size_bytes == bytes.len() && content.bytes() == bytes,
            _ => false,
        })
    }
}

impl Ledger {
    /// Takes over all keys of another one; owners never share keys.
    pub fn extend(&mut self, other: Ledger) {
        self.keys.extend(other.keys);
    }

    /// Puts an object that must be taken.
    ///
    /// # Errors
    /// When it is not.
    pub async fn put(&mut self, client: &Client, key: &str, content: Content) -> Result<()> {
        client.put(key, content.bytes()).await.with_context(|| key.to_owned())?;
        self.keys.insert(key.to_owned(), Possible::exactly(Some(content)));
        Ok(())
    }

    /// Keys that surely hold an object.
    pub fn acknowledged(&self) -> usize {
        self.keys.values().filter(|possible| matches!(possible.contents[..], [Some(_)])).count()
    }

    /// Reads every key through `client` and compares.
    ///
    /// # Errors
    /// When one holds what it must not, or cannot be read.
    pub async fn verify(&self, client: &Client) -> Result<()> {
        let wrong: Vec<String> = stream::iter(&self.keys)
            .map(|(key, possible)| async move { check(client, key, possible).await.err() })
            .buffer_unordered(VERIFY_CONCURRENCY)
            .filter_map(async |wrong| wrong)
            .collect()
            .await;
        ensure!(
            wrong.is_empty(),
            "{} of {} keys are wrong through {:?}: {:#?}",
            wrong.len(),
            self.keys.len(),
            client.masters(),
            &wrong[..wrong.len().min(SHOWN_MAX)]
        );
        Ok(())
    }
}

/// Puts these under `PREFIX/0`, `PREFIX/1` and so on, through all clients in turn, many at once.
///
/// # Errors
/// When one is not taken.
pub async fn fill(
    clients: &[Client],
    prefix: &str,
    contents: impl IntoIterator<Item = Content>,
) -> Result<Ledger> {
    let puts = contents.into_iter().enumerate().map(|(number, content)| async move {
        let key = format!("{prefix}/{number}");
        let mut ledger = Ledger::default();
        ledger.put(&clients[number % clients.len()], &key, content).await?;
        anyhow::Ok(ledger)
    });
    let add = |mut ledger: Ledger, one: Ledger| {
        ledger.extend(one);
        std::future::ready(Ok(ledger))
    };
    stream::iter(puts).buffer_unordered(FILL_CONCURRENCY).try_fold(Ledger::default(), add).await
}

/// Reads a key; the object's bytes, or `None` if there is none.
///
/// # Errors
/// When it cannot be told.
pub async fn read(client: &Client, key: &str) -> Result<Option<bytes::Bytes>, Error> {
    match client.get(key).await {
        Ok(object) => object.bytes().await.map(Some),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn check(client: &Client, key: &str, possible: &Possible) -> Result<(), String> {
    let found = read(client, key).await.map_err(|error| format!("{key}: {error}"))?;
    if possible.allows(found.as_deref()) {
        return Ok(());
    }
    let found = found.map_or("nothing".to_owned(), |bytes| format!("{} bytes", bytes.len()));
    Err(format!("{key}: holds {found}, may hold {:?}", possible.contents))
}
