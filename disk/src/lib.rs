//! Files that survive a crash.
//!
//! Two layers: [`Disk`] and [`File`], through which every byte of the project reaches a device (with [`RealDisk`], which is what
//! [`system`] gives to servers, and [`FaultyDisk`], which loses, tears, corrupts and fails), and [`Stream`], the append stream with group commit on
//! which the needle segments and the Raft log both stand.
//!
//! What a record means is left to the [`Format`] and the [`Owner`] of a stream; this crate knows lengths and checksums
//! only through them, and depends on no other crate of the project.

mod append_file;
#[cfg(any(test, feature = "chaos"))]
mod breakable;
mod by_hand;
mod disk;
mod faulty;
mod format;
mod group_commit;
mod inspect;
mod limits;
mod queue;
mod reader;
mod real;
mod recover;
pub mod replay;
mod scan;
mod stall;
mod stream;
mod system;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod zero_ahead;

pub use append_file::HEADER_BYTES;
pub use disk::{Disk, File, Lock, write_atomically};
pub use faulty::{Aim, Counts, Failure, Fault, FaultyDisk, Gate, Moment, Op, Plan};
pub use format::{ALIGN, DurableRecords, FileId, Format, Head, Location, Owner, Record, salt_at};
pub use inspect::{Ending, InspectError, Inspected, Seal};
pub use limits::{BATCH_BYTES_MAX, FILE_BYTES_MIN, FIRST_RECORDS_BYTES_MAX, RECORD_BYTES_MAX};
pub use reader::Reader;
pub use real::RealDisk;
pub use recover::OpenError;
pub use scan::Found;
pub use stream::{AppendError, Options, Status, Stream, SubmitError};
pub use system::system;
