//! One gRPC connection: unary calls with messages that are encoded already, many at once.

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::Request;
use tokio::net::TcpStream;

/// So much may be on its way without being asked for.
const WINDOW_BYTES: u32 = 4 << 20;
/// Not compressed, length u32.
const HEAD_BYTES: usize = 5;

/// A connection; clones share it.
#[derive(Clone)]
pub(crate) struct Connection {
    requests: SendRequest<Bytes>,
    address: String,
}

impl Connection {
    /// Connects to `HOST:PORT`.
    pub(crate) async fn open(address: &str) -> Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (requests, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake(socket)
            .await?;
        // Calls fail with it.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { requests, address: address.to_owned() })
    }

    /// Calls `/SERVICE/METHOD`; gives the reply's message.
    pub(crate) async fn call(&self, method: &str, message: &[u8]) -> Result<BytesMut> {
        let request = Request::post(format!("http://{}{method}", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let mut framed = BytesMut::with_capacity(HEAD_BYTES + message.len());
        framed.put_u8(0);
        framed.put_u32(u32::try_from(message.len())?);
        framed.put_slice(message);
        let mut ready = self.requests.clone().ready().await?;
        let (reply, mut body) = ready.send_request(request, false)?;
        body.send_data(framed.freeze(), true)?;
        let mut body = reply.await?.into_body();
        let mut bytes = BytesMut::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            bytes.extend_from_slice(&chunk);
        }
        let trailers = body.trailers().await?.context("a reply without an end")?;
        let status = trailers.get("grpc-status").context("a reply without a status")?;
        ensure!(status == "0", "{method}: status {status:?}, {:?}", trailers.get("grpc-message"));
        ensure!(bytes.len() >= HEAD_BYTES, "{method}: no message");
        Ok(bytes.split_off(HEAD_BYTES))
    }
}

/// Puts a field of bytes (number 1 to 15) behind a Protocol Buffers message.
pub(crate) fn put_field(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | 2);
    let mut left = bytes.len();
    while left >= 0x80 {
        message.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    message.push(left as u8);
    message.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_its_number_its_length_and_its_bytes() {
        let mut message = Vec::new();
        put_field(&mut message, 1, b"key");
        put_field(&mut message, 2, &[7; 300]);
        assert_eq!(message[..8], [0x0a, 3, b'k', b'e', b'y', 0x12, 0xac, 0x02]);
        assert_eq!(message.len(), 8 + 300);
    }
}
