//! Four machines as the documents have them, played on this one: a directory each, an address of the loopback net each, and
//! `systemctl`, `ssh` and `sudo` that do what they do there.
//!
//! Owns what is put in the place of addresses and paths, the processes, and running a fence. Invariant: what the units started
//! is ended when this is dropped.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::program::runs_with;
use hayrick_integration_tests::{cluster, raw, wait};
use hayrick_launcher::free_port;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::left;
use crate::shown::{Fence, Shown, repository};

/// The machines that README.md begins with; one more is added later.
pub(crate) const FIRST: [u8; 3] = [1, 2, 3];
const ALL: [u8; 4] = [1, 2, 3, 4];
/// The ports of a master and a volume; of a second volume.
const PORTS: [u16; 6] = [9090, 9091, 9092, 9093, 9191, 9193];
/// The port for HTTP of each unit.
const UNITS: [(&str, u16); 3] =
    [("hayrick-master", 9090), ("hayrick-volume", 9091), ("hayrick-volume@2", 9191)];
/// The numbers from 1 that may stand for A and B in `127.A.B.`.
const NET_NUMBERS: u16 = 250;
/// How often another net is tried, as somebody has one of the ports.
const NETS_TRIED: usize = 50;
/// A fence that restarts all servers, one after the other, on a busy machine.
const FENCE_SECONDS: &str = "240";
const QUIET_TIMEOUT: Duration = Duration::from_secs(90);
const END_TIMEOUT: Duration = Duration::from_secs(10);
const END_PAUSE: Duration = Duration::from_millis(20);
/// What a fence's commands write is told apart by it.
const MARK: &str = "----8<----";

const PLAYED: [(&str, &str); 3] = [
    ("systemctl", include_str!("bin/systemctl")),
    ("ssh", include_str!("bin/ssh")),
    ("sudo", include_str!("bin/sudo")),
];
/// What needs root, and makes no difference here.
const DOES_NOTHING: [&str; 2] = ["useradd", "chown"];
/// Paths that lie below a machine's directory.
const PATHS: [&str; 11] = [
    "/usr/local/bin",
    "/usr/local/share/man/man1",
    "/usr/local/share/zsh/site-functions",
    "/etc/bash_completion.d",
    "/etc/systemd/system",
    "/etc/hayrick",
    "/var/lib/hayrick",
    "/srv/hayrick",
    "/backup",
    "/path/to/local",
    "/mnt/weed",
];

/// Paths of this machine that a command may name.
const HARMLESS: [&str; 2] = ["/dev/null", "/usr/sbin/nologin"];

pub(crate) struct Machines {
    dir: TempDir,
    /// In the place of `10.0.0.`: `127.A.B.`.
    net: String,
}

impl Machines {
    /// Lays them out: on each, in its user's directory, what the documents expect there.
    pub(crate) fn lay_out() -> Result<Self> {
        let machines = Self { dir: tempfile::tempdir()?, net: free_net()? };
        let bin = machines.bin();
        std::fs::create_dir_all(&bin)?;
        for (name, text) in PLAYED {
            program(&bin.join(name), text)?;
        }
        for name in DOES_NOTHING {
            program(&bin.join(name), "#!/bin/sh\n")?;
        }
        let hayrick = format!("#!/bin/sh\nexec '{}' \"$@\"\n", cluster::binary()?.display());
        program(&bin.join("hayrick"), &hayrick)?;
        std::fs::write(bin.join(".curlrc"), "silent\nfail-with-body\n")?;
        for machine in ALL {
            machines.furnish(machine, &hayrick)?;
        }
        Ok(machines)
    }

    fn furnish(&self, machine: u8, hayrick: &str) -> Result<()> {
        let home = self.home(machine);
        for path in ["packaging", "target/static", "photos/2026", ".config/fish/completions"] {
            std::fs::create_dir_all(home.join(path))?;
        }
        for path in PATHS {
            std::fs::create_dir_all(self.root(machine).join(path.trim_start_matches('/')))?;
        }
        for entry in std::fs::read_dir(repository().join("packaging"))? {
            let entry = entry?;
            let text = self.localised(&std::fs::read_to_string(entry.path())?, machine);
            std::fs::write(home.join("packaging").join(entry.file_name()), text)?;
        }
        for path in ["hayrick", "target/static/hayrick"] {
            program(&home.join(path), hayrick)?;
        }
        std::fs::copy(repository().join("README.md"), home.join("README.md"))?;
        for path in ["cat.jpg", "photos/cat.jpg", "photos/2026/dog.jpg"] {
            std::fs::write(home.join(path), format!("the bytes of {path}"))?;
        }
        for path in ["path/to/local/file.txt", "mnt/weed/some/file"] {
            let path = self.root(machine).join(path);
            std::fs::create_dir_all(path.parent().context("it has one")?)?;
            std::fs::write(path, "a file")?;
        }
        Ok(())
    }

