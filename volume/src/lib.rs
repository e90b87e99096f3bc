//! The volume server: an append-only needle store and its two ports.
//!
//! Two layers: [`Store`], which keeps needles on a disk and knows nothing of the network, and the server around it
//! ([`start`]): registration and heartbeats to the masters, frames for masters and volumes on the peer port, HTTP for
//! readers. A volume knows nothing of Raft, and nothing of what is live: it keeps what it is given until it is told to
//! drop it.

mod append;
mod compact;
mod damage;
mod delete;
mod directory;
mod examine;
mod fetch;
#[doc(hidden)]
pub mod fuzz;
mod heartbeat;
mod housekeeping;
mod http;
mod index;
mod index_file;
mod inspect;
mod later;
mod list;
mod made_up;
mod offer;
mod options;
mod pages;
mod peer;
mod pull;
mod quota;
mod read;
mod recover;
mod register;
mod scrub;
mod seal;
mod sealed_text;
mod segment;
mod server;
mod store;
mod table;
mod verify;

pub use append::Outcome;
pub use compact::Compacted;
pub use damage::Stretch;
pub use directory::DirectoryError;
pub use fetch::Fetched;
pub use inspect::{Amount, InspectError, Row, SegmentFile, Summary, segments_in};
pub use later::LaterVersion;
pub use options::Options;
pub use read::Opened;
pub use scrub::Scrubbed;
pub use server::{Running, StartError, start};
pub use store::{SEGMENT_BYTES_MAX, Segment, Store, StoreError, StoreOptions};
