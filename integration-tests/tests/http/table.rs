//! The table of the rows in docs/http.md.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::rows::ROWS;

const BEGIN: &str = "<!-- table of rows: made of integration-tests/tests/http/rows.rs -->\n";
const END: &str = "<!-- end of the table of rows -->";

/// Compares it with the rows, or writes it where `UPDATE_DOCS` is set.
pub(crate) fn is_up_to_date() -> Result<()> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/http.md");
    let document = std::fs::read_to_string(&path).context("docs/http.md")?;
    let (before, rest) = document.split_once(BEGIN).context("docs/http.md has no place for the table")?;
    let (_, after) = rest.split_once(END).context("the table of docs/http.md has no end")?;
    let wanted = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        return Ok(std::fs::write(path, wanted)?);
    }
    let how = "UPDATE_DOCS=1 cargo test -p hayrick-integration-tests --test http the_document";
    ensure!(document == wanted, "docs/http.md shows other rows than there are; {how}");
    Ok(())
}

fn table() -> String {
    let mut table = String::new();
    let mut section = "";
    for row in ROWS {
        if row.section != section {
            section = row.section;
            table.push_str(&format!("\n### {section}\n\n| asked | answered | test |\n|---|---|---|\n"));
        }
        let cell = |text: &str| text.replace('|', "\\|");
        table.push_str(&format!("| {} | {} | `{}` |\n", cell(row.asked), cell(row.answered), row.name));
    }
    table.push('\n');
    table
}