    fn bin(&self) -> PathBuf {
        self.dir.path().join("bin")
    }

    fn root(&self, machine: u8) -> PathBuf {
        self.dir.path().join(format!("machine-{machine}"))
    }

    fn home(&self, machine: u8) -> PathBuf {
        self.root(machine).join("home")
    }

    fn address(&self, machine: u8, port: u16) -> String {
        format!("{}{machine}:{port}", self.net)
    }

    /// The same text with the addresses and paths that stand for its own here.
    fn localised(&self, text: &str, machine: u8) -> String {
        let own = |machine: u8| format!("{}{machine}", self.net);
        let mut text = text.to_owned();
        for (port, number) in [(9090, 1), (9190, 2), (9290, 3)] {
            text = text.replace(&format!("127.0.0.1:{port}"), &self.address(number, 9090));
        }
        for (written, here) in [
            ("any-other-master", own(2)),
            ("any-master", own(1)),
            ("localhost", own(1)),
            ("0.0.0.0", own(machine)),
            ("10.0.0.", self.net.clone()),
        ] {
            text = text.replace(written, &here);
        }
        PATHS.iter().fold(text, |text, path| below(&text, path, &self.root(machine)))
    }

    fn is_harmless(&self, path: &str) -> bool {
        HARMLESS.contains(&path) || Path::new(path).starts_with(self.dir.path())
    }

    /// Runs the commands of a fence as they stand, on one machine; what each of them wrote, `None` of one that is not run.
    pub(crate) fn run(&self, fence: &Fence, commands: &[Shown], machine: u8) -> Result<Vec<Option<String>>> {
        // In a console it is what they write that counts.
        let strict = if fence.is_console() { "" } else { "set -euo pipefail\n" };
        let mut script = format!("exec 2>&1\n{strict}");
        for shown in commands.iter().filter(|shown| left::why(shown).is_none()) {
            let text = left::script(shown);
            let text = if text.starts_with("ME=") { format!("ME={machine}") } else { text };
            let text = self.localised(&text, machine);
            if let Some(path) = paths(&text).find(|path| !self.is_harmless(path)) {
                anyhow::bail!(
                    "{shown}\n{path} is of this machine itself: give it a place in PATHS, or do not run it"
                );
            }
            script.push_str(&format!("{text}\nprintf '\\n%s\\n' '{MARK}'\n"));
        }
        let path = format!("{}:{}", self.bin().display(), std::env::var("PATH").unwrap_or_default());
        let servers: Vec<String> = ALL.iter().map(|machine| self.address(*machine, 9090)).collect();
        let mut bash = without_settings("timeout");
        bash.args([FENCE_SECONDS, "bash", "-c", &script])
            .current_dir(self.home(machine))
            .stdin(Stdio::null());
        bash.env("HOME", self.home(machine))
            .env("PATH", path)
            .env("HAYRICK_SERVER", servers.join(","))
            .env("CURL_HOME", self.bin());
        bash.env("DOCS_ROOT", self.dir.path()).env("DOCS_MACHINE", machine.to_string());
        let output = bash.output().context("bash")?;
        let wrote = String::from_utf8_lossy(&output.stdout).into_owned();
        let is_run = |shown: &&Shown| left::why(shown).is_none();
        let done = wrote.matches(MARK).count();
        let failed = commands.iter().filter(is_run).nth(done);
        if let Some(shown) = failed {
            anyhow::bail!("{shown}\n{}: {wrote}\n{}", output.status, self.logs());
        }
        let mut parts = wrote.split(MARK).map(|part| part.trim().to_owned());
        Ok(commands.iter().map(|shown| left::why(shown).map_or_else(|| parts.next(), |_| None)).collect())
    }

    /// Units that run: which, on which machine.
    fn running(&self) -> impl Iterator<Item = (u8, &'static str, u16, u32)> {
        let all = ALL.iter().flat_map(|machine| UNITS.iter().map(|(unit, port)| (*machine, *unit, *port)));
        all.filter_map(|(machine, unit, port)| {
            let path = self.root(machine).join("run").join(format!("{unit}.pid"));
            let pid = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
            runs_with(pid, self.dir.path()).then_some((machine, unit, port, pid))
        })
    }

