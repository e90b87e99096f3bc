//! Reading a file of a stream, from its header block or the begin of a batch on: which bytes are records, which are damage,
//! and where a torn tail begins.
//!
//! A batch is written only after the one before it was synced, and its first record says that it is the first of a
//! batch; a mark is a batch of its own. So a *valid first record behind an invalid stretch proves* that the stretch had
//! been synced: it is corruption, and everything valid around it counts. With no such record behind it, an invalid
//! stretch is the tail of the last batch, torn, which was never acknowledged. (Therefore an acknowledged record is never
//! left last: a mark follows it.)
//!
//! What to do about a torn tail is left to `recover`. The invariant: nothing is shown as a record whose head and body do
//! not verify under the salt of that very place in this file.

use std::io;
use std::ops::Range;

use hayrick_planted::{self as planted, Bug};

use crate::append_file::{AppendFile, HEADER_BYTES};
use crate::disk::File;
use crate::format::{ALIGN, FileId, Format, Head, Location, salt_at};
use crate::limits::{RECORD_BYTES_MAX, SCAN_WINDOW_BYTES};

/// Something found in a file.
#[derive(Debug)]
pub enum Found<'a> {
    /// A whole and verified record.
    Record(Location, &'a [u8]),
    /// Bytes that are no record, though they once were.
    Damage(Range<u64>),
}

/// How the end of the range is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// All of the range was synced once: what is invalid is damage.
    Proven,
    /// As `Proven`, but where the records end is not known: zeros up to the end of the range are no damage.
    ProvenThenZeros,
    /// The range may end with a torn batch.
    MayBeTorn,
}

/// How a scan ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// The end of the last record, mark or damage: where a torn tail begins, or emptiness.
    pub(crate) end: u64,
    /// Where the last batch begins.
    pub(crate) last_batch: u64,
    /// The last record is a mark.
    pub(crate) marked: bool,
    /// From the first to the last block that could not be read.
    pub(crate) unreadable: Option<Range<u64>>,
    /// All before it was read,
    pub(crate) looked_to: u64,
    /// and of that, what lies behind here is zero.
    pub(crate) content_to: u64,
}

