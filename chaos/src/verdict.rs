//! What a checker says, and what it shows for it.

use serde::{Deserialize, Serialize};

use crate::history::{Moment, Operation};

/// How it stands with one promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It held, as far as this run can tell: all that was recorded was looked at.
    Proved,
    /// It did not.
    Violated,
    /// The search was given up when its bound was reached, without a result.
    NotDecidedInTime,
    /// Not looked at; the words say why.
    Skipped,
    /// It was not as good as promised, and not as bad as only a fault of the store can make it; the words say by how much.
    AimMissed,
}

/// What one checker says of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Its name: `linearizability`, `acknowledged-is-durable`, …
    pub checker: String,
    /// The promise, in one sentence.
    pub promise: String,
    /// How it stands.
    pub outcome: Outcome,
    /// What was looked at, with figures, or why not: `8 keys, 5132 operations, longest search 812 states`.
    pub figures: String,
    /// What contradicts the promise; the first is the one to look at. Empty unless violated. Few: [`EVIDENCE_MAX`].
    pub evidence: Vec<Evidence>,
}

/// Of many contradictions, so many are shown.
pub const EVIDENCE_MAX: usize = 10;

/// One contradiction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What is wrong, in one sentence.
    pub what: String,
    /// When it came to light.
    pub at: Option<Moment>,
    /// The key it is about.
    pub key: Option<String>,
    /// The least that shows it: without any one of them there is no contradiction. Empty where it is not about requests.
    pub history: Vec<Operation>,
}

impl Verdict {
    /// Nothing contradicts it.
    pub fn proved(checker: &str, promise: &str, figures: impl Into<String>) -> Self {
        Self::new(checker, promise, Outcome::Proved, figures.into(), Vec::new())
    }

    /// Not looked at.
    pub fn skipped(checker: &str, promise: &str, why: impl Into<String>) -> Self {
        Self::new(checker, promise, Outcome::Skipped, why.into(), Vec::new())
    }

    /// Violated if there is evidence, else proved; of the evidence the first [`EVIDENCE_MAX`] are kept.
    pub fn of(checker: &str, promise: &str, figures: impl Into<String>, evidence: Vec<Evidence>) -> Self {
        let outcome = if evidence.is_empty() { Outcome::Proved } else { Outcome::Violated };
        Self::new(checker, promise, outcome, figures.into(), evidence)
    }

    /// With an outcome of the checker's own.
    pub fn new(
        checker: &str,
        promise: &str,
        outcome: Outcome,
        figures: String,
        mut evidence: Vec<Evidence>,
    ) -> Self {
        evidence.truncate(EVIDENCE_MAX);
        Self { checker: checker.to_owned(), promise: promise.to_owned(), outcome, figures, evidence }
    }
}

impl Evidence {
    /// A sentence alone.
    pub fn says(what: impl Into<String>) -> Self {
        Self { what: what.into(), at: None, key: None, history: Vec::new() }
    }
}
