//! `hayrick`: all of it is in the library, so that the build for chaos tests is the same program.

use std::process::ExitCode;

fn main() -> ExitCode {
    hayrick_cli::run()
}
