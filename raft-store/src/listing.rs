//! A page of a listing: objects in the byte order of their keys, and what many keys have in common as one line.
//!
//! Owns the walk over the index and the bounds of a page. Leaves what is shown of an object, and how, to the caller.
//! Invariant: `next` is the first key that the page does not show, neither itself nor under a common prefix; with it as
//! the start of the next page nothing is shown twice, and nothing is left out.

use hayrick_protocol::ObjectKey;
use hayrick_protocol::limits::{LIST_LIMIT_MAX, LIST_PAGE_BYTES_MAX};
use hayrick_protocol::record::{ObjectRecord, RECORD_BYTES};

use crate::store::StoreError;
use crate::view::Frozen;

/// Which objects to list.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Their keys begin with this.
    pub prefix: String,
    /// None before this, which is itself included.
    pub start: String,
    /// All keys that go on behind the prefix with the same text up to this are one common prefix; not empty.
    pub delimiter: Option<String>,
    /// Keys and common prefixes of the page together, at most; [`LIST_LIMIT_MAX`] in any case.
    pub limit: usize,
}

/// Part of a listing: as long as asked for, or of [`LIST_PAGE_BYTES_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// In byte order of the keys.
    pub objects: Vec<(ObjectKey, ObjectRecord)>,
    /// Common prefixes, in byte order.
    pub prefixes: Vec<String>,
    /// The first key that is not shown: where the next page starts.
    pub next: Option<ObjectKey>,
}

impl Frozen {
    /// A page. Long ones take milliseconds: not for async threads.
    pub(crate) fn list(&self, listing: &Listing) -> Result<Page, StoreError> {
        let mut making = Making { listing, page: Page::default(), bytes: 0 };
        let mut from = Some(listing.prefix.as_str().max(&listing.start).as_bytes().to_vec());
        // Behind each common prefix the walk begins anew, so that what lies under it is not read.
        while let Some(start) = from.take() {
            self.objects(&start, |key, record| match making.take(key, record) {
                Taken::Shown => true,
                Taken::Common { behind } => {
                    from = Some(behind);
                    false
                }
                Taken::Over => false,
            })?;
        }
        Ok(making.page)
    }
}

struct Making<'a> {
    listing: &'a Listing,
    page: Page,
    bytes: usize,
}

/// What became of an object.
enum Taken {
    Shown,
    /// It is shown by a common prefix; the next that is not begins here or behind.
    Common {
        behind: Vec<u8>,
    },
    /// The page is full, or the objects of the listing are at their end.
    Over,
}

impl Making<'_> {
    fn take(&mut self, key: ObjectKey, record: ObjectRecord) -> Taken {
        let listing = self.listing;
        let Some(rest) = key.as_str().strip_prefix(listing.prefix.as_str()) else { return Taken::Over };
        let shown = self.page.objects.len() + self.page.prefixes.len();
        if shown >= listing.limit.min(LIST_LIMIT_MAX) || self.bytes >= LIST_PAGE_BYTES_MAX {
            self.page.next = Some(key);
            return Taken::Over;
        }
        let delimited = listing.delimiter.as_deref().and_then(|it| Some(rest.find(it)? + it.len()));
        if let Some(length) = delimited {
            let common = key.as_str()[..listing.prefix.len() + length].to_owned();
            let behind = behind(&common);
            self.bytes += common.len();
            self.page.prefixes.push(common);
            return Taken::Common { behind };
        }
        let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.bytes += key.as_str().len() + RECORD_BYTES + headers;
        self.page.objects.push((key, record));
        Taken::Shown
    }
}

