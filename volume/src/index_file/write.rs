//! Writing an index file as its segment is read: a part at a time, block by block.
//!
//! Owns what is held until a part is full, and the order of what is written. That the file appears whole or not at all is
//! `seal`'s. Invariant: what is held takes no more than [`PART_RECORDS_MAX`] and [`PART_KEY_BYTES_MAX`] allow, whatever
//! the size of the segment.

use std::io;
use std::ops::Range;

use hayrick_disk::{File, Location};
use hayrick_protocol::ids::{NeedleId, PlacementId};
use hayrick_protocol::needle::{ALIGN, Kind as RecordKind, Needle};

use crate::index_file::block::Block;
use crate::index_file::{Entry, HEADER_BYTES, IndexFile, IndexFileError, Kind, SegmentMark, header, tail};

/// Records of a part, of which each takes 24 bytes until it is written. A segment of 1 GiB with objects of 1 KiB is two
/// parts; each part costs a list of one placement one more block to read.
const PART_RECORDS_MAX: usize = 1 << 19;

/// Bytes of keys of a part, which are held until it is written.
const PART_KEY_BYTES_MAX: usize = 16 << 20;

/// Bytes that are written between two syncs: the sync of an append waits for what others have written and not synced.
const SYNC_BYTES: u64 = 256 << 10;

/// An index file that is being written.
pub(crate) struct Writer<'a> {
    file: &'a dyn File,
    segment: SegmentMark,
    /// Where the next block goes.
    at: u64,
    /// Up to where it was synced.
    synced_to: u64,
    table: Vec<u8>,
    part: Part,
    damage: Block,
    records_max: usize,
    key_bytes_max: usize,
}

#[derive(Default)]
struct Part {
    records: Vec<Record>,
    /// Each behind its length, which takes two bytes.
    keys: Vec<u8>,
}

struct Record {
    id: NeedleId,
    placement: PlacementId,
    offset_words: u32,
    /// 0 for a tombstone.
    len_words: u32,
    key_at: u32,
}

impl<'a> Writer<'a> {
    /// Begins the index file of a segment, in an empty file.
    pub(crate) fn new(file: &'a dyn File, segment: SegmentMark) -> io::Result<Self> {
        file.write_all_at(&header(&segment), 0)?;
        let (table, part, damage) = (Vec::new(), Part::default(), Block::new(Kind::Damage));
        let (records_max, key_bytes_max) = (PART_RECORDS_MAX, PART_KEY_BYTES_MAX);
        let at = HEADER_BYTES as u64;
        Ok(Self { file, segment, at, synced_to: at, table, part, damage, records_max, key_bytes_max })
    }

    /// Takes in all that an index file of the beginning of the segment says; the rest lies behind that.
    pub(crate) fn take_over(&mut self, beginning: &IndexFile) -> Result<(), IndexFileError> {
        beginning.each_block(&mut |bytes, entry| self.write(Some((bytes, entry))))
    }

    /// Takes in a record found at `at`.
    pub(crate) fn add(&mut self, at: Location, needle: &Needle<'_>) -> io::Result<()> {
        let (records, keys) = (self.part.records.len(), self.part.keys.len());
        if records >= self.records_max || keys + needle.key.len() > self.key_bytes_max {
            self.write_part()?;
        }
        self.part.add(at, needle)
    }

    /// Takes in a damaged stretch, which lies behind those before.
    pub(crate) fn add_damage(&mut self, range: &Range<u64>) -> io::Result<()> {
        self.damage.add_damage(range);
        let full = self.damage.take_full();
        self.write(full)
    }

    /// Writes what is left. Not durable yet. Bytes of the file.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        self.write_part()?;
        let last = self.damage.take();
        self.write(last)?;
        let tail = tail(&header(&self.segment), &self.table, self.segment.end);
        self.file.write_all_at(&[&self.table[..], &tail].concat(), self.at)?;
        Ok(self.at + (self.table.len() + tail.len()) as u64)
    }

    fn write_part(&mut self) -> io::Result<()> {
        let Part { mut records, mut keys } = std::mem::take(&mut self.part);
        records.sort_unstable_by_key(|record| (record.id, record.offset_words));
        let mut block = Block::new(Kind::Places);
        for record in &records {
            block.add_place(record.id, record.offset_words, record.len_words);
            self.write(block.take_full())?;
        }
        self.write(block.take())?;

        // A needle that was appended twice, because its first copy was damaged, is listed once.
        records.retain(|record| record.len_words > 0);
        records.sort_unstable_by_key(|record| (record.placement, record.id));
        records.dedup_by_key(|record| (record.placement, record.id));
        let mut block = Block::new(Kind::Keys);
        for record in &records {
            block.add_key(record.placement, record.id, key_at(&keys, record.key_at));
            self.write(block.take_full())?;
        }
        self.write(block.take())?;
        // The next part is as large, mostly.
        records.clear();
        keys.clear();
        self.part = Part { records, keys };
        Ok(())
    }

    fn write(&mut self, block: Option<(Vec<u8>, Entry)>) -> io::Result<()> {
        let Some((bytes, entry)) = block else { return Ok(()) };
        self.file.write_all_at(&bytes, self.at)?;
        self.at += bytes.len() as u64;
        if self.at - self.synced_to >= SYNC_BYTES {
            self.file.sync_data()?;
            self.synced_to = self.at;
        }
        self.table.extend_from_slice(&Entry::encode(&entry));
        Ok(())
    }
}

impl Part {
    fn add(&mut self, at: Location, needle: &Needle<'_>) -> io::Result<()> {
        let (id, placement) = (needle.header.id, needle.header.placement);
        let len = match needle.header.kind {
            RecordKind::Needle => at.len,
            RecordKind::Tombstone => 0,
            RecordKind::Mark => return Ok(()),
        };
        let words = |bytes: u64| u32::try_from(bytes / ALIGN as u64).map_err(io::Error::other);
        let (offset_words, len_words) = (words(at.offset)?, words(u64::from(len))?);
        let key_at = u32::try_from(self.keys.len()).expect("a part holds fewer");
        self.keys.extend_from_slice(&needle.header.key_len.to_le_bytes());
        self.keys.extend_from_slice(needle.key);
        self.records.push(Record { id, placement, offset_words, len_words, key_at });
        Ok(())
    }
}

/// The key that lies there behind its length.
fn key_at(keys: &[u8], at: u32) -> &[u8] {
    let (len, keys) = keys[at as usize..].split_first_chunk::<2>().expect("it was put there");
    &keys[..usize::from(u16::from_le_bytes(*len))]
}

#[cfg(test)]
impl Writer<'_> {
    /// Makes parts of no more than this.
    pub(crate) fn limit_parts(&mut self, records_max: usize, key_bytes_max: usize) {
        (self.records_max, self.key_bytes_max) = (records_max, key_bytes_max);
    }
}
