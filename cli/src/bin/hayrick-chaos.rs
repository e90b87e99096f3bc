//! `hayrick-chaos`: the same program as `hayrick`, which can be told to have a bug (`HAYRICK_BUG`) and to break its disk
//! (`HAYRICK_DISK_FAULTS`). Never for data that anybody needs.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Err(error) = hayrick_planted::choose() {
        eprintln!("hayrick-chaos: {error}");
        return ExitCode::from(2);
    }
    hayrick_cli::run()
}
