//! Claims: the commands that README.md and docs/ show work, and write what is shown; and what cannot be run is at least
//! said as it is: flags, targets, links, the names of metrics.
//!
//! The cluster on which they run is the one that README.md sets up, with the units of packaging/: its addresses and paths are
//! put on this machine, and its `systemctl` is played. Nothing shown is left out but what `left` lists, with the reason.

mod left;
mod machines;
mod shown;

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::cluster;
use tokio::task::block_in_place;

use self::machines::{FIRST, Machines, without_settings};
use self::shown::{Document, Fence, Shown, documents, repository};

/// What a fence may be: others would be passed over by these tests.
const LANGUAGES: [&str; 9] = ["sh", "console", "text", "rust", "toml", "yaml", "json", "http", "promql"];
/// How the commands begin by which a fence sets up a machine.
const MACHINE: &str = "ME=";
/// What may stand before a command.
const BEFORE_A_COMMAND: [&str; 12] =
    ["|", "||", "&&", ";", "do", "then", "until", "while", "if", "sudo", "(", "{"];

fn fences() -> Result<Vec<Fence>> {
    let documents = documents()?;
    let fences: Vec<Vec<Fence>> = documents.iter().map(Document::fences).collect::<Result<_>>()?;
    Ok(fences.into_iter().flatten().collect())
}

