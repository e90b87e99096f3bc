//! Free ports on loopback.
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
        if !taken.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
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
    fn no_port_is_handed_out_twice() {
        let ports: Vec<u16> = (0..50).map(|_| free_port().unwrap()).collect();
        let distinct: HashSet<u16> = ports.iter().copied().collect();
        assert_eq!(distinct.len(), ports.len());
    }
}
