//! Claims about the commands that ask a cluster: what they send, print and end with. A listener that answers from a
//! table plays the master; real ones are in `integration-tests`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::net::TcpSocket;

/// What the fake master was asked: request line, head, body.
type Seen = Arc<Mutex<Vec<(String, String, Vec<u8>)>>>;

/// Answers every request whose line begins with a key of the table; 404 as a master would otherwise. It ends with the
/// test's process.
fn master(table: &'static [(&'static str, &'static str)]) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.expect("a connection"), table, &log);
        }
    });
    (address, seen)
}

fn answer(stream: TcpStream, table: &[(&str, &str)], log: &Seen) {
    let mut reader = BufReader::new(stream);
    let (mut line, mut head) = (String::new(), String::new());
    reader.read_line(&mut line).expect("a request line");
    while !head.ends_with("\r\n\r\n") && head != "\r\n" {
        if reader.read_line(&mut head).expect("a header") == 0 {
            return;
        }
    }
    let head = head.to_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("the body");
    let found = table.iter().find(|(start, _)| line.starts_with(start)).map(|(_, answer)| *answer);
    let answer = found
        .unwrap_or("404 Not Found\r\ncontent-length: 19\r\nconnection: close\r\n\r\nKey does not exist.");
    log.lock().expect("no test panics with it").push((line.trim().to_owned(), head, body));
    // A client that has what it wants may be gone.
    let answer = format!("HTTP/1.1 {answer}").replacen("\r\n", "\r\nHayrick-Server: master\r\n", 1);
    let _ = reader.get_mut().write_all(answer.as_bytes());
}

fn hayrick(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hayrick"));
    command.args(args);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HAYRICK_")) {
        command.env_remove(name);
    }
    command
}

fn run(args: &[&str], server: &str) -> Output {
    hayrick(args).env("HAYRICK_SERVER", server).stdin(Stdio::null()).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// An address where nobody listens: bound, and so nobody else's, while the socket lives.
fn nobody() -> (String, TcpSocket) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    (socket.local_addr().expect("bound").to_string(), socket)
}

/// To a PUT of `meow`, and of `purr`.
const MEOW_STORED: &str = "201 Created\r\netag: \"4a4be40c96ac6314e91d93f38043a634\"\r\nhayrick-version: 7\r\n\
                           content-length: 1\r\nconnection: close\r\n\r\nk";
const PURR_STORED: &str = "200 OK\r\netag: \"19fbb238f0ff2df60984f6129a3797ac\"\r\nhayrick-version: 8\r\n\
                           content-length: 1\r\nconnection: close\r\n\r\nk";
/// To a GET of the first.
const MEOW: &str = "200 OK\r\netag: \"4a4be40c96ac6314e91d93f38043a634\"\r\ncontent-length: 4\r\nconnection: close\r\n\r\nmeow";

#[test]
fn put_sends_a_file_or_standard_input_and_prints_key_and_etag() {
    let (server, seen) = master(&[("PUT /a%20b/c ", MEOW_STORED), ("PUT /d.html ", PURR_STORED)]);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    std::fs::write(&file, "meow").expect("a file");
    let path = file.to_str().expect("UTF-8");

    let output = run(&["put", "a b/c", path, "--content-type", "text/plain"], &server);
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(0), "a b/c  4a4be40c96ac6314e91d93f38043a634\n")
    );

    let mut child = hayrick(&["put", "d.html", "-", "--server", &server])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary runs");
    child.stdin.take().expect("piped").write_all(b"purr").expect("it reads");
    assert!(child.wait().expect("it ends").success());

    let seen = seen.lock().expect("the master is fine");
    assert_eq!((seen[0].2.as_slice(), seen[1].2.as_slice()), (&b"meow"[..], &b"purr"[..]));
    assert!(seen[0].1.contains("content-type: text/plain"));
    assert!(seen[1].1.contains("content-type: text/html"), "as the name says");
}

