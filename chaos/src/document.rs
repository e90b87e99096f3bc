//! Tables that runs write into a document of the project, each between two lines that are there for it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// What stands between this table's two lines is replaced.
///
/// # Errors
/// When the document cannot be read or written, or has no such lines.
pub fn replace_table(document: &Path, name: &str, table: &str) -> Result<()> {
    let (begin, end) =
        (format!("<!-- table {name}: written by a run -->"), format!("<!-- end of table {name} -->"));
    let text = fs::read_to_string(document).with_context(|| document.display().to_string())?;
    let lacks = |line: &str| format!("{} has no line {line:?}", document.display());
    let (before, rest) = text.split_once(&begin).with_context(|| lacks(&begin))?;
    let (_, after) = rest.split_once(&end).with_context(|| lacks(&end))?;
    fs::write(document, format!("{before}{begin}\n{table}{end}{after}"))
        .with_context(|| document.display().to_string())
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
        replace_table(&document, "a", "| new |\n").expect("replaced");
        assert_eq!(fs::read_to_string(&document).expect("there"), around("| new |\n"));
        assert!(replace_table(&document, "b", "").is_err());
        assert!(replace_table(&dir.path().join("none.md"), "a", "").is_err());
    }
}
