//! Claims about the commands that move files, against masters that are played: what arrives, what is left alone, what is told,
//! and what an interruption leaves behind.

#[path = "../../client/tests/played/mod.rs"]
mod played;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use played::{Fault, Master, NO_QUORUM, Request, Store, md5_hex};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpListener;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(30);
/// Less than the 10 s after which a client gives up on a master that is silent.
const BEFORE_SILENCE: Duration = Duration::from_secs(8);

fn hayrick(master: &Master, args: &[&str]) -> Command {
    hayrick_at(master.addr, args)
}

fn hayrick_at(master: SocketAddr, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hayrick"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HAYRICK_")) {
        command.env_remove(name);
    }
    command.args(args).env("HAYRICK_SERVER", master.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What it ended with, and all that it wrote.
fn told(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8(text).expect("UTF-8"))
}

fn run(master: &Master, args: &[&str]) -> (Option<i32>, String) {
    told(&block_in_place(|| hayrick(master, args).output()).expect("the binary runs"))
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Files by their path below the directory.
fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in walkdir::WalkDir::new(dir) {
        let entry = entry.expect("it can be read");
        if entry.file_type().is_file() {
            let name = entry.path().strip_prefix(dir).expect("below it").to_owned();
            all.insert(path(&name).to_owned(), fs::read(entry.path()).expect("it can be read"));
        }
    }
    all
}

/// What is in a directory, of which somebody else may be changing something.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| path(Path::new(&entry.file_name())).to_owned()).collect()
}

fn write(dir: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
        fs::write(path, content).expect("a file");
    }
}

