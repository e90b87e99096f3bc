//! A Rust client for Hayrick: any master, typed errors, streaming bodies.
//!
//! Owns the way from a call to an HTTP request at some master and back; what keys are it takes from `protocol`, what
//! the answers mean from http-api.md. It leaves decisions to its caller: **it never repeats by itself a write whose
//! outcome is unknown**. Invariant: a request goes to another master only if it is a read, or if the last one surely
//! had no effect: the connection was refused, or a master answered 503. Such a request is sent to all masters again and
//! again for as long as [`ClientBuilder::patience`] says, and a body that breaks off is read on at another master.
//!
//! ```
//! # mod played { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/master.rs")); }
//! # const CREATED: &str = "HTTP/1.1 201 Created\r\nETag: \"4a4be40c96ac6314e91d93f38043a634\"\r\nContent-Length: 1\r\n\r\nk";
//! # const MEOW: &str = "HTTP/1.1 200 OK\r\nETag: \"4a4be40c96ac6314e91d93f38043a634\"\r\nContent-Length: 4\r\n\r\nmeow";
//! # const CHANGED: &str = "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 7\r\n\r\nchanged";
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! # let masters = [played::master(&[CREATED, MEOW, CHANGED]).await?];
//! use hayrick_client::{Client, Condition, Error, PutOptions};
//!
//! // As many as there are: ["10.0.0.1:9090", "10.0.0.2:9090", "10.0.0.3:9090"]
//! let client = Client::new(masters)?;
//! let first = client.put("photos/cat.jpg", "meow").await?;
//! let object = client.get("photos/cat.jpg").await?;
//! assert_eq!(object.meta().etag, first.etag);
//! assert_eq!(object.bytes().await?, "meow");
//!
//! // Only if nobody changed it meanwhile; here somebody did.
//! let options = PutOptions { condition: Condition::Matches(first.etag), ..PutOptions::default() };
//! let refused = client.put_with("photos/cat.jpg", "purr", &options).await;
//! assert!(matches!(refused, Err(Error::PreconditionFailed { .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backup;
mod body;
mod broken;
mod checking;
mod client;
mod delete;
mod error;
mod explain;
mod headers;
mod list;
mod masters;
mod move_rate;
mod object;
mod put;
mod retry;
mod source;
mod status;
mod volumes;

pub use client::{Client, ClientBuilder};
pub use error::{BuildError, Error};
pub use hayrick_protocol::answers::{check, explanation};
pub use list::{Entry, ListOptions, Listed, ListedObject, Page};
pub use masters::MasterAdded;
pub use move_rate::MoveRate;
pub use object::{ByteRange, GetOptions, Object, ObjectMeta, ReadCondition};
pub use put::{Condition, PutOptions, PutOutcome};
pub use retry::SERVER_KIND;
pub use source::Source;
pub use status::{Garbage, MasterStatus, Missing, MoveStatus, RepairStatus, Status, VolumeStatus};
pub use volumes::{RebalanceRehearsal, VolumeChange, VolumeRehearsal};
