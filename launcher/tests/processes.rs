//! Claims about starting, finding and ending processes, on a shell script that plays the server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hayrick_launcher::{Cluster, Error, end_left_over};

fn server() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server.sh")
}

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn servers_start_stop_and_start_again_on_the_same_data() {
    let cluster = Cluster::builder(server()).masters(1).volumes(1).env("EXTRA", "seen").start().unwrap();
    let volume = cluster.volume(1);
    assert_eq!(volume.server_id(), Some(42));
    assert_eq!(cluster.master(1).server_id(), Some(1));
    assert!(volume.log_tail().contains(&format!("masters {}, seen", cluster.masters_flag())));

    assert!(volume.stop().unwrap().success());
    assert!(volume.data_dir().join("terminated").exists());
    assert!(!volume.is_running());
    assert!(matches!(volume.kill(), Err(Error::NotRunning { .. })));

    volume.start().unwrap();
    assert!(matches!(volume.start(), Err(Error::Running { .. })));
    volume.pause().unwrap();
    assert!(volume.is_running());
    volume.resume().unwrap();
    let pid = volume.pid().unwrap();
    volume.kill().unwrap();
    assert!(!is_alive(pid));
    assert!(volume.exit_status().is_some_and(|status| !status.success()));
}

#[test]
fn a_crash_shows_status_and_log() {
    let cluster = Cluster::builder(server()).masters(1).volumes(0).build().unwrap();
    let master = cluster.master(1);
    std::fs::create_dir_all(master.data_dir()).unwrap();
    std::fs::write(master.data_dir().join("crash"), "").unwrap();
    let error = cluster.start_all().unwrap_err().to_string();
    assert!(error.contains("master 1 ended with exit status: 7"), "{error}");
    assert!(error.contains("the crash file is there"), "{error}");
}

#[test]
fn dropping_a_cluster_ends_its_processes_even_paused_ones() {
    let cluster = Cluster::builder(server()).masters(1).volumes(1).start().unwrap();
    let dir = cluster.dir().to_owned();
    let pids: Vec<u32> = cluster.processes().map(|process| process.pid().unwrap()).collect();
    cluster.master(1).pause().unwrap();
    drop(cluster);
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    assert!(!dir.exists());
}

#[test]
fn servers_that_were_left_over_are_ended_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (here, elsewhere) = (dir.path().join("here"), dir.path().join("elsewhere"));
    let start = |dir: &Path| {
        let builder = Cluster::builder(server()).masters(1).volumes(1).dir(dir).own_process_groups();
        builder.start().unwrap()
    };
    let (cluster, other) = (start(&here), start(&elsewhere));
    let pid = cluster.master(1).pid().unwrap();
    // As if the process ids had become others': this test, and a server of another cluster.
    std::fs::write(here.join("pids/master-2"), std::process::id().to_string()).unwrap();
    std::fs::write(here.join("pids/master-3"), other.master(1).pid().unwrap().to_string()).unwrap();
    cluster.volume(1).kill().unwrap();
    // Somebody made room meanwhile, under the server.
    std::fs::remove_dir_all(here.join("master-1")).unwrap();

    assert_eq!(end_left_over(&here).unwrap(), [format!("master-1 (process {pid})")]);
    cluster.master(1).wait_ended(Duration::from_secs(5)).unwrap();
    assert!(!is_alive(pid));
    assert!(other.processes().all(|process| process.is_running()));
    assert!(end_left_over(&here).unwrap().is_empty(), "once is enough");
    assert!(
        end_left_over(dir.path()).unwrap().is_empty(),
        "where no cluster ever was, there is nothing to end"
    );
}

#[test]
fn a_cluster_that_does_not_serve_is_told_with_its_last_answer() {
    let cluster = Cluster::builder(server()).masters(1).volumes(0).start().unwrap();
    let error = cluster.wait_ready(Duration::from_millis(300)).unwrap_err().to_string();
    assert!(error.contains("master 1 was not ready") && error.contains("last answer"), "{error}");
}

#[test]
fn base_port_gives_every_machine_a_hundred_ports() {
    let cluster = Cluster::builder(server()).base_port(9090).build().unwrap();
    let ports: Vec<(u16, u16)> =
        cluster.processes().map(|process| (process.http_addr().port(), process.peer_addr().port())).collect();
    let masters = [(9090, 9092), (9190, 9192), (9290, 9292)];
    let volumes = [(9091, 9093), (9191, 9193), (9291, 9293), (9391, 9393)];
    assert_eq!(ports, [masters.as_slice(), volumes.as_slice()].concat());
}
