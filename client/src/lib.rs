//! A Rust client for Hayrick: any master, typed errors, streaming bodies.
//!
//! Owns the way from a call to an HTTP request at some master and back; what keys are it takes from `protocol`, what
//! the answers mean from http-api.md. It leaves decisions to its caller: **it never repeats by itself a write whose
//! outcome is unknown**. Invariant: a request goes to another master only if it is a read, or if the last one surely
//! had no effect: the connection was refused, or the answer was 503.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use hayrick_client::{Client, Condition, PutOptions};
//!
//! let client = Client::new(["127.0.0.1:9090", "127.0.0.1:9190", "127.0.0.1:9290"])?;
//! let first = client.put("photos/cat.jpg", "meow").await?;
//! let object = client.get("photos/cat.jpg").await?;
//! assert_eq!(object.meta().etag, first.etag);
//! assert_eq!(object.bytes().await?, "meow");
//!
//! // Only if nobody changed it meanwhile:
//! let options = PutOptions { condition: Condition::Matches(first.etag), ..PutOptions::default() };
//! client.put_with("photos/cat.jpg", "purr", &options).await?;
//! # Ok(())
//! # }
//! ```

mod backup;
mod broken;
mod checking;
mod client;
mod delete;
mod error;
mod explain;
mod list;
mod masters;
mod move_rate;
mod object;
mod put;
mod retry;
mod status;
mod volumes;

pub use client::{Client, ClientBuilder};
pub use error::{BuildError, Error};
pub use hayrick_protocol::answers::{check, explanation};
pub use list::{ListOptions, Page};
pub use masters::MasterAdded;
pub use move_rate::MoveRate;
pub use object::{ByteRange, GetOptions, Object, ObjectMeta};
pub use put::{Condition, PutOptions, PutOutcome};
pub use status::{Garbage, MasterStatus, MoveStatus, RepairStatus, Status, VolumeStatus};
pub use volumes::{RebalanceRehearsal, VolumeChange, VolumeRehearsal};
