//! The list of damage in a file of its own, so that a restart knows what scrub and reads found before it.
//!
//! ```text
//! hayrick damage 2
//! stretch 000000000000001f 0123456789abcdef 4194304 4198400
//! made-up 000000000000001f 0123456789abcdef 8192 16384
//! needle 4294967303 000000000000001f 0123456789abcdef 4194304
//! crc32c bba61093
//! ```
//! A line for each stretch: its segment, the salt of that, its first byte, and where it ends; the same for
//! each that was made up for, so that it need not be kept (not in version 1); then one for each needle: its id, and the segment, salt and offset of the copy that cannot be read.
//!
//! Owns these bytes, when they are written, and what a start believes of them: a stretch whose segment is there still, a
//! needle whose index names that very copy. So what was dropped, replaced or compacted since is not listed again.
//! Invariant: a file that is not as it was written says nothing and stops nobody; that costs what it said, until scrub
//! finds it again.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use hayrick_disk::{Disk, FileId, Location, Stream, write_atomically};
use hayrick_protocol::ids::NeedleId;
use parking_lot::Mutex;

use crate::damage::{Snapshot, Stretch};
use crate::index::Known;
use crate::sealed_text;
use crate::segment::Needles;
use crate::store::Shared;

/// The file's name, beside the segments.
pub(crate) const FILE_NAME: &str = "damage";

/// The version of these bytes.
pub(crate) const VERSION: u16 = 2;

/// The first line, without the version.
pub(crate) const TITLE: &str = "hayrick damage";

/// More bytes than the longest list takes: so many lines, three times, of less than 100 bytes.
pub(crate) const BYTES_MAX: u64 = 24 << 20;

/// What is written.
#[derive(Debug, Default, PartialEq, Eq)]
struct Listed {
    /// With the salts of their segments.
    stretches: Vec<(Stretch, u64)>,
    /// The same of those that were made up for.
    made_up: Vec<(Stretch, u64)>,
    /// Segment, salt and offset of the copy.
    needles: Vec<(NeedleId, (FileId, u64, u64))>,
}

/// Keeps the file as the list is.
pub(crate) struct KeptDamage {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    shared: Arc<Shared>,
    stream: Weak<Stream<Needles>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the list had seen of changes when it was written; `None`: the file says something else.
    written: Option<u64>,
    /// The last try failed, and that was told.
    is_failing: bool,
}

impl KeptDamage {
    /// Lists what the file says and still holds. The index is to be told of everything before.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        shared: Arc<Shared>,
        stream: &Arc<Stream<Needles>>,
    ) -> Self {
        let path = dir.join(FILE_NAME);
        let listed = match sealed_text::read(disk.as_ref(), &path, BYTES_MAX) {
            Ok(text) => {
                let listed = Listed::decode(&text);
                if listed.is_none() {
                    tracing::warn!(path = %path.display(), "the list of what is damaged is damaged itself; scrub finds anew what was on it");
                }
                listed
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Listed::default()),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the list of what is damaged cannot be read; scrub finds anew what was on it");
                None
            }
        };
        let kept = Self { disk, path, shared, stream: Arc::downgrade(stream), state: Mutex::default() };
        if let Some(listed) = listed {
            kept.take_in(stream, &listed);
            let now = kept.shared.damage.snapshot();
            if Listed::of(&now, stream) == listed {
                kept.state.lock().written = Some(now.changes);
            }
        }
        kept
    }

    /// Lists what holds still.
    fn take_in(&self, stream: &Stream<Needles>, listed: &Listed) {
        let damage = &self.shared.damage;
        let is_there = |(Stretch { segment, range }, salt): &&(Stretch, u64)| {
            let reader = stream.reader(*segment);
            reader.is_some_and(|reader| reader.salt() == *salt && range.end <= reader.end())
        };
        // First: what is found again of them is no news, neither now nor later.
        for (Stretch { segment, range }, _) in listed.made_up.iter().filter(is_there) {
            damage.was_made_up(*segment, range.clone());
        }
        for (Stretch { segment, range }, _) in listed.stretches.iter().filter(is_there) {
            damage.stretch(*segment, range.clone());
        }
        let index = self.shared.index.read();
        for (id, (segment, salt, offset)) in &listed.needles {
            if let Some(Known::Live(at)) = index.get(*id)
                && (at.file, at.offset) == (*segment, *offset)
                && salt_of(stream, *segment) == Some(*salt)
            {
                damage.needle(*id, at);
            }
        }
        let (bad, _) = damage.figures();
        if bad > 0 {
            tracing::warn!(
                bad,
                "stretches and needles are damaged since before this start; other volumes hold them"
            );
        }
    }

    /// Writes the list down, unless it is written as it is.
    pub(crate) fn save(&self) {
        let mut state = self.state.lock();
        if state.written == Some(self.shared.damage.changes()) {
            return;
        }
        let Some(stream) = self.stream.upgrade() else { return };
        let now = self.shared.damage.snapshot();
        let text = Listed::of(&now, &stream).encode();
        match write_atomically(self.disk.as_ref(), &self.path, text.as_bytes()) {
            Ok(()) => *state = State { written: Some(now.changes), is_failing: false },
            Err(error) => {
                if !std::mem::replace(&mut state.is_failing, true) {
                    tracing::warn!(%error, "what is damaged cannot be written down; after a restart scrub has to find it again");
                }
            }
        }
    }
}

