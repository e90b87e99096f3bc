//! The peer port: what masters and volumes ask of this master, and its way to them.

pub(crate) mod client;
pub(crate) mod server;