#[test]
fn put_under_a_condition_sends_it_and_ends_with_4_if_it_fails() {
    let refused = "412 Precondition Failed\r\ncontent-length: 7\r\nconnection: close\r\n\r\nchanged";
    let (server, seen) = master(Box::leak(Box::new([("PUT /k ", refused)])));
    let absent = run(&["put", "k", "--if-absent"], &server);
    let matches = run(&["put", "k", "--if-match", "abc"], &server);
    assert_eq!((absent.status.code(), matches.status.code()), (Some(4), Some(4)));
    assert_eq!(text(&absent.stderr), "hayrick: changed; `hayrick stat KEY` shows what is there now\n");
    let seen = seen.lock().expect("the master is fine");
    assert!(seen[0].1.contains("if-none-match: *"));
    assert!(seen[1].1.contains("if-match: \"abc\""));
}

#[test]
fn every_outcome_has_its_exit_code() {
    let (server, _) = master(&[
        ("GET /there ", MEOW),
        (
            "PUT /unknown ",
            "504 Gateway Timeout\r\ncontent-length: 15\r\nconnection: close\r\n\r\noutcome unknown",
        ),
        ("PUT /full ", "507 Insufficient Storage\r\ncontent-length: 4\r\nconnection: close\r\n\r\nfull"),
    ]);
    let code = |args: &[&str]| run(args, &server).status.code();
    assert_eq!(code(&["get", "there"]), Some(0));
    assert_eq!(code(&["put", "full"]), Some(1));
    assert_eq!(code(&["get"]), Some(2));
    assert_eq!(code(&["get", "a/../b"]), Some(2));
    assert_eq!(code(&["get", "there", "--no-such-flag"]), Some(2));
    assert_eq!(code(&["get", "absent"]), Some(3));
    assert_eq!(code(&["stat", "absent"]), Some(3));
    assert_eq!(code(&["rm", "absent"]), Some(3));
    assert_eq!(code(&["put", "unknown"]), Some(5));
    assert_eq!(run(&["get", "there"], "nonsense").status.code(), Some(2));
    let (closed, _bound) = nobody();
    let unreachable = run(&["get", "there"], &closed);
    assert_eq!(unreachable.status.code(), Some(1));
    assert!(text(&unreachable.stderr).starts_with("hayrick: no master answers: 127.0.0.1:"));
}

#[test]
fn the_next_master_is_asked_when_one_does_not_answer() {
    let (server, _) = master(&[("GET /k ", MEOW)]);
    let (closed, _bound) = nobody();
    let output = run(&["get", "k"], &format!("{closed},{server}"));
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "meow"));
}

#[test]
fn a_proxy_for_the_web_is_not_asked_for_masters() {
    let (server, _) = master(&[("GET /k ", MEOW)]);
    let (closed, _bound) = nobody();
    let proxy = format!("http://{closed}");
    let mut command = hayrick(&["get", "k", "--server", &server]);
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        command.env(name, &proxy);
    }
    let output = command.env_remove("NO_PROXY").env_remove("no_proxy").output().expect("it runs");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "meow"), "{}", text(&output.stderr));
}

#[test]
fn get_writes_a_whole_file_or_leaves_the_old_one() {
    let (server, _) = master(&[
        ("GET /whole ", MEOW),
        ("GET /broken ", "200 OK\r\ncontent-length: 400\r\nconnection: close\r\n\r\nmeow"),
    ]);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("cat");
    let path = file.to_str().expect("UTF-8");
    let content = |file: &Path| std::fs::read_to_string(file).expect("it is there");

    assert_eq!(run(&["get", "whole", "-o", path], &server).status.code(), Some(0));
    assert_eq!(content(&file), "meow");
    std::fs::write(&file, "old").expect("a file");
    assert_eq!(run(&["get", "broken", "-o", path], &server).status.code(), Some(1));
    assert_eq!(run(&["get", "absent", "-o", path], &server).status.code(), Some(3));
    assert_eq!(content(&file), "old");
    assert_eq!(
        std::fs::read_dir(dir.path()).expect("it can be read").count(),
        1,
        "nothing is left beside it"
    );

    let directory = run(&["get", "whole", "-o", dir.path().to_str().expect("UTF-8")], &server);
    assert_eq!(directory.status.code(), Some(2));
    assert!(text(&directory.stderr).contains("is a directory"));
}

