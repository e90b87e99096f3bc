//! Where scrub is, in a file of its own, so that a restart goes on there.
//!
//! ```text
//! hayrick scrub 1
//! round 3
//! segment 000000000000001f
//! salt 0123456789abcdef
//! offset 4194304
//! last 0000000000000025
//! last_end 734003200
//! done_bytes 3300000000
//! found_bad 0
//! bad_index_files 1
//! last_round_ended 1767225600000
//! last_round_found_bad 2
//! last_round_bad_index_files 0
//! crc32c 8b856454
//! ```
//! Owns these bytes. Invariant: a file that is not as it was written says nothing; scrub then begins anew, which costs
//! some reading and nothing else. With one of a later version nothing is begun (`later`).

use std::fmt::Write;
use std::io;
use std::path::Path;

use hayrick_disk::{Disk, FileId, write_atomically};

use crate::sealed_text;

/// The file's name, beside the segments.
pub(crate) const FILE_NAME: &str = "scrub";

/// The version of the file.
pub(crate) const VERSION: u16 = 1;

/// The first line, without the version.
pub(crate) const TITLE: &str = "hayrick scrub";

/// More bytes than the file ever has.
pub(crate) const BYTES_MAX: u64 = 4096;

/// How far scrub has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The round under way; the first is 1.
    pub(super) round: u64,
    /// The segment that is being verified; 0 before the first.
    pub(super) segment: FileId,
    /// Its salt: another segment of that name is verified from its beginning.
    pub(super) salt: u64,
    /// All before it in the segment was verified.
    pub(super) offset: u64,
    /// The last segment of the round; what is younger waits for the next, so that a round ends.
    pub(super) last: FileId,
    /// Where that one ended when the round began.
    pub(super) last_end: u64,
    /// Bytes that were verified in this round.
    pub(super) done_bytes: u64,
    /// Damaged stretches and needles that were found in this round.
    pub(super) found_bad: u64,
    /// Index files that were found bad in this round.
    pub(super) bad_index_files: u64,
    /// When the round before ended, in milliseconds since 1970.
    pub(super) last_round_ended_ms: Option<u64>,
    /// What that one had found.
    pub(super) last_round_found_bad: u64,
    /// The same of index files.
    pub(super) last_round_bad_index_files: u64,
}

impl Place {
    /// Before the first round.
    pub(super) const START: Self = Self {
        round: 1,
        segment: FileId(0),
        salt: 0,
        offset: 0,
        last: FileId(0),
        last_end: 0,
        done_bytes: 0,
        found_bad: 0,
        bad_index_files: 0,
        last_round_ended_ms: None,
        last_round_found_bad: 0,
        last_round_bad_index_files: 0,
    };

    /// Before the next round, when this one has ended.
    pub(super) fn next_round(&self, now_ms: u64) -> Self {
        Self {
            round: self.round + 1,
            last_round_ended_ms: Some(now_ms),
            last_round_found_bad: self.found_bad,
            last_round_bad_index_files: self.bad_index_files,
            ..Self::START
        }
    }

    /// Whether nothing of the round was verified yet.
    pub(super) fn is_at_start(&self) -> bool {
        self.segment == FileId(0)
    }

