//! Whether others than this machine reach a port, which is worth a warning as long as nothing is protected.

use std::net::SocketAddr;

/// What is to be said of a port that is reachable from outside.
pub fn warning(port: SocketAddr) -> Option<String> {
    (!port.ip().is_loopback()).then(|| {
        format!(
            "{port} is reachable from outside, and nothing is protected: who reaches it can read, write and delete; let only \
             machines reach it that may"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_beyond_loopback_is_warned_of() {
        let warned = |address: &str| warning(address.parse().expect("an address")).is_some();
        assert!(warned("0.0.0.0:9090") && warned("192.0.2.1:9090") && warned("[::]:9090"));
        assert!(!warned("127.0.0.1:9090") && !warned("[::1]:9090"));
    }
}
