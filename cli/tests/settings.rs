//! Claims about where a server's settings come from, and how it refuses to start. Nothing here becomes ready: the
//! addresses are of a net that no machine has, so that the refusal names the one that was chosen.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A master of this data directory, with no settings but these.
fn master(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Output {
    server("master", dir, args, variables)
}

fn server(role: &str, dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hayrick"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HAYRICK_") || name == "RUST_LOG") {
        command.env_remove(name);
    }
    command.args([role, "--data"]).arg(dir.join("data")).args(args);
    command.envs(variables.iter().copied()).stdin(Stdio::null());
    command.output().expect("the binary runs")
}

fn error(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("UTF-8")
}

const SELF: [&str; 4] = ["--id", "1", "--masters", "1=127.0.0.1:1"];

#[test]
fn flag_beats_variable_beats_file_beats_default() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("master.toml");
    std::fs::write(&file, "id = 1\nmasters = [\"1=127.0.0.1:1\"]\nlisten = \"203.0.113.1:1\"\n")
        .expect("a file");
    let config = ["--config", file.to_str().expect("UTF-8")];
    let refused = |output: Output, address: &str| {
        assert_eq!(output.status.code(), Some(1));
        assert!(
            error(&output).contains(&format!("hayrick: cannot listen on {address}")),
            "{}",
            error(&output)
        );
    };
    let variable = [("HAYRICK_LISTEN", "203.0.113.2:2")];
    refused(master(dir.path(), &config, &[]), "203.0.113.1:1");
    refused(master(dir.path(), &config, &variable), "203.0.113.2:2");
    let flag = [&config[..], &["--listen", "203.0.113.3:3"]].concat();
    refused(master(dir.path(), &flag, &variable), "203.0.113.3:3");
    refused(master(dir.path(), &SELF, &variable), "203.0.113.2:2");
    let named_by_variable = [("HAYRICK_CONFIG", config[1])];
    refused(master(dir.path(), &[], &named_by_variable), "203.0.113.1:1");
}

#[test]
fn a_file_with_an_unknown_key_is_refused_and_so_is_a_missing_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("master.toml");
    std::fs::write(&file, "down-aftre = \"3s\"\n").expect("a file");
    let output = master(dir.path(), &["--config", file.to_str().expect("UTF-8")], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        error(&output)
            .contains("there is no setting \"down-aftre\"; down-after is one; hayrick config master"),
        "{}",
        error(&output)
    );

    let output = master(dir.path(), &["--config", "/no/such/file"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(error(&output).contains("cannot read /no/such/file"));
}

#[test]
fn what_excludes_each_other_is_refused_in_a_file_as_on_the_command_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("master.toml");
    // Were it taken, it would end all the same.
    let nowhere = ["--listen", "203.0.113.1:1"];
    let config = [&["--id", "1", "--config", file.to_str().expect("UTF-8")][..], &nowhere].concat();
    for (lines, flags) in [
        (
            "masters = \"1=127.0.0.1:1\"\njoin = \"127.0.0.1:2\"\n",
            &["--masters", "1=127.0.0.1:1", "--join", "127.0.0.1:2"],
        ),
        ("restore = \"x\"\njoin = \"127.0.0.1:2\"\n", &["--join", "127.0.0.1:2", "--restore", "x"]),
    ] {
        std::fs::write(&file, lines).expect("a file");
        let (in_file, by_flag) = (
            master(dir.path(), &config, &[]),
            master(dir.path(), &[&config[..2], &nowhere, flags].concat(), &[]),
        );
        assert_eq!((in_file.status.code(), by_flag.status.code()), (Some(2), Some(2)));
        assert!(error(&in_file).contains("cannot be used with"), "{}", error(&in_file));
        assert_eq!(error(&in_file).lines().next(), error(&by_flag).lines().next());
    }
    // A variable is no less.
    std::fs::write(&file, "masters = \"1=127.0.0.1:1\"\n").expect("a file");
    let output = master(dir.path(), &config, &[("HAYRICK_JOIN", "127.0.0.1:2")]);
    assert!(error(&output).contains("cannot be used with"), "{}", error(&output));
    // One that cannot be read is told, and does not give way to the file.
    let output = master(dir.path(), &config, &[("HAYRICK_MASTERS", "1=nowhere")]);
    assert!(error(&output).contains("1=nowhere"), "{}", error(&output));
}

#[test]
fn a_file_for_a_server_does_not_hinder_the_commands_about_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("master.toml");
    std::fs::write(&file, "down-aftre = \"3s\"\n").expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hayrick"));
    command.args(["master", "ls", "--server", "127.0.0.1:1"]).env("HAYRICK_CONFIG", &file);
    let output = command.stdin(Stdio::null()).output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(1), "{}", error(&output));
    assert!(!error(&output).contains("down-aftre"), "{}", error(&output));
}