    /// Reads the file. What is none, or no good one, is `START`.
    pub(super) fn read(disk: &dyn Disk, path: &Path) -> Self {
        match sealed_text::read(disk, path, BYTES_MAX) {
            Ok(text) => Self::decode(&text).unwrap_or_else(|| {
                tracing::warn!(path = %path.display(), "the file that says where scrub is is damaged; it begins anew");
                Self::START
            }),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = %path.display(), %error, "where scrub was cannot be read; it begins anew");
                }
                Self::START
            }
        }
    }

    /// Replaces the file.
    pub(super) fn write(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        write_atomically(disk, path, self.encode().as_bytes())
    }

    fn encode(&self) -> String {
        let mut text = format!("{TITLE} {VERSION}\n");
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            writeln!(text, "{name} {value}").expect("a string takes any text");
        };
        line("round", &self.round);
        line("segment", &self.segment);
        line("salt", &format_args!("{:016x}", self.salt));
        line("offset", &self.offset);
        line("last", &self.last);
        line("last_end", &self.last_end);
        line("done_bytes", &self.done_bytes);
        line("found_bad", &self.found_bad);
        line("bad_index_files", &self.bad_index_files);
        if let Some(ended_ms) = self.last_round_ended_ms {
            line("last_round_ended", &ended_ms);
            line("last_round_found_bad", &self.last_round_found_bad);
            line("last_round_bad_index_files", &self.last_round_bad_index_files);
        }
        sealed_text::seal(&text)
    }

    fn decode(text: &str) -> Option<Self> {
        let fields = sealed_text::open(text)?.strip_prefix(&format!("{TITLE} {VERSION}\n"))?;
        let field = |name: &str| fields.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let number = |name: &str| field(name)?.parse::<u64>().ok();
        let hex = |name: &str| u64::from_str_radix(field(name)?, 16).ok();
        Some(Self {
            round: number("round")?,
            segment: FileId(hex("segment")?),
            salt: hex("salt")?,
            offset: number("offset")?,
            last: FileId(hex("last")?),
            last_end: number("last_end")?,
            done_bytes: number("done_bytes")?,
            found_bad: number("found_bad")?,
            // Earlier builds did not look at index files.
            bad_index_files: number("bad_index_files").unwrap_or(0),
            last_round_ended_ms: number("last_round_ended"),
            last_round_found_bad: number("last_round_found_bad").unwrap_or(0),
            last_round_bad_index_files: number("last_round_bad_index_files").unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use hayrick_disk::FaultyDisk;

    use super::*;

    const PLACE: Place = Place {
        round: 3,
        segment: FileId(0x1f),
        salt: 0x0123_4567_89ab_cdef,
        offset: 4_194_304,
        last: FileId(0x25),
        last_end: 734_003_200,
        done_bytes: 3_300_000_000,
        found_bad: 0,
        bad_index_files: 1,
        last_round_ended_ms: Some(1_767_225_600_000),
        last_round_found_bad: 2,
        last_round_bad_index_files: 0,
    };

    #[test]
    fn bytes_are_golden() {
        let text = "hayrick scrub 1\nround 3\nsegment 000000000000001f\nsalt 0123456789abcdef\noffset 4194304\n\
                    last 0000000000000025\nlast_end 734003200\ndone_bytes 3300000000\nfound_bad 0\n\
                    bad_index_files 1\nlast_round_ended 1767225600000\nlast_round_found_bad 2\n\
                    last_round_bad_index_files 0\ncrc32c 8b856454\n";
        assert_eq!(PLACE.encode(), text);
    }

    #[test]
    fn what_an_earlier_build_wrote_goes_on() {
        let text = "hayrick scrub 1\nround 3\nsegment 000000000000001f\nsalt 0123456789abcdef\noffset 4194304\n\
                    last 0000000000000025\nlast_end 734003200\ndone_bytes 3300000000\nfound_bad 0\n\
                    last_round_ended 1767225600000\nlast_round_found_bad 2\ncrc32c bba61093\n";
        assert_eq!(Place::decode(text), Some(Place { bad_index_files: 0, ..PLACE }));
    }

    #[test]
    fn what_was_written_is_read_and_what_is_anything_else_begins_anew() {
        let (disk, path) = (FaultyDisk::new(1), Path::new("/needles/scrub"));
        assert_eq!(Place::read(&disk, path), Place::START);
        disk.create_dir_all(Path::new("/needles")).expect("a sound disk");
        for place in [PLACE, Place::START, PLACE.next_round(7)] {
            place.write(&disk, path).expect("there is room");
            assert_eq!(Place::read(&disk, path), place);
        }
        for at in 0..disk.bytes(path).expect("it is there").len() {
            disk.flip(path, at as u64, 1);
            assert_eq!(Place::read(&disk, path), Place::START, "byte {at}");
            disk.flip(path, at as u64, 1);
        }
        let later = PLACE.encode().replace("scrub 1", "scrub 2");
        let fields = &later[..later.len() - "crc32c 01234567\n".len()];
        let later = format!("{fields}crc32c {:08x}\n", crc32c::crc32c(fields.as_bytes()));
        assert_eq!(Place::decode(&later), None, "another version");
        assert_eq!(sealed_text::version_of(&disk, path, TITLE, BYTES_MAX), Some(VERSION));
        let file = disk.open(path).and_then(|file| file.set_len(0).map(|()| file)).expect("a sound disk");
        file.write_all_at(later.as_bytes(), 0).expect("a sound disk");
        assert_eq!(sealed_text::version_of(&disk, path, TITLE, BYTES_MAX), Some(2));
        for at in 0..later.len() {
            disk.flip(path, at as u64, 1);
            assert_eq!(sealed_text::version_of(&disk, path, TITLE, BYTES_MAX), None, "byte {at}");
            disk.flip(path, at as u64, 1);
        }
    }
}
