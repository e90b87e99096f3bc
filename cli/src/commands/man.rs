//! `hayrick man`: manual pages, one for each command.
//!
//! Made from the same definitions as `--help`, and with the same examples, line for line.

use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::exit::Exit;
use crate::{Cli, NAME, output};

/// Write the manual pages, one for each command, into a directory
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick man /usr/local/share/man/man1
  man hayrick-master
  To look at one without installing it:
    hayrick man ./man && man -l ./man/hayrick-master.1")]
pub(crate) struct Args {
    /// Where they go; made if need be. Pages of the same name are replaced
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// A page, and the name of its file.
struct Page {
    file: String,
    text: Vec<u8>,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    let dir = args.dir.display();
    let pages = pages().context("the pages cannot be made")?;
    std::fs::create_dir_all(&args.dir).with_context(|| format!("cannot make the directory {dir}"))?;
    for page in &pages {
        std::fs::write(args.dir.join(&page.file), &page.text)
            .with_context(|| format!("cannot write {} into {dir}", page.file))?;
    }
    output::line(&format!("{} pages in {dir}; {} is the first", pages.len(), pages[0].file))?;
    Ok(Exit::Done)
}

/// The page of `hayrick`, and then those of all commands.
fn pages() -> io::Result<Vec<Page>> {
    let mut cli = Cli::command();
    cli.build();
    let source = format!("{NAME} {}", cli.get_version().unwrap_or_default());
    let mut pages = Vec::new();
    add_pages(&cli, &source, &mut pages)?;
    Ok(pages)
}

fn add_pages(command: &Command, source: &str, pages: &mut Vec<Page>) -> io::Result<()> {
    // Without its examples, which would be filled into paragraphs.
    let man = Man::new(command.clone().after_help(None::<&str>)).source(source).manual("Hayrick");
    let mut text = Vec::new();
    man.render(&mut text)?;
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    text.extend(after_help(&help).into_bytes());
    pages.push(Page { file: man.get_filename(), text });
    let mut parts = command.get_subcommands().filter(|part| !part.is_hide_set());
    parts.try_for_each(|part| add_pages(part, source, pages))
}

/// What stands below the help, each paragraph with a heading of its own, and its lines as they are.
fn after_help(help: &str) -> String {
    let mut roff = Roff::new();
    for paragraph in help.split("\n\n") {
        let lines = match paragraph.split_once('\n') {
            Some(("Examples:", rest)) => {
                roff.control("SH", ["EXAMPLES"]);
                rest
            }
            _ => {
                let heading = if paragraph.starts_with("Exit codes") { "EXIT STATUS" } else { "NOTES" };
                roff.control("SH", [heading]);
                paragraph
            }
        };
        roff.control("nf", []);
        for line in lines.lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
    roff.to_roff()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page<'a>(pages: &'a [Page], file: &str) -> &'a str {
        let page =
            pages.iter().find(|page| page.file == file).unwrap_or_else(|| panic!("there is no {file}"));
        std::str::from_utf8(&page.text).expect("UTF-8")
    }

    #[test]
    fn every_command_has_its_page_under_a_name_of_its_own() {
        fn count(command: &Command) -> usize {
            1 + command.get_subcommands().map(count).sum::<usize>()
        }
        let pages = pages().expect("pages");
        let names: std::collections::BTreeSet<&str> = pages.iter().map(|page| page.file.as_str()).collect();
        assert_eq!((pages.len(), names.len()), (count(&Cli::command()), pages.len()), "{names:?}");
        assert_eq!(pages[0].file, "hayrick.1");
        for file in ["hayrick-master.1", "hayrick-volume-drain.1", "hayrick-inspect-raft.1"] {
            assert!(names.contains(file), "{file} is not among {names:?}");
        }
    }

    #[test]
    fn a_page_has_flags_variables_and_the_examples_line_for_line() {
        let pages = pages().expect("pages");
        let master = page(&pages, "hayrick-master.1");
        for part in
            ["\\-\\-down\\-after", "HAYRICK_DOWN_AFTER", ".SH EXAMPLES\n.nf\n", "hayrick\\-master\\-transfer"]
        {
            assert!(master.contains(part), "{part} is not in {master}");
        }
        assert!(master.contains("\n    hayrick master ls\n"), "{master}");
        assert!(page(&pages, "hayrick.1").contains(".SH \"EXIT STATUS\""));
    }
}
