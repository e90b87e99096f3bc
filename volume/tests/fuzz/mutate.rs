//! Ruining files: what disks, file systems and strangers do to bytes.

use std::fmt;

use rand::Rng;
use rand::rngs::StdRng;

use crate::corpus::Image;
use crate::repair;

/// A file that may be ruined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ruined {
    Segment,
    Index,
}

/// The files of an image, one of them ruined.
pub(crate) struct Case {
    /// Which image.
    pub(crate) image: usize,
    pub(crate) ruined: Ruined,
    pub(crate) segment: Vec<u8>,
    /// Empty if there is none.
    pub(crate) index: Vec<u8>,
    /// Checksums may have been made right again: then what the bytes say is believed, though nobody stored it.
    pub(crate) is_repaired: bool,
    /// What was done, for people.
    pub(crate) done: Vec<String>,
}

impl Case {
    pub(crate) fn bytes(&self) -> usize {
        self.segment.len() + self.index.len()
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { image, ruined, is_repaired, done, .. } = self;
        write!(f, "image {image}, {ruined:?}, repaired: {is_repaired}, {done:?}")
    }
}

pub(crate) fn case(images: &[Image], random: &mut StdRng) -> Case {
    let number = random.random_range(0..images.len());
    let image = &images[number];
    let ruined =
        if !image.index.is_empty() && random.random_bool(0.4) { Ruined::Index } else { Ruined::Segment };
    let (mut segment, mut index) = (image.segment.clone(), image.index.clone());
    if ruined == Ruined::Segment && random.random_bool(0.5) {
        // Else a start would not look at the data.
        index.clear();
    }
    let bytes = if ruined == Ruined::Index { &mut index } else { &mut segment };
    let mut done = Vec::new();
    for _ in 0..random.random_range(1..=6) {
        let other = &images[random.random_range(0..images.len())];
        done.push(match ruined {
            Ruined::Index => ruin(bytes, &[], (&other.index, &[]), random),
            Ruined::Segment => ruin(bytes, &image.records, (&other.segment, &other.records), random),
        });
    }
    let is_repaired = random.random_bool(0.5);
    if is_repaired {
        match ruined {
            Ruined::Index => repair::index(bytes),
            Ruined::Segment => repair::segment(bytes, &image.records),
        }
    }
    Case { image: number, ruined, segment, index, is_repaired, done }
}

/// Does one thing to the bytes, and says what.
fn ruin(
    bytes: &mut Vec<u8>,
    records: &[usize],
    (other, records_of_other): (&[u8], &[usize]),
    random: &mut StdRng,
) -> String {
    if bytes.is_empty() {
        bytes.extend_from_slice(&other[..other.len().min(200)]);
        return "began anew".to_owned();
    }
    let at = place(bytes.len(), records, random);
    let scale = random.random_range(0..14);
    let len = random.random_range(1..=1usize << scale).min(bytes.len() - at);
    match random.random_range(0..9) {
        0 | 1 => {
            bytes[at] ^= 1 << random.random_range(0..8);
            format!("flipped a bit at {at}")
        }
        2 | 3 => {
            const EXTREMES: [u64; 8] = [0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];
            let value = EXTREMES[random.random_range(0..EXTREMES.len())];
            let width = [1, 2, 4, 8][random.random_range(0..4)].min(bytes.len() - at);
            bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
            format!("set {width} bytes at {at} to {value:#x}")
        }
        4 => {
            bytes[at..at + len].fill(0);
            format!("zeroed {len} at {at}")
        }
        5 => {
            bytes.truncate(at);
            format!("cut to {at}")
        }
        6 => {
            // As a block of a file that was there before, or records of another file.
            let at_record = !records.is_empty() && !records_of_other.is_empty() && random.random_bool(0.5);
            let (at, from) = if at_record {
                (any_of(records, random).min(bytes.len() - 1), any_of(records_of_other, random))
            } else {
                (at, at)
            };
            let len = len.min(bytes.len() - at);
            let piece = other.get(from..).unwrap_or_default();
            let len = len.min(piece.len());
            bytes[at..at + len].copy_from_slice(&piece[..len]);
            format!("{len} of another at {at} from {from}")
        }
        7 => {
            let from = place(bytes.len(), records, random);
            let len = len.min(bytes.len() - from);
            bytes.copy_within(from..from + len, at);
            format!("{len} of its own at {at} from {from}")
        }
        _ => {
            bytes.extend_from_slice(&other[..len.min(other.len())]);
            format!("{len} of another behind its end")
        }
    }
}

/// Anywhere; mostly at, or in the header of, a record, in the first bytes or in the last, where the lengths stand.
fn place(len: usize, records: &[usize], random: &mut StdRng) -> usize {
    let at = match random.random_range(0..5) {
        0 => random.random_range(0..len.min(100)),
        1 => len - random.random_range(1..=len.min(200)),
        2 | 3 if !records.is_empty() => {
            any_of(records, random) + any_of(&[0, 2, 3, 7, 15, 19, 21, 29, 40], random)
        }
        _ => random.random_range(0..len),
    };
    at.min(len - 1)
}

fn any_of(all: &[usize], random: &mut StdRng) -> usize {
    all[random.random_range(0..all.len())]
}
