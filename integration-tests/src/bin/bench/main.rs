//! `make bench`: how fast a cluster of real processes is, beside this machine's own limits measured in the same run.
//!
//! Usage: `bench [ROW,ROW…]`; all rows without. Prints a table and writes `target/bench.json`, in which a run of some
//! rows replaces only those. Everything lies under `target/`, so on one file system, which must not be tmpfs; all
//! copies are synced. What measures the engine and the Raft store are programs of the crates' own
//! (`engine`, `raft`). The load of the cluster is a thread of this process with a small HTTP client of its own (`load`).

#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

mod cluster;
mod engine;
mod etcd;
mod grpc;
mod idle;
mod load;
mod machine;
mod nginx;
mod place;
mod program;
mod raft;
mod repair;
mod report;
mod rows;
mod target;

use std::process::ExitCode;

use anyhow::{Result, bail};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let asked = std::env::args().nth(1).or_else(|| std::env::var("ROWS").ok()).unwrap_or_default();
    let names: Vec<&str> = asked.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if let Some(unknown) = names.iter().find(|name| !rows::ALL.iter().any(|row| row.name == **name)) {
        let known: Vec<&str> = rows::ALL.iter().map(|row| row.name).collect();
        bail!("there is no row {unknown}; there are {}", known.join(", "));
    }
    let wanted = rows::ALL.iter().filter(|row| names.is_empty() || names.contains(&row.name));

    let place = place::Place::find()?;
    println!("{}", machine::describe(place.dir())?);
    let mut bench = rows::Bench::new(place.dir())?;
    let mut results = Vec::new();
    for row in wanted {
        println!("{} …", row.name);
        results.push(bench.run(row)?);
    }
    drop(bench);
    println!("\n{}", report::table(&results));
    report::write_json(&place.json(), &results)?;
    println!("written to {}", place.json().display());
    Ok(())
}
