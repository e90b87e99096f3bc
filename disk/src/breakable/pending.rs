//! What was written to one file and not synced: kept back in memory, in pages of which each sector is dirty or not.
//!
//! When it goes to the real file, and who else has the file open, is left to `nodes` and `file`. Invariants: a sector that is
//! not dirty is in the real file as it is seen here, with zeros for what lies behind `kept`; of what is dirty nothing is in the
//! real file, unless it was scattered.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;

use rand::Rng;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
const PAGE: usize = 8 * SECTOR;

struct Page {
    bytes: Box<[u8; PAGE]>,
    /// A bit for each sector.
    dirty: u8,
    /// Those of the dirty ones that only a sync brings out: chance was against them. If they were tried again and again, all
    /// would soon be out, and a sync that is missing would not be missed.
    held: u8,
}

/// What is kept back of one file.
pub(super) struct Pending {
    /// As it is seen.
    len: u64,
    /// The bytes of the real file before it count, those behind it were cut off meanwhile; never more than `len`.
    kept: u64,
    /// Of the real file.
    real_len: u64,
    pages: BTreeMap<u64, Page>,
}

impl Pending {
    /// Nothing, of a real file of this length.
    pub(super) fn new(real_len: u64) -> Self {
        Self { len: real_len, kept: real_len, real_len, pages: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether the real file is as the file is seen.
    pub(super) fn is_empty(&self) -> bool {
        self.pages.is_empty() && (self.kept, self.real_len) == (self.len, self.len)
    }

    /// Whether a read of this range can go to the real file.
    pub(super) fn is_clean(&self, offset: u64, len: usize) -> bool {
        let end = offset.saturating_add(len as u64);
        end <= self.kept && self.pages.range(page_of(offset)..=page_of(end)).next().is_none()
    }

    pub(super) fn read(&self, real: &fs::File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let len = short(self.len.saturating_sub(offset)).min(buf.len());
        let buf = &mut buf[..len];
        self.read_kept(real, buf, offset)?;
        let end = offset + len as u64;
        for (number, page) in self.pages.range(page_of(offset)..end.div_ceil(PAGE as u64)) {
            let (begin, skipped) = (number * PAGE as u64, short(offset.saturating_sub(number * PAGE as u64)));
            let to = short(begin.saturating_sub(offset));
            let piece = (PAGE - skipped).min(len - to);
            buf[to..to + piece].copy_from_slice(&page.bytes[skipped..skipped + piece]);
        }
        Ok(len)
    }

    /// What the real file has, and zeros where that does not count.
    fn read_kept(&self, real: &fs::File, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let kept = short(self.kept.saturating_sub(offset)).min(buf.len());
        buf[kept..].fill(0);
        if kept == 0 { Ok(()) } else { real.read_exact_at(&mut buf[..kept], offset) }
    }

    pub(super) fn write(&mut self, real: &fs::File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let (number, from) = (page_of(at), short(at % PAGE as u64));
            let piece = (PAGE - from).min(bytes.len() - done);
            if !self.pages.contains_key(&number) {
                let mut page = Page { bytes: Box::new([0; PAGE]), dirty: 0, held: 0 };
                if piece < PAGE {
                    self.read_kept(real, page.bytes.as_mut_slice(), number * PAGE as u64)?;
                }
                self.pages.insert(number, page);
            }
            if let Some(page) = self.pages.get_mut(&number) {
                page.bytes[from..from + piece].copy_from_slice(&bytes[done..done + piece]);
                for sector in from / SECTOR..(from + piece).div_ceil(SECTOR) {
                    page.dirty |= 1 << sector;
                    page.held &= !(1 << sector);
                }
            }
            done += piece;
        }
        if !bytes.is_empty() {
            self.len = self.len.max(offset + bytes.len() as u64);
        }
        Ok(())
    }

    /// Cuts what is seen, or grows it with zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.kept = self.kept.min(len);
            self.pages.split_off(&len.div_ceil(PAGE as u64));
            if let Some(page) = self.pages.get_mut(&page_of(len)) {
                let end = short(len % PAGE as u64);
                page.bytes[end..].fill(0);
                (end.div_ceil(SECTOR)..PAGE / SECTOR).for_each(|sector| page.dirty &= !(1 << sector));
            }
            self.pages.retain(|_, page| page.dirty != 0);
        }
        self.len = len;
    }

    /// Where the first bytes from `offset` on lie that are kept back.
    pub(super) fn next(&self, offset: u64) -> Option<u64> {
        self.pages.range(page_of(offset)..).next().map(|(number, _)| offset.max(number * PAGE as u64))
    }

    /// Brings all of it to the real file, which then is to be synced.
    pub(super) fn write_out(&mut self, real: &fs::File) -> io::Result<()> {
        let pages = std::mem::take(&mut self.pages);
        self.cut_real(real)?;
        if self.real_len != self.len {
            real.set_len(self.len)?;
        }
        (self.real_len, self.kept) = (self.len, self.len);
        for (number, page) in &pages {
            let mut sector = 0;
            while page.dirty >> sector != 0 {
                sector += (page.dirty >> sector).trailing_zeros() as usize;
                let count = (page.dirty >> sector).trailing_ones() as usize;
                self.write_sectors(real, *number, page, sector..sector + count)?;
                sector += count;
                if sector == PAGE / SECTOR {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Brings each sector to the real file with an even chance, once after it was written. Length and cuts go with them.
    pub(super) fn scatter(&mut self, real: &fs::File, rng: &mut impl Rng) -> io::Result<()> {
        self.cut_real(real)?;
        let mut pages = std::mem::take(&mut self.pages);
        for (number, page) in &mut pages {
            for sector in 0..PAGE / SECTOR {
                if page.dirty & !page.held & 1 << sector == 0 {
                    continue;
                }
                if rng.random() {
                    self.write_sectors(real, *number, page, sector..sector + 1)?;
                    page.dirty &= !(1 << sector);
                } else {
                    page.held |= 1 << sector;
                }
            }
        }
        pages.retain(|_, page| page.dirty != 0);
        self.pages = pages;
        // Where the real file grew without being written, it has the zeros that are seen there.
        self.kept = self.real_len;
        Ok(())
    }

    /// Cuts off the real file what does not count any more.
    fn cut_real(&mut self, real: &fs::File) -> io::Result<()> {
        if self.kept < self.real_len {
            real.set_len(self.kept)?;
            self.real_len = self.kept;
        }
        Ok(())
    }

    /// Writes sectors, as far as the file goes.
    fn write_sectors(
        &mut self,
        real: &fs::File,
        number: u64,
        page: &Page,
        sectors: std::ops::Range<usize>,
    ) -> io::Result<()> {
        let begin = number * PAGE as u64;
        let (from, to) = (sectors.start * SECTOR, (sectors.end * SECTOR).min(short(self.len - begin)));
        real.write_all_at(&page.bytes[from..to], begin + from as u64)?;
        self.real_len = self.real_len.max(begin + to as u64);
        Ok(())
    }

    /// Loses the bytes for good. The length is another matter: that of a file is in memory until its inode is written.
    pub(super) fn lose(&mut self) {
        self.pages.clear();
    }
}

fn page_of(offset: u64) -> u64 {
    offset / PAGE as u64
}

fn short(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
