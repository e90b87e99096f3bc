//! What commands print on standard output: lines, tables, JSON.
//!
//! Owns standard output: errors and logs go to standard error. A reader that goes away (`| head`) is an error to the caller,
//! not a panic, and told from a pipe that was named and whose reader goes: of that nothing was delivered.

use std::io::{self, ErrorKind, StdoutLock, Write};

use serde_json::Value;

/// Whoever read our standard output has enough of it.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads standard output any more")]
pub(crate) struct HasEnough;

/// Standard output, for whoever writes more than lines; no other thread writes there meanwhile.
pub(crate) struct Stdout(StdoutLock<'static>);

pub(crate) fn stdout() -> Stdout {
    Stdout(io::stdout().lock())
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(of_stdout)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(of_stdout)
    }
}

fn of_stdout(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::BrokenPipe {
        io::Error::new(ErrorKind::BrokenPipe, HasEnough)
    } else {
        error
    }
}

/// Whether the reader of our standard output went away.
pub(crate) fn is_enough(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<HasEnough>())
}

/// One line.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut out = stdout();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Lines for who happens to read them, where something else counts, as an exit code or a file that is written: it goes on
/// though nobody reads any more.
pub(crate) fn said(text: &str) {
    let _ = line(text);
}

/// The same on standard error.
pub(crate) fn noted(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A JSON value over several lines.
pub(crate) fn json(value: &Value) -> io::Result<()> {
    line(&format!("{value:#}"))
}

/// Bytes that a stranger chose, as text in which nothing is left that a terminal would obey: what is no UTF-8, no letter
/// one can see, or a backslash, is escaped.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\'' | '"' => text.push(letter),
                letter => text.extend(letter.escape_debug()),
            }
        }
        text.extend(chunk.invalid().escape_ascii().map(char::from));
    }
    text
}

/// A JSON value on one line, in which control characters that JSON lets pass are escaped, too.
pub(crate) fn json_line(value: &Value) -> String {
    let mut text = String::new();
    for letter in value.to_string().chars() {
        if letter.is_control() {
            text.push_str(&format!("\\u{:04x}", u32::from(letter)));
        } else {
            text.push(letter);
        }
    }
    text
}

/// Names and values, the values in one column.
pub(crate) fn pairs(rows: &[(String, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:<width$}  {value}")).collect();
    lines.join("\n")
}

/// How the cells of a column stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table with a row of titles; `-` stands for an empty cell, so that columns can be cut by a script.
pub(crate) fn table(columns: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let cell = |row: &[String], at: usize| match row.get(at).map(String::as_str) {
        None | Some("") => "-".to_owned(),
        Some(text) => text.to_owned(),
    };
    let titles: Vec<String> = columns.iter().map(|(title, _)| (*title).to_owned()).collect();
    let all: Vec<&[String]> =
        std::iter::once(titles.as_slice()).chain(rows.iter().map(Vec::as_slice)).collect();
    let width = |at: usize| all.iter().map(|row| cell(row, at).chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let lines = all.iter().map(|row| {
        let cells = columns.iter().zip(&widths).enumerate().map(|(at, ((_, align), width))| match align {
            Align::Left => format!("{:<width$}", cell(row, at)),
            Align::Right => format!("{:>width$}", cell(row, at)),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_of_standard_output_that_went_is_told_from_one_of_another_pipe() {
        let broken = || io::Error::from(ErrorKind::BrokenPipe);
        assert!(is_enough(&of_stdout(broken())) && !is_enough(&broken()));
        assert!(!is_enough(&of_stdout(io::Error::from(ErrorKind::StorageFull))));
    }

    #[test]
    fn tables_line_up_and_show_empty_cells() {
        let rows =
            [vec!["1".into(), "a".into(), String::new()], vec!["12".into(), "ümlaut".into(), "x".into()]];
        let text = table(&[("id", Align::Right), ("zone", Align::Left), ("state", Align::Left)], &rows);
        assert_eq!(text, "id  zone    state\n 1  a       -\n12  ümlaut  x");
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_left_of_a_strangers_bytes() {
        assert_eq!(escaped("cats/\u{fc}ml\u{e4}ut 1's".as_bytes()), "cats/\u{fc}ml\u{e4}ut 1's");
        assert_eq!(escaped(b"\x1b[2J\n\\\xff\xc2\x9b"), r"\u{1b}[2J\n\\\xff\u{9b}");
        assert_eq!(escaped("\u{202e}gnp".as_bytes()), r"\u{202e}gnp");
        let value = serde_json::json!({ "key": "\u{1b}\u{7f}\u{9b}" });
        assert_eq!(json_line(&value), r#"{"key":"\u001b\u007f\u009b"}"#);
        assert_eq!(serde_json::from_str::<Value>(&json_line(&value)).expect("JSON"), value);
    }

    #[test]
    fn pairs_line_up() {
        let rows = [("a".to_owned(), "1".to_owned()), ("long".to_owned(), "2".to_owned())];
        assert_eq!(pairs(&rows), "a     1\nlong  2");
    }
}
