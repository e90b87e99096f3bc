//! What the documents show: their fences, the commands in them, and what these are shown to answer.
//!
//! Owns reading. A fence `sh` has commands alone; a fence `console` has commands behind `$ ` and below each what it writes, where
//! `…` stands for anything. Whether a command is whole bash decides, so that loops and pipes may go over lines.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Where the documents are.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A document, by its path in the repository.
pub(crate) struct Document {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A stretch between two lines of three backticks.
pub(crate) struct Fence {
    pub(crate) document: String,
    /// Of the backticks that begin it.
    pub(crate) line: usize,
    pub(crate) language: String,
    pub(crate) lines: Vec<String>,
}

/// A command.
pub(crate) struct Shown {
    pub(crate) document: String,
    pub(crate) line: usize,
    pub(crate) text: String,
    /// What it is shown to write, in a `console`.
    pub(crate) writes: Option<String>,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.document, self.line)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.document, self.line, self.text)
    }
}

/// All documents, README.md first.
pub(crate) fn documents() -> Result<Vec<Document>> {
    let mut paths = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(str::to_owned).to_vec();
    for dir in ["docs", "docs/adr"] {
        let mut pages = Vec::new();
        for entry in std::fs::read_dir(repository().join(dir))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            pages.extend(name.ends_with(".md").then(|| format!("{dir}/{name}")));
        }
        pages.sort();
        paths.extend(pages);
    }
    let read = |path: String| {
        let text = std::fs::read_to_string(repository().join(&path)).with_context(|| path.clone())?;
        Ok(Document { path, text })
    };
    paths.into_iter().map(read).collect()
}

impl Document {
    /// Its fences, in their order.
    pub(crate) fn fences(&self) -> Result<Vec<Fence>> {
        let (mut fences, mut open): (Vec<Fence>, Option<(Fence, usize)>) = (Vec::new(), None);
        for (line, text) in (1..).zip(self.text.lines()) {
            let mark = text.trim_start().strip_prefix("```");
            match (&mut open, mark) {
                (None, Some(language)) => {
                    let (document, language) = (self.path.clone(), language.trim().to_owned());
                    let indent = text.len() - text.trim_start().len();
                    open = Some((Fence { document, line, language, lines: Vec::new() }, indent));
                }
                (Some(_), Some(_)) => fences.extend(open.take().map(|(fence, _)| fence)),
                (Some((fence, indent)), None) => {
                    fence.lines.push(text.get(*indent..).unwrap_or_default().to_owned());
                }
                (None, None) => {}
            }
        }
        ensure!(open.is_none(), "{}: a fence is not closed", self.path);
        Ok(fences)
    }
}

impl Fence {
    /// Whether it shows commands.
    pub(crate) fn is_shell(&self) -> bool {
        self.language == "sh" || self.is_console()
    }

    /// Whether it shows what they write, too.
    pub(crate) fn is_console(&self) -> bool {
        self.language == "console"
    }

    /// The commands in it.
    pub(crate) fn commands(&self) -> Result<Vec<Shown>> {
        match self.language.as_str() {
            "sh" => self.script(),
            "console" => self.console(),
            _ => Ok(Vec::new()),
        }
    }

    fn numbered(&self) -> impl Iterator<Item = (usize, &String)> {
        (self.line + 1..).zip(&self.lines)
    }

    fn script(&self) -> Result<Vec<Shown>> {
        let (mut commands, mut line, mut text) = (Vec::new(), 0, String::new());
        for (number, part) in self.numbered() {
            let is_idle = part.trim().is_empty() || part.trim_start().starts_with('#');
            if text.is_empty() {
                if is_idle {
                    continue;
                }
                line = number;
            }
            text.push_str(part);
            text.push('\n');
            if !part.ends_with('\\') && is_whole(&text)? {
                let text = std::mem::take(&mut text).trim_end().to_owned();
                commands.push(Shown { document: self.document.clone(), line, text, writes: None });
            }
        }
        ensure!(text.is_empty(), "{self}: bash cannot read {text:?}");
        Ok(commands)
    }

    fn console(&self) -> Result<Vec<Shown>> {
        let mut commands: Vec<Shown> = Vec::new();
        for (line, part) in self.numbered() {
            if let Some(text) = part.strip_prefix("$ ") {
                let (document, text) = (self.document.clone(), text.to_owned());
                ensure!(is_whole(&text)?, "{self}: bash cannot read {text:?}");
                commands.push(Shown { document, line, text, writes: Some(String::new()) });
            } else {
                let last = commands.last_mut().and_then(|shown| shown.writes.as_mut());
                let writes = last.with_context(|| format!("{self}: it begins with `$ ` and a command"))?;
                writes.push_str(part);
                writes.push('\n');
            }
        }
        Ok(commands)
    }
}

/// Whether bash takes that for whole commands.
fn is_whole(text: &str) -> Result<bool> {
    let mut bash = Command::new("bash");
    bash.args(["-n", "-c", text]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(bash.status().context("bash is needed to read the documents")?.success())
}

impl Shown {
    /// Whether it wrote what it is shown to, but for what `…` stands for.
    pub(crate) fn is_answered_by(&self, output: &str) -> bool {
        let Some(wanted) = &self.writes else { return true };
        let (wanted, mut rest) = (wanted.trim_end(), output.trim());
        let mut parts = wanted.split('…');
        let Some(begin) = parts.next().and_then(|first| rest.strip_prefix(first)) else { return false };
        rest = begin;
        let parts: Vec<&str> = parts.collect();
        let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
        for part in middle {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence(language: &str, text: &str) -> Fence {
        let text = format!("# Title\n\n- point\n\n  ```{language}\n{text}  ```\n");
        let document = Document { path: "x.md".to_owned(), text };
        document.fences().expect("they are closed").remove(0)
    }

    #[test]
    fn commands_go_on_until_bash_has_all_of_them() {
        let text = "  # a comment\n  a --b \\\n      c   # why\n\n  for x in 1 2; do\n      y |\n      z\n  done\n  last\n";
        let commands = fence("sh", text).commands().expect("they are whole");
        let texts: Vec<&str> = commands.iter().map(|shown| shown.text.as_str()).collect();
        assert_eq!(texts, ["a --b \\\n    c   # why", "for x in 1 2; do\n    y |\n    z\ndone", "last"]);
        assert_eq!((commands[0].line, commands[2].line), (7, 14));
        assert!(fence("sh", "  for x in 1; do\n").commands().is_err(), "it has no end");
        assert!(fence("console", "  output\n").commands().is_err(), "nothing wrote it");
    }

    #[test]
    fn what_is_written_is_as_shown_but_for_what_stands_for_anything() {
        let commands = fence("console", "  $ put k\n  k  …\n  done … ms\n  $ rm k\n").commands();
        let commands = commands.expect("two");
        assert!(commands[0].is_answered_by("k  etag\ndone 12 ms\n"));
        for other in ["k  etag\n", "j  etag\ndone 12 ms", "k  etag\ndone 12 s", ""] {
            assert!(!commands[0].is_answered_by(other), "{other:?}");
        }
        assert!(commands[1].is_answered_by("\n") && !commands[1].is_answered_by("k: there is no such key"));
    }
}