/// The least bytes above all that begin with `common`.
fn behind(common: &str) -> Vec<u8> {
    let mut bytes = common.as_bytes().to_vec();
    let last = bytes.last_mut().expect("a delimiter is not empty");
    // UTF-8 has no byte 255.
    *last += 1;
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hayrick_disk::FaultyDisk;

    use super::*;
    use crate::machine::Machine;
    use crate::machine_tests::{commit, entry, feed, open, prelude};

    const KEYS: [&str; 14] = [
        "a", "a/", "a/b", "a/b/c", "a/b/d", "a//e", "a0", "b", "b/x/y", "b/x/z", "b/é/1", "b/é/2", "c--d",
        "c-/d",
    ];

    /// Half of them in the file, half in memory.
    async fn machine() -> Machine {
        let mut machine = open(&FaultyDisk::new(1), "/m");
        feed(&mut machine, &[entry(0, &prelude())]).await;
        let every_other = |from: usize| KEYS.into_iter().skip(from).step_by(2);
        let mut commits = (1..).zip(every_other(0).chain(every_other(1))).map(|(seq, key)| commit(seq, key));
        let mut next = |count| commits.by_ref().take(count).collect::<Vec<_>>();
        feed(&mut machine, &[entry(1, &next(KEYS.len() / 2))]).await;
        machine.checkpoint().await.expect("durable");
        feed(&mut machine, &[entry(2, &next(KEYS.len()))]).await;
        machine
    }

    fn page(machine: &Machine, listing: &Listing) -> Page {
        machine.frozen().expect("a view").list(listing).expect("readable")
    }

    /// What a listing shows by its definition: keys and common prefixes.
    fn by_definition(listing: &Listing) -> (BTreeSet<String>, BTreeSet<String>) {
        let (mut keys, mut prefixes) = (BTreeSet::new(), BTreeSet::new());
        for key in KEYS.into_iter().filter(|key| *key >= listing.start.as_str()) {
            let Some(rest) = key.strip_prefix(listing.prefix.as_str()) else { continue };
            match listing.delimiter.as_deref().and_then(|it| Some((it, rest.split_once(it)?))) {
                Some((delimiter, (first, _))) => {
                    prefixes.insert(format!("{}{first}{delimiter}", listing.prefix));
                }
                None => drop(keys.insert(key.to_owned())),
            }
        }
        (keys, prefixes)
    }

    #[tokio::test]
    async fn pages_of_any_length_show_everything_once() {
        let machine = machine().await;
        for prefix in ["", "a", "a/", "b/", "b/é", "c-", "x"] {
            for delimiter in [None, Some("/"), Some("-"), Some("/b"), Some("é/")] {
                for start in ["", "a/b", "a/b/cc", "b", "b/x/z", "é"] {
                    for limit in [1, 2, 3, 100] {
                        let mut listing = Listing {
                            prefix: prefix.to_owned(),
                            start: start.to_owned(),
                            delimiter: delimiter.map(str::to_owned),
                            limit,
                        };
                        let wanted = by_definition(&listing);
                        let (mut keys, mut prefixes) = (Vec::new(), Vec::new());
                        loop {
                            let page = page(&machine, &listing);
                            assert!(page.objects.len() + page.prefixes.len() <= limit);
                            keys.extend(page.objects.iter().map(|(key, _)| key.as_str().to_owned()));
                            prefixes.extend(page.prefixes);
                            let Some(next) = page.next else { break };
                            listing.start = next.as_str().to_owned();
                        }
                        assert!(keys.is_sorted() && prefixes.is_sorted());
                        let shown = keys.len() + prefixes.len();
                        assert_eq!(shown, wanted.0.len() + wanted.1.len(), "none twice: {listing:?}");
                        assert_eq!((keys.into_iter().collect(), prefixes.into_iter().collect()), wanted);
                    }
                }
            }
        }
    }

    #[tokio::test]
    async fn a_page_ends_by_its_bytes_too() {
        let mut machine = open(&FaultyDisk::new(1), "/m");
        feed(&mut machine, &[entry(0, &prelude())]).await;
        let count = u32::try_from(LIST_PAGE_BYTES_MAX / 1000 + 10).expect("a few thousand");
        for (batch, seqs) in (1..=count).collect::<Vec<_>>().chunks(500).enumerate() {
            let commits: Vec<_> =
                seqs.iter().map(|seq| commit(*seq, &format!("{seq:06}{}", "x".repeat(994)))).collect();
            feed(&mut machine, &[entry(1 + batch as u64, &commits)]).await;
        }
        let listing = Listing { limit: LIST_LIMIT_MAX, ..Listing::default() };
        let first = page(&machine, &listing);
        let next = first.next.expect("they do not all fit");
        assert!(first.objects.len() < count as usize && first.objects.len() > count as usize / 2);
        let rest = page(&machine, &Listing { start: next.as_str().to_owned(), ..listing });
        assert_eq!(first.objects.len() + rest.objects.len(), count as usize);
    }
}
