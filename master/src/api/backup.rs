//! `GET /-/backup`: the whole index in one answer, as it was when the request had come.
//!
//! Owns that it is linearizable, how much of it is in memory, two pieces, and how long a client may take for one: a backup
//! holds on to a view, for which the index keeps whatever changes meanwhile. The bytes are the Raft store's. Invariants: an
//! answer that ends without an error of the connection is whole, and its end says so once more; a client that takes nothing
//! holds on to no view.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use hayrick_raft_store::ReadError;
use hayrick_raft_store::backup::Backup;
use hayrick_web::Problem;
use http::{HeaderValue, header};
use tokio::sync::mpsc;
use tokio::time::{Duration, timeout};

use super::problem::not_now;
use super::put::now_ms;
use crate::gateway::read_index::{NotLinearizable, linearize};
use crate::master::Master;

/// What a client may take for a piece, which is a megabyte: as long as any answer may stand still.
const PIECE_PATIENCE: Duration = Duration::from_secs(30);

/// A piece; none behind the last.
type Piece = io::Result<Option<Bytes>>;

pub(super) async fn answer(master: &Arc<Master>) -> Result<Response, Problem> {
    let linearized = linearize(master, super::deadline(master)).await;
    linearized.map_err(|NotLinearizable(text)| not_now(text))?;
    let place = Arc::clone(&master.gateway.backups).try_acquire_owned();
    let place = place.map_err(|_| {
        not_now("a backup is being taken from this master already; wait for its end, or ask another master")
    })?;
    let backup = master.node.backup(now_ms()).await.map_err(|error| not_now(error.to_string()))?;
    let backup = backup.ok_or_else(|| not_now("there is no cluster to back up yet"))?;
    let (to, pieces) = mpsc::channel(1);
    tokio::spawn(async move {
        tell(backup, to).await;
        drop(place);
    });
    let mut response = Response::new(Body::from_stream(stream::try_unfold(pieces, take)));
    let kind = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// What is told piece by piece, from a thread that may block.
trait Told: Send + 'static {
    fn next_bytes(&mut self) -> Result<Option<Vec<u8>>, ReadError>;
}

impl Told for Backup {
    fn next_bytes(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        Self::next_bytes(self)
    }
}

/// Tells it to its end, or to the end of the client's time. By itself and not when the client asks for more: who asks for
/// nothing would never be given up.
async fn tell(mut backup: impl Told, to: mpsc::Sender<Piece>) {
    loop {
        let place = match timeout(PIECE_PATIENCE, to.reserve()).await {
            Ok(Ok(place)) => place,
            // The client has gone.
            Ok(Err(_)) => return,
            Err(_) => {
                tracing::warn!(
                    "a backup was given up: its client took no megabyte within {PIECE_PATIENCE:?}"
                );
                return;
            }
        };
        let next = tokio::task::spawn_blocking(move || (backup.next_bytes(), backup)).await;
        let error = match next {
            Ok((Ok(Some(bytes)), told)) => {
                backup = told;
                place.send(Ok(Some(bytes.into())));
                continue;
            }
            Ok((Ok(None), _)) => return place.send(Ok(None)),
            Ok((Err(error), _)) => io::Error::other(error),
            Err(error) => io::Error::other(error),
        };
        tracing::warn!(%error, "a backup broke off");
        return place.send(Err(error));
    }
}

/// The next piece; an error where they end before the last.
async fn take(mut pieces: mpsc::Receiver<Piece>) -> io::Result<Option<(Bytes, mpsc::Receiver<Piece>)>> {
    match pieces.recv().await {
        Some(piece) => Ok(piece?.map(|bytes| (bytes, pieces))),
        None => Err(io::ErrorKind::TimedOut.into()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    /// So many pieces, and whoever looks whether it is held.
    struct Pieces(u8, #[expect(dead_code, reason = "held for what its drop does")] mpsc::Sender<()>);

    impl Told for Pieces {
        fn next_bytes(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
            self.0 = self.0.saturating_sub(1);
            Ok((self.0 > 0).then(|| vec![self.0]))
        }
    }

    /// Begins to tell so many pieces; who waits for the other learns when nobody holds them any more.
    fn telling(pieces: u8) -> (mpsc::Receiver<Piece>, mpsc::Receiver<()>) {
        let ((to, told), (held, is_held)) = (mpsc::channel(1), mpsc::channel(1));
        tokio::spawn(tell(Pieces(pieces + 1, held), to));
        (told, is_held)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_holds_on_to_nothing() {
        let (mut told, mut held) = telling(9);
        let began = Instant::now();
        for number in [9, 8] {
            let (bytes, rest) = take(told).await.expect("sound").expect("there is more");
            assert_eq!(bytes[..], [number]);
            told = rest;
            sleep(PIECE_PATIENCE - Duration::from_millis(1)).await;
        }
        // Slow so far, and silent from here on: it waits for nobody to look at it.
        assert!(held.recv().await.is_none());
        assert!(began.elapsed() < 3 * PIECE_PATIENCE, "after {:?}", began.elapsed());
        let (_, told) = take(told).await.expect("it was waiting").expect("there is more");
        let cut = take(told).await.expect_err("an end that is none");
        assert_eq!(cut.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_backup_ends_with_its_last_piece_or_with_its_client() {
        let (mut told, mut held) = telling(2);
        for number in [2, 1] {
            let (bytes, rest) = take(told).await.expect("sound").expect("there is more");
            assert_eq!(bytes[..], [number]);
            told = rest;
        }
        assert!(take(told).await.expect("sound").is_none());
        assert!(held.recv().await.is_none());

        let (told, mut held) = telling(2);
        drop(told);
        assert!(held.recv().await.is_none());
    }
}