/// Scans a range that begins where a batch does, and shows all but marks.
pub(crate) fn scan<F: Format>(
    file: &AppendFile,
    range: Range<u64>,
    tail: Tail,
    visit: &mut dyn FnMut(Found<'_>) -> io::Result<()>,
) -> io::Result<Scanned> {
    let place = (file.file(), file.id(), file.salt());
    scan_all::<F>(place, range, tail, &mut |found, is_mark| if is_mark { Ok(()) } else { visit(found) })
}

/// The same of any file, with this id and salt, and of marks too: whether it is one is told with each record.
pub(crate) fn scan_all<F: Format>(
    (file, id, salt): (&dyn File, FileId, u64),
    Range { start, end: limit }: Range<u64>,
    tail: Tail,
    visit: &mut dyn FnMut(Found<'_>, bool) -> io::Result<()>,
) -> io::Result<Scanned> {
    let mut window = Window::new(file, limit);
    let mut scanned = Scanned {
        end: start,
        last_batch: start,
        marked: false,
        unreadable: None,
        looked_to: start,
        content_to: start,
    };
    let mut proven_to = if tail == Tail::MayBeTorn { start } else { limit };
    let mut doubted = None;
    while scanned.end < limit {
        let at = scanned.end;
        if let Some((head, record)) = record_at::<F>(&mut window, at, salt) {
            if head.batch_start || head.mark {
                scanned.last_batch = at;
            }
            scanned.marked = head.mark;
            scanned.end = at + head.len as u64;
            let len = u32::try_from(head.len).expect("a record that is too long does not parse");
            visit(Found::Record(Location { file: id, offset: at, len }, record), head.mark)?;
            continue;
        }
        // A disk that answers wrongly once is asked again, before what was acknowledged is cut off or called damaged.
        if doubted != Some(at) && !window.is_empty_at(at) {
            doubted = Some(at);
            window.forget();
            continue;
        }
        if at >= proven_to {
            match find::<F>(&mut window, at..limit, salt, Wanted::FirstOfBatch) {
                Some(proof) => proven_to = proof,
                // The proof may lie in what cannot be read, so nothing is taken for torn.
                None if window.unreadable.is_some() => proven_to = limit,
                None => break,
            }
        }
        let next = find::<F>(&mut window, at..limit, salt, Wanted::Any);
        let damage_end = next.unwrap_or_else(|| match tail {
            Tail::Proven => limit,
            Tail::ProvenThenZeros | Tail::MayBeTorn => window.content_end(at),
        });
        if damage_end > at {
            visit(Found::Damage(at..damage_end), false)?;
            (scanned.end, scanned.marked) = (damage_end, false);
        }
        if next.is_none() {
            break;
        }
    }
    scanned.unreadable = window.unreadable;
    (scanned.looked_to, scanned.content_to) = (window.looked_to, window.content_to);
    Ok(scanned)
}

/// Reads a piece of what is durable in a file, and verifies it: shows records and damage. The piece begins where a record
/// does, or within damage, or at 0 with the header block. Where the next piece begins: at its end, or behind the last
/// record in it; damage that goes on there is shown anew with the next piece. So little is read at once, whatever is
/// damaged.
pub(crate) fn scan_piece<F: Format>(
    file: &AppendFile,
    piece: Range<u64>,
    visit: &mut dyn FnMut(Found<'_>) -> io::Result<()>,
) -> io::Result<u64> {
    let (id, salt, limit) = (file.id(), file.salt(), file.end());
    let mut at = piece.start;
    if at < HEADER_BYTES {
        if !file.has_good_header::<F>() {
            visit(Found::Damage(0..HEADER_BYTES))?;
        }
        at = HEADER_BYTES;
    }
    let to = piece.end.next_multiple_of(ALIGN as u64).min(limit);
    let mut window = Window::new(file.file(), limit);
    window.goal = to;
    while at < to {
        if let Some((head, record)) = record_at::<F>(&mut window, at, salt) {
            if !head.mark {
                let len = u32::try_from(head.len).expect("a record that is too long does not parse");
                visit(Found::Record(Location { file: id, offset: at, len }, record))?;
            }
            at += head.len as u64;
        } else {
            let end = find::<F>(&mut window, at..to, salt, Wanted::Any).unwrap_or(to);
            visit(Found::Damage(at..end))?;
            at = end;
        }
    }
    Ok(at)
}

/// What a range of a file holds.
pub(crate) struct Content {
    /// The end of what is not zero, or the start of the range.
    pub(crate) end: u64,
    /// From the first to the last block that could not be read.
    pub(crate) unreadable: Option<Range<u64>>,
}

/// Looks for what is not zero in a range.
pub(crate) fn content(file: &dyn File, range: Range<u64>) -> Content {
    let mut window = Window::new(file, range.end);
    let end = window.content_end(range.start);
    Content { end, unreadable: window.unreadable }
}

/// Reads a range that is made of whole records, and verifies them.
pub(crate) fn read_records<F: Format>(file: &AppendFile, range: Range<u64>) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start).map_err(io::Error::other)?];
    file.file().read_exact_at(&mut bytes, range.start)?;
    let mut window = Window::of(file.file(), range.start, bytes);
    let mut at = range.start;
    while at < range.end {
        let (head, _) = record_at::<F>(&mut window, at, file.salt())
            .ok_or_else(|| io::Error::other(format!("the record at {at} is not read as it was before")))?;
        at += head.len as u64;
    }
    Ok(window.bytes)
}

