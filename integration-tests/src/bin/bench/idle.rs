//! What a process takes while nobody asks for anything.

use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::Instant;

/// How long it is looked at.
const LOOK: Duration = Duration::from_secs(10);

/// The share of one core that each process took, in percent.
pub(crate) fn cpu_percent(pids: &[u32]) -> Result<Vec<f64>> {
    let before = pids.iter().map(|pid| cpu_time(*pid)).collect::<Result<Vec<_>>>()?;
    let started = Instant::now();
    let (_keep, pause) = mpsc::channel::<()>();
    let _ = pause.recv_timeout(LOOK);
    let elapsed = started.elapsed();
    pids.iter()
        .zip(before)
        .map(|(pid, before)| Ok((cpu_time(*pid)? - before).as_secs_f64() / elapsed.as_secs_f64() * 100.0))
        .collect()
}

/// The time that all threads of a process have run: the first field of each one's schedstat, in nanoseconds.
fn cpu_time(pid: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end meanwhile.
        let Ok(stat) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let ran: u64 = stat.split(' ').next().and_then(|ran| ran.parse().ok()).context("no schedstat")?;
        nanoseconds += ran;
    }
    Ok(Duration::from_nanos(nanoseconds))
}
