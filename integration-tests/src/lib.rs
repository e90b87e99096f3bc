//! Claims about a cluster of real processes, real files and real HTTP.
//!
//! This library is the harness that the claims in `tests/` and the bench stand on: clusters, waiting for conditions,
//! seeds, a load whose every answer is kept in a ledger, the copies that volumes have, registers whose histories are
//! checked, a proxy that loses answers, a gate that holds requests back or spoils answers, links that are held up one way, raw
//! sockets, readers that trickle, a library that holds syncs back, what servers count, the rows of a contract. What is claimed
//! stands in `tests/`, one topic a file. Invariant: nothing here waits for a time to pass where it could wait for something to
//! happen, and everything random comes from a printed seed.

pub mod cluster;
pub mod command;
pub mod content;
pub mod copies;
pub mod directory;
pub mod disk_shim;
pub mod figure;
pub mod frames;
pub mod gate;
pub mod history;
pub mod ledger;
pub mod links;
pub mod load;
pub mod metrics;
pub mod objects;
pub mod picture;
pub mod program;
pub mod proxy;
pub mod raw;
pub mod registers;
pub mod rows;
pub mod segments;
pub mod shown_rows;
pub mod trickle;
pub mod wait;
