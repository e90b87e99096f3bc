//! Waiting for a condition, with a deadline that tells what was seen last.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::Instant;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(25);

/// Tries `look` until it succeeds, and returns what it found.
///
/// # Errors
/// When the time is over: the last error of `look`.
pub async fn until<T>(what: &str, timeout: Duration, mut look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        let result = tokio::time::timeout_at(deadline, look()).await;
        match result {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) if Instant::now() >= deadline => {
                return Err(error).with_context(|| format!("waited {timeout:?} until {what}"));
            }
            Ok(Err(_)) => tokio::time::sleep(PAUSE).await,
            Err(elapsed) => return Err(elapsed).with_context(|| format!("waited {timeout:?} until {what}")),
        }
    }
}