#[test]
fn a_link_stays_a_link_and_a_device_a_device() {
    let (server, _) = master(&[("GET /k ", MEOW)]);
    let dir = tempfile::tempdir().expect("a directory");
    let (real, link) = (dir.path().join("real"), dir.path().join("link"));
    std::fs::write(&real, "old").expect("a file");
    std::os::unix::fs::symlink(&real, &link).expect("a link");
    assert_eq!(run(&["get", "k", "-o", link.to_str().expect("UTF-8")], &server).status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(&real).expect("it is there"), "meow");
    assert!(link.is_symlink());
    assert_eq!(run(&["get", "k", "-o", "/dev/null"], &server).status.code(), Some(0));
    assert!(!Path::new("/dev/null").is_file());
}

#[test]
fn who_reads_a_named_pipe_gets_all_of_it_or_the_command_has_failed() {
    const LARGE: usize = 1 << 20;
    let head = format!("200 OK\r\nconnection: close\r\ncontent-length: {LARGE}\r\n\r\n");
    let answer: &'static str = Box::leak((head + &"x".repeat(LARGE)).into_boxed_str());
    let (server, _) = master(Box::leak(Box::new([("GET /k ", answer)])));
    let dir = tempfile::tempdir().expect("a directory");
    let pipe = dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("it is there").success());
    let args = ["get", "k", "--server", &server];
    let mut named = hayrick(&args);
    named.args(["-o", pipe.to_str().expect("UTF-8")]).stderr(Stdio::piped());
    let named = named.spawn().expect("the binary runs");
    // Returns when the other side is open, and goes.
    drop(std::fs::File::open(&pipe).expect("a reader"));
    let output = named.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/pipe: Broken pipe"), "{}", text(&output.stderr));

    // Of standard output, whoever reads it may have enough.
    let mut piped =
        hayrick(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    drop(piped.stdout.take());
    let output = piped.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

#[test]
fn a_command_that_cannot_tell_what_is_wrong_ends_as_any_other() {
    let (server, _) = master(&[]);
    for (args, code) in
        [("rm absent", 3), ("undelete absent", 3), ("get absent", 3), ("put a /no/such/file", 1)]
    {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("it is there");
        let args: Vec<&str> = args.split(' ').collect();
        let mut command = hayrick(&args);
        command.env("HAYRICK_SERVER", &server).stdin(Stdio::null()).stdout(Stdio::null()).stderr(full);
        assert_eq!(command.status().expect("it runs").code(), Some(code), "{args:?}");
    }
}

#[test]
fn rm_goes_on_behind_a_key_that_cannot_be_deleted() {
    let (server, seen) = master(&[
        ("DELETE /a ", "204 No Content\r\nconnection: close\r\n\r\n"),
        (
            "DELETE /c ",
            "504 Gateway Timeout\r\ncontent-length: 15\r\nconnection: close\r\n\r\noutcome unknown",
        ),
        ("DELETE /d ", "204 No Content\r\nconnection: close\r\n\r\n"),
        ("DELETE /full ", "507 Insufficient Storage\r\ncontent-length: 4\r\nconnection: close\r\n\r\nfull"),
    ]);
    let output = run(&["rm", "a", "absent", "c", "d"], &server);
    assert_eq!(output.status.code(), Some(5));
    let said = text(&output.stderr);
    let lines: Vec<&str> = said.lines().filter_map(|line| Some(line.split_once("; ")?.0)).collect();
    let told = ["hayrick: absent: there is no such key", "hayrick: c: outcome unknown: outcome unknown"];
    assert_eq!(lines, told, "each with what to do: {said}");
    assert_eq!(seen.lock().expect("the master is fine").len(), 4);
    // A key that was not there needs less of a look than one that is still there.
    assert_eq!(run(&["rm", "absent", "full", "a"], &server).status.code(), Some(1));
}

#[test]
fn undelete_says_of_each_key_what_became_of_it() {
    let (server, seen) = master(&[
        ("POST /-/undelete/a%20b/c ", "200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nback\n"),
        ("POST /-/undelete/gone ", "404 Not Found\r\ncontent-length: 8\r\nconnection: close\r\n\r\ngone: no"),
        (
            "POST /-/undelete/taken ",
            "409 Conflict\r\ncontent-length: 9\r\nconnection: close\r\n\r\ntaken: no",
        ),
        (
            "POST /-/undelete/lost ",
            "504 Gateway Timeout\r\ncontent-length: 4\r\nconnection: close\r\n\r\nlost",
        ),
    ]);
    let ends = |keys: &[&str]| {
        let output = run(&[&["undelete"], keys].concat(), &server);
        (output.status.code(), text(&output.stderr).to_owned())
    };
    assert_eq!(ends(&["a b/c"]), (Some(0), String::new()));
    assert_eq!(ends(&["gone"]), (Some(3), "hayrick: gone: no\n".to_owned()));
    assert_eq!(ends(&["taken"]), (Some(4), "hayrick: taken: no\n".to_owned()));
    let all = ends(&["gone", "lost", "taken", "a b/c"]);
    let what_to_do = "look before you do it again, as with `hayrick stat KEY`";
    let told = format!(
        "hayrick: gone: no\nhayrick: lost: outcome unknown: lost; {what_to_do}\nhayrick: taken: no\n"
    );
    assert_eq!(all, (Some(5), told));
    assert_eq!(ends(&["a/../b"]).0, Some(2));
    assert_eq!(seen.lock().expect("the master is fine").len(), 7, "each once");
}

const PAGES: &[(&str, &str)] = &[
    (
        "GET /p/?list&start=p%2Fb ",
        "200 OK\r\ncontent-length: 28\r\nconnection: close\r\n\r\n{\"next\":\"\",\"keys\":[\"p/b\\\"\"]}",
    ),
    (
        "GET /p/?list ",
        "200 OK\r\ncontent-length: 29\r\nconnection: close\r\n\r\n{\"next\":\"p/b\",\"keys\":[\"p/a\"]}",
    ),
    (
        "GET /none?list ",
        "200 OK\r\ncontent-length: 21\r\nconnection: close\r\n\r\n{\"next\":\"\",\"keys\":[]}",
    ),
];

#[test]
fn ls_follows_pages_in_text_and_json() {
    let (server, _) = master(PAGES);
    assert_eq!(text(&run(&["ls", "-r", "p/"], &server).stdout), "p/a\np/b\"\n");
    let json = "[\n{\"key\":\"p/a\"},\n{\"key\":\"p/b\\\"\"}\n]\n";
    assert_eq!(text(&run(&["ls", "p/", "-r", "--json"], &server).stdout), json);
    assert_eq!(text(&run(&["ls", "none", "-r", "--json"], &server).stdout), "[]\n");
    assert_eq!(text(&run(&["ls", "none", "-r"], &server).stdout), "");
}

#[test]
fn stat_shows_what_is_kept_with_an_object() {
    let (server, _) = master(&[(
        "HEAD /k ",
        "200 OK\r\ncontent-length: 2048\r\netag: \"abc\"\r\ncontent-type: image/jpeg\r\nhayrick-version: 7\r\n\
         last-modified: Mon, 23 Nov 2026 10:00:00 GMT\r\nhayrick-placement: partition=1; placement=2; volumes=1,3\r\n\
         hayrick-needle: 4294967303\r\nhayrick-meta-author: me\r\nconnection: close\r\n\r\n",
    )]);
    let expected = "\
key                  k
size                 2048 B (2.0 KiB)
etag                 abc
content-type         image/jpeg
modified             Mon, 23 Nov 2026 10:00:00 GMT
version              7
placement            partition=1; placement=2; volumes=1,3
needle               4294967303
hayrick-meta-author  me
";
    assert_eq!(text(&run(&["stat", "k"], &server).stdout), expected);
    let output = run(&["stat", "k", "--json"], &server);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&json["size"], &json["headers"]["hayrick-meta-author"]), (&2048.into(), &"me".into()));
    assert_eq!(json["needle"], 4_294_967_303_u64);
}

