//! Every bound that a stranger could push against, with its reason.
//!
//! Owns the numbers only; who enforces one names it from here.

/// Longest key in bytes after percent-decoding: S3's limit, so that keys move between the two.
pub const KEY_BYTES_MAX: usize = 1024;

/// Data bytes covered by one block checksum: what a range read must verify at least.
pub const BLOCK_BYTES: usize = 64 * 1024;

/// Largest `--max-object-size` that may be set: an object is held in memory whole while it is stored.
pub const OBJECT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Default of `--max-object-size`.
pub const OBJECT_BYTES_DEFAULT: usize = 64 * 1024 * 1024;

/// Names and values of all kept headers of an object together.
pub const HEADERS_BYTES_MAX: usize = 2 * 1024;

/// Objects up to this size are verified whole before the first byte is sent; larger ones block by block.
pub const VERIFY_WHOLE_BYTES_MAX: usize = 1024 * 1024;

/// Largest frame between our own processes: the largest needle with its key, block checksums and message head.
pub const FRAME_BYTES_MAX: usize = OBJECT_BYTES_MAX + 1024 * 1024;

/// Largest head of a frame, the part that is decoded by the codec; a table of 65 536 changes fits.
pub const FRAME_HEAD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A request's frame above this counts against [`LARGE_FRAMES_BYTES_MAX`]. Smaller ones of all connections together are
/// bounded by the number of connections.
pub const LARGE_FRAME_BYTES: usize = 1024 * 1024;

/// Bytes of large requests that one frame listener receives and works on at a time, for all connections together; more
/// wait unread. Two of the largest fit.
pub const LARGE_FRAMES_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;

/// Bytes a second at which a large request has to arrive at least, ten seconds aside; a slower one loses its place, and its
/// sender the connection.
pub const LARGE_FRAME_BYTES_PER_S: usize = 1024 * 1024;

/// Requests in flight on one connection between our own processes; more wait at the sender.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 1024;

/// Bytes that may wait to be sent on one connection; more wait at the caller.
pub const SEND_QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Connections that one frame listener serves at a time.
pub const PEER_CONNECTIONS_MAX: usize = 1024;

/// Connections that one HTTP listener serves at a time.
pub const HTTP_CONNECTIONS_MAX: usize = 12_000;

/// Bytes of an HTTP head (request line and all fields): 431 beyond.
pub const HTTP_HEAD_BYTES_MAX: usize = 32 * 1024;

/// Fields of an HTTP head: 431 beyond.
pub const HTTP_FIELDS_MAX: usize = 100;

/// Bytes of an HTTP request target: 414 beyond.
pub const HTTP_TARGET_BYTES_MAX: usize = 8 * 1024;

/// An HTTP head that is not complete after this is answered 408.
pub const HTTP_HEAD_TIMEOUT_MS: u64 = 10_000;

/// An HTTP body of which no byte arrives for this long is answered 408.
pub const HTTP_BODY_IDLE_TIMEOUT_MS: u64 = 30_000;

/// Needle bytes gathered into one append request; a larger needle travels alone.
pub const APPEND_BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Needles gathered into one append request.
pub const APPEND_BATCH_NEEDLES_MAX: usize = 512;

/// Commands in one Raft entry, so that one entry never stalls apply or a frame.
pub const BATCH_COMMANDS_MAX: usize = 512;

/// Encoded bytes of one Raft entry.
pub const ENTRY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Commands that may wait at the leader to be proposed; beyond it answers "overloaded", which proposes nothing.
pub const PROPOSALS_WAITING_MAX: usize = 8192;

/// How far a seq may be above `resolved_below`: it bounds the memory of an epoch's session. One command of unknown
/// outcome may stay unresolved for a whole request timeout, while 10 000 a second go on. A gateway keeps below it.
pub const SESSION_WINDOW: u32 = 65_536;

/// Open epochs of one master; opening one more fences the oldest.
pub const EPOCHS_OPEN_PER_MASTER_MAX: usize = 4;

/// Starts of one master that are remembered, so that a late repetition of one does not fence the epochs of a later one. A
/// repetition is late by a request timeout or two, and a master starts once in a while.
pub const STARTS_PER_MASTER_MAX: usize = 8;

/// Needles that are found or missed in one command: each may bring a key.
pub const NAMED_BATCH_MAX: usize = 256;

/// Placements that are forgotten in one command.
pub const FORGET_BATCH_MAX: usize = 1024;

/// Needle ids in one delete, doom or reap.
pub const REAP_BATCH_MAX: usize = 1024;

/// Placements in one list or pull between our own processes: one look into a segment's index is shared by so many.
pub const LIST_PLACEMENTS_MAX: usize = 256;

/// Needles of one page of such a list: 4 MiB with the longest keys.
pub const LIST_PAGE_NEEDLES_MAX: usize = 4096;

/// Bytes that a volume reads and verifies for one page of such a list, one needle more aside: a sixth of a second at the
/// default pace.
pub const VERIFY_PAGE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Keys of one page of a listing.
pub const LIST_LIMIT_MAX: usize = 10_000;

/// Bytes of keys, common prefixes and records after which a page of a listing ends, however many it was to show: ten
/// thousand fit if they are of some 300 bytes.
pub const LIST_PAGE_BYTES_MAX: usize = 4 << 20;

/// Bytes of a delimiter of a listing.
pub const LIST_DELIMITER_BYTES_MAX: usize = KEY_BYTES_MAX;

/// Keys in one `POST /-/delete`: S3's limit.
pub const DELETE_KEYS_MAX: usize = 1000;

/// Keys of one page of a listing when none is asked for.
pub const LIST_LIMIT_DEFAULT: usize = 1000;

/// Partitions of a cluster: 2^16 at most, so that a `PartitionId` holds them.
pub const PARTITIONS_MAX: u32 = 65_536;

/// Copies of an object at most.
pub const REPLICAS_MAX: u8 = 7;

/// The least bytes a second that a volume gives or takes when copies are made: with less, a lost copy would take weeks.
pub const MOVE_BYTES_PER_S_MIN: u64 = 64 << 10;

/// The most: beyond any disk and network, and small enough to be counted with.
pub const MOVE_BYTES_PER_S_MAX: u64 = 1 << 40;

/// Volumes that may register: members are stored as u32, but tables and heartbeats are sized for this.
pub const VOLUMES_MAX: usize = 4096;

/// Masters of one cluster.
pub const MASTERS_MAX: usize = 15;

/// Ids of removed masters, which are kept for good: a few bytes each, and a master is replaced once in a while.
pub const MASTERS_REMOVED_MAX: usize = 4096;

/// Bytes of an address `HOST:PORT` or the name of a zone in a message.
pub const NAME_BYTES_MAX: usize = 256;