#[test]
fn the_file_that_is_printed_is_taken_as_it_is() {
    for (role, args) in [("master", &SELF[..]), ("volume", &SELF[2..])] {
        let dir = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_hayrick"));
        let printed = command.args(["config", role]).stdin(Stdio::null()).output().expect("the binary runs");
        assert_eq!((printed.status.code(), error(&printed)), (Some(0), ""));
        let file = dir.path().join(role);
        std::fs::write(&file, &printed.stdout).expect("a file");
        let config = ["--config", file.to_str().expect("UTF-8"), "--listen", "203.0.113.1:1"];
        let output = server(role, dir.path(), &[args, &config].concat(), &[]);
        assert!(error(&output).contains("cannot listen on 203.0.113.1:1"), "{}", error(&output));
    }
    let wrong = Command::new(env!("CARGO_BIN_EXE_hayrick")).args(["config", "put"]).output();
    let wrong = wrong.expect("the binary runs");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(error(&wrong).contains("master, volume, dev"), "{}", error(&wrong));
}

#[test]
fn wrong_values_are_refused_by_name_before_anything_is_touched() {
    let dir = tempfile::tempdir().expect("a directory");
    for (flag, value, says) in [
        ("--down-after", "3", "write 250ms, 3s"),
        ("--election", "1s", "500ms-1s"),
        ("--max-object-size", "64MB", "64MiB"),
        ("--listen", "9090", "HOST:PORT"),
        ("--partitions", "many", "--partitions"),
        ("--replicas", "300", "--replicas"),
        ("--reap-after", "500000000y", "longer than a year"),
        ("--advertise", "127.0.0.1:0", "port 0"),
        ("--snapshot-after", "1", "100"),
    ] {
        let output = master(dir.path(), &[&SELF[..], &[flag, value]].concat(), &[]);
        assert_eq!(output.status.code(), Some(2), "{flag} {value}");
        assert!(error(&output).contains(says) && error(&output).contains(flag), "{}", error(&output));
    }
    let zero = master(dir.path(), &["--id", "0", SELF[2], SELF[3]], &[]);
    assert!(zero.status.code() == Some(2) && error(&zero).contains("numbers from 1"));
    assert_eq!(master(dir.path(), &["--id", "1"], &[]).status.code(), Some(2), "--masters is missing");
    assert!(!dir.path().join("data").exists());
}

#[test]
fn what_cannot_work_together_is_wrong_use_told_in_one_sentence() {
    let dir = tempfile::tempdir().expect("a directory");
    for (args, says) in [
        (&["--id", "2", "--masters", "1=127.0.0.1:1"][..], "--masters does not name master 2 itself"),
        (&["--id", "1", "--masters", "127.0.0.1:1"], "write 1=127.0.0.1:1"),
        (&["--id", "1", "--masters", "1=127.0.0.1:1,1=127.0.0.1:2"], "names id 1 twice"),
    ] {
        refused_in_a_sentence(&master(dir.path(), args, &[]), says);
    }
    for (args, says) in [
        (&["--partitions", "1000"][..], "a power of two"),
        (&["--min-replicas", "5"], "between 1 and --replicas, which is 3"),
        (&["--max-object-size", "1TiB"], "between 1 and 256MiB"),
        (&["--body-memory", "1MiB"], "below --max-object-size"),
        (&["--index-cache", "1KiB"], "between 1MiB"),
        (&["--request-timeout", "1ms"], "between 100ms"),
        (&["--down-after", "1ms"], "the least that works is 1s"),
        (&["--heartbeat", "1us"], "the least that works is 10ms"),
        (&["--election", "300ms-2h"], "--election"),
        (&["--listen", "0.0.0.0:9090"], "set --advertise"),
        (&["--listen", "127.0.0.1:9092"], "two ports"),
        (&["--log", "hayrick=loud"], "is not a log filter"),
    ] {
        refused_in_a_sentence(&master(dir.path(), &[&SELF[..], args].concat(), &[]), says);
    }
    for (args, says) in [
        (&["--capacity", "10"][..], "the least that works is 8MiB"),
        (&["--segment-size", "1"], "between 1MiB"),
        (&["--segment-size", "17GiB"], "and 16GiB"),
        (&["--peer-listen", "0.0.0.0:9093"], "set --peer-advertise"),
    ] {
        refused_in_a_sentence(&server("volume", dir.path(), &[&SELF[2..], args].concat(), &[]), says);
    }
    assert!(!dir.path().join("data").exists(), "something was made of it");
}

fn refused_in_a_sentence(output: &Output, says: &str) {
    assert_eq!(output.status.code(), Some(2), "{}", error(output));
    let last = error(output).lines().last().unwrap_or_default();
    assert!(last.starts_with("hayrick: ") && last.contains(says), "{last}");
}

#[test]
fn a_server_may_open_as_many_files_as_the_system_lets_it_and_says_when_that_is_too_few() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("master.toml");
    std::fs::write(&file, "id = 1\nmasters = [\"1=127.0.0.1:1\"]\nlisten = \"203.0.113.1:1\"\n")
        .expect("a file");
    let under = |limits: &str| {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{limits} && exec \"$0\" master --data \"$1\" --config \"$2\""));
        command.arg(env!("CARGO_BIN_EXE_hayrick")).arg(dir.path().join("data")).arg(&file);
        command.env_remove("RUST_LOG").env_remove("HAYRICK_LOG").stdin(Stdio::null());
        let output = command.output().expect("there is a shell");
        assert!(error(&output).contains("cannot listen on 203.0.113.1:1"), "{}", error(&output));
        error(&output).contains("may open only 1000 files")
    };
    assert!(under("ulimit -n 1000"), "a hard limit that is too low is told");
    assert!(!under("ulimit -Sn 1000"), "a soft one is raised");
}