#[test]
fn status_prints_tables_or_the_whole_answer() {
    let (server, _) = master(&[(
        "GET /-/status ",
        "200 OK\r\ncontent-length: 57\r\nconnection: close\r\n\r\n{\"cluster\":\"c0ffee\",\"node\":1,\"leader\":null,\"new\":{\"a\":1}}  ",
    )]);
    let table = run(&["status"], &server);
    assert!(
        text(&table.stdout).starts_with("cluster  c0ffee, as master 1 sees it"),
        "{}",
        text(&table.stdout)
    );
    assert!(text(&table.stdout).contains("no linearizable reads"));
    let json: serde_json::Value =
        serde_json::from_slice(&run(&["status"], &server).stdout).unwrap_or(serde_json::Value::Null);
    assert!(json.is_null(), "without --json it is for people");
    let mut command = hayrick(&["status"]);
    let output =
        command.envs([("HAYRICK_JSON", "1"), ("HAYRICK_SERVER", &server)]).output().expect("it runs");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["new"]["a"], 1);
}

#[test]
fn volumes_that_were_removed_are_listed_only_where_all_are_wanted() {
    let server = master_that_says(&json!({ "node": 1, "leader": 1, "volumes": [
        { "id": 1, "state": "removed" }, { "id": 2, "state": "up" },
    ]}));
    let listed = |args: &[&str]| {
        let text = text(&run(args, &server).stdout).to_owned();
        ["removed", "up"].map(|state| text.contains(state))
    };
    assert_eq!(listed(&["volume", "ls"]), [false, true]);
    assert_eq!(listed(&["volume", "ls", "--all"]), [true, true]);
    assert_eq!(listed(&["volume", "ls", "--json"]), [false, true]);
    assert_eq!(listed(&["volume", "ls", "--json", "--all"]), [true, true]);
}