/// Sends Ctrl-C, and waits for the end.
fn interrupt(child: Child) -> (Option<i32>, String) {
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    told(&block_in_place(|| child.wait_with_output()).expect("it ends"))
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn puts(master: &Master) -> Vec<String> {
    master.lines().into_iter().filter(|line| line.starts_with("PUT ")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_goes_up_and_down_again_and_what_is_there_is_left_alone() {
    let (store, dir) = (Store::default(), tempfile::tempdir().expect("a directory"));
    let master = Master::start(&store).await;
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let large = "x".repeat(3 << 20);
    write(&from, &[("a b/ü?#%.txt", "1"), ("a b.html", "2"), ("empty", ""), ("large", &large), ("...", "3")]);

    let (code, said) = run(&master, &["cp", "-r", path(&from), "hay:p"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("5 files copied, 3.0 MiB, in "), "{said}");
    assert_eq!(store.keys(), ["p/...", "p/a b.html", "p/a b/ü?#%.txt", "p/empty", "p/large"]);
    assert_eq!(store.get("p/a b.html").expect("it is there").content_type, "text/html");

    // Again: one is another one, one of the same size, one new.
    write(&from, &[("a b.html", "4"), ("new", "5")]);
    let before = puts(&master).len();
    let (code, said) = run(&master, &["cp", "-r", path(&from), "hay:p/"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("2 files copied") && said.contains("4 there already"), "{said}");
    assert_eq!(puts(&master).len() - before, 2);

    let (code, said) = run(&master, &["cp", "-r", "hay:p", path(&to)]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(tree(&to), tree(&from));
    fs::write(to.join("a b.html"), "6").expect("a file");
    fs::remove_file(to.join("new")).expect("it is there");
    let (code, said) = run(&master, &["cp", "-r", "hay:p/", path(&to), "--jobs", "1"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("2 files copied") && said.contains("4 there already"), "{said}");
    assert_eq!(tree(&to), tree(&from));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halves_that_a_killed_copy_left_are_swept_away_and_never_stored() {
    let (store, dir) = (Store::default(), tempfile::tempdir().expect("a directory"));
    let master = Master::start(&store).await;
    store.put("p/a", "1");
    store.put("p/b/c", "2");
    let to = dir.path().join("to");
    let half = |name: &str| to.join(format!("{name}.hayrick-partial-abc123"));
    write(
        &to,
        &[(".hayrick-partial-abc123", "x"), ("b/.hayrick-partial-abc123", "x"), ("b/.hayrick-mine", "y")],
    );
    let written = fs::File::create(to.join(".hayrick-partial-live01")).expect("a file");
    written.try_lock().expect("nobody else writes it");
    let (code, said) = run(&master, &["cp", "-r", "hay:p/", path(&to)]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!half("").exists() && !half("b/").exists(), "their writers are gone");
    assert!(to.join("b/.hayrick-mine").exists() && to.join(".hayrick-partial-live01").exists());

    let (code, said) = run(&master, &["cp", "-r", path(&to), "hay:q/"]);
    assert!(code == Some(1) && said.contains("killed"), "{said}");
    assert_eq!(store.keys(), ["p/a", "p/b/c", "q/a", "q/b/.hayrick-mine", "q/b/c"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_file_goes_where_it_is_told() {
    let (store, dir) = (Store::default(), tempfile::tempdir().expect("a directory"));
    let master = Master::start(&store).await;
    write(dir.path(), &[("cat.jpg", "meow")]);
    let cat = dir.path().join("cat.jpg");
    for (target, key) in [("hay:", "cat.jpg"), ("hay:p/", "p/cat.jpg"), ("hay:p/dog", "p/dog")] {
        assert_eq!(run(&master, &["cp", path(&cat), target]).0, Some(0), "{target}");
        assert_eq!(store.get(key).expect("it is there").bytes, b"meow");
    }
    let target = dir.path().join("there");
    assert_eq!(run(&master, &["cp", "hay:p/dog", path(&target)]).0, Some(0));
    assert_eq!(run(&master, &["cp", "hay:p/cat.jpg", &format!("{}/new/", path(dir.path()))]).0, Some(0));
    let expected = [("cat.jpg", "meow"), ("new/cat.jpg", "meow"), ("there", "meow")];
    let expected: BTreeMap<_, _> =
        expected.map(|(name, bytes)| (name.to_owned(), bytes.as_bytes().to_vec())).into();
    assert_eq!(tree(dir.path()), expected);

    let refused = run(&master, &["cp", path(dir.path()), "hay:p"]);
    assert!(refused.0 == Some(2) && refused.1.contains("-r"), "{refused:?}");
    assert_eq!(run(&master, &["cp", "hay:none", path(&target)]).0, Some(3));
    assert_eq!(run(&master, &["cp", path(&cat), path(&target)]).0, Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_copied_is_told_and_nothing_is_written_outside() {
    let (store, dir) = (Store::default(), tempfile::tempdir().expect("a directory"));
    let master = Master::start(&store).await;
    for key in ["p/a", "p/a-b", "p/a/b", "p//c", "p/d/", "p/link/e", "p/f", "p/g"] {
        store.put(key, key);
    }
    let (to, outside) = (dir.path().join("to"), dir.path().join("outside"));
    fs::create_dir_all(&to).expect("a directory");
    write(&outside, &[("g", "not this one")]);
    symlink(&outside, to.join("link")).expect("a link");
    symlink(outside.join("g"), to.join("g")).expect("a link");

    let (code, said) = run(&master, &["cp", "-r", "hay:p/", path(&to)]);
    assert_eq!(code, Some(1), "{said}");
    for (key, why) in [
        ("p/a/b", "is a key, too"),
        ("p//c", "empty part"),
        ("p/d/", "empty part"),
        ("p/link/e", "symbolic link"),
    ] {
        let line = said.lines().find(|line| line.starts_with(&format!("hayrick: {key}: ")));
        assert!(line.is_some_and(|line| line.contains(why)), "{key}: {said}");
    }
    assert!(said.contains("4 files copied") && said.contains("4 not copied"), "{said}");
    fs::remove_file(to.join("link")).expect("the link");
    let expected = ["a", "a-b", "f", "g"].map(|name| (name.to_owned(), format!("p/{name}").into_bytes()));
    assert_eq!(tree(&to), expected.into());
    assert_eq!(tree(&outside), [("g".to_owned(), b"not this one".to_vec())].into());

    let from = dir.path().join("from");
    write(&from, &[("file", "1"), ("line\nend", "2")]);
    symlink("file", from.join("link")).expect("a link");
    fs::create_dir(from.join("empty")).expect("a directory");
    let (code, said) = run(&master, &["cp", "-r", path(&from), "hay:up"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("1 file copied") && said.contains("2 not copied"), "{said}");
    assert!(said.contains("1 directory is empty") && said.contains("line\\nend"), "{said}");
    assert!(store.get("up/file").is_some() && store.get("up/link").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_copy_leaves_no_half_files_and_goes_on_when_it_is_given_again() {
    let (store, dir) = (Store::with_pages_of(30), tempfile::tempdir().expect("a directory"));
    for number in 0..100 {
        store.put(&format!("p/{number:02}"), format!("{number} ").repeat(1000));
    }
    // The third is not to be had to its end.
    let is_third = |request: &Request, _: usize| (request.target == "/p/02").then_some(Fault::Stall(100));
    let (stalling, well) = (Master::failing(&store, is_third).await, Master::start(&store).await);
    let to = dir.path().join("to");
    let args = ["cp", "-r", "hay:p/", path(&to)];
    let child = hayrick(&stalling, &args).spawn().expect("the binary runs");
    let is_whole = |name: &String| name.len() == 2;
    until("all others are there", || names(&to).iter().filter(|name| is_whole(name)).count() == 99).await;
    let (code, said) = interrupt(child);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("interrupted: ") && said.contains("same command again"), "{said}");
    assert!(names(&to).iter().all(|name| is_whole(name) && name != "02"), "{:?}", names(&to));
    let (code, said) = run(&well, &args);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 file copied") && said.contains("99 there already"), "{said}");

    let back = dir.path().join("back");
    let stuck = |request: &Request, _: usize| (request.target == "/q/50").then_some(Fault::Hang);
    let stuck = Master::failing(&store, stuck).await;
    let args = ["cp", "-r", path(&to), "hay:q/"];
    let child = hayrick(&stuck, &args).spawn().expect("the binary runs");
    until("all are sent", || puts(&stuck).len() == 100).await;
    let (code, said) = interrupt(child);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("interrupted: ") && said.contains("of 1 more it is not known"), "{said}");
    let lists = || well.lines().iter().filter(|line| line.starts_with("GET /q/?list")).count();
    let (code, said) = run(&well, &args);
    assert!(code == Some(0) && said.contains("100 there already"), "{said}");
    assert_eq!(lists(), 4, "one listing for all");
    assert_eq!(run(&well, &["cp", "-r", "hay:q/", path(&back)]).0, Some(0));
    assert_eq!(tree(&back), tree(&to));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_whose_outcome_is_not_known_is_given_again_as_it_is_the_same_file() {
    let (store, dir) = (Store::default(), tempfile::tempdir().expect("a directory"));
    write(dir.path(), &[("a", "1"), ("b", "2")]);
    let losing = Master::failing(&store, |request, number| {
        (request.method == "PUT" && number < 3).then_some(Fault::Silence)
    });
    let (code, said) = run(&losing.await, &["cp", "-r", path(dir.path()), "hay:"]);
    assert_eq!((code, store.keys().len()), (Some(0), 2), "{said}");

    // Where it stays so, the exit code says it, and all else is copied.
    const LOST: Fault = Fault::Answer("HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 4\r\n\r\nlost");
    let losing = Master::failing(&store, |request, _| (request.target == "/q/a").then_some(LOST)).await;
    let (code, said) = run(&losing, &["cp", "-r", path(dir.path()), "hay:q"]);
    assert!(code == Some(5) && said.contains("a: outcome unknown: lost; "), "{said}");
    assert!(said.contains("1 file copied") && said.contains("1 not copied"), "{said}");

    // Where no copy can succeed, it ends with the first.
    let full = Fault::Answer("HTTP/1.1 507 Insufficient Storage\r\nContent-Length: 4\r\n\r\nfull");
    let full = Master::failing(&store, move |request, _| (request.method == "PUT").then(|| full.clone()));
    let (code, said) = run(&full.await, &["cp", "-r", path(dir.path()), "hay:r", "--jobs", "1"]);
    assert!(code == Some(1) && said.contains("a: full"), "{said}");
    assert!(!said.contains("b: full"), "{said}");

    // What came before it is told then, and it is counted itself.
    let full = Fault::Answer("HTTP/1.1 507 Insufficient Storage\r\nContent-Length: 4\r\n\r\nfull");
    let full = Master::failing(&store, move |request, _| (request.target == "/s/b").then(|| full.clone()));
    let (code, said) = run(&full.await, &["cp", "-r", path(dir.path()), "hay:s", "--jobs", "1"]);
    assert!(code == Some(1) && said.contains("given up: 1 file copied"), "{said}");
    assert!(said.contains("1 not copied"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_no_cluster_takes_is_told_without_being_read() {
    let (store, dir) = (Store::default(), tempfile::tempdir().expect("a directory"));
    let master = Master::start(&store).await;
    write(dir.path(), &[("a", "1")]);
    // No disk could hold it, and nobody would live to see its MD5.
    let large = fs::File::create(dir.path().join("large")).expect("a file");
    large.set_len(1 << 42).expect("a hole takes no room");
    let (code, said) = run(&master, &["cp", "-r", path(dir.path()), "hay:"]);
    assert!(code == Some(1) && said.contains("large: it is over 268435456 bytes"), "{said}");
    assert!(said.contains("1 file copied"), "{said}");
    assert_eq!(store.keys(), ["a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn get_that_is_interrupted_or_damaged_leaves_the_file_as_it_was() {
    let (store, dir) = (Store::default(), tempfile::tempdir().expect("a directory"));
    store.put("k", "meow");
    let stalling = Master::failing(&store, |_, _| Some(Fault::Stall(2))).await;
    let file = dir.path().join("file");
    fs::write(&file, "old").expect("a file");
    let child = hayrick(&stalling, &["get", "k", "-o", path(&file)]).spawn().expect("the binary runs");
    until("it writes beside the file", || names(dir.path()).len() == 2).await;
    let (code, said) = interrupt(child);
    assert!(code == Some(1) && said.contains("interrupted") && said.contains("as it was"), "{said}");
    let old: BTreeMap<_, _> = [("file".to_owned(), b"old".to_vec())].into();
    assert_eq!(tree(dir.path()), old);

    const DAMAGED: Fault = Fault::Answer(
        "HTTP/1.1 200 OK\r\nETag: \"4a4be40c96ac6314e91d93f38043a634\"\r\nContent-Length: 4\r\n\r\nmeoW",
    );
    let damaged = Master::failing(&store, |_, _| Some(DAMAGED)).await;
    let (code, said) = run(&damaged, &["get", "k", "-o", path(&file)]);
    assert!(code == Some(1) && said.contains("k: damaged"), "{said}");
    assert_eq!(tree(dir.path()), old);

    let cut = Master::failing(&store, |_, number| (number == 0).then_some(Fault::Cut(2))).await;
    assert_eq!(run(&cut, &["get", "k", "-o", path(&file)]).0, Some(0));
    assert_eq!(tree(dir.path()), [("file".to_owned(), b"meow".to_vec())].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_to_outlive_its_terminal_does_not_catch_its_end() {
    let (store, dir) = (Store::default(), tempfile::tempdir().expect("a directory"));
    store.put("k", "meow");
    let stalling = Master::failing(&store, |_, _| Some(Fault::Stall(2))).await;
    let file = dir.path().join("file");
    let mut command = Command::new("nohup");
    command.args([env!("CARGO_BIN_EXE_hayrick"), "get", "k", "-o", path(&file)]);
    command.env("HAYRICK_SERVER", stalling.addr.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("nohup is there");
    until("it writes beside the file", || names(dir.path()).len() == 1).await;
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("Linux says it");
    let ignored = u64::from_str_radix(ignored.trim(), 16).expect("a mask");
    assert_eq!(ignored & 1, 1, "it ignores SIGHUP as it was told to");
    assert_eq!(interrupt(child).0, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn put_that_is_interrupted_says_whether_the_object_may_be_there() {
    let (store, dir) = (Store::default(), tempfile::tempdir().expect("a directory"));
    let stuck = Master::failing(&store, |_, _| Some(Fault::Hang)).await;
    let file = dir.path().join("file");
    fs::write(&file, "meow").expect("a file");
    let child = hayrick(&stuck, &["put", "k", path(&file)]).spawn().expect("the binary runs");
    until("all of it is sent", || puts(&stuck).len() == 1).await;
    let (code, said) = interrupt(child);
    let wanted = "hayrick: interrupted: outcome unknown: k may have been stored; look before you do it again, as with \
                  `hayrick stat KEY`\n";
    assert_eq!((code, said.as_str()), (Some(5), wanted));

    // Nobody reads what is sent, and more of it is left than a socket holds.
    let deaf = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    fs::write(&file, vec![0; 32 << 20]).expect("a file");
    let mut command = hayrick_at(deaf.local_addr().expect("bound"), &["put", "k", path(&file)]);
    let child = command.spawn().expect("the binary runs");
    let _connection = timeout(PATIENCE, deaf.accept()).await.expect("it comes").expect("a connection");
    let (code, said) = interrupt(child);
    assert_eq!((code, said.as_str()), (Some(1), "hayrick: interrupted: nothing was stored\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn put_streams_what_is_long_and_sends_what_is_kept() {
    let (store, dir) = (Store::default(), tempfile::tempdir().expect("a directory"));
    let master = Master::start(&store).await;
    let long = "long ".repeat(1 << 20);
    let mut child = hayrick(&master, &["put", "in.txt"]).stdin(Stdio::piped()).spawn().expect("it runs");
    let mut stdin = child.stdin.take().expect("piped");
    block_in_place(|| stdin.write_all(long.as_bytes())).expect("it reads");
    drop(stdin);
    let (code, said) = told(&block_in_place(|| child.wait_with_output()).expect("it ends"));
    assert_eq!((code, said), (Some(0), format!("in.txt  {}\n", md5_hex(long.as_bytes()))));
    let stored = store.get("in.txt").expect("it is there");
    assert!(stored.bytes == long.as_bytes() && stored.content_type == "text/plain");
    assert_eq!(master.asked()[0].field("transfer-encoding"), Some("chunked"));

    write(dir.path(), &[("a.json", "{}")]);
    let file = dir.path().join("a.json");
    let flags = ["--header", "Cache-Control=no-store", "--meta", "author=a=b", "--meta", "x=y"];
    let (code, said) = run(&master, &[&["put", "k", path(&file)], &flags[..]].concat());
    assert_eq!(code, Some(0), "{said}");
    let asked = master.asked().pop().expect("it was asked");
    let names = ["content-type", "cache-control", "hayrick-meta-author", "hayrick-meta-x", "content-length"];
    let sent = names.map(|name| asked.field(name).unwrap_or_default().to_owned());
    assert_eq!(sent, ["application/json", "no-store", "a=b", "y", "2"]);
    assert!(asked.field("content-md5").is_some());
    let (code, said) = run(&master, &["put", "k", path(&file), "--header", "Cookie=a"]);
    assert!(code == Some(2) && said.contains("is not kept"), "{said}");
    let (code, said) = run(&master, &["put", "k", path(dir.path())]);
    assert!(code == Some(2) && said.contains("cp -r"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ls_shows_one_level_or_all_with_details_or_without() {
    let store = Store::default();
    for key in ["a", "p/a", "p/b/1", "p/b/2", "p/c"] {
        store.put(key, "meow");
    }
    let master = Master::start(&store).await;
    let shown = |args: &[&str]| run(&master, args).1;
    let etag = md5_hex(b"meow");
    assert_eq!(shown(&["ls"]), "a\np/\n");
    assert_eq!(shown(&["ls", "p/"]), "p/a\np/b/\np/c\n");
    assert_eq!(shown(&["ls", "-r", "p/b"]), "p/b/1\np/b/2\n");
    assert_eq!(
        shown(&["ls", "-l", "p/"]),
        format!(
            "        4  2026-11-23T10:00:00.000Z  {etag}  p/a\n        -  {:24}  {:32}  p/b/\n        4  \
             2026-11-23T10:00:00.000Z  {etag}  p/c\n",
            "-", "-"
        )
    );
    assert_eq!(shown(&["ls", "--json"]), "[\n{\"key\":\"a\"},\n{\"prefix\":\"p/\"}\n]\n");
    let json: serde_json::Value =
        serde_json::from_str(&shown(&["ls", "-lr", "--json", "p/b"])).expect("JSON");
    assert_eq!(
        (&json[1]["key"], &json[1]["size"], &json[1]["etag"]),
        (&"p/b/2".into(), &4.into(), &etag.into())
    );
    let (code, said) = run(&master, &["ls", "p/../a"]);
    assert!(code == Some(2) && said.contains("cannot be listed"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ls_shows_a_page_before_the_next_one_is_there() {
    let store = Store::with_pages_of(2);
    ["a", "b", "c"].into_iter().for_each(|key| store.put(key, "meow"));
    let is_second = |request: &Request, _: usize| request.target.contains("start=").then_some(Fault::Hang);
    let master = Master::failing(&store, is_second).await;
    let mut child = hayrick(&master, &["ls"]).spawn().expect("the binary runs");
    let mut stdout = child.stdout.take().expect("piped");
    let shown = tokio::task::spawn_blocking(move || {
        let mut shown = [0; 4];
        stdout.read_exact(&mut shown).map(|()| shown)
    });
    let shown = tokio::time::timeout(BEFORE_SILENCE, shown).await;
    child.kill().expect("it waits for the second page");
    child.wait().expect("it ends");
    let shown = shown.expect("it comes though nothing follows").expect("it is read");
    assert_eq!(&shown.expect("it is shown"), b"a\nb\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rm_r_deletes_what_is_below_and_never_everything_by_mistake() {
    let store = Store::default();
    let fill = || {
        (0..2500).for_each(|number| store.put(&format!("p/{number}"), "x"));
        store.put("p", "x");
        store.put("q/1", "x");
    };
    fill();
    let master = Master::start(&store).await;
    // A variable that was set for another command deletes nothing.
    for (variable, args) in [("HAYRICK_RECURSIVE", &["rm", "p"][..]), ("HAYRICK_ALL", &["rm", "-r", ""])] {
        let output = block_in_place(|| hayrick(&master, args).env(variable, "1").output());
        let (code, said) = told(&output.expect("the binary runs"));
        assert!(code == Some(2) && said.contains(variable), "{said}");
    }
    for args in [&["rm", "-r", ""][..], &["rm", "-r", "q/", ""], &["rm", "--all", "q/1"]] {
        assert_eq!(run(&master, args).0, Some(2), "{args:?}");
    }
    assert_eq!(run(&master, &["rm", "-r", "p/../"]).0, Some(2));
    assert_eq!(store.keys().len(), 2502);
    assert_eq!(run(&master, &["rm", "-r", "p"]), (Some(0), "2500 deleted\n".to_owned()));
    assert_eq!(store.keys(), ["p", "q/1"]);
    assert_eq!(master.lines().iter().filter(|line| *line == "POST /-/delete").count(), 3);
    assert_eq!(run(&master, &["rm", "-r", "--all", ""]), (Some(0), "2 deleted\n".to_owned()));
    assert_eq!(run(&master, &["rm", "-r", "p/"]), (Some(0), "0 deleted\n".to_owned()));

    fill();
    let is_second = |request: &Request, number: usize| {
        (request.target == "/-/delete" && number > 2).then_some(Fault::Stall(0))
    };
    let stuck = Master::failing(&store, is_second).await;
    let child = hayrick(&stuck, &["rm", "-r", "p/"]).spawn().expect("the binary runs");
    until("the second batch is sent", || stuck.asked().len() == 4).await;
    let (code, said) = interrupt(child);
    let wanted = "hayrick: interrupted: 1000 deleted, and of 1000 more it is not known; the same command goes on from there\n";
    assert_eq!((code, said.as_str()), (Some(5), wanted));

    let unknown = "HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 4\r\n\r\nlost";
    let losing = Master::failing(&store, move |request, _| {
        (request.target == "/-/delete").then_some(Fault::Answer(unknown))
    });
    let (code, said) = run(&losing.await, &["rm", "-r", "q/"]);
    assert!(code == Some(5) && said.contains("hayrick: q/1: outcome unknown: lost"), "{said}");
    let refusing = Master::failing(&store, |request, _| (request.target == "/-/delete").then_some(NO_QUORUM));
    let (code, said) = run(&refusing.await, &["rm", "-r", "q/"]);
    assert!(code == Some(1) && said.contains("0 deleted; given up: no quorum"), "{said}");
}
