//! The commands about files.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{Contract, left};

const MEOW: &str = "4a4be40c96ac6314e91d93f38043a634";

pub(crate) fn put_stores_a_file_or_standard_input(contract: &Contract) -> Result<()> {
    contract.file("cat.gif", "meow")?;
    let told = contract.ends(0, &["put", "put/cat.gif", "cat.gif"])?;
    ensure!(told.starts_with("put/cat.gif") && told.contains(MEOW), "{told}");
    let stat = contract.ends(0, &["stat", "put/cat.gif", "--json"])?;
    ensure!(
        serde_json::from_str::<Value>(&stat)?["content_type"] == "image/gif",
        "guessed from the name: {stat}"
    );
    let mut command = contract.command(&["put", "put/input", "-"])?;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("a pipe")?.write_all(b"purr")?;
    let ended = left(child.wait_with_output()?)?;
    ensure!(ended.code == 0, "{}", ended.err);
    ensure!(contract.ends(0, &["get", "put/input"])? == "purr");
    Ok(())
}

pub(crate) fn get_writes_to_standard_output_or_a_file(contract: &Contract) -> Result<()> {
    contract.file("cat.gif", "meow")?;
    contract.ends(0, &["put", "get/cat", "cat.gif"])?;
    ensure!(contract.ends(0, &["get", "get/cat"])? == "meow");
    contract.ends(0, &["get", "get/cat", "-o", "copy.gif"])?;
    ensure!(contract.read("copy.gif")? == "meow");
    let rest: Vec<_> = std::fs::read_dir(contract.dir.path())?.collect::<Result<_, _>>()?;
    ensure!(
        rest.iter().all(|it| !it.file_name().to_string_lossy().starts_with(".hayrick")),
        "nothing is left beside it"
    );
    Ok(())
}

pub(crate) fn rm_deletes_each(contract: &Contract) -> Result<()> {
    contract.file("cat.gif", "meow")?;
    for key in ["rm/a", "rm/b"] {
        contract.ends(0, &["put", key, "cat.gif"])?;
    }
    contract.ends(3, &["rm", "rm/a", "rm/none", "rm/b"])?;
    ensure!(contract.ends(0, &["ls", "rm/"])?.is_empty());
    Ok(())
}

pub(crate) fn rm_r_deletes_all_below(contract: &Contract) -> Result<()> {
    contract.file("cat.gif", "meow")?;
    for key in ["rmr/a", "rmr/b/c", "rmr/b/d", "rmr-not"] {
        contract.ends(0, &["put", key, "cat.gif"])?;
    }
    contract.ends(0, &["rm", "-r", "rmr"])?;
    ensure!(contract.ends(0, &["ls", "-r", "rmr"])?.trim() == "rmr-not");
    contract.ends(2, &["rm", "-r", ""])?;
    contract.ends(0, &["get", "rmr-not"]).map(drop)
}

pub(crate) fn undelete_brings_back(contract: &Contract) -> Result<()> {
    contract.file("cat.gif", "meow")?;
    contract.ends(0, &["put", "undelete/cat", "cat.gif"])?;
    contract.ends(0, &["rm", "undelete/cat"])?;
    contract.ends(3, &["get", "undelete/cat"])?;
    contract.ends(0, &["undelete", "undelete/cat"])?;
    ensure!(contract.ends(0, &["get", "undelete/cat"])? == "meow");
    contract.ends(3, &["undelete", "undelete/none"]).map(drop)
}

pub(crate) fn ls_lists_a_level_or_all(contract: &Contract) -> Result<()> {
    contract.file("cat.gif", "meow")?;
    for key in ["ls/a", "ls/b/c", "ls/b/d"] {
        contract.ends(0, &["put", key, "cat.gif"])?;
    }
    ensure!(contract.ends(0, &["ls", "ls/"])? == "ls/a\nls/b/\n");
    ensure!(contract.ends(0, &["ls", "-r", "ls/"])? == "ls/a\nls/b/c\nls/b/d\n");
    let long = contract.ends(0, &["ls", "-l", "ls/"])?;
    let first = long.lines().next().context("a line")?;
    ensure!(first.contains('4') && first.contains(MEOW) && first.contains("ls/a"), "{long}");
    let json: Value = serde_json::from_str(&contract.ends(0, &["ls", "-lr", "ls/", "--json"])?)?;
    let keys: Vec<_> = json.as_array().context("a list")?.iter().map(|it| it["key"].clone()).collect();
    ensure!(keys == ["ls/a", "ls/b/c", "ls/b/d"] && json[0]["size"] == 4, "{json}");
    Ok(())
}

