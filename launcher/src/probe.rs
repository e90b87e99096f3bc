//! One small HTTP request, to ask a server whether it is ready.
//!
//! Not a client: it reads one short answer over a connection of its own and leaves everything else to `client/`.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The most bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Asks `GET target` of `addr` and returns the status code and the body.
///
/// # Errors
/// When nothing listens there, nothing answers within `timeout`, or the answer is not HTTP.
pub fn http_status(addr: SocketAddr, target: &str, timeout: Duration) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&addr, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    // In one write: `write!` on a socket sends every piece of the format by itself.
    let request = format!("GET {target} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status =
        status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn status_and_body_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // To the end of the head: what is left unread at the close resets the connection.
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            stream
                .write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 9\r\n\r\nno quorum")
                .unwrap();
            String::from_utf8_lossy(&request).into_owned()
        });
        let answer = http_status(addr, "/-/ready", Duration::from_secs(5)).unwrap();
        assert_eq!(answer, (503, "no quorum".to_owned()));
        assert!(server.join().unwrap().starts_with("GET /-/ready HTTP/1.1\r\n"));
    }
}
