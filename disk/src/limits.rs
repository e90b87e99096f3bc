//! Every bound of this crate, with its reason.

use std::time::Duration;

/// Bytes gathered into one write and one sync. Larger batches gain nothing in rate and make each caller wait longer.
pub const BATCH_BYTES_MAX: usize = 8 << 20;

/// Submissions gathered into one write and one sync: bounds the callbacks that run between two syncs.
pub(crate) const BATCH_SUBMISSIONS_MAX: usize = 1024;

/// Probes that may wait, before all else: more than anybody has a use for.
pub(crate) const PROBES_MAX: usize = 256;

/// One record with its padding. Keeps lengths and offsets within a `u32` with room to spare.
pub const RECORD_BYTES_MAX: usize = 1 << 30;

/// All that an owner may ask to have written first into a new file: each new file keeps this much room for it.
pub const FIRST_RECORDS_BYTES_MAX: u64 = 4096;

/// The smallest file of a stream: a submission of half of it must fit behind the header and the first records.
pub const FILE_BYTES_MIN: u64 = 32 << 10;

/// How far zeroing runs ahead of the append position, in pieces. Enough for seconds of small appends; little enough
/// that a restart does not read much written emptiness behind the last record.
pub(crate) const ZERO_LEAD_PIECES: u64 = 16;

/// The pause after each zeroed piece: with pieces of 4 MiB, zeroing takes at most 200 MB/s of the device.
pub(crate) const ZERO_PAUSE: Duration = Duration::from_millis(20);

/// How much nicer than the others the thread that prepares ahead is: nobody waits for it.
pub(crate) const PREPARER_NICE: i32 = 5;

/// Zeros written and synced at once while zeroing ahead: an append's write waits for the one, and its sync for the other.
pub(crate) const ZERO_WRITE_BYTES: usize = 256 << 10;

/// What a scan reads at once.
pub(crate) const SCAN_WINDOW_BYTES: usize = 1 << 20;

/// While a sync covers more than this, on average, nothing is zeroed ahead: what the file system adds to it is little.
pub(crate) const ZERO_RUN_BYTES_MAX: u64 = 512 << 10;
