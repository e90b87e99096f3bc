//! Claims about the program behind `make cluster` and Ctrl-C, on a shell script that plays the servers.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use hayrick_launcher::{Deadline, free_base_port};
use rustix::process::{Pid, Signal, kill_process};

/// Far more than anything here takes, and less than the program waits for servers that do not stop.
const TIMEOUT: Duration = Duration::from_secs(12);
const PAUSE: Duration = Duration::from_millis(10);
const MACHINES: u16 = 4;

fn start(dir: &Path, on_term: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cluster"));
    let base_port = free_base_port(MACHINES).expect("there are free ports").to_string();
    command.arg(base_port).arg(dir).env("ON_TERM", on_term);
    command.env("HAYRICK_BIN", Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server.sh"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it was built")
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    // Nobody sends: receiving is how a plain thread pauses.
    let (_keep, pause) = mpsc::channel::<()>();
    let deadline = Deadline::after(TIMEOUT);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(deadline.remaining().is_some(), "waited {TIMEOUT:?} until {what}");
        let _ = pause.recv_timeout(PAUSE);
    }
}

fn pid_of(dir: &Path, server: &str) -> Option<u32> {
    std::fs::read_to_string(dir.join(server).join("pid")).ok()?.trim().parse().ok()
}

fn interrupt(program: &Child) {
    kill_process(Pid::from_child(program), Signal::INT).expect("it is not reaped yet");
}

fn end_of(program: &mut Child) -> ExitStatus {
    until("the program ends", || program.try_wait().expect("it is our child"))
}

#[test]
fn ctrl_c_while_volumes_start_starts_no_more_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = start(dir.path(), "late");
    until("the first volume is started", || pid_of(dir.path(), "volume-1"));
    interrupt(&program);
    let status = end_of(&mut program);
    assert!(status.success(), "{status}");
    // The first became ready while it was told to stop, which is when the next would have its turn.
    assert!(!dir.path().join("volume-2").exists());
}

#[test]
fn a_second_ctrl_c_kills_what_does_not_stop() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = start(dir.path(), "ignore");
    let servers = ["master-1", "master-2", "master-3", "volume-1", "volume-2", "volume-3", "volume-4"];
    let pids = servers.map(|server| until("all servers are started", || pid_of(dir.path(), server)));
    interrupt(&program);
    let output = BufReader::new(program.stdout.take().unwrap());
    let mut lines = output.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("stopping")), "it ended without a word");
    interrupt(&program);
    let status = end_of(&mut program);
    assert_eq!(status.code(), Some(130));
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "server {pid} outlived it");
    }
}

#[test]
fn servers_that_a_killed_program_left_are_ended_by_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let servers = ["master-1", "master-2", "master-3", "volume-1", "volume-2", "volume-3", "volume-4"];
    let all_started = |but: &[u32]| {
        servers.map(|server| {
            until("all servers are started", || pid_of(dir.path(), server).filter(|pid| !but.contains(pid)))
        })
    };
    let mut killed = start(dir.path(), "");
    let left = all_started(&[]);
    killed.kill().unwrap();
    killed.wait().unwrap();

    let mut program = start(dir.path(), "");
    let first = BufReader::new(program.stdout.as_mut().unwrap()).lines().next().unwrap().unwrap();
    for (server, pid) in servers.iter().zip(left) {
        assert!(first.contains(&format!("{server} (process {pid})")), "{first}");
        assert!(!Path::new(&format!("/proc/{pid}")).exists() || is_dead(pid), "server {pid} still runs");
    }
    all_started(&left);
    interrupt(&program);
    assert!(end_of(&mut program).success());
}

/// Ended, though nobody has reaped it yet.
fn is_dead(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

#[test]
fn a_port_that_is_taken_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("cluster");
    let base_port = free_base_port(MACHINES).expect("there are free ports");
    let _taken = TcpListener::bind(("127.0.0.1", base_port + 201)).expect("it is free");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cluster"));
    command.arg(base_port.to_string()).arg(&data);
    command.env("HAYRICK_BIN", Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server.sh"));
    let output = command.output().expect("it was built");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&format!("port {} (of volume 3) is taken", base_port + 201)), "{said}");
    assert_eq!(output.status.code(), Some(1));
    assert!(!data.exists(), "nothing is left behind");
}

#[test]
fn a_block_of_ports_that_does_not_fit_is_wrong_use() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("cluster");
    for base_port in ["abc", "70000", "65500", "65233", "1023", "-1"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cluster"));
        let output = command.arg(base_port).arg(&data).output().expect("it was built");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains(&format!("BASE_PORT={base_port}")) && said.contains("from 1024 to 65232"),
            "{said}"
        );
    }
    assert!(!data.exists());
}
