//! Requests between our own processes and their replies; carried by `rpc/`.
//!
//! Owns their shape and numbers. A request is a head, encoded by the codec, and a body of raw bytes (needles,
//! Raft payloads) that is never copied into the head.

pub mod master;
pub mod moves;
pub mod volume;

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ids::{NodeId, VolumeId};

/// Oldest version of these messages that this build speaks.
pub const VERSION_MIN: u16 = 1;
/// Newest version of these messages that this build speaks.
pub const VERSION_MAX: u16 = 1;

/// A request's number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Method(pub u16);

/// A request with the reply it gets.
pub trait Message: Serialize + DeserializeOwned + Send + 'static {
    /// Its number; never used for another.
    const METHOD: Method;
    /// Its name, for errors and logs.
    const NAME: &'static str;
    /// What comes back.
    type Reply: Serialize + DeserializeOwned + Send + 'static;
}

macro_rules! message {
    ($name:ident = $number:literal -> $reply:ty) => {
        impl crate::messages::Message for $name {
            const METHOD: crate::messages::Method = crate::messages::Method($number);
            const NAME: &'static str = stringify!($name);
            type Reply = $reply;
        }
    };
}
pub(crate) use message;

/// Who is at an end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Identity {
    /// A master by its id.
    Master(NodeId),
    /// A volume by its id; [`VolumeId`] 0 before it registered.
    Volume(VolumeId),
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Master(id) => write!(f, "master {id}"),
            Self::Volume(VolumeId(0)) => f.write_str("a volume without an id"),
            Self::Volume(id) => write!(f, "volume {id}"),
        }
    }
}