fn commands() -> Result<Vec<Shown>> {
    let commands: Vec<Vec<Shown>> = fences()?.iter().map(Fence::commands).collect::<Result<_>>()?;
    Ok(commands.into_iter().flatten().collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_documents_show_works() -> Result<()> {
    let machines = Machines::lay_out()?;
    let fences: Vec<Fence> = fences()?.into_iter().filter(Fence::is_shell).collect();
    let first = fences.iter().position(|fence| on_machine(fence) == Some(1));
    let first = first.context("README.md sets up machine 1, and 2 and 3 likewise: ME=1")?;
    for machine in FIRST {
        run(&machines, &fences[first], machine).await?;
    }
    machines.quiet().await?;
    for (at, fence) in fences.iter().enumerate().filter(|(at, _)| *at != first) {
        run(&machines, fence, on_machine(fence).unwrap_or(1)).await.with_context(|| format!("fence {at}"))?;
        machines.quiet().await.with_context(|| format!("after {fence}"))?;
    }
    machines.no_panics()
}

/// The machine that a fence says it is for.
fn on_machine(fence: &Fence) -> Option<u8> {
    let number = fence.lines.iter().find_map(|line| line.strip_prefix(MACHINE))?;
    number.split_whitespace().next()?.parse().ok()
}

async fn run(machines: &Machines, fence: &Fence, machine: u8) -> Result<()> {
    let commands = fence.commands()?;
    if commands.iter().all(|shown| left::why(shown).is_some()) {
        return Ok(());
    }
    let outputs =
        block_in_place(|| machines.run(fence, &commands, machine)).with_context(|| fence.to_string())?;
    for (shown, output) in commands.iter().zip(outputs) {
        let Some(output) = output else { continue };
        ensure!(shown.is_answered_by(&output), "{shown}\nit wrote, and not as shown:\n{output}");
    }
    Ok(())
}

#[test]
fn every_fence_says_what_it_is_and_what_is_not_run_is_still_shown() -> Result<()> {
    for fence in fences()? {
        ensure!(LANGUAGES.contains(&fence.language.as_str()), "{fence}: a fence of {:?}", fence.language);
        let is_command = |line: &&String| ["$ ", "curl "].iter().any(|it| line.starts_with(it));
        let hidden = fence.lines.iter().find(is_command).filter(|_| !fence.is_shell());
        ensure!(
            hidden.is_none(),
            "{fence}: {hidden:?} is a command, and is not in a fence `sh` or `console`"
        );
    }
    let commands = commands()?;
    for (begins, why) in left::NOT_RUN {
        let is_shown = commands.iter().any(|shown| shown.text.starts_with(begins));
        ensure!(is_shown, "{begins:?} ({why}) is not shown any more");
    }
    Ok(())
}

#[test]
fn question_marks_in_commands_are_quoted() -> Result<()> {
    for shown in commands()? {
        let mut quote = None;
        let mut last = ' ';
        for letter in shown.text.chars() {
            match (letter, quote) {
                ('\'' | '"', None) => quote = Some(letter),
                (letter, Some(open)) if letter == open => quote = None,
                // `$?` is a variable; zsh takes any other for a pattern of files, and refuses what matches none.
                ('?', None) => ensure!(last == '$', "{shown}: a ? that is not quoted"),
                _ => {}
            }
            last = letter;
        }
    }
    Ok(())
}

#[test]
fn commands_have_the_flags_that_are_shown_and_make_the_targets() -> Result<()> {
    let makefile = std::fs::read_to_string(repository().join("Makefile"))?;
    for shown in commands()? {
        let without_comments = shown.text.lines().map(|line| line.split(" #").next().unwrap_or_default());
        let text = without_comments.collect::<Vec<_>>().join(" ").replace(';', " ; ").replace('\\', " ");
        let text = without_substitutions(text);
        let words: Vec<&str> = text.split_whitespace().collect();
        for (at, word) in words.iter().enumerate() {
            let is_first = at == 0 || BEFORE_A_COMMAND.contains(&words[at - 1]);
            let own = words[at + 1..].iter().take_while(|word| !is_end(word));
            let own: Vec<&str> = own.copied().collect();
            match *word {
                "make" if is_first => {
                    for target in own.iter().filter(|word| !word.contains('=')) {
                        ensure!(makefile.contains(&format!("\n{target}:")), "{shown}: no target {target}");
                    }
                }
                "hayrick" | "target/release/hayrick" if is_first => {
                    flags_are_there(&own).with_context(|| shown.to_string())?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// The same with a word in the place of each `$(…)`.
fn without_substitutions(mut text: String) -> String {
    while let Some(at) = text.find("$(") {
        let end = text[at..].find(')').map_or(text.len(), |end| at + end + 1);
        text.replace_range(at..end, "…");
    }
    text
}

/// Whether a word ends a command.
fn is_end(word: &str) -> bool {
    ["|", "||", "&&", ";", ")", "}", ">"].contains(&word) || word.starts_with('>')
}

/// Whether the help of that command of `hayrick` has the flags that it is given.
fn flags_are_there(words: &[&str]) -> Result<()> {
    let command: Vec<&&str> = words.iter().take_while(|word| !word.starts_with('-')).collect();
    let output = without_settings(cluster::binary()?).args(&command).arg("--help").output()?;
    let help = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "hayrick {command:?} --help: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let known: BTreeSet<&str> = help.split([' ', ',', '\n', '[', ']', '=']).collect();
    for flag in words.iter().filter(|word| word.starts_with('-') && word.len() > 1) {
        let flag = flag.split('=').next().unwrap_or_default();
        ensure!(known.contains(flag), "hayrick {command:?} has no {flag}");
    }
    Ok(())
}

#[test]
fn links_between_documents_lead_somewhere() -> Result<()> {
    let documents = documents()?;
    for document in &documents {
        let dir = document.path.rsplit_once('/').map_or("", |(dir, _)| dir);
        for link in document.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.contains(char::is_whitespace) {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = if path.is_empty() { document.path.clone() } else { joined(dir, path) };
            let there = repository().join(&path);
            ensure!(there.exists(), "{}: {link} leads nowhere", document.path);
            let target = documents.iter().find(|document| document.path == path);
            let has = |target: &Document| headings(&target.text).any(|heading| heading == anchor);
            let is_there = anchor.is_empty() || target.is_some_and(has);
            ensure!(is_there, "{}: {link}: there is no such heading", document.path);
        }
    }
    Ok(())
}

/// A relative path from a directory of the repository.
fn joined(dir: &str, path: &str) -> String {
    let mut parts: Vec<&str> = dir.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchors of the headings of a document, as they are made of them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let headings =
        text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_matches(['#', ' ']));
    headings.map(|heading| {
        let kept = |letter: &char| letter.is_alphanumeric() || " -_".contains(*letter);
        heading.to_lowercase().chars().filter(kept).map(|it| if it == ' ' { '-' } else { it }).collect()
    })
}

#[test]
fn metrics_that_documents_name_are_in_the_list_of_them() -> Result<()> {
    let documents = documents()?;
    let list = documents.iter().find(|document| document.path == "docs/metrics.md").context("the list")?;
    let is_part = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    let mut seen = 0;
    for document in documents.iter().filter(|document| document.path.starts_with("docs/")) {
        for (at, _) in document.text.match_indices("hayrick_") {
            let rest = &document.text[at..];
            let name = &rest[..rest.find(|letter| !is_part(letter)).unwrap_or(rest.len())];
            // A crate.
            if rest[name.len()..].starts_with("::") {
                continue;
            }
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let is_listed = [Some(name), base].into_iter().flatten().any(|name| {
                list.text.contains(&format!("`{name}`")) || list.text.contains(&format!("`{name}{{"))
            });
            ensure!(is_listed, "{}: there is no metric {name}", document.path);
            seen += 1;
        }
    }
    ensure!(seen > 0, "no document names a metric");
    Ok(())
}

#[test]
fn the_units_of_packaging_are_in_order() -> Result<()> {
    let output = Command::new(repository().join("packaging/verify.sh")).output().context("verify.sh")?;
    let told = [output.stdout, output.stderr].concat();
    println!("{}", String::from_utf8_lossy(&told));
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&told));
    Ok(())
}

#[test]
fn the_settings_of_packaging_are_taken() -> Result<()> {
    for role in ["master", "volume"] {
        let path = repository().join("packaging").join(format!("{role}.toml"));
        let text = std::fs::read_to_string(&path)?;
        // What is commented out is to be as right as the rest.
        let all: String = text.lines().map(|line| format!("{}\n", uncommented(line))).collect();
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("all.toml");
        std::fs::write(&file, all)?;
        // It lacks the addresses that are each machine's own; told before anything is touched.
        let mut command = without_settings(cluster::binary()?);
        let output = command.arg(role).arg("--config").arg(&file).env("HAYRICK_ID", "1").output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(2) && said.contains("set --advertise"), "{role}: {said}");
    }
    Ok(())
}

/// `# replicas = 3` without its `# `; a line of words stays a comment.
fn uncommented(line: &str) -> &str {
    let is_setting = |text: &&str| {
        text.split_once(" = ")
            .is_some_and(|(key, _)| key.chars().all(|it| it.is_ascii_lowercase() || it == '-'))
    };
    line.strip_prefix("# ").filter(is_setting).unwrap_or(line)
}
