//! Scrub: all that is durable is read again and verified, round after round, slowly.
//!
//! A round goes through the segments there were when it began, the one that is appended to among them, in pieces of 1 MiB
//! (or of one record, where that is longer), and waits after each, so long that a round takes a week, or as
//! long as it is told ([`pace`]); then the next begins. Verified are each record with all its checksums, and the header block of each segment. Not the padding of
//! records, nor a mark behind the seal's end: nothing is read from there. Before a sealed segment comes its index file, which
//! is made anew from the data if it is bad: a list or a start that comes upon that has to read the data instead.
//!
//! Owns the walk and what is concluded from it. What seems damaged is read once more after the wait, and reported by
//! `examine` if it still is. What was reported once, by whomever, and verifies now, is taken off the list again; a record
//! that was not to be read when the volume started is thereby found again, and the index is told of it, before its stretch
//! goes off the list: until then a drop of a needle that nothing is known of leaves a tombstone.
//!
//! Invariants: no lock that appends or reads need is held while the disk is read; no segment is held open over a wait, so
//! that the space of one that is compacted comes back at once; it ends at once when the store closes.

pub(crate) mod place;

use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use hayrick_disk::{FileId, Found, Location, Reader, Stream};
use hayrick_protocol::needle::Header;
use parking_lot::Mutex;

use crate::compact::Pause;
use crate::examine::Examiner;
use crate::housekeeping::Job;
use crate::index_file::IndexFileError;
use crate::recover;
use crate::scrub::place::Place;
use crate::segment::Needles;
use crate::store::StoreOptions;

/// What is read between two waits.
const PIECE_BYTES: u64 = 1 << 20;
/// The longest wait in one go: then it is looked anew how much there is, because a small volume that fills up is not to
/// wait for a week.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How much waiting lies between two writes of the place; so much is done again after a crash.
const SAVE_AFTER: Duration = Duration::from_secs(60);

/// How scrub fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scrubbed {
    /// The round under way; the first is 1.
    pub round: u64,
    /// Bytes of segments verified in this round.
    pub done_bytes: u64,
    /// The same at the end of the round, as far as is known now.
    pub total_bytes: u64,
    /// When the round before ended, in milliseconds since 1970.
    pub last_round_ended_ms: Option<u64>,
    /// Damaged stretches and needles found in this round so far.
    pub found_bad: u64,
    /// The same of the round before.
    pub last_round_found_bad: u64,
    /// Index files found bad in this round so far, and made anew from the data: nothing was lost with them.
    pub bad_index_files: u64,
    /// The same of the round before.
    pub last_round_bad_index_files: u64,
}

/// What scrub works with.
pub(crate) struct Scrubber {
    pub(crate) examiner: Examiner,
    pub(crate) stream: Weak<Stream<Needles>>,
    /// Where segments go whose index file is to be made anew.
    pub(crate) jobs: Sender<Job>,
    /// Bytes that are read in a second, at most; 0: no bound.
    pub(crate) bytes_per_s_max: u64,
    /// How long a round takes, if that is not too fast.
    round: Duration,
    progress: Mutex<Progress>,
}

struct Progress {
    place: Place,
    saved: Place,
    /// What was waited since then.
    waited: Duration,
    /// All from here to the place in its segment verified, since the start of the process.
    good_from: u64,
}

/// What is to be verified next.
struct Piece {
    segment: FileId,
    salt: u64,
    range: Range<u64>,
    /// Where scrub was when it was chosen.
    before: Place,
}

impl Scrubber {
    /// Goes on where the file of the directory says.
    pub(crate) fn new(
        examiner: Examiner,
        stream: Weak<Stream<Needles>>,
        jobs: Sender<Job>,
        options: &StoreOptions,
    ) -> Self {
        let place = Place::read(examiner.disk.as_ref(), &examiner.dir.join(place::FILE_NAME));
        let good_from = place.offset;
        let progress = Mutex::new(Progress { place, saved: place, waited: Duration::ZERO, good_from });
        let (bytes_per_s_max, round) = (options.scrub_bytes_per_s_max, options.scrub_round);
        Self { examiner, stream, jobs, bytes_per_s_max, round, progress }
    }

    /// Round after round, until it is stopped.
    fn run(&self, pause: &mut Pause<'_>) {
        // First a wait: also a volume that is restarted again and again, or is empty, does little but what it is for.
        while self.wait_for(PIECE_BYTES, pause) && self.round(pause) {}
        self.save();
    }

