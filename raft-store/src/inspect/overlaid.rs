//! A file that is read from the disk and written to memory: redb writes while it opens a file after a crash, and the file
//! that is looked at must stay as it is.
//!
//! Owns what was written, page by page. What redb writes while opening and closing is a header and, after a crash, the
//! allocator's state: little. Invariant: the file below is never changed.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use hayrick_disk::File;
use parking_lot::Mutex;

/// Unit in which written bytes are kept.
const PAGE_BYTES: u64 = 4096;

/// The file below, and what was written over it.
pub(crate) struct Overlaid {
    below: Arc<dyn File>,
    written: Mutex<Written>,
}

struct Written {
    pages: BTreeMap<u64, Box<[u8]>>,
    len: u64,
    /// What lies behind it in the file below was cut off once, and reads as zeros.
    below_len: u64,
}

impl Overlaid {
    pub(crate) fn new(below: Arc<dyn File>) -> io::Result<Self> {
        let len = below.len()?;
        Ok(Self { below, written: Mutex::new(Written { pages: BTreeMap::new(), len, below_len: len }) })
    }

    fn read_below(&self, written: &Written, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let there = usize::try_from(written.below_len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let there = there.min(buf.len());
        buf[there..].fill(0);
        self.below.read_exact_at(&mut buf[..there], offset)
    }
}

/// The pages that a range touches: number, offset within it, and how many bytes of it.
fn pages(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + len as u64;
    let mut at = offset;
    std::iter::from_fn(move || {
        let piece = (PAGE_BYTES - at % PAGE_BYTES).min(end - at);
        let page = (at / PAGE_BYTES, small(at % PAGE_BYTES), small(piece));
        at += piece;
        (piece > 0).then_some(page)
    })
}

fn small(bytes: u64) -> usize {
    usize::try_from(bytes).expect("it lies within a page")
}

impl File for Overlaid {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let written = self.written.lock();
        let there = usize::try_from(written.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let there = there.min(buf.len());
        let buf = &mut buf[..there];
        self.read_below(&written, buf, offset)?;
        let mut done = 0;
        for (number, from, bytes) in pages(offset, buf.len()) {
            if let Some(page) = written.pages.get(&number) {
                buf[done..done + bytes].copy_from_slice(&page[from..from + bytes]);
            }
            done += bytes;
        }
        Ok(done)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut written = self.written.lock();
        let mut rest = bytes;
        for (number, from, len) in pages(offset, bytes.len()) {
            let (piece, behind) = rest.split_at(len);
            if !written.pages.contains_key(&number) {
                let mut page = vec![0; small(PAGE_BYTES)].into_boxed_slice();
                self.read_below(&written, &mut page, number * PAGE_BYTES)?;
                written.pages.insert(number, page);
            }
            let page = written.pages.get_mut(&number).expect("it was just put there");
            page[from..from + len].copy_from_slice(piece);
            rest = behind;
        }
        written.len = written.len.max(offset + bytes.len() as u64);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.written.lock().len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.written.lock();
        written.below_len = written.below_len.min(len);
        written.len = len;
        written.pages.split_off(&len.div_ceil(PAGE_BYTES));
        if let Some(last) = written.pages.get_mut(&(len / PAGE_BYTES)) {
            last[small(len % PAGE_BYTES)..].fill(0);
        }
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut written = self.written.lock();
        written.len = written.len.max(offset.saturating_add(len));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use hayrick_disk::{Disk, FaultyDisk};
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Write(u64, Vec<u8>),
        SetLen(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0u64..12_000, prop::collection::vec(1u8.., 0..9000)).prop_map(|(at, bytes)| Step::Write(at, bytes)),
            1 => (0u64..16_000).prop_map(Step::SetLen),
        ]
    }

    proptest! {
        #[test]
        fn it_reads_as_a_file_that_was_written_and_the_file_below_stays(
            first in prop::collection::vec(1u8.., 0..10_000), steps in prop::collection::vec(step(), 0..12),
        ) {
            let disk = FaultyDisk::new(1);
            let below = disk.create(Path::new("/f")).expect("made");
            below.write_all_at(&first, 0).expect("written");
            let over = Overlaid::new(Arc::clone(&below)).expect("opened");
            let mut model = first.clone();
            for step in steps {
                match step {
                    Step::Write(at, bytes) => {
                        over.write_all_at(&bytes, at).expect("taken");
                        let at = at as usize;
                        // Nothing written makes nothing longer, as on a real file; but the model has no holes to grow.
                        model.resize(model.len().max(at + bytes.len()), 0);
                        model[at..at + bytes.len()].copy_from_slice(&bytes);
                    }
                    Step::SetLen(len) => {
                        over.set_len(len).expect("taken");
                        model.resize(len as usize, 0);
                    }
                }
                let mut found = vec![7; model.len() + 10];
                let read = over.read_at(&mut found, 0).expect("readable");
                prop_assert_eq!(&found[..read], &model[..]);
                prop_assert_eq!(over.len().expect("known"), model.len() as u64);
            }
            let mut unchanged = vec![0; first.len()];
            below.read_exact_at(&mut unchanged, 0).expect("readable");
            prop_assert_eq!(unchanged, first);
        }
    }
}
