//! Why a submission is not taken in, and why it fails. Invariant: each says whether the bytes may be on the disk all the same.

use std::sync::Arc;

/// Why a submission was not taken in. Its callback was dropped, uncalled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The writer cannot keep up: slow down, or refuse work in turn.
    #[error("the append queue is full ({records} records, {bytes} bytes); try again later")]
    QueueFull {
        /// Bytes that wait.
        bytes: usize,
        /// Records that wait.
        records: usize,
    },
    /// A record is shorter than a header or longer than `RECORD_BYTES_MAX`.
    #[error("a record of {bytes} bytes is outside the {bytes_min} to {bytes_max} that a stream takes")]
    RecordSize {
        /// Its bytes.
        bytes: usize,
        /// The least.
        bytes_min: usize,
        /// The most.
        bytes_max: usize,
    },
    /// Several records together exceed half of a file: submit them apart. (One record alone may be of any size.)
    #[error("{bytes} bytes of several records exceed the {bytes_max} of one submission; submit them apart")]
    SubmissionSize {
        /// Bytes of the submission.
        bytes: usize,
        /// Half of a file.
        bytes_max: usize,
    },
    /// The stream was closed.
    #[error("the append stream is closed")]
    Closed,
}

/// Why an append failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// No room for another file. Nothing of the submission was written, nor of any that was queued behind it in the same
    /// batch; later ones may succeed once there is room. A user whose records build on each other has to stop by itself.
    #[error(
        "no room for another file of {needed_bytes} bytes: the files take {used_bytes}, {free_bytes} are free, of which \
         {reserve_bytes} are kept in reserve; delete something or add space"
    )]
    Full {
        /// Bytes of the file that was wanted.
        needed_bytes: u64,
        /// Bytes that the files of the stream take.
        used_bytes: u64,
        /// Bytes left on the file system or of the stream's capacity, whichever is less.
        free_bytes: u64,
        /// Bytes that have to stay free.
        reserve_bytes: u64,
    },
    /// The next file could not be made, for another reason than want of room, such as too many open files. Nothing of the
    /// submission was written, nor of any that was queued behind it in the same batch; later ones may succeed.
    #[error("the next file of the append stream cannot be made: {cause}; try again later")]
    NoNextFile {
        /// Why not.
        cause: Arc<str>,
    },
    /// A write or a sync failed. Whether this submission is on disk is unknown until the stream is opened anew.
    #[error(
        "the append stream takes no more writes since one failed: {cause}; restart to recover what is on disk"
    )]
    Poisoned {
        /// The first failure.
        cause: Arc<str>,
    },
}