    /// Goes on to the end of the round; whether that was reached.
    pub(crate) fn round(&self, pause: &mut Pause<'_>) -> bool {
        let mut indexed = None;
        loop {
            let Some(stream) = self.stream.upgrade() else { return false };
            let Some(piece) = self.next_piece(&stream) else {
                let mut progress = self.progress.lock();
                progress.place = progress.place.next_round(now_ms());
                drop(progress);
                // All was looked at: what is here can be told, and what is not.
                self.examiner.shared.damage.compare();
                self.save();
                return true;
            };
            if piece.range.start == 0 && indexed != Some(piece.segment) {
                drop(stream);
                if !self.verify_index_file(piece.segment, pause) {
                    return false;
                }
                indexed = Some(piece.segment);
                continue;
            }
            let (next, suspects) = self.look(&stream, &piece);
            drop(stream);
            // Where nothing was read, nothing is to be tried again without a wait.
            let looked_at = if next > piece.range.start { next - piece.range.start } else { PIECE_BYTES };
            if !self.wait_for(looked_at, pause) {
                return false;
            }
            self.conclude(&piece, next, &suspects);
            let read_again = suspects.iter().map(|range| range.end - range.start).sum();
            if !self.wait_for(read_again, pause) {
                return false;
            }
        }
    }

    /// Where to go on; `None` at the end of a round.
    fn next_piece(&self, stream: &Stream<Needles>) -> Option<Piece> {
        let readers = readers(stream);
        let mut progress = self.progress.lock();
        let place = &mut progress.place;
        if place.is_at_start()
            && let Some(last) = readers.last()
        {
            (place.last, place.last_end) = (last.file(), last.end());
        }
        let mut rests = readers.iter().map(|reader| (reader, rest(place, reader)));
        let (reader, rest) = rests.find(|(_, rest)| !rest.is_empty())?;
        let range = rest.start..rest.end.min(rest.start + PIECE_BYTES);
        Some(Piece { segment: reader.file(), salt: reader.salt(), range, before: *place })
    }

    /// Reads the index file of a segment, if that is sealed, and has one that fails twice made anew. Whether to go on.
    fn verify_index_file(&self, segment: FileId, pause: &mut Pause<'_>) -> bool {
        let (mut block, mut is_suspect) = (0, false);
        loop {
            let Some(stream) = self.stream.upgrade() else { return false };
            let Some(reader) = stream.reader(segment).filter(Reader::is_sealed) else { return true };
            drop(stream);
            let examiner = &self.examiner;
            let file = recover::open(examiner.disk.as_ref(), &examiner.dir, segment, reader.end());
            drop(reader);
            let verified = file.and_then(|file| file.verify(block, PIECE_BYTES));
            if let Err(error) = &verified
                && error.is_missing()
            {
                // Nothing was read, and there is nothing to read again.
                self.make_index_file(segment, error);
                return true;
            }
            let looked_at = verified.as_ref().map_or(PIECE_BYTES, |(bytes, _)| *bytes);
            if !self.wait_for(looked_at, pause) {
                return false;
            }
            match verified {
                Ok((_, Some(next))) => (block, is_suspect) = (next, false),
                Ok((_, None)) => return true,
                Err(_) if !is_suspect => is_suspect = true,
                Err(error) => {
                    self.make_index_file(segment, &error);
                    return true;
                }
            }
        }
    }

    fn make_index_file(&self, segment: FileId, error: &IndexFileError) {
        // It may be gone with its segment.
        if self.stream.upgrade().is_none_or(|stream| stream.reader(segment).is_none()) {
            return;
        }
        if !error.is_missing() {
            tracing::warn!(%segment, %error, "an index file is of no use and is made anew from the data");
            self.progress.lock().place.bad_index_files += 1;
        }
        // Refused only when the store is closing; the next round comes upon it again.
        let _ = self.jobs.send(Job::Index(segment, None));
    }

    /// Reads a piece: where the next begins, and what seems damaged.
    fn look(&self, stream: &Stream<Needles>, piece: &Piece) -> (u64, Vec<Range<u64>>) {
        let known = self.examiner.shared.damage.stretches_in(piece.segment);
        let mut suspects = Vec::new();
        let read = stream.scan_piece(piece.segment, piece.range.clone(), &mut |found| {
            match found {
                Found::Record(at, record) => self.is_whole(at, record, &known),
                Found::Damage(range) => suspects.push(range),
            }
            if self.is_stopping() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
        });
        // It fails when the segment was compacted just now, or the store closes: nothing was read.
        read.map_or((piece.range.start, Vec::new()), |next| (next, suspects))
    }