#[test]
fn the_move_rate_is_shown_and_set() {
    let (server, seen) = master(&[
        (
            "GET /-/move-rate ",
            "200 OK\r\ncontent-length: 39\r\nconnection: close\r\n\r\n{\"bytes_per_s\":52428800,\"default\":true}",
        ),
        ("PUT /-/move-rate ", "200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\nit is so\n"),
    ]);
    let shown = run(&["move-rate"], &server);
    assert_eq!(text(&shown.stdout), "50.0 MiB a second each volume, the masters' --move-rate\n");
    let json = run(&["move-rate", "--json"], &server);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json, json!({ "bytes_per_s": 52_428_800, "default": true }));
    assert_eq!(text(&run(&["move-rate", "200MiB"], &server).stdout), "it is so\n");
    assert_eq!(text(&run(&["move-rate", "default"], &server).stdout), "it is so\n");
    let wrong = run(&["move-rate", "fast"], &server);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("64KiB"), "{}", text(&wrong.stderr));
    let seen = seen.lock().expect("the master is fine");
    let put = seen.iter().filter(|(line, ..)| line.starts_with("PUT")).map(|(_, _, body)| text(body));
    assert_eq!(put.collect::<Vec<_>>(), ["209715200", "default"]);
}

#[test]
fn version_names_version_and_commit_and_help_teaches() {
    let version = run(&["--version"], "unused:1");
    assert!(text(&version.stdout).starts_with(concat!("hayrick ", env!("CARGO_PKG_VERSION"), " (commit ")));
    let help = run(&["master", "--help"], "unused:1");
    assert!(text(&help.stdout).contains("Examples:") && text(&help.stdout).contains("HAYRICK_DOWN_AFTER"));
}

