//! The HTTP front door: accept loop, head limits, timeouts, graceful stop.
//!
//! Owns what every HTTP port of ours does alike: how connections are accepted, bounded, timed out and ended, how a
//! refusal reads, how a range is understood, that no parameter is ignored, what answers may take of the memory. It leaves
//! routes and their meaning to its callers. Invariant: a stranger who sends nothing, half of something, or too much of it, or
//! does not read, gets an answer that says so, and no more memory than the limits allow.

mod answering;
mod answers;
mod body;
mod consistency;
mod descriptors;
mod door;
mod outside;
mod parameters;
mod problem;
mod range;
mod serve;
mod socket;
mod sparing;

pub use answers::{Answers, NoMemory, Share};
pub use body::{BodyError, BodyIdle};
pub use consistency::Consistency;
pub use descriptors::DESCRIPTORS_WANTED;
pub use door::{REQUEST_ID, ServerKind};
pub use outside::warning;
pub use parameters::{Parameters, parameter, parameter_text};
pub use problem::{Problem, asks_for_json};
pub use range::{Range, RangeRequest, content_range, unsatisfiable};
pub use serve::serve;
pub use sparing::Sparing;
