//! Where a cluster goes: its block of ports, its directory, and that nobody else has either.
//!
//! Owns the lock of the directory. Invariant: data and logs are not touched before both are known to be ours.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use hayrick_launcher::{Cluster, free_base_port};

const DEFAULT_BASE_PORT: u16 = 9090;
const DEFAULT_DIR: &str = "./hayrick-cluster";
/// The file in the directory that a running cluster holds locked; it says which one that is.
const LOCK_FILE: &str = "lock";
/// Above the ports that need privileges, and with room for the last port of four blocks (cli.md).
const BASE_PORTS: RangeInclusive<u16> = 1024..=u16::MAX - 303;
/// Blocks, each of a hundred ports.
const MACHINES: u16 = 4;

/// Where a cluster goes.
pub(crate) struct Place {
    pub(crate) base_port: u16,
    pub(crate) dir: PathBuf,
}

impl Place {
    /// As the command line has it, or else the environment.
    pub(crate) fn from_settings() -> Result<Self> {
        let mut args = std::env::args().skip(1);
        let base_port = setting(args.next(), "BASE_PORT").unwrap_or_else(|| DEFAULT_BASE_PORT.to_string());
        let dir = setting(args.next(), "DIR").unwrap_or_else(|| DEFAULT_DIR.to_owned());
        match base_port.parse().ok().filter(|port| BASE_PORTS.contains(port)) {
            Some(base_port) => Ok(Self { base_port, dir: dir.into() }),
            None => bail!(
                "BASE_PORT={base_port} does not work: it is a number from {} to {}, the first of four blocks of ports",
                BASE_PORTS.start(),
                BASE_PORTS.end()
            ),
        }
    }

    /// Takes the directory for this process, as long as the file that is returned is open.
    pub(crate) fn lock(&self) -> Result<File> {
        let path = self.dir.join(LOCK_FILE);
        let unusable = || format!("cannot use {}", path.display());
        std::fs::create_dir_all(&self.dir).with_context(unusable)?;
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
        let mut file = options.open(&path).with_context(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).with_context(unusable)?;
                bail!(
                    "a cluster runs in {} already ({}): stop it, or start this one elsewhere: {}",
                    self.dir.display(),
                    holder.trim(),
                    elsewhere(self.base_port, Some(&self.dir)),
                );
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(unusable),
        }
        file.set_len(0).and_then(|()| file.rewind()).with_context(unusable)?;
        writeln!(file, "pid {}, BASE_PORT={}", std::process::id(), self.base_port).with_context(unusable)?;
        Ok(file)
    }

    /// Refuses where somebody has one of the ports.
    pub(crate) fn check_ports(&self, cluster: &Cluster) -> Result<()> {
        let Some((process, port)) = cluster.taken_port() else { return Ok(()) };
        bail!(
            "port {port} (of {}) is taken, by a cluster in another DIR perhaps: stop that (where only its servers are left, the \
             files in DIR/pids name them), or choose another block of ports: {}",
            process.name(),
            elsewhere(self.base_port, None),
        )
    }
}

fn setting(arg: Option<String>, variable: &str) -> Option<String> {
    arg.or_else(|| std::env::var(variable).ok()).filter(|value| !value.is_empty())
}

/// A command that would work.
fn elsewhere(base_port: u16, dir: Option<&Path>) -> String {
    let base_port = free_base_port(MACHINES).unwrap_or(base_port);
    let dir = dir.map(|dir| format!(" DIR={}-2", dir.display())).unwrap_or_default();
    format!("make cluster BASE_PORT={base_port}{dir}")
}
