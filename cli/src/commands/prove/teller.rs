//! How a run goes, for who waits for it.

use std::io::{self, Write};
use std::time::Duration;

use hayrick_chaos::prove::Progress;

use crate::screen;

/// Between two lines where nobody watches a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Tells how a run goes: in one line that is written over and over on a terminal, else in a line now and then.
pub(super) struct Teller {
    title: String,
    is_watched: bool,
    last: Option<(Duration, &'static str)>,
}

impl Teller {
    pub(super) fn new(title: String) -> Self {
        Self { title, is_watched: screen::obeys(&io::stderr()), last: None }
    }

    /// Says how it goes; of what is said more often than somebody reads, a part.
    pub(super) fn tell(&mut self, progress: &Progress) {
        let Progress { doing, elapsed, .. } = progress;
        let line = self.line(progress);
        if self.is_watched {
            let width = terminal_size::terminal_size_of(io::stderr()).map_or(80, |(width, _)| width.0.into());
            // One column less, as some terminals begin a new line behind the last.
            let line: String = line.chars().take(usize::max(width, 2) - 1).collect();
            // Who watches sees the next line, if not this one.
            let _ = write!(io::stderr(), "\r\x1b[K{line}");
            return;
        }
        let due = self.last.is_none_or(|(last, was)| *elapsed >= last + LINE_EVERY || was != *doing);
        if due {
            self.last = Some((*elapsed, doing));
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    fn line(&self, progress: &Progress) -> String {
        let Progress { doing, elapsed, faults, broken, tally } = progress;
        let line = format!(
            "{}, {} s, {doing}: {} requests, {} unknown, {} wrong answers, {faults} faults  {}",
            self.title,
            elapsed.as_secs(),
            tally.operations,
            tally.unknown,
            tally.wrong,
            broken.join("; ")
        );
        line.trim_end().to_owned()
    }

    /// Makes room for what is said of all of it.
    pub(super) fn clear(&self) {
        if self.is_watched {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_done_since_when_and_how_clients_fare() {
        let progress = Progress {
            doing: "healing",
            elapsed: Duration::from_millis(61_500),
            faults: 3,
            broken: Vec::new(),
            tally: Default::default(),
        };
        assert_eq!(
            Teller::new("1/2 leader-kills".to_owned()).line(&progress),
            "1/2 leader-kills, 61 s, healing: 0 requests, 0 unknown, 0 wrong answers, 3 faults"
        );
    }
}
