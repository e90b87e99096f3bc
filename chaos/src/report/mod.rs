//! The report: what a run showed. So far its figures, and how it stands.

pub mod figures;
pub mod series;
pub mod standing;

#[cfg(test)]
mod made_up;

use crate::record::Record;
use crate::verdict::Verdict;

/// One run of one mix, and what the checkers say of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// What was seen.
    pub record: Record,
    /// What it says of each promise.
    pub verdicts: Vec<Verdict>,
}
