//! One file per command.

pub(crate) mod backup;
pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod cp;
pub(crate) mod dev;
pub(crate) mod explain;
pub(crate) mod get;
pub(crate) mod inspect;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod master;
pub(crate) mod move_rate;
pub(crate) mod prove;
pub(crate) mod put;
pub(crate) mod rebalance;
pub(crate) mod rm;
pub(crate) mod stat;
pub(crate) mod status;
pub(crate) mod undelete;
pub(crate) mod volume;

mod connect;
mod failures;
mod interrupt;
mod media_type;
mod progress;
mod save;
mod teller;
