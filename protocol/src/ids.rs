//! Newtypes for every id, so that no id is ever passed where another is meant.
//!
//! Owns their widths, their text forms and the arithmetic between them. Leaves handing them out to Raft's apply.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

id!(
    /// A master, chosen by the operator (`--id`), unique for the life of a cluster.
    NodeId(u64)
);
id!(
    /// A volume server, handed out by apply when it first registers; never 0, never used twice.
    VolumeId(u32)
);
id!(
    /// One of 2^k fixed ranges of the key hash space.
    PartitionId(u16)
);
id!(
    /// A row of the placement table, handed out by apply; never 0, never used twice.
    PlacementId(u32)
);
id!(
    /// Raised by apply whenever a placement becomes current, is closed, or has a member changed.
    Generation(u32)
);
id!(
    /// A gateway's session, handed out by apply; never 0, never used twice.
    EpochId(u32)
);
id!(
    /// Counts the needles and commands of one epoch, from 1.
    Seq(u32)
);
id!(
    /// A counter of the state, raised by one with every applied change of the index.
    AppliedVersion(u64)
);

/// A needle for all time: its epoch in the upper half, its seq in the lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct NeedleId(pub u64);

impl NeedleId {
    /// The needle that `epoch` numbered `seq`.
    pub const fn new(epoch: EpochId, seq: Seq) -> Self {
        Self((epoch.0 as u64) << 32 | seq.0 as u64)
    }

    /// The epoch that made it.
    pub const fn epoch(self) -> EpochId {
        EpochId((self.0 >> 32) as u32)
    }

    /// Its number within the epoch.
    pub const fn seq(self) -> Seq {
        Seq((self.0 & 0xffff_ffff) as u32)
    }
}

impl fmt::Display for NeedleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for NeedleId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// All zero: not known yet.
            pub const UNKNOWN: Self = Self([0; 16]);

            /// Whether it was ever set.
            pub fn is_known(self) -> bool {
                self != Self::UNKNOWN
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = hex::FromHexError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; 16];
                hex::decode_to_slice(text, &mut bytes)?;
                Ok(Self(bytes))
            }
        }
    };
}

random_id!(
    /// A cluster, random, agreed on when it is first formed.
    ClusterId
);
random_id!(
    /// One data directory, random, made when the directory is; tells a wiped directory from the one it replaced.
    InstanceId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needle_id_holds_epoch_and_seq() {
        let id = NeedleId::new(EpochId(7), Seq(9));
        assert_eq!((id.epoch(), id.seq(), id.0), (EpochId(7), Seq(9), 7 << 32 | 9));
        let last = NeedleId::new(EpochId(u32::MAX), Seq(u32::MAX));
        assert_eq!((last.epoch(), last.seq()), (EpochId(u32::MAX), Seq(u32::MAX)));
    }

    #[test]
    fn random_ids_round_trip_as_hex() {
        let id = ClusterId([0xab; 16]);
        assert_eq!(id.to_string().parse::<ClusterId>().expect("own text parses"), id);
        assert!("xyz".parse::<ClusterId>().is_err());
        assert!(!ClusterId::UNKNOWN.is_known());
    }
}
