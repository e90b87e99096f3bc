//! Figures that the project promises: printed always, failed only when far off.
//!
//! A shared machine may be slow for a moment, so a test fails at three times the figure; the print shows the rest.

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, ensure};

/// How far off a figure may be before it fails.
const TOLERANCE: u32 = 3;

/// Prints a duration beside the one aimed at.
///
/// # Errors
/// When it is more than three times as long.
pub fn at_most(what: &str, measured: Duration, aim: Duration) -> Result<()> {
    let verdict = if measured <= aim { "as promised" } else { "over the promise" };
    say(&format!("{what}: {:.3} s, {verdict} of {:.3} s", measured.as_secs_f64(), aim.as_secs_f64()));
    ensure!(measured <= aim * TOLERANCE, "{what}: {measured:?}, more than {TOLERANCE} times {aim:?}");
    Ok(())
}

/// Prints a line past the capture of the test runner: figures and seeds are of interest in tests that pass, too.
pub fn say(line: &str) {
    // A closed standard error must not fail a test.
    let _ = writeln!(std::io::stderr(), "    {line}");
}