    /// Reads once more what seemed damaged, and goes on behind the piece.
    fn conclude(&self, piece: &Piece, next: u64, suspects: &[Range<u64>]) {
        let Some(stream) = self.stream.upgrade() else { return };
        let known = self.examiner.shared.damage.stretches_in(piece.segment);
        let examined = self.examiner.examine(&stream, piece.segment, suspects, &mut |at, record| {
            self.is_whole(at, record, &known);
        });
        if self.is_stopping() {
            return;
        }
        let mut progress = self.progress.lock();
        let place = progress.place;
        if place != piece.before {
            // Somebody else verified it at the same time.
            return;
        }
        let damage = &self.examiner.shared.damage;
        let goes_on = place.segment == piece.segment && place.salt == piece.salt;
        let mut good_from = if goes_on { progress.good_from } else { piece.range.start };
        let mut is_mended = false;
        for damaged in &examined.damaged {
            is_mended |= damage.verified(piece.segment, &(good_from..damaged.start));
            good_from = damaged.end;
        }
        is_mended |= damage.verified(piece.segment, &(good_from..next));
        progress.good_from = good_from;
        let damaged =
            examined.damaged.iter().filter(|range| !damage.is_made_up(piece.segment, range)).count();
        progress.place = Place {
            segment: piece.segment,
            salt: piece.salt,
            offset: next,
            done_bytes: place.done_bytes + (next - piece.range.start),
            found_bad: place.found_bad + (damaged + examined.needles.len()) as u64,
            ..place
        };
        drop(progress);
        if is_mended {
            tracing::info!(segment = %piece.segment, "a stretch of a segment that was damaged can be read again");
            if self.examiner.lacks_index_file(&stream, piece.segment) {
                // It was made without what is in there. Refused only when the store is closing.
                let _ = self.jobs.send(Job::Index(piece.segment, None));
            }
        }
    }

    /// A record verified.
    fn is_whole(&self, at: Location, record: &[u8], known: &[Range<u64>]) {
        let shared = &self.examiner.shared;
        if known.iter().any(|stretch| stretch.contains(&at.offset))
            && let Some((id, at)) = recover::place(at, record)
            && let Err(error) = shared.index.write().put(id, at)
        {
            tracing::error!(%error, "a needle cannot be indexed");
        }
        if let Some(header) = Header::peek(record)
            && shared.damage.is_well(header.id, at)
        {
            tracing::info!(needle = %header.id, "a needle that was damaged can be read again");
        }
    }

    /// Waits for as long as reading so many bytes is to take. Whether to go on.
    fn wait_for(&self, bytes: u64, pause: &mut Pause<'_>) -> bool {
        let mut due_bytes = bytes as f64;
        loop {
            if self.is_stopping() {
                return false;
            }
            let Some(stream) = self.stream.upgrade() else { return false };
            let of_segments: u64 = readers(&stream).iter().map(Reader::end).sum();
            let used_bytes = of_segments + self.examiner.shared.disk.index_file_bytes();
            drop(stream);
            let whole = pace(self.round, due_bytes, used_bytes, self.bytes_per_s_max);
            let wait = whole.min(WAIT_MAX);
            if !wait.is_zero() && !pause(wait) {
                return false;
            }
            let mut progress = self.progress.lock();
            progress.waited += wait;
            let is_to_save = progress.waited >= SAVE_AFTER;
            drop(progress);
            if is_to_save {
                self.save();
            }
            if wait == whole {
                return true;
            }
            due_bytes -= due_bytes * wait.div_duration_f64(whole);
        }
    }

    /// Writes down where scrub is, unless that was done.
    pub(crate) fn save(&self) {
        let mut progress = self.progress.lock();
        progress.waited = Duration::ZERO;
        let place = progress.place;
        if place == progress.saved {
            return;
        }
        drop(progress);
        match place.write(self.examiner.disk.as_ref(), &self.examiner.dir.join(place::FILE_NAME)) {
            Ok(()) => self.progress.lock().saved = place,
            Err(error) => {
                tracing::warn!(%error, "where scrub is cannot be written down; after a restart it does some of its round again")
            }
        }
    }

    /// How it fares.
    pub(crate) fn figures(&self, stream: &Stream<Needles>) -> Scrubbed {
        let readers = readers(stream);
        let place = self.progress.lock().place;
        let to_do =
            |reader: &Reader| if place.is_at_start() { reader.end() } else { len(&rest(&place, reader)) };
        Scrubbed {
            round: place.round,
            done_bytes: place.done_bytes,
            total_bytes: place.done_bytes + readers.iter().map(to_do).sum::<u64>(),
            last_round_ended_ms: place.last_round_ended_ms,
            found_bad: place.found_bad,
            last_round_found_bad: place.last_round_found_bad,
            bad_index_files: place.bad_index_files,
            last_round_bad_index_files: place.last_round_bad_index_files,
        }
    }