/// Writes what can be read of a range once more, and is read twice as the same: a bit that the disk read wrongly would be
/// there for good. Not durable yet.
pub(crate) fn rewrite_readable(file: &dyn File, range: Range<u64>) -> io::Result<()> {
    let (mut block, mut again) = ([0; ALLOCATION_UNIT], [0; ALLOCATION_UNIT]);
    let mut at = range.start;
    while at < range.end {
        let next = (at + 1).next_multiple_of(ALLOCATION_UNIT as u64).min(range.end);
        let len = usize::try_from(next - at).map_err(io::Error::other)?;
        let (bytes, again) = (&mut block[..len], &mut again[..len]);
        let is_read = file.read_exact_at(bytes, at).and_then(|()| file.read_exact_at(again, at)).is_ok();
        if is_read && bytes == again {
            file.write_all_at(bytes, at)?;
        }
        at = next;
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Any,
    FirstOfBatch,
}

/// The whole, verified record at a position of the file with this salt.
fn record_at<'w, F: Format>(window: &'w mut Window<'_>, at: u64, file_salt: u64) -> Option<(Head, &'w [u8])> {
    if window.limit.saturating_sub(at) < F::HEADER_LEN as u64 {
        return None;
    }
    let salt = salt_at(file_salt, at);
    let head = F::head(&window.ahead(at, F::HEADER_LEN)[..F::HEADER_LEN], salt)?;
    let fits =
        head.len >= F::HEADER_LEN && head.len <= RECORD_BYTES_MAX && head.len as u64 <= window.limit - at;
    if !fits || !head.len.is_multiple_of(ALIGN) {
        return None;
    }
    let proof_len = head.len.min(F::PROOF_LEN_MAX);
    if !F::proves_head(&window.ahead(at, proof_len)[..proof_len], salt) {
        return None;
    }
    let record = &window.ahead(at, head.len)[..head.len];
    (F::verify(record, salt) || planted::is(Bug::TornTailAccepted)).then_some((head, record))
}

/// The first wanted record behind the start of the range, if one is found before its end.
fn find<F: Format>(
    window: &mut Window<'_>,
    range: Range<u64>,
    file_salt: u64,
    wanted: Wanted,
) -> Option<u64> {
    let mut at = range.start + ALIGN as u64;
    while at < range.end && at + F::HEADER_LEN as u64 <= window.limit {
        let bytes = window.ahead(at, F::HEADER_LEN);
        let (skipped, candidate) = skip_to_head::<F>(bytes, (file_salt, at), wanted);
        at += skipped as u64;
        if candidate {
            if record_at::<F>(window, at, file_salt).is_some() {
                return Some(at);
            }
            at += ALIGN as u64;
        }
    }
    None
}

/// How many bytes to skip to the next plausible head, or to where more bytes are needed to tell. The bytes lie at this
/// offset of the file with this salt.
fn skip_to_head<F: Format>(bytes: &[u8], (file_salt, offset): (u64, u64), wanted: Wanted) -> (usize, bool) {
    let mut at = 0;
    while at + F::HEADER_LEN <= bytes.len() {
        if bytes[at..].first_chunk::<ZERO_RUN>().is_some_and(is_zero) {
            at += ZERO_RUN;
            continue;
        }
        let plausible = bytes[at..at + ALIGN] != [0; ALIGN]
            && F::head(&bytes[at..at + F::HEADER_LEN], salt_at(file_salt, offset + at as u64))
                .is_some_and(|head| wanted == Wanted::Any || head.batch_start || head.mark);
        if plausible {
            return (at, true);
        }
        at += ALIGN;
    }
    (at, false)
}

/// Zeros are skipped by this many bytes.
const ZERO_RUN: usize = 256;

fn is_zero(bytes: &[u8; ZERO_RUN]) -> bool {
    bytes.iter().fold(0, |all, byte| all | byte) == 0
}

/// A piece of the file in memory. What cannot be read appears as zeros, and is remembered.
struct Window<'a> {
    file: &'a dyn File,
    limit: u64,
    /// Not more than what lies before is read ahead.
    goal: u64,
    start: u64,
    bytes: Vec<u8>,
    unreadable: Option<Range<u64>>,
    /// Up to here, at least, the file was loaded; pieces follow on each other.
    looked_to: u64,
    /// The end, in whole words, of what is not zero in all that was loaded.
    content_to: u64,
}

