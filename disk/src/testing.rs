//! What the tests of this crate share: the plainest [`Format`] there can be, and an [`Owner`] that notes what it is told.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use parking_lot::Mutex;

use crate::append_file::HEADER_BYTES;
use crate::disk::Disk;
use crate::faulty::FaultyDisk;
use crate::format::{DurableRecords, FileId, Format, Head, Location, Owner, Record};
use crate::stream::{AppendError, Options, Stream};

/// `magic[4] flags u8 0[3] len u32 body_crc u32 header_crc u32 0[4]`, then the body.
pub(crate) struct Plain;

pub(crate) const PLAIN_HEADER: usize = 24;

impl Plain {
    /// An unsealed record around a body.
    pub(crate) fn record(body: &[u8]) -> Vec<u8> {
        let mut record = b"rec!\0\0\0\0".to_vec();
        record
            .extend_from_slice(&u32::try_from(body.len()).expect("a body of a test is short").to_le_bytes());
        record.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
        record.extend_from_slice(&[0; 8]);
        record.extend_from_slice(body);
        record
    }

    pub(crate) fn body(record: &[u8]) -> Vec<u8> {
        record[PLAIN_HEADER..PLAIN_HEADER + word(record, 8) as usize].to_vec()
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn header_crc(header: &[u8], salt: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..16]), &salt.to_le_bytes())
}

impl Format for Plain {
    const MAGIC: [u8; 8] = *b"plaintst";
    const VERSION: u16 = 1;
    const HEADER_LEN: usize = PLAIN_HEADER;

    fn seal(record: &mut [u8], salt: u64, batch_start: bool) {
        record[4] = (record[4] & !1) | u8::from(batch_start);
        let crc = header_crc(record, salt);
        record[16..20].copy_from_slice(&crc.to_le_bytes());
    }

    fn mark() -> Vec<u8> {
        let mut mark = Self::record(b"");
        mark[4] = 2;
        mark
    }

    fn head(bytes: &[u8], salt: u64) -> Option<Head> {
        if bytes[..4] != *b"rec!" || word(bytes, 16) != header_crc(bytes, salt) {
            return None;
        }
        let len = (PLAIN_HEADER + word(bytes, 8) as usize).next_multiple_of(8);
        Some(Head { len, batch_start: bytes[4] & 1 != 0, mark: bytes[4] & 2 != 0 })
    }

    fn verify(record: &[u8], _salt: u64) -> bool {
        let end = PLAIN_HEADER + word(record, 8) as usize;
        record.get(PLAIN_HEADER..end).is_some_and(|body| word(record, 12) == crc32c::crc32c(body))
    }
}

/// What an owner was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    pub(crate) recovered: Vec<(Location, Vec<u8>)>,
    pub(crate) durable: Vec<(Location, Vec<u8>)>,
    pub(crate) damaged: Vec<(FileId, Range<u64>)>,
    pub(crate) sealed: Vec<(FileId, u64)>,
    pub(crate) begun: Vec<FileId>,
}

/// Notes everything; wants its name first in each file, if it has one.
#[derive(Clone, Default)]
pub(crate) struct Noting {
    pub(crate) notes: Arc<Mutex<Notes>>,
    pub(crate) first: Option<&'static [u8]>,
    /// Up to where it needs to be shown nothing.
    pub(crate) known: BTreeMap<FileId, u64>,
}

impl Noting {
    pub(crate) fn bodies(&self) -> Vec<Vec<u8>> {
        self.notes.lock().recovered.iter().map(|(_, body)| body.clone()).collect()
    }
}

impl Owner for Noting {
    fn known_to(&mut self, file: FileId, limit: u64) -> u64 {
        self.known.get(&file).map_or(HEADER_BYTES, |known| limit.min(*known))
    }

    fn recovered(&mut self, at: Location, record: &[u8]) {
        self.notes.lock().recovered.push((at, Plain::body(record)));
    }

    fn damaged(&mut self, file: FileId, range: Range<u64>) {
        self.notes.lock().damaged.push((file, range));
    }

    fn first_records(&mut self, file: FileId) -> Vec<Vec<u8>> {
        self.notes.lock().begun.push(file);
        self.first.iter().map(|body| Plain::record(body)).collect()
    }

    fn durable(&mut self, records: DurableRecords<'_>) {
        self.notes.lock().durable.extend(records.iter().map(|(at, record)| (at, Plain::body(record))));
    }

    fn sealed(&mut self, file: FileId, end: u64) {
        self.notes.lock().sealed.push((file, end));
    }
}

/// Files of 32 KiB, nothing in the background, no marks but where a test asks: the same calls do the same to the disk.
pub(crate) fn quiet_options() -> Options {
    Options {
        file_bytes: 32 << 10,
        zero_ahead_bytes: 0,
        idle_mark_after: Duration::from_secs(3600),
        reserve_bytes: 0,
        ..Options::new("/stream", "log")
    }
}

pub(crate) fn path_of(file: FileId) -> PathBuf {
    quiet_options().path_of(file)
}

/// Opens a quiet stream that must open.
pub(crate) fn open(disk: &FaultyDisk, owner: &Noting) -> Stream<Plain> {
    open_with(disk, quiet_options(), owner)
}

pub(crate) fn open_with(disk: &FaultyDisk, options: Options, owner: &Noting) -> Stream<Plain> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Stream::open(disk, options, owner.clone()).expect("the stream opens")
}

/// How long a test waits for what must come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Appends in one submission, and waits for the outcome.
pub(crate) fn append(stream: &Stream<Plain>, bodies: &[&[u8]]) -> Result<Vec<Location>, AppendError> {
    wait_for(|tell| {
        stream.submit(records(bodies), tell).expect("the queue has room");
    })
}

pub(crate) fn probe(stream: &Stream<Plain>) -> Result<(), AppendError> {
    wait_for(|tell| stream.probe(tell).expect("the queue has room"))
}

pub(crate) fn records(bodies: &[&[u8]]) -> Vec<Record> {
    bodies.iter().map(|body| Plain::record(body).into()).collect()
}

/// Hands out a callback, and waits until it was called.
pub(crate) fn wait_for<T: Send + 'static>(begin: impl FnOnce(Box<dyn FnOnce(T) + Send>)) -> T {
    let (sender, receiver) = mpsc::channel();
    begin(Box::new(move |outcome| sender.send(outcome).expect("the test waits")));
    receiver.recv_timeout(DEADLINE).expect("an answer comes in time")
}

/// Keeps the writer busy in a callback until the gate is dropped: what is submitted meanwhile becomes one batch.
pub(crate) fn hold_writer(stream: &Stream<Plain>) -> mpsc::Sender<()> {
    let (gate, opened) = mpsc::channel::<()>();
    let (sender, arrived) = mpsc::channel();
    stream
        .submit(Vec::new(), move |_| {
            sender.send(()).expect("the test waits");
            let _ = opened.recv_timeout(DEADLINE);
        })
        .expect("the queue has room");
    arrived.recv_timeout(DEADLINE).expect("the writer comes by");
    gate
}
