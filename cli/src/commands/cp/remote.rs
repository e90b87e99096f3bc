//! What is in the cluster already, page by page: asked in the order of the keys it takes one listing in all.

use anyhow::Result;
use hayrick_client::{Client, ListOptions, ListedObject};

/// Objects of a page, and so the most that is held.
const PAGE: u32 = 1000;

/// A window on the objects below a prefix, which moves on to what is asked for.
pub(super) struct Remote {
    client: Client,
    prefix: String,
    window: Option<Window>,
}

/// All objects from one key on and before another; without that, to the end.
struct Window {
    from: String,
    until: Option<String>,
    objects: Vec<ListedObject>,
}

impl Remote {
    pub(super) fn new(client: Client, prefix: &str) -> Self {
        Self { client, prefix: prefix.to_owned(), window: None }
    }

    /// The object with this key, which begins with the prefix.
    pub(super) async fn find(&mut self, key: &str) -> Result<Option<ListedObject>> {
        let window = match self.window.take().filter(|window| window.covers(key)) {
            Some(window) => window,
            None => self.open(key).await?,
        };
        let at = window.objects.binary_search_by(|object| object.key.as_str().cmp(key));
        let found = at.ok().map(|at| window.objects[at].clone());
        self.window = Some(window);
        Ok(found)
    }

    async fn open(&self, key: &str) -> Result<Window> {
        let options =
            ListOptions { limit: Some(PAGE), start: Some(key.to_owned()), ..ListOptions::default() };
        let page = self.client.list_objects(&self.prefix, &options).await?;
        let until = Some(page.next).filter(|next| !next.is_empty());
        Ok(Window { from: key.to_owned(), until, objects: page.keys })
    }
}

impl Window {
    fn covers(&self, key: &str) -> bool {
        self.from.as_str() <= key && self.until.as_deref().is_none_or(|until| key < until)
    }
}