    fn is_stopping(&self) -> bool {
        self.examiner.stopping.load(Ordering::Relaxed)
    }
}

/// The segments that can be read, ascending.
fn readers(stream: &Stream<Needles>) -> Vec<Reader> {
    stream.status().files.into_iter().filter_map(|file| stream.reader(file)).collect()
}

/// What the round has yet to verify of a segment.
fn rest(place: &Place, reader: &Reader) -> Range<u64> {
    let segment = reader.file();
    let from = if segment == place.segment && reader.salt() == place.salt { place.offset } else { 0 };
    let to = if segment == place.last { reader.end().min(place.last_end) } else { reader.end() };
    if (place.segment..=place.last).contains(&segment) { from..to } else { 0..0 }
}

fn len(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

/// How long so many of all bytes are to take: their share of a round, or longer if that would be too fast.
fn pace(round: Duration, bytes: f64, used_bytes: u64, bytes_per_s_max: u64) -> Duration {
    let of_round = round.mul_f64(bytes / used_bytes.max(bytes as u64).max(1) as f64);
    let fastest = if bytes_per_s_max == 0 { 0.0 } else { bytes / bytes_per_s_max as f64 };
    of_round.max(Duration::from_secs_f64(fastest))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The thread that scrubs, until this is dropped.
pub(crate) struct Scrubbing {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Scrubbing {
    /// Starts it.
    pub(crate) fn begin(scrubber: Arc<Scrubber>) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("scrubber".to_owned())
            .spawn(move || scrubber.run(&mut |duration| goes_on_after(&stopped, duration)))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Scrubbing {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that scrubs panicked");
        }
    }
}

/// Waits that long, unless it is to end.
fn goes_on_after(stopped: &Receiver<()>, duration: Duration) -> bool {
    stopped.recv_timeout(duration) == Err(RecvTimeoutError::Timeout)
}

#[cfg(test)]
mod tests {
    use hayrick_disk::FaultyDisk;
    use hayrick_protocol::ids::{NeedleId, PlacementId};
    use hayrick_protocol::needle::Body;

    use super::*;
    use crate::store::Store;

    fn open(disk: &FaultyDisk) -> Store {
        let mut options = StoreOptions::new("/needles", 64 << 20);
        options.scrub_bytes_per_s_max = 0;
        Store::open(Arc::new(disk.clone()), options).expect("the store opens")
    }

    #[tokio::test]
    async fn rounds_follow_each_other_and_the_place_is_written_down_now_and_then_and_at_the_end() {
        let disk = FaultyDisk::new(1);
        let store = open(&disk);
        for id in 1..=10 {
            let body = Body::new(vec![7; 900_000], 1);
            let needle = body.with_header(NeedleId(id), PlacementId(1), 0).concat().into();
            store.append(vec![needle]).await.remove(0).expect("a good needle");
        }
        let before = disk.counts();
        let (mut waits, mut pieces) = (0, 0);
        store.scrubber.run(&mut |wait| {
            assert!(!wait.is_zero());
            waits += 1;
            let scrubbed = store.scrubbed();
            pieces = scrubbed.done_bytes;
            scrubbed.round < 3 || scrubbed.done_bytes == 0
        });
        assert_eq!((store.scrubbed().round, store.scrubbed().done_bytes), (3, pieces));
        let saved = disk.counts().creations - before.creations;
        assert!((10..40).contains(&saved) && waits > 10_000, "{saved} times in {waits} waits");
        store.close();
        let store = open(&disk.restart());
        assert_eq!((store.scrubbed().round, store.scrubbed().done_bytes), (3, pieces));
    }

    #[test]
    fn all_together_takes_a_week_or_longer() {
        let (used_bytes, week) = (1u64 << 40, StoreOptions::new("/needles", 1).scrub_round);
        assert_eq!(week, Duration::from_secs(604_800));
        let piece = pace(week, PIECE_BYTES as f64, used_bytes, 50 << 20).as_secs_f64();
        let all = piece * (used_bytes / PIECE_BYTES) as f64;
        assert!((all / week.as_secs_f64() - 1.0).abs() < 1e-6, "{piece} s");
        let fastest = pace(week, PIECE_BYTES as f64, 1 << 50, 50 << 20);
        assert_eq!(fastest, Duration::from_millis(20), "never faster than the rate");
        assert_eq!(pace(week, 0.0, used_bytes, 50 << 20), Duration::ZERO);
        assert_eq!(pace(week, PIECE_BYTES as f64, 0, 0), week, "of nothing, a piece is all");
    }
}
