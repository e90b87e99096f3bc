//! Claims about `hayrick bench`: what it sends, counts, says and removes. A listener that keeps objects in memory, and fails as it
//! is told to, plays the master; real ones are in `integration-tests`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use md5::{Digest, Md5};
use serde_json::Value;

/// How long something may take that takes a moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a fake master holds, and what it was asked.
#[derive(Default)]
struct Held {
    objects: BTreeMap<String, Vec<u8>>,
    puts: u64,
    gets: u64,
    deletes: u64,
    /// All paths that were ever asked for.
    paths: Vec<String>,
}

/// How a fake master fails.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Every tenth PUT but the first is refused, and every tenth has an unknown outcome though it happened.
    SomePuts,
    /// Every tenth PUT has an unknown outcome, and does not happen.
    LostPuts,
    /// No leader is there for the first two PUTs.
    Election,
    /// The outcome of all PUTs is unknown.
    AllPuts,
    /// What is read is not what was put.
    OtherBytes,
    /// Nothing is deleted.
    Deletes,
    /// No DELETE is answered.
    SilentDeletes,
    /// Bodies are too large.
    Large,
}

struct Master {
    address: String,
    shared: Arc<Shared>,
}

struct Shared {
    held: Mutex<Held>,
    asked: Condvar,
    fault: Fault,
}

impl Master {
    /// Begins to answer; it ends with the test's process.
    fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let shared = Arc::new(Shared { held: Mutex::default(), asked: Condvar::new(), fault });
        let of_all = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&of_all);
                std::thread::spawn(move || shared.converse(stream.expect("a connection")));
            }
        });
        Self { address, shared }
    }

    /// What it holds, once that is as it shall be.
    fn wait_until(&self, is_so: impl Fn(&Held) -> bool) {
        let held = self.shared.held.lock().expect("no answer panics");
        let waited = self.shared.asked.wait_timeout_while(held, PATIENCE, |held| !is_so(held));
        assert!(!waited.expect("no answer panics").1.timed_out(), "it never was so");
    }
}

impl Shared {
    /// Answers one request after the other.
    fn converse(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream);
        loop {
            let (mut line, mut head) = (String::new(), String::new());
            while !head.ends_with("\r\n\r\n") && head != "\r\n" {
                let into = if line.is_empty() { &mut line } else { &mut head };
                if !reader.read_line(into).is_ok_and(|length| length > 0) {
                    return;
                }
            }
            let head = head.to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0);
            let mut body = vec![0; length];
            if reader.read_exact(&mut body).is_err() {
                return;
            }
            let mut words = line.split(' ');
            let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            // Of what was put, also where other bytes are read.
            let etag = match method {
                "PUT" => hex::encode(Md5::digest(&body)),
                _ => self.etag_of(path),
            };
            let (status, body) = self.answer(method, path, body);
            if method == "DELETE" && self.fault == Fault::SilentDeletes {
                // Until the client goes.
                let _ = reader.read(&mut [0]);
                return;
            }
            let head = format!(
                "HTTP/1.1 {status}\r\nhayrick-server: master\r\netag: \"{etag}\"\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            if reader.get_mut().write_all(&[head.as_bytes(), &body].concat()).is_err() {
                return;
            }
        }
    }

    fn etag_of(&self, path: &str) -> String {
        let held = self.held.lock().expect("no answer panics");
        held.objects.get(path).map(|bytes| hex::encode(Md5::digest(bytes))).unwrap_or_default()
    }

    fn answer(&self, method: &str, path: &str, body: Vec<u8>) -> (&'static str, Vec<u8>) {
        let mut held = self.held.lock().expect("no answer panics");
        held.paths.push(path.to_owned());
        let refused = ("503 Service Unavailable", b"no leader".to_vec());
        let answer = match method {
            "PUT" if self.fault == Fault::Large => ("413 Content Too Large", b"at most 1 B".to_vec()),
            "PUT" => {
                held.puts += 1;
                let number = held.puts % 10;
                let unknown = ("504 Gateway Timeout", b"no majority".to_vec());
                match self.fault {
                    Fault::SomePuts if number == 5 => refused,
                    Fault::Election if held.puts <= 2 => refused,
                    Fault::LostPuts if number == 0 => unknown,
                    Fault::AllPuts => unknown,
                    fault => {
                        held.objects.insert(path.to_owned(), body);
                        let is_unknown = fault == Fault::SomePuts && number == 0;
                        if is_unknown { unknown } else { ("201 Created", Vec::new()) }
                    }
                }
            }
            "GET" => {
                held.gets += 1;
                let other = if self.fault == Fault::OtherBytes { 1 } else { 0 };
                match held.objects.get(path) {
                    Some(bytes) => ("200 OK", bytes.iter().map(|byte| byte ^ other).collect()),
                    None => ("404 Not Found", b"Key does not exist.".to_vec()),
                }
            }
            "DELETE" if self.fault == Fault::Deletes => ("507 Insufficient Storage", b"full".to_vec()),
            "DELETE" => {
                held.deletes += 1;
                match held.objects.remove(path) {
                    Some(_) => ("204 No Content", Vec::new()),
                    None => ("404 Not Found", b"Key does not exist.".to_vec()),
                }
            }
            _ => ("405 Method Not Allowed", Vec::new()),
        };
        self.asked.notify_all();
        answer
    }
}

