//! From open ports to a server that serves: what it waits for, until it is ready.
//!
//! Owns the asking and the telling; what ready means is each server's own `/-/ready`, which is asked over its port as a
//! client or a load balancer would. Invariant: nothing is called ready of which a port did not say so a moment ago.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use hayrick_client::{Client, Error};
use tokio::time::{Instant, sleep};

/// Between two questions.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// A cluster that is started all at once is ready by then; what it waits for longer is told.
const QUIET: Duration = Duration::from_secs(2);

/// Returns once every one of these HTTP ports said that it is ready; tells what it waits for, once for each reason.
pub(crate) async fn wait(ports: &[SocketAddr]) -> Result<()> {
    let began = Instant::now();
    let mut told = String::new();
    for port in ports {
        let client = Client::new([port.to_string()])?;
        while let Err(error) = client.ready().await {
            let reason = match error {
                Error::Refused { message, .. } => message,
                error => error.to_string(),
            };
            if began.elapsed() >= QUIET && reason != told {
                tracing::info!("not ready yet: {reason}");
                told = reason;
            }
            sleep(ASK_EVERY).await;
        }
    }
    Ok(())
}