/// A row of a master's table: this status, for as long as the test runs.
fn status(json: &serde_json::Value) -> (&'static str, &'static str) {
    let json = json.to_string();
    let length = json.len();
    let answer = format!("200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{json}");
    ("GET /-/status ", answer.leak())
}

fn master_that_says(json: &serde_json::Value) -> String {
    master(vec![status(json)].leak()).0
}

#[test]
fn the_leader_is_asked_who_the_masters_are_and_who_has_not_entered_is_passed_over() {
    let joining = master_that_says(&json!({ "node": 4, "leader": null, "masters": [] }));
    let leader = master_that_says(&json!({ "node": 2, "leader": 2, "masters": [
        { "id": 2, "role": "leader", "lag": 0, "client": "b:1", "peer": "b:2", "reached_ms": 0 },
        { "id": 3, "role": "unreachable", "client": "c:1", "peer": "c:2", "reached_ms": 12_345 },
        { "id": 5, "role": "unreachable", "client": "d:1", "peer": "d:2", "reached_ms": null },
    ]}));
    let follower = master_that_says(&json!({ "node": 1, "leader": 2, "masters": [
        { "id": 2, "role": "leader", "client": leader, "peer": "b:2", "lag": 0 },
        { "id": 3, "role": "follower", "client": "c:1", "peer": "c:2" },
    ]}));
    let (nobody, _bound) = nobody();
    let listed = run(&["master", "ls"], &[&nobody, &joining, &follower].map(|at| at.as_str()).join(","));
    let table = "\
master  role         reached  lag  client  peer
     2  leader           now    0  b:1     b:2
     3  unreachable  12s-ago    -  c:1     c:2
     5  unreachable    never    -  d:1     d:2
";
    assert_eq!((text(&listed.stdout), text(&listed.stderr)), (table, ""));
    let shown = run(&["master", "ls", "--json"], &follower);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!((&shown["seen_by"], &shown["masters"][1]["reached_ms"]), (&2.into(), &12_345.into()));

    let alone = run(&["master", "ls"], &format!("{joining},{nobody}"));
    assert_eq!((alone.status.code(), text(&alone.stdout)), (Some(1), ""));
    let said = text(&alone.stderr);
    for words in
        [&format!("{joining}: master 4 knows of no cluster yet"), &format!("{nobody}: nobody listens there")]
    {
        assert!(said.contains(words), "{said}");
    }
    let none = run(&["master", "ls"], &nobody);
    let told = format!(
        "hayrick: no master answers: {nobody}: nobody listens there; start them, or name their client ports with --server\n"
    );
    assert_eq!(text(&none.stderr), told);

    let cut_off = master_that_says(&json!({ "node": 1, "leader": 2, "masters": [
        { "id": 1, "role": "follower", "client": "a:1", "peer": "a:2", "reached_ms": 0 },
        { "id": 2, "role": "leader", "client": nobody, "peer": "b:2", "lag": 0, "reached_ms": 1 },
    ]}));
    let doubted = run(&["master", "ls"], &cut_off);
    let table = format!(
        "master  role      reached  lag  client{0:width$}  peer\n     1  follower      now    -  a:1   {0:width$}  a:2\n     2  \
         leader        now    0  {nobody}  b:2\n",
        "",
        width = nobody.len() - 6
    );
    assert_eq!((doubted.status.code(), text(&doubted.stdout)), (Some(0), table.as_str()));
    let said = text(&doubted.stderr);
    assert!(said.starts_with("note: master 1 says this; the leader, master 2, could not be asked"), "{said}");
}

