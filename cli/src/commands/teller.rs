//! How something goes, for who waits for it: one line that is written over and over on a terminal, else one now and then.
//!
//! Owns standard error while it is shown. What is said is the command's own. Of what is said more often than somebody reads, a part
//! is shown.

use std::io::{self, Write};

use tokio::time::{Duration, Instant};

use crate::screen;

/// Between two lines on a terminal, ...
const WATCHED_EVERY: Duration = Duration::from_secs(1);
/// ... and where nobody watches one.
const LINE_EVERY: Duration = Duration::from_secs(10);

pub(crate) struct Teller {
    /// What stands before each line.
    title: String,
    is_watched: bool,
    /// When something was said last, and what was being done.
    last: Option<(Instant, &'static str)>,
}

impl Teller {
    pub(crate) fn new() -> Self {
        Self { title: String::new(), is_watched: screen::obeys(&io::stderr()), last: None }
    }

    /// Of one of several.
    pub(crate) fn titled(title: &str) -> Self {
        Self { title: format!("{title}, "), ..Self::new() }
    }

    /// Says what is done and how far it is, if that was not said a moment ago.
    pub(crate) fn tell(&mut self, doing: &'static str, how_far: impl FnOnce() -> String) {
        let now = Instant::now();
        if !self.is_due(doing, now) {
            return;
        }
        self.last = Some((now, doing));
        let line = format!("{}{doing}: {}", self.title, how_far());
        // Who watches sees the next line, if not this one.
        if self.is_watched {
            let width = terminal_size::terminal_size_of(io::stderr()).map_or(80, |(width, _)| width.0.into());
            // One column less, as some terminals begin a new line behind the last.
            let line: String = line.chars().take(usize::max(width, 2) - 1).collect();
            let _ = write!(io::stderr(), "\r\x1b[K{line}");
        } else {
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    fn is_due(&self, doing: &str, now: Instant) -> bool {
        let every = if self.is_watched { WATCHED_EVERY } else { LINE_EVERY };
        // Who tells once a second is not to be held up by a millisecond.
        self.last.is_none_or(|(last, was)| was != doing || now + every / 10 >= last + every)
    }

    /// Makes room for what is said of all of it.
    pub(crate) fn clear(&mut self) {
        if self.is_watched && self.last.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_now_and_then_and_at_once_when_something_else_begins() {
        let now = Instant::now();
        let due = |is_watched, doing: &str, seconds| {
            let teller = Teller { is_watched, last: Some((now, "measuring")), ..Teller::new() };
            teller.is_due(doing, now + Duration::from_secs(seconds))
        };
        assert!(due(true, "measuring", 1) && !due(true, "measuring", 0));
        assert!(due(false, "measuring", 10) && !due(false, "measuring", 8));
        assert!(due(false, "removing", 0));
    }
}
