//! The limit of reads: how many answers with the same bytes the barest HTTP server gives to the same clients, over loopback.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail};
use axum::Router;
use axum::http::HeaderName;
use axum::http::header::ETAG;
use axum::serve::ListenerExt;
use hayrick_client::{Client, SERVER_KIND};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep};

use super::Limit;
use crate::commands::bench::objects::{self, Content};

/// Connections are made, and not measured, in this time.
const WARM_UP: Duration = Duration::from_millis(200);

/// Measures it. Server and clients end with it.
pub(super) async fn measure(content: &Content, clients: usize, measured: Duration) -> Limit {
    match rate(content, clients, measured).await {
        Ok(per_second) if per_second > 0.0 => Limit::Measured {
            per_second,
            what: "answers with the same bytes from a bare HTTP server in this process".to_owned(),
        },
        Ok(_) => {
            Limit::LeftOut("a bare HTTP server in this process gave no such answer in a second".to_owned())
        }
        Err(error) => {
            Limit::LeftOut(format!("a bare HTTP server in this process could not be asked: {error:#}"))
        }
    }
}

async fn rate(content: &Content, clients: usize, measured: Duration) -> Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let listener = listener.tap_io(|connection| {
        // A connection that broke in this moment shows it when it is read.
        let _ = connection.set_nodelay(true);
    });
    let (etag, bytes) = (format!("\"{}\"", content.etag), content.bytes.clone());
    // Of a stranger the client would believe nothing.
    let kind = (HeaderName::from_static(SERVER_KIND), "master".to_owned());
    let answer = async move || ([(ETAG, etag), kind], bytes);
    // Dropped, and so ended, together with the clients.
    let mut running = JoinSet::new();
    running.spawn(async move {
        let service = Router::new().fallback(answer);
        axum::serve(listener, service).await.map_err(anyhow::Error::from)
    });
    let answers = Arc::new(AtomicU64::new(0));
    let client = Client::new([address.to_string()])?;
    for _ in 0..clients {
        let (client, content, answers) = (client.clone(), content.clone(), Arc::clone(&answers));
        running.spawn(async move {
            loop {
                if let Err(failed) = objects::read(&client, "bench", &content).await {
                    bail!(failed.words);
                }
                answers.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    sleep(WARM_UP).await;
    let (before, begun) = (answers.load(Ordering::Relaxed), Instant::now());
    sleep(measured).await;
    let (after, elapsed) = (answers.load(Ordering::Relaxed), begun.elapsed());
    if let Some(ended) = running.try_join_next() {
        ended??;
    }
    Ok((after - before) as f64 / elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_are_counted() {
        for bytes in ["", "meow"] {
            let content = Content { bytes: bytes.into(), etag: "abc".to_owned() };
            let limit = measure(&content, 2, Duration::from_millis(100)).await;
            assert!(matches!(limit, Limit::Measured { per_second, .. } if per_second > 0.0), "{limit:?}");
        }
    }
}
