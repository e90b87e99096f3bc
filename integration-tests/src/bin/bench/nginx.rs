//! The baseline of reads: nginx with one worker, its file cache on and its access log off, serving equal files.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_launcher::{Deadline, free_port};

/// Files in one directory.
const FILES_PER_DIR: u64 = 1000;
/// Descriptors that nginx needs besides those of its file cache.
const OTHER_DESCRIPTORS: u64 = 1000;
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A running nginx.
pub(crate) struct Nginx {
    child: Child,
    dir: PathBuf,
    pub(crate) addr: SocketAddr,
    /// How many files it serves.
    pub(crate) files: u64,
}

/// Whether nginx is installed.
pub(crate) fn is_installed() -> bool {
    Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The path of file `number`.
pub(crate) fn path(number: u64) -> String {
    format!("/{}/{number}", number / FILES_PER_DIR)
}

impl Nginx {
    /// Starts it over `files` files of these bytes, on one core if `core` names one; over fewer if it may not hold so
    /// many open, because its file cache is part of what is compared.
    pub(crate) fn start(dir: &Path, files: u64, bytes: &[u8], core: Option<usize>) -> Result<Self> {
        let dir = dir.join("nginx");
        let root = dir.join("root");
        let files = files.min(descriptors_max()?.saturating_sub(OTHER_DESCRIPTORS));
        for number in 0..files {
            let path = root.join(path(number).trim_start_matches('/'));
            if number % FILES_PER_DIR == 0 {
                std::fs::create_dir_all(path.parent().context("a file lies in a directory")?)?;
            }
            std::fs::write(path, bytes)?;
        }
        let port = free_port()?;
        std::fs::write(dir.join("nginx.conf"), config(&dir, port, files)?)?;
        let mut command = match core {
            Some(core) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &core.to_string(), "nginx"]);
                command
            }
            None => Command::new("nginx"),
        };
        command.arg("-p").arg(&dir).arg("-c").arg(dir.join("nginx.conf"));
        let child =
            command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot start nginx")?;
        let nginx = Self { child, dir, addr: SocketAddr::from(([127, 0, 0, 1], port)), files };
        nginx.wait_until_it_serves()?;
        Ok(nginx)
    }

    fn wait_until_it_serves(&self) -> Result<()> {
        let (_keep, pause) = mpsc::channel::<()>();
        let deadline = Deadline::after(START_TIMEOUT);
        while deadline.remaining().is_some() {
            let answer = hayrick_launcher::http_status(self.addr, &path(0), START_TIMEOUT);
            if answer.is_ok_and(|(status, _)| status == 200) {
                return Ok(());
            }
            let _ = pause.recv_timeout(Duration::from_millis(20));
        }
        let log = std::fs::read_to_string(self.dir.join("error.log")).unwrap_or_default();
        ensure!(false, "nginx does not serve: {log}");
        Ok(())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let mut stop = Command::new("nginx");
        stop.args(["-s", "stop", "-p"]).arg(&self.dir).arg("-c").arg(self.dir.join("nginx.conf"));
        let stopped = stop.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        if !stopped {
            // Its worker ends with it.
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn config(dir: &Path, port: u16, files: u64) -> Result<String> {
    let dir = dir.display();
    Ok(format!(
        "{user}daemon off;
worker_processes 1;
worker_rlimit_nofile {limit};
pid {dir}/pid;
error_log {dir}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    default_type application/octet-stream;
    sendfile on;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    open_file_cache max={files} inactive=1h;
    open_file_cache_valid 1h;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    server {{ listen 127.0.0.1:{port}; root {dir}/root; }}
}}
",
        // As root, nginx would give its worker to `nobody`, who may not read here.
        user = if is_root()? { "user root;\n" } else { "" },
        limit = files + OTHER_DESCRIPTORS,
    ))
}

fn is_root() -> Result<bool> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let uid = status.lines().find(|line| line.starts_with("Uid:")).context("no Uid")?;
    Ok(uid.split_whitespace().nth(2) == Some("0"))
}

/// The hard limit of open files.
fn descriptors_max() -> Result<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).context("no limit")?;
    Ok(line.split_whitespace().nth(4).and_then(|limit| limit.parse().ok()).unwrap_or(u64::MAX))
}