#[test]
fn removing_a_master_says_what_few_masters_mean() {
    const REMOVED: (&str, &str) =
        ("DELETE /-/masters/3 ", "200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\n\n");
    let after = |left: &[u64]| {
        // A learner counts as little as the one that is being removed, which may be listed still.
        let row = |id: &u64, role: &str| json!({ "id": id, "role": role });
        let mut masters: Vec<_> = left.iter().map(|id| row(id, "leader")).collect();
        masters.extend([row(&3, "follower"), row(&9, "learner")]);
        let (server, _) =
            master(vec![REMOVED, status(&json!({ "node": 1, "leader": 1, "masters": masters }))].leak());
        let output = run(&["master", "remove", "3"], &server);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "master 3 is removed\n"));
        text(&output.stderr).to_owned()
    };
    assert_eq!(after(&[1, 2, 4]), "");
    let two = after(&[1, 2]);
    assert!(two.starts_with("note: masters 1 and 2 are left, and both are needed"), "{two}");
    let one = after(&[1]);
    assert!(one.starts_with("note: master 1 is the only one left: there is no copy of the index"), "{one}");
}

const MASTERS: &[(&str, &str)] = &[
    ("POST /-/masters ", "200 OK\r\ncontent-length: 15\r\nconnection: close\r\n\r\nmaster 4 votes\n"),
    ("DELETE /-/masters/3 ", "200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\n\n"),
    ("DELETE /-/masters/1 ", "409 Conflict\r\ncontent-length: 4\r\nconnection: close\r\n\r\nlast"),
    ("DELETE /-/masters/9 ", "404 Not Found\r\ncontent-length: 4\r\nconnection: close\r\n\r\nnone"),
    ("DELETE /-/masters/2 ", "504 Gateway Timeout\r\ncontent-length: 4\r\nconnection: close\r\n\r\nwho?"),
    ("POST /-/leader/2 ", "200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\n\n"),
];

#[test]
fn masters_are_added_removed_and_made_to_lead_by_command() {
    let (server, seen) = master(MASTERS);
    let code = |args: &[&str]| run(args, &server).status.code();
    assert_eq!(text(&run(&["master", "add", "4", "d:2"], &server).stdout), "master 4 votes\n");
    assert_eq!(code(&["master", "remove", "3"]), Some(0));
    assert_eq!(code(&["master", "remove", "1"]), Some(1));
    assert_eq!(code(&["master", "remove", "9"]), Some(1));
    assert_eq!(code(&["master", "remove", "2"]), Some(5));
    assert_eq!(code(&["master", "transfer", "2"]), Some(0));
    for wrong in
        [&["master", "add", "0", "d:2"][..], &["master", "add", "4", "d"], &["master", "remove", "x"]]
    {
        assert_eq!(code(wrong), Some(2), "{wrong:?}");
    }
    let seen = seen.lock().expect("the master is fine");
    let added = seen.iter().find(|(line, ..)| line.starts_with("POST /-/masters ")).expect("it was asked");
    assert_eq!(text(&added.2), "{\"id\":4,\"peer\":\"d:2\"}");
}

#[test]
fn adding_a_master_waits_until_it_votes_and_not_for_ever() {
    let (server, seen) = master(&[(
        "POST /-/masters ",
        "202 Accepted\r\ncontent-length: 22\r\nconnection: close\r\n\r\nmaster 4 lacks 7 of it",
    )]);
    let output = run(&["master", "add", "4", "d:2", "--wait", "1500ms"], &server);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("master 4 lacks 7 of it"), "{}", text(&output.stderr));
    assert!(seen.lock().expect("the master is fine").len() >= 2, "it asks again");
}

#[test]
fn a_master_forms_a_cluster_or_enters_one_and_not_both() {
    let code = |args: &[&str]| run(args, "unused:1").status.code();
    assert_eq!(code(&["master"]), Some(2));
    let both = ["master", "--id", "4", "--data", "d", "--masters", "4=a:1", "--join", "b:1"];
    assert_eq!(code(&both), Some(2));
    assert_eq!(code(&["master", "--id", "4", "ls"]), Some(2));
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("new");
    let neither = run(&["master", "--id", "4", "--data", data.to_str().expect("UTF-8")], "unused:1");
    assert_eq!(neither.status.code(), Some(2));
    let said = text(&neither.stderr);
    assert!(said.contains("--masters") && said.contains("--join"), "{said}");
    assert!(!data.exists());
}