    /// Waits until all that runs is ready, every object has all its copies, and nothing is waited for.
    pub(crate) async fn quiet(&self) -> Result<()> {
        let look = async || {
            for (machine, unit, port, _) in self.running() {
                let address: SocketAddr = self.address(machine, port).parse()?;
                raw::get(address, "/-/ready")
                    .await
                    .with_context(|| format!("{unit} of machine {machine}"))?;
            }
            let client = cluster::client(&ALL.map(|machine| self.address(machine, 9090)))?;
            let status = client.status().await?;
            let fares = |state: &str| ["up", "draining", "removed"].contains(&state);
            let odd: Vec<_> = status.volumes.iter().filter(|volume| !fares(&volume.state)).collect();
            ensure!(odd.is_empty() && status.under_replicated == 0, "{} {odd:?}", status.under_replicated);
            ensure!(status.waiting.is_empty(), "{:?}", status.waiting);
            Ok(())
        };
        wait::until("the machines are quiet", QUIET_TIMEOUT, look).await.with_context(|| self.logs())
    }

    /// No server has panicked.
    pub(crate) fn no_panics(&self) -> Result<()> {
        let logs = self.logs();
        let panic = logs.lines().find(|line| line.contains("panicked at"));
        ensure!(panic.is_none(), "{}", panic.unwrap_or_default());
        Ok(())
    }

    /// What the servers logged.
    fn logs(&self) -> String {
        let mut all = String::new();
        for (machine, (unit, _)) in ALL.iter().flat_map(|machine| UNITS.map(|unit| (*machine, unit))) {
            let path = self.root(machine).join("run").join(format!("{unit}.log"));
            if let Ok(log) = std::fs::read(path) {
                all.push_str(&format!("== {unit} of machine {machine}\n{}", String::from_utf8_lossy(&log)));
            }
        }
        all
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        // Nobody sends: receiving is how a plain thread pauses.
        let (_keep, pause) = mpsc::channel::<()>();
        for _ in 0..END_TIMEOUT.as_millis() / END_PAUSE.as_millis() {
            let running: Vec<u32> = self.running().map(|(_, _, _, pid)| pid).collect();
            if running.is_empty() {
                return;
            }
            for pid in running.into_iter().filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
                // It may have ended just now.
                let _ = kill_process(pid, Signal::KILL);
            }
            let _ = pause.recv_timeout(END_PAUSE);
        }
    }
}

/// `127.A.B.`, where all ports that the documents use are free on all machines. The whole net is this machine's own.
fn free_net() -> Result<String> {
    for _ in 0..NETS_TRIED {
        // A free port is one by lot, which will do here.
        let lot = free_port()?;
        let [a, b] = [lot / NET_NUMBERS, lot].map(|it| u8::try_from(it % NET_NUMBERS + 1).unwrap_or(1));
        let is_free = |(machine, port)| TcpListener::bind((Ipv4Addr::new(127, a, b, machine), port)).is_ok();
        if ALL.iter().flat_map(|machine| PORTS.map(|port| (*machine, port))).all(is_free) {
            return Ok(format!("127.{a}.{b}."));
        }
    }
    anyhow::bail!("port 9090, or one of those beside it, is taken on all of 127.0.0.0/8")
}

/// A program that heeds none of the `HAYRICK_…` variables of this process.
pub(crate) fn without_settings(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"HAYRICK_"))
    {
        command.env_remove(name);
    }
    command
}

fn program(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text)?;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
}

/// Whether a path may begin behind this letter.
fn ends_before_path(letter: char) -> bool {
    letter.is_whitespace() || "=\"'->(".contains(letter)
}

/// The absolute paths that a command names.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('/').filter_map(|(at, _)| {
        let path = text[at..].split(|it: char| it.is_whitespace() || "\"';)".contains(it)).next()?;
        let is_path = path[1..].starts_with(|it: char| it.is_alphanumeric() || it == '.');
        let begins = text[..at].chars().next_back().is_none_or(ends_before_path);
        (is_path && begins && !text[..at].ends_with("/-")).then_some(path)
    })
}

/// Puts `root` before each `path` that stands by itself, and is not the end of a longer one.
fn below(text: &str, path: &str, root: &Path) -> String {
    let (mut done, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(path) {
        let before = rest[..at].chars().next_back().or(done.chars().next_back());
        done.push_str(&rest[..at]);
        if before.is_none_or(ends_before_path) && !rest[..at].ends_with("/-") {
            done.push_str(&root.display().to_string());
        }
        done.push_str(path);
        rest = &rest[at + path.len()..];
    }
    done + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lie_below_a_machine_and_routes_do_not() {
        let below = |text| below(text, "/backup", Path::new("/m"));
        assert_eq!(below("save /backup/x '/backup' A=/backup"), "save /m/backup/x '/m/backup' A=/m/backup");
        assert_eq!(below("-/backup =-/backup"), "-/m/backup =-/m/backup");
        let named = |text| paths(text).collect::<Vec<_>>();
        assert_eq!(named("a >/etc/x b=\"/c\" 'http://h/-/d/e?f=/&g' /h/i; ./j"), ["/etc/x", "/c", "/h/i"]);
        assert_eq!(below("curl http://a:1/-/backup /srv/backup"), "curl http://a:1/-/backup /srv/backup");
    }
}
