//! Answers of the client port whose names and words servers and clients share: where an object lies, and whether what lies
//! on the volumes is what the index says.
//!
//! Owns their fields, which are a contract: more may be added, and what is missing in an answer is zero or empty. Leaves how
//! they come to be to the masters.

pub mod check;
pub mod explanation;
