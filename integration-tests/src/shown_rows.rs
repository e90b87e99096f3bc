//! The rows of a contract as tables in a document.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::rows::Row;

/// Compares the tables in `docs/PROGRAM.md` with the rows, or writes them where `UPDATE_DOCS` is set.
///
/// # Errors
/// When it shows others, or has no place for them; with what to do.
pub fn are_in<C>(program: &str, rows: &[Row<C>]) -> Result<()> {
    let name = format!("{program}.md");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(&name);
    let document = std::fs::read_to_string(&path).with_context(|| format!("docs/{name}"))?;
    let (begin, end) = (
        format!("<!-- table of rows: made of integration-tests/tests/{program}/rows.rs -->\n"),
        "<!-- end of the table of rows -->",
    );
    let (before, rest) =
        document.split_once(&begin).with_context(|| format!("docs/{name} has no place for the table"))?;
    let (_, after) = rest.split_once(end).with_context(|| format!("the table of docs/{name} has no end"))?;
    let wanted = format!("{before}{begin}{}{end}{after}", tables(rows));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        return Ok(std::fs::write(path, wanted)?);
    }
    let how = format!("UPDATE_DOCS=1 cargo test -p hayrick-integration-tests --test {program} the_document");
    ensure!(document == wanted, "docs/{name} shows other rows than there are; {how}");
    Ok(())
}

fn tables<C>(rows: &[Row<C>]) -> String {
    let mut tables = String::new();
    let mut section = "";
    for row in rows {
        if row.section != section {
            section = row.section;
            tables.push_str(&format!("\n### {section}\n\n| asked | answered | test |\n|---|---|---|\n"));
        }
        let cell = |text: &str| text.replace('|', "\\|");
        tables.push_str(&format!("| {} | {} | `{}` |\n", cell(row.asked), cell(row.answered), row.name));
    }
    tables.push('\n');
    tables
}