impl<'a> Window<'a> {
    fn new(file: &'a dyn File, limit: u64) -> Self {
        let bytes = Vec::new();
        Self { file, limit, goal: limit, start: 0, bytes, unreadable: None, looked_to: 0, content_to: 0 }
    }

    /// All of a range, that was read already.
    fn of(file: &'a dyn File, start: u64, bytes: Vec<u8>) -> Self {
        let limit = start + bytes.len() as u64;
        Self { start, bytes, ..Self::new(file, limit) }
    }

    /// Whether nothing begins there: the first word of a record is never zero.
    fn is_empty_at(&mut self, at: u64) -> bool {
        self.ahead(at, 1).iter().take(ALIGN).all(|byte| *byte == 0)
    }

    /// What is looked at next is read anew.
    fn forget(&mut self) {
        self.bytes.clear();
    }

    /// At least `len` bytes from `at` on, which lie before the limit.
    fn ahead(&mut self, at: u64, len: usize) -> &[u8] {
        let loaded_to = self.start + self.bytes.len() as u64;
        if at < self.start || at + len as u64 > loaded_to {
            let to_goal = usize::try_from(self.goal.saturating_sub(at)).unwrap_or(usize::MAX);
            self.load(at, len.max(to_goal.min(SCAN_WINDOW_BYTES)));
        }
        let from = usize::try_from(at - self.start).expect("it lies in the window");
        &self.bytes[from..]
    }

    fn load(&mut self, at: u64, len: usize) {
        self.read(at, len);
        self.looked_to = self.looked_to.max(at + self.bytes.len() as u64);
        if let Some(end) = content_end_in(&self.bytes) {
            let end = (at + end as u64).next_multiple_of(ALIGN as u64).min(self.limit);
            self.content_to = self.content_to.max(end);
        }
    }

    fn read(&mut self, at: u64, len: usize) {
        let len = usize::try_from(self.limit - at).unwrap_or(usize::MAX).min(len);
        self.start = at;
        self.bytes.resize(len, 0);
        if len < SCAN_WINDOW_BYTES {
            self.bytes.shrink_to(SCAN_WINDOW_BYTES);
        }
        // What was allocated and never written is large, and slow to read for the first time.
        if self.file.next_data(at).is_ok_and(|next| next >= at + len as u64) {
            self.bytes.fill(0);
            return;
        }
        if self.file.read_exact_at(&mut self.bytes, at).is_ok() {
            return;
        }
        for (block, offset) in self.bytes.chunks_mut(ALLOCATION_UNIT).zip((at..).step_by(ALLOCATION_UNIT)) {
            if self.file.read_exact_at(block, offset).is_err() {
                block.fill(0);
                let (first, end) = (offset, offset + block.len() as u64);
                let known = self.unreadable.take().unwrap_or(first..end);
                self.unreadable = Some(known.start.min(first)..known.end.max(end));
            }
        }
    }

    /// The end, in whole words, of what is not zero from `at` to the limit; or `at`.
    fn content_end(&mut self, from: u64) -> u64 {
        let (mut at, mut end) = (from, from);
        while at < self.limit {
            let bytes = self.ahead(at, 1);
            if let Some(content) = content_end_in(bytes) {
                end = (at + content as u64).next_multiple_of(ALIGN as u64);
            }
            at += bytes.len() as u64;
        }
        end.min(self.limit)
    }
}

/// The end of what is not zero.
fn content_end_in(bytes: &[u8]) -> Option<usize> {
    let last = bytes.chunks(ZERO_RUN).rposition(|run| run.iter().fold(0, |all, byte| all | byte) != 0)?;
    let run = &bytes[last * ZERO_RUN..bytes.len().min((last + 1) * ZERO_RUN)];
    run.iter().rposition(|byte| *byte != 0).map(|byte| last * ZERO_RUN + byte + 1)
}

/// What is tried by itself when a larger read failed.
const ALLOCATION_UNIT: usize = 4096;
