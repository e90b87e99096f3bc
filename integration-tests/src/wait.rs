//! Waiting for a condition, with a deadline that tells what was seen last.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::time::Instant;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(25);

/// Tries `look` until it succeeds, and returns what it found.
///
/// # Errors
/// When the time is over: the last error of `look`, also if it was looking again just then.
pub async fn until<T>(what: &str, timeout: Duration, mut look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + timeout;
    let mut last = None;
    loop {
        let error = match tokio::time::timeout_at(deadline, look()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) => error,
            Err(elapsed) => {
                last.take().unwrap_or_else(|| anyhow!(elapsed).context("the first look has not ended"))
            }
        };
        if Instant::now() >= deadline {
            return Err(error).with_context(|| format!("waited {timeout:?} until {what}"));
        }
        last = Some(error);
        tokio::time::sleep(PAUSE).await;
    }
}