impl Listed {
    /// Without what lies in a segment that is gone, or whose header cannot be read: each start finds that by itself.
    fn of(list: &Snapshot, stream: &Stream<Needles>) -> Self {
        let with_salt = |one: &Stretch| Some((one.clone(), salt_of(stream, one.segment)?));
        let needles = list.needles.iter();
        Self {
            stretches: list.stretches.iter().filter_map(with_salt).collect(),
            made_up: list.made_up.iter().filter_map(with_salt).collect(),
            needles: needles
                .filter_map(|(id, Location { file, offset, .. })| {
                    Some((*id, (*file, salt_of(stream, *file)?, *offset)))
                })
                .collect(),
        }
    }

    fn encode(&self) -> String {
        let mut text = format!("{TITLE} {VERSION}\n");
        for (word, stretches) in [("stretch", &self.stretches), ("made-up", &self.made_up)] {
            for (Stretch { segment, range }, salt) in stretches {
                let (from, to) = (range.start, range.end);
                writeln!(text, "{word} {segment} {salt:016x} {from} {to}").expect("a string takes any text");
            }
        }
        for (id, (segment, salt, offset)) in &self.needles {
            writeln!(text, "needle {id} {segment} {salt:016x} {offset}").expect("a string takes any text");
        }
        sealed_text::seal(&text)
    }

    fn decode(text: &str) -> Option<Self> {
        let mut lines = sealed_text::open(text)?.lines();
        let title = lines.next()?;
        let mut listed = Self::default();
        lines.try_for_each(|line| listed.add(line))?;
        (1..=VERSION).any(|version| title == format!("{TITLE} {version}")).then_some(listed)
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        let mut next = || words.next();
        let hex = |word: &str| u64::from_str_radix(word, 16).ok();
        match next()? {
            word @ ("stretch" | "made-up") => {
                let (segment, salt) = (FileId(hex(next()?)?), hex(next()?)?);
                let range: std::ops::Range<u64> = next()?.parse().ok()?..next()?.parse().ok()?;
                let list = if word == "stretch" { &mut self.stretches } else { &mut self.made_up };
                // None that was written.
                if range.start > range.end {
                    return None;
                }
                list.push((Stretch { segment, range }, salt));
            }
            "needle" => {
                let id = NeedleId(next()?.parse().ok()?);
                let copy = (FileId(hex(next()?)?), hex(next()?)?, next()?.parse().ok()?);
                self.needles.push((id, copy));
            }
            _ => return None,
        }
        next().is_none().then_some(())
    }
}

fn salt_of(stream: &Stream<Needles>, segment: FileId) -> Option<u64> {
    stream.reader(segment).map(|reader| reader.salt())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listed() -> Listed {
        let stretch = Stretch { segment: FileId(0x1f), range: 4_194_304..4_198_400 };
        let copy = (FileId(0x1f), 0x0123_4567_89ab_cdef, 4_194_304);
        let made_up = Stretch { segment: FileId(0x1f), range: 8192..16384 };
        Listed {
            stretches: vec![(stretch, copy.1)],
            made_up: vec![(made_up, copy.1)],
            needles: vec![(NeedleId(1 << 32 | 7), copy)],
        }
    }

    #[test]
    fn golden_text() {
        let text = "hayrick damage 2\nstretch 000000000000001f 0123456789abcdef 4194304 4198400\n\
                    made-up 000000000000001f 0123456789abcdef 8192 16384\n\
                    needle 4294967303 000000000000001f 0123456789abcdef 4194304\n";
        assert_eq!(listed().encode(), sealed_text::seal(text));
        assert_eq!(Listed::decode(&listed().encode()), Some(listed()));
        assert_eq!(Listed::decode(&Listed::default().encode()), Some(Listed::default()));
        let earlier = text.replace("damage 2", "damage 1");
        assert_eq!(Listed::decode(&sealed_text::seal(&earlier)), Some(listed()), "of an earlier build");
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_seen() {
        let bytes = listed().encode().into_bytes();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let flipped = String::from_utf8_lossy(&flipped);
                assert_eq!(Listed::decode(&flipped), None, "bit {bit} of byte {at}");
            }
            assert_eq!(Listed::decode(&String::from_utf8_lossy(&bytes[..at])), None, "cut to {at}");
        }
        for text in ["hayrick damage 0\n", "hayrick damage 1\nneedle 7\n", "hayrick damage 3\n"] {
            assert_eq!(Listed::decode(&sealed_text::seal(text)), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in "(hayrick damage 2\n)?((stretch|made-up|needle) ([0-9a-f]{1,17} ?){0,5}\n){0,3}") {
            if let Some(listed) = Listed::decode(&sealed_text::seal(&text)) {
                let again = Listed::decode(&listed.encode());
                prop_assert_eq!(again, Some(listed));
            }
        }
    }
}
