//! Why a key lives where it lives: `GET /-/explain/{key}`.
//!
//! Owns the fields and their text form, which is what people read.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The answer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Explanation {
    /// The key.
    pub key: String,
    /// Its hash, 16 hex digits.
    pub hash: String,
    /// The range of hashes that it falls into.
    pub partition: u16,
    /// How many ranges there are.
    pub partitions: u32,
    /// Whether there is such an object.
    pub exists: bool,
    /// What the index says of it; none where there is none.
    pub object: Option<ObjectShown>,
    /// The placement that holds it; none where there is no object.
    pub placement: Option<PlacementShown>,
    /// The placement that takes the partition's writes now; none where nobody does.
    pub current: Option<PlacementShown>,
    /// Who is about to become a member of the placement.
    pub moving: Option<MoveShown>,
    /// Why the ring has the partition where it is.
    pub ring: RingShown,
    /// What would be, were a volume lost.
    pub without: Option<Without>,
    /// The master that answers.
    pub node: u64,
}

/// An object, as the index has it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ObjectShown {
    /// The needle that holds its bytes.
    pub needle: u64,
    /// Bytes.
    pub size: u64,
    /// MD5.
    pub etag: String,
    /// The change of the index that made it.
    pub version: u64,
}

/// A placement.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PlacementShown {
    /// Its id.
    pub id: u32,
    /// Raised whenever it becomes current, is closed or changes members.
    pub generation: u32,
    /// Whether it takes its partition's writes.
    pub is_current: bool,
    /// Why it is current or closed, in words.
    pub why: String,
    /// Who holds it.
    pub members: Vec<MemberShown>,
}

/// A member of a placement.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MemberShown {
    /// The volume.
    pub volume: u32,
    /// Its zone.
    pub zone: String,
    /// up, suspect, down, full, read-only, draining or removed
    pub state: String,
    /// Its HTTP address.
    pub addr: String,
    /// What its copy of the object is; none where there is no object.
    pub copy: Option<CopyShown>,
}

/// One copy of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyShown {
    /// What it is.
    pub state: CopyState,
    /// The volume's or the network's words, where it does not verify.
    #[serde(default)]
    pub why: String,
}

/// What was found of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CopyState {
    /// All of it was read, and matches the checksums of the index.
    Verified,
    /// It is there, and fails them, or cannot be read.
    Damaged,
    /// It is not there.
    Lacks,
    /// The volume did not answer in time.
    Unreachable,
}

impl fmt::Display for CopyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Verified => "verified",
            Self::Damaged => "damaged",
            Self::Lacks => "lacks it",
            Self::Unreachable => "unreachable",
        })
    }
}

/// A move that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MoveShown {
    /// Which volume pulls what the placement holds.
    pub to: u32,
    /// Its state.
    pub state: String,
}

/// The walk along the ring.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RingShown {
    /// Where the partition lies, 16 hex digits.
    pub point: String,
    /// Who is to hold it, with the volumes there are now.
    pub members: Vec<u32>,
    /// What became of each volume, in the order in which they are met.
    pub steps: Vec<StepShown>,
}

/// What became of one volume.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StepShown {
    /// Which.
    pub volume: u32,
    /// Its zone.
    pub zone: String,
    /// How far from the partition, as a part of the ring.
    pub distance: Option<f64>,
    /// Partitions that it holds.
    pub holds: u64,
    /// Partitions that it should hold.
    pub share: u64,
    /// Whether it is a member.
    pub taken: bool,
    /// Why, in words.
    pub why: String,
}

/// What would be without a volume.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Without {
    /// Which.
    pub volume: u32,
    /// Whether it is a member of the object's placement, or of the current one where there is no object.
    pub holds_it: bool,
    /// Copies of the object that verify and would be left.
    pub copies_left: Option<u32>,
    /// Where the partition's new writes would go; empty: nowhere.
    pub writes_go_to: Vec<u32>,
    /// The same in words.
    pub writes: String,
    /// Which volume would get the copy that is lost.
    pub newcomer: Option<u32>,
    /// The same in words, or why none could.
    pub repair: String,
}

