//! Claims about what is written on a terminal and what is not written anywhere else. The terminal is a pseudo-terminal; a
//! listener that says the same, with some objects more each time, plays the master.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::json;

/// How long something may take that takes a second or two.
const PATIENCE: Duration = Duration::from_secs(60);
/// The MD5 of no bytes: whatever is asked, objects of no bytes can be put.
const ETAG: &str = "d41d8cd98f00b204e9800998ecf8427e";
const ESCAPE: char = '\x1b';

/// A master whose objects grow. It ends with the test's process.
fn growing_master() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for (objects, stream) in (1u64..).zip(listener.incoming()) {
            let mut reader = BufReader::new(stream.expect("a connection"));
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
                line.clear();
            }
            let volumes: Vec<_> = (1..=30).map(|id| json!({ "id": id, "state": "up" })).collect();
            let status =
                json!({ "node": 1, "leader": 1, "objects": objects * 1000, "object_bytes": objects << 20,
                "applied": objects * 10, "volumes": volumes })
                .to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\nhayrick-server: master\r\netag: \"{ETAG}\"\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                status.len()
            );
            // Whoever has seen enough is gone.
            let _ = reader.get_mut().write_all((head + &status).as_bytes());
        }
    });
    address
}

fn hayrick(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hayrick"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HAYRICK_")) {
        command.env_remove(name);
    }
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.args(args).env("TERM", "xterm").stdin(Stdio::null());
    command
}

/// What comes out of `from`, piece by piece; its end closes the channel. A terminal whose last program is gone says that as an
/// error.
fn pieces(mut from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if sender.send(String::from_utf8_lossy(&buffer[..length]).into_owned()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// What comes until it is enough, or ends.
fn read_until(pieces: &Receiver<String>, is_enough: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    while !is_enough(&text) {
        match pieces.recv_timeout(PATIENCE) {
            Ok(piece) => text.push_str(&piece),
            Err(error) => {
                assert_eq!(
                    error,
                    std::sync::mpsc::RecvTimeoutError::Disconnected,
                    "only this came: {text:?}"
                );
                break;
            }
        }
    }
    text
}

/// What a program writes on a terminal of 100 columns and 24 lines, until it is enough, or the program ends.
fn on_a_terminal(mut command: Command, is_enough: impl Fn(&str) -> bool) -> String {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&ours).expect("it is ours");
    unlockpt(&ours).expect("it is ours");
    let name = ptsname(&ours, Vec::new()).expect("it has a name");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let theirs = rustix::fs::open(name, flags, Mode::empty()).expect("its other side");
    tcsetwinsize(&theirs, Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 }).expect("a size");
    command.stderr(Stdio::from(theirs.try_clone().expect("a second handle"))).stdout(Stdio::from(theirs));
    let mut child = command.spawn().expect("the binary runs");
    // The last handles of ours to the other side: with them open the end would never be seen.
    drop(command);
    let text = read_until(&pieces(File::from(ours)), is_enough);
    let _ = child.kill();
    child.wait().expect("it ended");
    text
}

fn in_a_pipe(mut command: Command, is_enough: impl Fn(&str) -> bool) -> String {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary runs");
    let text = read_until(&pieces(child.stdout.take().expect("piped")), is_enough);
    let _ = child.kill();
    child.wait().expect("it ended");
    text
}

#[test]
fn watching_writes_over_what_was_shown_and_clears_nothing_before() {
    let master = growing_master();
    let end_of_a_look = "\x1b[J";
    let text = on_a_terminal(hayrick(&["status", "--watch", "--server", &master]), |text| {
        text.matches(end_of_a_look).count() >= 3
    });
    assert!(!text.contains("\x1b[2J"), "the whole terminal is cleared: {text:?}");
    let looks: Vec<&str> = text.split_inclusive(end_of_a_look).collect();
    for look in &looks[..3] {
        assert!(look.starts_with("\x1b[H"), "{look:?}");
        let lines: Vec<&str> = look.lines().collect();
        assert!(lines[..lines.len() - 1].iter().all(|line| line.ends_with("\x1b[K")), "{look:?}");
        assert!(lines.len() <= 24, "{} lines make a terminal of 24 scroll: {look:?}", lines.len());
        assert!(look.contains("lines more than fit here"), "{look:?}");
    }
    assert!(!looks[0].contains("a second"), "{:?}", looks[0]);
    for look in &looks[1..3] {
        assert!(look.contains("a second  +"), "{look:?}");
        assert!(look.contains(" objects, +"), "{look:?}");
    }
}

#[test]
fn watching_writes_plain_text_into_a_pipe() {
    let master = growing_master();
    let text = in_a_pipe(hayrick(&["status", "--watch", "--server", &master]), |text| {
        text.matches("\na second").count() >= 2
    });
    assert!(!text.contains(ESCAPE), "{text:?}");
    assert!(text.contains("\n\ncluster "), "an empty line lies between two looks: {text}");
    assert!(!text.contains("more than fit"), "all of it is there: {text}");
}

#[test]
fn help_and_errors_have_colours_only_on_a_terminal_and_if_nobody_said_no() {
    for args in [&["--help"][..], &["--no-such-flag"]] {
        let all = |_: &str| false;
        assert!(on_a_terminal(hayrick(args), all).contains(ESCAPE), "{args:?} has no colours");
        for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let mut command = hayrick(args);
            command.env(name, value);
            let text = on_a_terminal(command, all);
            assert!(!text.is_empty() && !text.contains(ESCAPE), "{name}={value} {args:?}: {text:?}");
        }
        assert!(!in_a_pipe(hayrick(args), all).contains(ESCAPE), "{args:?}");
    }
}

#[test]
fn logs_have_colours_only_on_a_terminal_and_if_nobody_said_no() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("master.toml");
    // An address that no machine has: it ends after its first lines.
    std::fs::write(&file, "id = 1\nmasters = [\"1=127.0.0.1:1\"]\nlisten = \"203.0.113.1:1\"\n")
        .expect("a file");
    let data = dir.path().join("data");
    let args = ["master", "--data", data.to_str().expect("UTF-8"), "--config", file.to_str().expect("UTF-8")];
    let all = |_: &str| false;
    let text = on_a_terminal(hayrick(&args), all);
    assert!(text.contains(ESCAPE) && text.contains("settings are taken from this file"), "{text:?}");
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let mut command = hayrick(&args);
        command.env(name, value);
        let text = on_a_terminal(command, all);
        assert!(text.contains("settings are taken from this file"), "{text:?}");
        assert!(!text.contains(ESCAPE), "{name}={value}: {text:?}");
    }
}

#[test]
fn bench_tells_in_one_line_how_it_goes_and_draws_in_blocks_only_on_a_terminal_that_can() {
    // It answers with the ETag of no bytes, and would read none.
    let master = growing_master();
    let args =
        ["bench", "--size", "0", "--clients", "1", "--seconds", "2", "--warm-up", "0s", "--server", &master];
    let all = |_: &str| false;
    let text = on_a_terminal(hayrick(&args), all);
    assert!(text.contains("\r\x1b[Kmeasuring: 1 of 2 s, "), "{text:?}");
    assert!(text.contains('█'), "{text:?}");
    let mut command = hayrick(&args);
    command.env("TERM", "dumb");
    let text = on_a_terminal(command, all);
    assert!(text.contains("  #") && text.contains("this machine: "), "{text:?}");
    assert!(!text.contains(ESCAPE) && text.is_ascii(), "{text:?}");
}
