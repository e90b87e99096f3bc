//! Free ports on loopback, one by one and in the blocks of cli.md.
//!
//! Prefers ports below the range from which the kernel takes the local ports of outgoing connections: a server that
//! was killed must find its port free when it comes back, whatever connected meanwhile. A port is free when it could
//! be bound a moment ago; who loses the race for it is started again with others (see `Cluster::start`).

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

use crate::Error;

/// The lowest port that is handed out: below it live the well-known services.
const LOWEST: u16 = 10_000;
/// How many random ports are tried before the kernel is asked for one of its own.
const ATTEMPTS: usize = 200;
/// What Linux uses for outgoing connections unless it is told otherwise.
const EPHEMERAL_FROM: u16 = 32_768;

/// A machine that is played owns a block of a hundred ports and uses the first four (cli.md).
pub(crate) const PORTS_PER_MACHINE: u16 = 100;
const PORTS_USED: u16 = 4;

/// The ports that this process handed out: no two of its clusters may meet on one, even while a server is down.
static TAKEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A TCP port on 127.0.0.1 that was free a moment ago and that this process has not handed out before.
///
/// # Errors
/// When no port can be bound at all.
pub fn free_port() -> Result<u16, Error> {
    let mut guard = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let taken = guard.get_or_insert_with(HashSet::new);
    let upper = ephemeral_from();
    for _ in 0..ATTEMPTS {
        if upper <= LOWEST {
            break;
        }
        let port = LOWEST + u16::try_from(random() % u64::from(upper - LOWEST)).expect("less than a u16");
        if !taken.contains(&port) && is_free(port) {
            taken.insert(port);
            return Ok(port);
        }
    }
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..ATTEMPTS {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()) {
            Ok(addr) if taken.insert(addr.port()) => return Ok(addr.port()),
            Ok(_) => {}
            Err(error) => last = error,
        }
    }
    Err(Error::NoPort { source: last })
}

/// A port from which so many machines, a hundred ports each, found all of theirs free a moment ago.
///
/// # Errors
/// When none is found.
pub fn free_base_port(machines: u16) -> Result<u16, Error> {
    for _ in 0..ATTEMPTS {
        let base = free_port()?;
        let mut offsets =
            (0..machines).flat_map(|machine| (0..PORTS_USED).map(move |at| machine * PORTS_PER_MACHINE + at));
        if offsets.all(|offset| base.checked_add(offset).is_some_and(is_free)) {
            return Ok(base);
        }
    }
    Err(Error::NoPort { source: io::Error::from(io::ErrorKind::AddrInUse) })
}

/// Whether a port on 127.0.0.1 could be bound a moment ago.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A random number from the seed that the standard library's hash maps use.
fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}

fn ephemeral_from() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(EPHEMERAL_FROM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_free_as_a_whole() {
        let base = free_base_port(4).unwrap();
        assert!((0..4).all(|machine| is_free(base + machine * PORTS_PER_MACHINE + 3)));
    }

    #[test]
    fn no_port_is_handed_out_twice() {
        let ports: Vec<u16> = (0..50).map(|_| free_port().unwrap()).collect();
        let distinct: HashSet<u16> = ports.iter().copied().collect();
        assert_eq!(distinct.len(), ports.len());
    }
}