pub(crate) fn stat_shows_what_is_known(contract: &Contract) -> Result<()> {
    contract.file("cat.gif", "meow")?;
    contract.ends(0, &["put", "stat/cat", "cat.gif"])?;
    let text = contract.ends(0, &["stat", "stat/cat"])?;
    ensure!(text.contains(MEOW) && text.contains("volumes"), "{text}");
    let json: Value = serde_json::from_str(&contract.ends(0, &["stat", "stat/cat", "--json"])?)?;
    ensure!(json["key"] == "stat/cat" && json["etag"] == MEOW, "{json}");
    contract.ends(3, &["stat", "stat/none"]).map(drop)
}

pub(crate) fn cp_copies_both_ways(contract: &Contract) -> Result<()> {
    for (name, text) in [("tree/a", "meow"), ("tree/b/c", "purr"), ("tree/b/ü d", "")] {
        contract.file(name, text)?;
    }
    contract.ends(0, &["cp", "-r", "tree", "hay:cp/"])?;
    ensure!(contract.ends(0, &["ls", "-r", "cp/"])? == "cp/a\ncp/b/c\ncp/b/ü d\n");
    contract.ends(0, &["cp", "-r", "tree", "hay:cp/"])?;
    contract.ends(0, &["cp", "-r", "hay:cp/", "back"])?;
    ensure!(contract.read("back/a")? == "meow" && contract.read("back/b/c")? == "purr");
    ensure!(contract.read("back/b/ü d")?.is_empty());
    contract.ends(0, &["cp", "hay:cp/a", "one"])?;
    ensure!(contract.read("one")? == "meow");
    contract.ends(3, &["cp", "-r", "hay:cpp/", "nothing"])?;
    contract.ends(2, &["cp", "one", "two"])?;
    contract.ends(2, &["cp", "hay:one", "hay:two"]).map(drop)
}

pub(crate) fn backup_writes_the_index(contract: &Contract) -> Result<()> {
    contract.file("cat.gif", "meow")?;
    contract.ends(0, &["put", "backup/cat", "cat.gif"])?;
    let objects = contract.ends(0, &["ls", "-r"])?.lines().count();
    let told = contract.ends(0, &["backup", "index.backup"])?;
    ensure!(told.contains(&format!(": {objects} objects, ")) && told.contains("hash "), "{told}");
    let path = contract.dir.path().join("index.backup");
    let whole = std::fs::read(&path)?;
    // Whoever sends other bytes is not believed, and the file stays as it was.
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    for (sent, announced, why) in [
        (&damaged[..], damaged.len(), "no backup that could be used"),
        (&whole[..whole.len() - 9], whole.len() - 9, "no backup that could be used"),
        (&whole[..whole.len() - 9], whole.len(), "not whole"),
    ] {
        let server = answering(sent, announced)?;
        let refused = contract.run(&["backup", "index.backup", "--server", &server])?;
        ensure!(refused.code == 1 && refused.err.contains(why), "{}: {}", refused.code, refused.err);
        ensure!(std::fs::read(&path)? == whole, "{why}: the file was written");
    }
    Ok(())
}

/// The address of a server that answers so, once, whatever it is asked.
fn answering(body: &[u8], announced: usize) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nHayrick-Server: master\r\nContent-Length: {announced}\r\nConnection: close\r\n\r\n"
    );
    let answer = [head.as_bytes(), body].concat();
    std::thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut asked = Vec::new();
        let mut byte = [0];
        while !asked.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            asked.push(byte[0]);
        }
        Ok(stream.write_all(&answer)?)
    });
    Ok(addr)
}

pub(crate) fn any_master_that_answers_is_asked(contract: &Contract) -> Result<()> {
    contract.file("cat.gif", "meow")?;
    let (nobody, master) = ("127.0.0.1:1", contract.cluster.master(2).http_addr().to_string());
    contract.ends(0, &["put", "server/cat", "cat.gif", "--server", &format!("{nobody},{master}")])?;
    // The flag beats the variable, which would do.
    let refused = contract.run(&["get", "server/cat", "--server", nobody])?;
    ensure!(refused.code == 1 && refused.err.contains("no master answers"), "{}", refused.err);
    Ok(())
}

pub(crate) fn exit_codes_tell_what_happened(contract: &Contract) -> Result<()> {
    contract.file("cat.gif", "meow")?;
    contract.ends(0, &["put", "codes/cat", "cat.gif"])?;
    contract.ends(1, &["put", "codes/cat", "no such file"])?;
    contract.ends(2, &["put", "codes/../cat", "cat.gif"])?;
    contract.ends(2, &["put"])?;
    contract.ends(3, &["get", "codes/none"])?;
    contract.ends(4, &["put", "codes/cat", "cat.gif", "--if-absent"]).map(drop)
}
