//! What the fuzzer gives bytes to, and the valid ones that it begins with.
//!
//! What is done with ruined segments and index files, and must hold of them, is `volume/tests/fuzz/`'s, which has a mutator
//! of its own for who has no fuzzer; what must hold of frames and of the Raft log is told by their crates. Owns how an input
//! is read: its first byte says whether checksums are made right again, so that what lies behind them is reached, and which
//! of several things is tried. As a fuzzer finds out how to make checksums by itself, none is trusted not to be made so.

#[path = "../../volume/tests/fuzz/corpus.rs"]
mod corpus;
#[path = "../../volume/tests/fuzz/messages.rs"]
mod messages;
#[path = "../../volume/tests/fuzz/mutate.rs"]
#[allow(dead_code, reason = "its mutator is for who has no fuzzer")]
mod mutate;
#[path = "../../volume/tests/needles/mod.rs"]
mod needles;
#[path = "../../volume/tests/fuzz/repair.rs"]
mod repair;
#[path = "../../volume/tests/fuzz/targets.rs"]
mod targets;

use std::path::Path;
use std::sync::LazyLock;
use std::{env, fs};

use corpus::Image;
use mutate::{Case, Ruined};

/// Valid files, to be ruined.
static IMAGES: LazyLock<Vec<Image>> = LazyLock::new(corpus::images);

/// The directory that valid inputs are written to before the fuzzer begins.
const SEEDS: &str = "FUZZ_SEEDS";

/// The salt of the log files whose records are decoded.
const LOG_SALT: u64 = 0x1122_3344_5566_7788;

/// A segment: records one by one, `hayrick inspect`, and the store.
pub fn segment(input: &[u8]) {
    let Some((choice, bytes)) = choice(input) else { return };
    let image = choice.of(IMAGES.len());
    let mut segment = bytes.to_vec();
    if choice.repairs() {
        repair::segment(&mut segment, &IMAGES[image].records);
    }
    let case = Case {
        image,
        ruined: Ruined::Segment,
        segment,
        index: Vec::new(),
        is_repaired: true,
        done: Vec::new(),
    };
    targets::run(&case, &IMAGES, choice.rest());
}

/// An index file by itself.
pub fn index_file(input: &[u8]) {
    let Some((choice, bytes)) = choice(input) else { return };
    let mut index = bytes.to_vec();
    if choice.repairs() {
        repair::index(&mut index);
    }
    hayrick_volume::fuzz::index_file(&index);
}

/// The index file of a valid segment, in the hands of the store: much slower than the file by itself.
pub fn index_in_store(input: &[u8]) {
    let Some((choice, bytes)) = choice(input) else { return };
    let images: Vec<usize> = (0..IMAGES.len()).filter(|number| !IMAGES[*number].index.is_empty()).collect();
    let image = images[choice.of(images.len())];
    let (segment, mut index) = (IMAGES[image].segment.clone(), bytes.to_vec());
    if choice.repairs() {
        repair::index(&mut index);
    }
    let case = Case { image, ruined: Ruined::Index, segment, index, is_repaired: true, done: Vec::new() };
    // To the store: nothing else reads index files.
    targets::run(&case, &IMAGES, 2);
}

/// Frames, what is in them, and what comes before them.
pub fn messages(input: &[u8]) {
    let Some((choice, bytes)) = choice(input) else { return };
    match choice.of(3) {
        0 => messages::all(bytes),
        1 => messages::needle(bytes),
        _ => {
            let mut bytes = bytes.to_vec();
            if choice.repairs() {
                hayrick_rpc::fuzz::repair(&mut bytes);
            }
            messages::frames(&bytes);
        }
    }
}

/// Records of the Raft log, and what masters send each other of it.
pub fn raft_log(input: &[u8]) {
    let Some((choice, bytes)) = choice(input) else { return };
    if choice.of(2) == 0 {
        return hayrick_raft_store::fuzz::wire(bytes);
    }
    let mut record = bytes.to_vec();
    if choice.repairs() {
        hayrick_raft_store::fuzz::repair(&mut record, LOG_SALT);
    }
    hayrick_raft_store::fuzz::record(&record, LOG_SALT);
}

/// Writes valid inputs of this target into the directory that `FUZZ_SEEDS` names, if it does.
///
/// # Panics
/// When they cannot be written.
pub fn write_seeds(target: &str) {
    let Some(dir) = env::var_os(SEEDS) else { return };
    fs::create_dir_all(&dir).expect("the directory of the seeds can be made");
    for (number, seed) in seeds(target).iter().enumerate() {
        let path = Path::new(&dir).join(format!("seed-{number}"));
        fs::write(path, seed).expect("a seed can be written");
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let with = |choice: u8, bytes: &[u8]| [&[choice], bytes].concat();
    match target {
        "segment" => {
            // The first three things that are tried of each, with checksums as they are and made right again.
            let choices = (0..IMAGES.len()).flat_map(|image| (0..6).map(move |rest| (image, rest)));
            choices
                .map(|(image, rest)| {
                    with(Choice::byte(rest % 2 == 1, image, rest as u8 / 2), &IMAGES[image].segment)
                })
                .collect()
        }
        "index_file" | "index_in_store" => {
            let indexed = IMAGES.iter().filter(|image| !image.index.is_empty()).enumerate();
            indexed
                .flat_map(|(number, image)| [false, true].map(|repairs| (number, image, repairs)))
                .map(|(number, image, repairs)| with(Choice::byte(repairs, number, 0), &image.index))
                .collect()
        }
        "messages" => {
            let needle = needles::needle(7, 100);
            let head =
                hayrick_protocol::codec::encode(&hayrick_protocol::messages::volume::Append { needles: 1 });
            let frame = hayrick_rpc::fuzz::request(0x0101, &head, &needle);
            let frames = [&frame[..], &frame].concat();
            vec![
                with(Choice::byte(false, 0, 0), &head),
                with(Choice::byte(false, 1, 0), &needle),
                with(Choice::byte(false, 2, 0), &frames),
                with(Choice::byte(true, 2, 0), &frames),
            ]
        }
        _ => {
            let records = hayrick_raft_store::fuzz::records(LOG_SALT);
            let as_record = |record: &Vec<u8>| with(Choice::byte(true, 1, 0), record);
            let as_message = |record: &Vec<u8>| with(Choice::byte(false, 0, 0), &record[16..]);
            records.iter().map(as_record).chain(records.iter().map(as_message)).collect()
        }
    }
}

/// The first byte of an input.
#[derive(Clone, Copy)]
struct Choice(u8);

impl Choice {
    fn byte(repairs: bool, which: usize, rest: u8) -> u8 {
        u8::from(repairs) | (which as u8) << 1 | rest << 4
    }

    fn repairs(self) -> bool {
        self.0 & 1 > 0
    }

    /// One of so many, eight at most.
    fn of(self, count: usize) -> usize {
        usize::from(self.0 >> 1 & 7) % count
    }

    fn rest(self) -> u64 {
        u64::from(self.0 >> 4)
    }
}

fn choice(input: &[u8]) -> Option<(Choice, &[u8])> {
    input.split_first().map(|(choice, bytes)| (Choice(*choice), bytes))
}
