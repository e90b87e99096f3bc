//! The bytes of a file of a [`FaultyDisk`](super::FaultyDisk), in pages that copies share until one of them is written to.
//!
//! Which bytes are seen, and which survive a crash, is left to the node that keeps two of these. The invariant: a page is
//! there exactly if it takes space; a page that is not there, and all behind the end, reads as zeros.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

/// What a file system hands out at once.
pub(super) const PAGE_BYTES: usize = 4096;

type Page = Arc<[u8; PAGE_BYTES]>;

/// What was allocated and never written.
static ZEROS: LazyLock<Page> = LazyLock::new(|| Arc::new([0; PAGE_BYTES]));

/// Cloning costs the same whatever the length.
#[derive(Clone, Default)]
pub(super) struct Pages {
    len: u64,
    pages: Arc<Vec<Option<Page>>>,
    taken: u64,
    /// What the device cannot read until it is written again.
    bad: Vec<Range<u64>>,
}

impl Pages {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes that the file takes of the disk.
    pub(super) fn taken_bytes(&self) -> u64 {
        self.taken * PAGE_BYTES as u64
    }

    /// Bytes that the file would take more, were this range written or allocated.
    pub(super) fn missing_bytes(&self, range: &Range<u64>) -> u64 {
        let missing = numbers(range).filter(|number| self.page(*number).is_none()).count();
        (missing * PAGE_BYTES) as u64
    }

    /// How much of a write from `offset` on finds space, when so many bytes are free.
    pub(super) fn fitting_bytes(&self, offset: u64, len: usize, free_bytes: u64) -> usize {
        let mut free_pages = free_bytes / PAGE_BYTES as u64;
        for number in numbers(&(offset..offset + len as u64)) {
            if self.page(number).is_some() {
                continue;
            }
            if free_pages == 0 {
                let from = (number * PAGE_BYTES) as u64;
                return usize::try_from(from.saturating_sub(offset)).unwrap_or(usize::MAX);
            }
            free_pages -= 1;
        }
        len
    }

    /// Reads what there is of a range; the number of bytes before the end.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let there = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        for (number, in_page, in_buf) in pieces(offset, there) {
            match self.page(number) {
                Some(page) => buf[in_buf].copy_from_slice(&page[in_page]),
                None => buf[in_buf].fill(0),
            }
        }
        there
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        if bytes.is_empty() {
            return;
        }
        let range = offset..offset + bytes.len() as u64;
        self.allocate(&range);
        let pages = Arc::make_mut(&mut self.pages);
        for (number, in_page, in_bytes) in pieces(offset, bytes.len()) {
            let page = pages[number].get_or_insert_with(|| Arc::clone(&ZEROS));
            Arc::make_mut(page)[in_page].copy_from_slice(&bytes[in_bytes]);
        }
        self.mend(&range);
    }

    /// Takes space for a range, and grows the file to its end.
    pub(super) fn allocate(&mut self, range: &Range<u64>) {
        self.len = self.len.max(range.end);
        let numbers = numbers(range);
        let all_there =
            self.pages.get(numbers.clone()).is_some_and(|pages| pages.iter().all(Option::is_some));
        if all_there {
            return;
        }
        let pages = Arc::make_mut(&mut self.pages);
        pages.resize(pages.len().max(numbers.end), None);
        for page in pages[numbers].iter_mut().filter(|page| page.is_none()) {
            *page = Some(Arc::clone(&ZEROS));
            self.taken += 1;
        }
    }

    /// Cuts the file, or grows it without taking space.
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let whole = numbers(&(0..len)).end;
            let pages = Arc::make_mut(&mut self.pages);
            let cut = pages.drain(whole.min(pages.len())..).flatten().count();
            self.taken -= cut as u64;
            let rest = in_page(len);
            if rest > 0
                && let Some(Some(last)) = pages.get_mut(whole - 1)
            {
                Arc::make_mut(last)[rest..].fill(0);
            }
            self.mend(&(len..u64::MAX));
        }
        self.len = len;
    }

    /// Changes bits of one byte, if there is such a byte.
    pub(super) fn flip(&mut self, offset: u64, bits: u8) -> bool {
        if offset >= self.len {
            return false;
        }
        let number = numbers(&(offset..offset + 1)).start;
        match Arc::make_mut(&mut self.pages).get_mut(number) {
            Some(Some(page)) => Arc::make_mut(page)[in_page(offset)] ^= bits,
            // A hole has no place on the medium that could be hit.
            _ => return false,
        }
        true
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len).expect("it lies in memory")];
        self.read(&mut bytes, 0);
        bytes
    }

    pub(super) fn is_bad(&self, range: &Range<u64>) -> bool {
        self.bad.iter().any(|bad| bad.start < range.end && range.start < bad.end)
    }

    /// Makes this range, and no other, unreadable.
    pub(super) fn set_bad(&mut self, range: Range<u64>) {
        self.bad.clear();
        self.bad.extend(Some(range).filter(|range| !range.is_empty()));
    }

    fn mend(&mut self, range: &Range<u64>) {
        if !self.is_bad(range) {
            return;
        }
        let before = std::mem::take(&mut self.bad).into_iter();
        let rest =
            before.flat_map(|bad| [bad.start..bad.end.min(range.start), bad.start.max(range.end)..bad.end]);
        self.bad = rest.filter(|bad| !bad.is_empty()).collect();
    }

    fn page(&self, number: usize) -> Option<&Page> {
        self.pages.get(number)?.as_ref()
    }
}

