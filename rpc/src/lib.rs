//! Frames between Hayrick's own processes: one multiplexed connection per pair.
//!
//! Owns the bytes on the peer ports: the handshake, the frames, deadlines, keep-alive and back-pressure, for the end
//! that asks ([`Client`]) and the end that answers ([`serve`]). It leaves to the layer above what the messages mean,
//! whether and where to ask again, and what a peer of an unknown cluster may do. Invariants: an error for which
//! [`CallError::surely_not_executed`] holds was never handed to a handler; nothing that arrives is trusted before its
//! checksum was compared, nor allocated for before it arrived; every queue is bounded.
//!
//! ```no_run
//! # use std::{sync::Arc, time::Duration};
//! # use hayrick_protocol::messages::{Identity, Method, Message};
//! # use hayrick_protocol::{ClusterId, NodeId, VolumeId};
//! use hayrick_rpc::{Client, HandleError, Handler, Local, Request, Response, serve};
//!
//! struct Echo;
//! impl Handler for Echo {
//!     async fn handle(&self, request: Request) -> Result<Response, HandleError> {
//!         Ok(Response { head: request.head.to_vec(), body: vec![request.body] })
//!     }
//! }
//! # async fn example() -> std::io::Result<()> {
//! let volume = Local::new(Identity::Volume(VolumeId(3)), ClusterId([7; 16]));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let address = listener.local_addr()?.to_string();
//! tokio::spawn(serve(listener, volume, Arc::new(Echo), std::future::pending()));
//!
//! let master = Local::new(Identity::Master(NodeId(1)), ClusterId([7; 16]));
//! let client = Client::new(master, address, Some(Identity::Volume(VolumeId(3))));
//! # let _ = client;
//! # Ok(())
//! # }
//! ```

mod brief;
mod budget;
mod call_error;
mod client;
mod conversation;
mod frame;
#[doc(hidden)]
pub mod fuzz;
mod handshake;
mod link;
mod local;
mod outbox;
mod server;

use tokio::time::Duration;

pub use call_error::CallError;
pub use client::Client;
pub use handshake::{Refusal, RefusalReason};
pub use local::{Local, Peer};
pub use server::{HandleError, Handler, Request, Response, serve};

/// How often both ends look whether the other must be told that they live, or fell silent.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// So many ticks without a sign that was due, and the asking end gives the connection up.
const SILENT_TICKS_MAX: u32 = 5;