impl RingShown {
    /// Whether the placement is where the ring has the partition. Else volumes came or went just now.
    pub fn has(&self, placement: &PlacementShown) -> bool {
        placement.members.iter().map(|member| member.volume).eq(self.members.iter().copied())
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "key        {}", self.key)?;
        writeln!(f, "hash       {}: partition {} of {}", self.hash, self.partition, self.partitions)?;
        match &self.object {
            Some(ObjectShown { needle, size, etag, version }) => {
                writeln!(f, "object     needle {needle}, {size} bytes, etag {etag}, version {version}")?;
            }
            None => writeln!(f, "object     there is none with this key; one would be written as follows")?,
        }
        let is_current = self.placement.as_ref().is_some_and(|placement| placement.is_current);
        if let Some(placement) = &self.placement {
            write!(f, "\n{placement}")?;
        }
        if let Some(MoveShown { to, state }) = &self.moving {
            writeln!(
                f,
                "  being copied to volume {to}, which is {state}; it becomes a member once it holds all"
            )?;
        }
        match &self.current {
            Some(current) if !is_current => write!(f, "\n{current}")?,
            Some(_) => {}
            None => writeln!(f, "\nno placement takes the partition's writes: too few volumes take any")?,
        }
        write!(f, "\n{}", self.ring)?;
        if let Some(current) = self.current.as_ref().filter(|current| !self.ring.has(current)) {
            writeln!(
                f,
                "  placement {} is of before; the leader makes another one current in a moment",
                current.id
            )?;
        }
        if let Some(without) = &self.without {
            write!(f, "\n{without}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PlacementShown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, generation, is_current, why, members } = self;
        let state = if *is_current { "current" } else { "closed" };
        writeln!(f, "placement {id}, generation {generation}, {state}: {why}")?;
        for MemberShown { volume, zone, state, addr, copy } in members {
            write!(f, "  volume {volume}, {}{state}, {addr}", zone_of(zone))?;
            match copy {
                None => writeln!(f)?,
                Some(CopyShown { state: CopyState::Verified, .. }) => writeln!(f, ": its copy is verified")?,
                Some(CopyShown { state, why }) => writeln!(f, ": {state} ({why})")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for RingShown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the ring, from where the partition lies ({}) on:", self.point)?;
        for StepShown { volume, zone, distance, holds, share, taken, why } in &self.steps {
            let what = if *taken { "taken      " } else { "passed over" };
            write!(f, "  {what}  volume {volume}, {}", zone_of(zone))?;
            if let Some(distance) = distance {
                write!(f, "{:.3} % on, ", 100.0 * distance)?;
            }
            if *share > 0 {
                write!(f, "holds {holds} partitions of a share of {share}: ")?;
            }
            writeln!(f, "{why}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Without {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "without volume {}:", self.volume)?;
        match (self.copies_left, self.holds_it) {
            (Some(left), true) => writeln!(f, "  {left} verified copies of the object would be left")?,
            (Some(left), false) => {
                writeln!(f, "  it holds no copy of the object; {left} are verified elsewhere")?
            }
            (None, _) => {}
        }
        writeln!(f, "  {}", self.writes)?;
        writeln!(f, "  {}", self.repair)
    }
}

fn zone_of(zone: &str) -> String {
    if zone.is_empty() { String::new() } else { format!("zone {zone}, ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(volume: u32, copy: CopyState, why: &str) -> MemberShown {
        MemberShown {
            volume,
            zone: "a".into(),
            state: "up".into(),
            addr: format!("10.0.0.{volume}:9091"),
            copy: Some(CopyShown { state: copy, why: why.into() }),
        }
    }

    #[test]
    fn people_read_where_it_is_and_why() {
        let placement = PlacementShown {
            id: 7,
            generation: 2,
            is_current: true,
            why: "it takes the partition's writes".into(),
            members: vec![
                member(1, CopyState::Verified, ""),
                member(2, CopyState::Lacks, "no such needle here"),
            ],
        };
        let step = |volume, taken, why: &str| StepShown {
            volume,
            distance: Some(0.25),
            holds: 9,
            share: 10,
            taken,
            why: why.into(),
            ..StepShown::default()
        };
        let shown = Explanation {
            key: "cats/1".into(),
            hash: "00ff".into(),
            partition: 3,
            partitions: 8,
            exists: true,
            object: Some(ObjectShown { needle: 4, size: 5, etag: "e".into(), version: 6 }),
            current: Some(placement.clone()),
            placement: Some(placement),
            moving: Some(MoveShown { to: 4, state: "up".into() }),
            ring: RingShown {
                point: "60".into(),
                members: vec![1, 2],
                steps: vec![step(1, true, "near"), step(3, false, "enough")],
            },
            without: Some(Without {
                volume: 1,
                holds_it: true,
                copies_left: Some(1),
                writes: "writes go elsewhere".into(),
                repair: "volume 3 gets a copy".into(),
                ..Without::default()
            }),
            node: 1,
        };
        let expected = "\
key        cats/1
hash       00ff: partition 3 of 8
object     needle 4, 5 bytes, etag e, version 6

placement 7, generation 2, current: it takes the partition's writes
  volume 1, zone a, up, 10.0.0.1:9091: its copy is verified
  volume 2, zone a, up, 10.0.0.2:9091: lacks it (no such needle here)
  being copied to volume 4, which is up; it becomes a member once it holds all

the ring, from where the partition lies (60) on:
  taken        volume 1, 25.000 % on, holds 9 partitions of a share of 10: near
  passed over  volume 3, 25.000 % on, holds 9 partitions of a share of 10: enough

without volume 1:
  1 verified copies of the object would be left
  writes go elsewhere
  volume 3 gets a copy
";
        assert_eq!(shown.to_string(), expected);
        let mut later = shown;
        later.ring.members = vec![1, 3];
        assert!(later.to_string().contains("placement 7 is of before; "), "{later}");
    }
}