fn in_page(offset: u64) -> usize {
    (offset % PAGE_BYTES as u64) as usize
}

/// The pages that a range touches.
fn numbers(range: &Range<u64>) -> Range<usize> {
    let number = |offset: u64| usize::try_from(offset).expect("a file of a test is of a modest length");
    let page_bytes = PAGE_BYTES as u64;
    number(range.start / page_bytes)..number(range.end.div_ceil(page_bytes))
}

/// A range by the page: the page's number, the part of it, and the part of the range.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (usize, Range<usize>, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let from = in_page(at);
        let piece = (PAGE_BYTES - from).min(len - done);
        let number = numbers(&(at..at + 1)).start;
        let part = (number, from..from + piece, done..done + piece);
        done += piece;
        (piece > 0).then_some(part)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{PAGE_BYTES, Pages};

    /// What may be done to a file.
    #[derive(Clone, Debug)]
    enum Act {
        Write(u64, Vec<u8>),
        SetLen(u64),
        Allocate(u64, u64),
    }

    fn act() -> impl Strategy<Value = Act> {
        let offset = || 0_u64..20_000;
        prop_oneof![
            4 => (offset(), prop::collection::vec(any::<u8>(), 0..9000)).prop_map(|(at, bytes)| Act::Write(at, bytes)),
            1 => offset().prop_map(Act::SetLen),
            1 => (offset(), 1_u64..9000).prop_map(|(at, len)| Act::Allocate(at, len)),
        ]
    }

    proptest! {
        #[test]
        fn pages_are_as_good_as_plain_bytes_and_copies_are_apart(acts in prop::collection::vec(act(), 1..30)) {
            let (mut pages, mut plain) = (Pages::default(), Vec::<u8>::new());
            let mut copies = Vec::new();
            for act in acts {
                copies.push((pages.clone(), plain.clone()));
                match act {
                    Act::Write(at, bytes) => {
                        let missing = pages.missing_bytes(&(at..at + bytes.len() as u64));
                        let taken = pages.taken_bytes();
                        pages.write(&bytes, at);
                        if !bytes.is_empty() {
                            prop_assert_eq!(pages.taken_bytes(), taken + missing);
                            let (at, end) = (at as usize, at as usize + bytes.len());
                            plain.resize(plain.len().max(end), 0);
                            plain[at..end].copy_from_slice(&bytes);
                        }
                    }
                    Act::SetLen(len) => {
                        pages.set_len(len);
                        plain.resize(len as usize, 0);
                    }
                    Act::Allocate(at, len) => {
                        pages.allocate(&(at..at + len));
                        plain.resize(plain.len().max((at + len) as usize), 0);
                    }
                }
                let there = pages.pages.iter().flatten().count();
                prop_assert_eq!(pages.taken_bytes(), (there * PAGE_BYTES) as u64);
                prop_assert_eq!(pages.to_vec(), plain.clone());
            }
            for (pages, plain) in copies {
                prop_assert_eq!(pages.to_vec(), plain);
            }
        }
    }

    #[test]
    fn what_is_bad_is_bad_until_it_is_written() {
        let mut pages = Pages::default();
        pages.write(&[1; 9000], 0);
        pages.set_bad(1000..3000);
        assert!(pages.is_bad(&(2999..3001)) && !pages.is_bad(&(3000..4000)));
        pages.write(&[2; 500], 1500);
        assert!(pages.is_bad(&(0..1500)) && !pages.is_bad(&(1500..2000)) && pages.is_bad(&(2000..2001)));
        pages.set_len(2500);
        assert!(pages.is_bad(&(2400..2500)) && !pages.is_bad(&(2500..3000)));
    }
}
