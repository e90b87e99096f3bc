//! Tables that runs write into a document of the project, each between two lines that are there for it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// What stands between this table's two lines is replaced.
///
/// # Errors
/// When the document cannot be read or written, or has no such lines.
pub fn replace_table(document: &Path, name: &str, table: &str) -> Result<()> {
    let (before, after) = around(document, name)?;
    fs::write(document, format!("{before}\n{table}{after}")).with_context(|| document.display().to_string())
}

/// Whether [`replace_table`] will find what it needs: asked before hours of runs, and changes nothing.
///
/// # Errors
/// As [`replace_table`].
pub fn has_table(document: &Path, name: &str) -> Result<()> {
    around(document, name)?;
    let opened = fs::OpenOptions::new().append(true).open(document);
    opened.map(drop).with_context(|| document.display().to_string())
}

/// What is before the table, with its first line, and what is after it, with its last one.
fn around(document: &Path, name: &str) -> Result<(String, String)> {
    let (begin, end) =
        (format!("<!-- table {name}: written by a run -->"), format!("<!-- end of table {name} -->"));
    let text = fs::read_to_string(document).with_context(|| document.display().to_string())?;
    let lacks = |line: &str| format!("{} has no line {line:?}", document.display());
    let (before, rest) = text.split_once(&begin).with_context(|| lacks(&begin))?;
    let (_, after) = rest.split_once(&end).with_context(|| lacks(&end))?;
    Ok((format!("{before}{begin}"), format!("{end}{after}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_replaces_the_one_before_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let document = dir.path().join("chaos.md");
        let around = |table: &str| {
            format!("# Title\n\n<!-- table a: written by a run -->\n{table}<!-- end of table a -->\n\nrest\n")
        };
        fs::write(&document, around("old\n")).expect("written");
        has_table(&document, "a").expect("there");
        assert_eq!(fs::read_to_string(&document).expect("there"), around("old\n"), "asking changes nothing");
        replace_table(&document, "a", "| new |\n").expect("replaced");
        assert_eq!(fs::read_to_string(&document).expect("there"), around("| new |\n"));
        for (document, name) in [(document, "b"), (dir.path().join("none.md"), "a")] {
            assert!(has_table(&document, name).is_err());
            assert!(replace_table(&document, name, "").is_err());
        }
    }
}