fn bench(server: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hayrick"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HAYRICK_")) {
        command.env_remove(name);
    }
    command.args(["bench", "--server", server, "--clients", "4"]).args(args).stdin(Stdio::null());
    command
}

fn run(master: &Master, args: &[&str]) -> Output {
    bench(&master.address, args).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", text(&output.stdout), text(&output.stderr)))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn the_warm_up_is_not_counted_and_everything_is_removed() {
    let master = Master::start(Fault::None);
    let dir = tempfile::tempdir().expect("a directory");
    let limits = dir.path().to_str().expect("UTF-8");
    let args = ["--seconds", "1", "--warm-up", "500ms", "--size", "2KiB", "--json", "--limits-dir", limits];
    let output = run(&master, &args);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let json = json(&output);
    let held = master.shared.held.lock().expect("no answer panics");
    let (warm_up, answered) = (number(&json["warm_up_requests"]), number(&json["put"]["answered"]));
    assert!(warm_up > 0 && answered > 0, "{json}");
    // The first one shows that the cluster takes such objects.
    assert_eq!(held.puts, 1 + warm_up + answered, "{json}");
    assert_eq!((held.objects.len(), &json["objects"]["left"]), (0, &0.into()));
    assert_eq!(number(&json["objects"]["removed"]), held.puts);
    let prefix = json["prefix"].as_str().expect("a prefix");
    assert!(prefix.starts_with("bench/") && prefix.len() > "bench/".len(), "{prefix}");
    let outside = held.paths.iter().find(|path| !path.starts_with(&format!("/{prefix}")));
    assert_eq!(outside, None);

    let put = &json["put"];
    for figure in ["per_second", "bytes_per_second", "latency_p50_us", "latency_p99_us", "latency_p99_9_us"] {
        assert!(put[figure].as_f64().is_some_and(|figure| figure > 0.0), "{figure}: {json}");
    }
    let rows = put["histogram"].as_array().expect("rows");
    assert_eq!(rows.iter().map(|row| number(&row["requests"])).sum::<u64>(), answered);
    let limit = &put["machine_limit"];
    let is_measured = limit["share_percent"].as_f64().is_some_and(|share| share > 0.0);
    assert!(is_measured || limit["left_out"].is_string(), "{json}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("it is there").count(), 0, "syncs leave nothing");
}

#[test]
fn reads_are_of_what_was_put_before_and_are_told_in_plain_ascii() {
    let master = Master::start(Fault::None);
    let args = ["--mode", "get", "--seconds", "1", "--warm-up", "0s", "--objects", "7"];
    let output = run(&master, &args);
    let (told, noted) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{noted}");
    assert!(
        told.starts_with("4 clients at one master, objects of 1.0 KiB, reads of 7 objects; 1.0 s"),
        "{told}"
    );
    assert!(told.contains("\nGET  ") && !told.contains("PUT  "), "{told}");
    assert!(told.contains("  #") && told.is_ascii() && noted.is_ascii(), "{told}{noted}");
    assert!(told.contains("from a bare HTTP server in this process"), "{told}");
    let held = master.shared.held.lock().expect("no answer panics");
    assert_eq!((held.puts, held.objects.len()), (7, 0));
    let paths: std::collections::BTreeSet<&String> = held.paths.iter().collect();
    assert_eq!(paths.len(), 7);
}

#[test]
fn what_fails_is_counted_by_kind_and_too_much_of_it_is_no_success() {
    let master = Master::start(Fault::SomePuts);
    let output = run(&master, &["--seconds", "1", "--warm-up", "0", "--json"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("%, which is more than 1 %"), "{said}");
    let json = json(&output);
    let kinds = &json["put"]["failed_by_kind"];
    let (refused, unknown) = (number(&kinds["refused_503"]), number(&kinds["outcome_unknown_504"]));
    assert!(refused > 0 && unknown > 0, "{json}");
    assert_eq!(number(&json["put"]["failed"]), refused + unknown);
    let held = master.shared.held.lock().expect("no answer panics");
    assert_eq!(held.puts, 1 + number(&json["put"]["answered"]) + refused + unknown, "{json}");
    assert_eq!(held.objects.len(), 0, "those of unknown outcome are removed, too");
}

#[test]
fn what_may_come_after_it_was_to_be_removed_is_told() {
    let master = Master::start(Fault::LostPuts);
    let output = run(&master, &["--seconds", "1", "--warm-up", "0", "--json"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("not known, and they may come yet; `hayrick rm -r bench/"), "{said}");
    let json = json(&output);
    let unknown = number(&json["put"]["failed_by_kind"]["outcome_unknown_504"]);
    assert_eq!(number(&json["objects"]["left"]), unknown, "{json}");

    let master = Master::start(Fault::AllPuts);
    let output = run(&master, &[]);
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(5) && said.contains("comes yet, `hayrick rm -r bench/"), "{said}");
}

#[test]
fn a_run_may_begin_while_a_leader_is_elected() {
    let master = Master::start(Fault::Election);
    let output = run(&master, &["--seconds", "1", "--warm-up", "0"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn other_bytes_than_were_put_are_told() {
    let master = Master::start(Fault::OtherBytes);
    let args = ["--mode", "mixed", "--seconds", "1", "--warm-up", "0s", "--objects", "2"];
    let output = run(&master, &args);
    assert_eq!(output.status.code(), Some(1));
    let (told, said) = (text(&output.stdout), text(&output.stderr));
    assert!(told.contains("wrong answer; the first: other bytes than were put"), "{told}");
    assert!(said.contains("not as it must be; run it again with --keep"), "{said}");
}

#[test]
fn objects_that_stay_are_told() {
    let master = Master::start(Fault::Deletes);
    let args = ["--seconds", "1", "--warm-up", "0s"];
    let output = run(&master, &args);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("objects could not be removed: full; `hayrick rm -r bench/"), "{said}");

    let master = Master::start(Fault::None);
    let output = run(&master, &[&args[..], &["--keep", "--prefix", "mine/"]].concat());
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("objects stay; `hayrick rm -r mine/"), "{}", text(&output.stderr));
    let held = master.shared.held.lock().expect("no answer panics");
    assert!(
        held.objects.len() as u64 == held.puts && held.objects.keys().all(|key| key.starts_with("/mine/"))
    );
}

#[test]
fn what_the_cluster_does_not_take_is_said_before_anything_is_measured() {
    let master = Master::start(Fault::Large);
    let output = run(&master, &[]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
    let said = text(&output.stderr);
    assert!(said.starts_with("hayrick: the first object, bench/"), "{said}");
    assert!(said.ends_with("/0, could not be put: at most 1 B\n"), "{said}");
    for wrong in [
        &["--clients", "0"][..],
        &["--clients", "4097"],
        &["--seconds", "0"],
        &["--seconds", "86401"],
        &["--size", "257MiB"],
        &["--warm-up", "25h"],
        &["--mode", "delete"],
        &["--prefix", "-/"],
        &["--objects", "7"],
        &["--mode", "get", "--limits-dir", "/"],
    ] {
        let mut command = bench(&master.address, &[]);
        // The one of these tests is given by `bench`; a flag that is given twice is wrong use by itself.
        if wrong[0] == "--clients" {
            command = Command::new(env!("CARGO_BIN_EXE_hayrick"));
            command.args(["bench", "--server", &master.address]);
        }
        let output = command.args(wrong).output().expect("the binary runs");
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", text(&output.stderr));
    }
}

#[test]
fn interrupted_it_tells_what_it_has_and_removes_what_it_put() {
    let master = Master::start(Fault::None);
    let mut command = bench(&master.address, &["--seconds", "600", "--warm-up", "0s", "--json"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    master.wait_until(|held| held.puts > 100);
    interrupt(&child);
    let output = child.wait_with_output().expect("it ends");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("interrupted; the figures are those until then"), "{said}");
    let json = json(&output);
    assert_eq!(json["interrupted"], true);
    assert!(number(&json["put"]["answered"]) >= 95, "{json}");
    let held = master.shared.held.lock().expect("no answer panics");
    assert_eq!((held.objects.len(), &json["objects"]["left"]), (0, &0.into()));
}

#[test]
fn interrupted_twice_it_ends_at_once_and_says_what_removes_the_rest() {
    let master = Master::start(Fault::SilentDeletes);
    let mut command = bench(&master.address, &["--seconds", "600", "--warm-up", "0s"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    master.wait_until(|held| held.puts > 10);
    interrupt(&child);
    master.wait_until(|held| held.deletes > 0);
    interrupt(&child);
    let output = child.wait_with_output().expect("it ends");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("once more to end at once"), "{said}");
    assert!(said.contains("ended at once; `hayrick rm -r bench/"), "{said}");
}

fn interrupt(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
}
