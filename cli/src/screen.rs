//! What is written for a terminal and for nothing else: colours, and a text that is shown anew where it stood.
//!
//! Invariant: into a pipe or a file goes plain text, whatever is shown.

use std::io::{self, IsTerminal, Write};

use terminal_size::terminal_size_of;

use crate::output;

/// To the first line of the terminal.
const HOME: &str = "\x1b[H";
/// Clears from here to the end of the line.
const CLEAR_LINE: &str = "\x1b[K";
/// Clears from here to the end of the terminal.
const CLEAR_BELOW: &str = "\x1b[J";

/// Whether `stream` does what escapes say: it is a terminal, and none that says of itself that it cannot.
pub(crate) fn obeys(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("TERM").is_some_and(|name| name != "dumb")
}

/// Whether `stream` gets colours: it knows them, and nobody said NO_COLOR (no-color.org).
pub(crate) fn takes_colours(stream: &impl IsTerminal) -> bool {
    obeys(stream) && std::env::var_os("NO_COLOR").is_none_or(|said| said.is_empty())
}

/// Standard output, on which a text is shown time and again.
pub(crate) struct Screen {
    obeys: bool,
    is_first: bool,
}

/// How many characters a line of a terminal has, and how many lines there are.
#[derive(Debug, Clone, Copy)]
struct Size {
    columns: usize,
    lines: usize,
}

impl Screen {
    pub(crate) fn of_stdout() -> Self {
        Self { obeys: obeys(&io::stdout()), is_first: true }
    }

    /// Shows `text`: over the one before, or below it, with an empty line between, where there is no terminal.
    pub(crate) fn show(&mut self, text: &str) -> io::Result<()> {
        let mut out = output::stdout();
        if self.obeys {
            // Asked each time, as windows are made larger and smaller.
            let size = terminal_size_of(io::stdout())
                .map(|(width, height)| Size { columns: width.0.into(), lines: height.0.into() });
            out.write_all(over(text, size).as_bytes())?;
        } else {
            let between = if self.is_first { "" } else { "\n" };
            writeln!(out, "{between}{text}")?;
        }
        self.is_first = false;
        out.flush()
    }
}

/// `text` as it is written over another one. Nothing is cleared before it is written over, so that nothing flickers; lines
/// that do not fit would make the terminal scroll, and leave the old text above.
fn over(text: &str, size: Option<Size>) -> String {
    // A terminal that does not know its size says 0.
    let size = size.filter(|size| size.columns > 1 && size.lines > 2);
    let lines: Vec<&str> = text.lines().collect();
    // The cursor takes the last one.
    let room = size.map_or(lines.len(), |size| size.lines - 1);
    let mut shown: Vec<String> = lines.iter().map(|line| cut(line, size)).collect();
    if shown.len() > room {
        shown.truncate(room - 1);
        let left = lines.len() - shown.len();
        shown.push(cut(&format!("… and {left} lines more than fit here"), size));
    }
    let mut written = HOME.to_owned();
    for line in shown {
        written.push_str(&line);
        written.push_str(CLEAR_LINE);
        written.push('\n');
    }
    written + CLEAR_BELOW
}

/// One column is left free: behind the last, some terminals begin a new line, and others clear what stands in it.
fn cut(line: &str, size: Option<Size>) -> String {
    match size.map(|size| size.columns - 1) {
        Some(room) if line.chars().count() > room => {
            let mut cut: String = line.chars().take(room - 1).collect();
            cut.push('…');
            cut
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_written_over_the_one_before_and_clears_what_is_left_of_it() {
        assert_eq!(over("one\ntwo", None), "\x1b[Hone\x1b[K\ntwo\x1b[K\n\x1b[J");
        let size = Some(Size { columns: 80, lines: 24 });
        assert_eq!(over("one\ntwo", size), over("one\ntwo", None));
        assert_eq!(over("one", Some(Size { columns: 0, lines: 0 })), "\x1b[Hone\x1b[K\n\x1b[J");
    }

    #[test]
    fn what_does_not_fit_is_cut_so_that_nothing_scrolls() {
        let size = Some(Size { columns: 30, lines: 4 });
        let text = "1\n2\n3\n4\n5";
        assert_eq!(over(text, size), "\x1b[H1\x1b[K\n2\x1b[K\n… and 3 lines more than fit …\x1b[K\n\x1b[J");
        assert_eq!(over("1\n2\n3", size), "\x1b[H1\x1b[K\n2\x1b[K\n3\x1b[K\n\x1b[J");
        let size = Some(Size { columns: 5, lines: 24 });
        assert_eq!(over("1234\n12345\nüüüüü", size), "\x1b[H1234\x1b[K\n123…\x1b[K\nüüü…\x1b[K\n\x1b[J");
    }
}
