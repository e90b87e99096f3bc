//! What the processes wrote into their logs around a contradiction, in one list with what the clients did.
//!
//! Each line is placed by the timestamp that its process gave it. Lines without one (a panic, its backtrace) stay with the
//! line before them. A log that cannot be read is said.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, SystemTime};

use maud::{Markup, html};

use super::words;
use crate::history::{Moment, Operation};
use crate::record::Record;
use crate::verdict::Evidence;

/// How much before the first and after the last operation is shown.
const AROUND: Duration = Duration::from_secs(1);

/// Of each process.
const LINES_MAX: usize = 40;

/// A chatty process fills no memory: of so many lines the best [`LINES_MAX`] are kept, and then it goes on.
const HELD_MAX: usize = 4_000;

const LINE_CHARS_MAX: usize = 500;

/// Of operations, more than these do not stand among the lines.
const OPERATIONS_MAX: usize = 40;

/// The list of lines around `evidence`; nothing where it tells no moment.
pub(super) fn around(evidence: &Evidence, record: &Record) -> Markup {
    let Some(window) = Window::of(evidence, record) else {
        return html! { p.quiet { "No log lines: " (why_none(record)) } };
    };
    let mut rows = Vec::new();
    let mut notes = Vec::new();
    for (process, path) in &record.logs {
        match window.lines(path) {
            Ok(found) if found.lines.is_empty() => {
                notes.push(format!("{process} wrote nothing in this time."))
            }
            Ok(found) => {
                if found.all > found.lines.len() {
                    notes.push(format!("Of {process}: {} of {} lines.", found.lines.len(), found.all));
                }
                rows.extend(found.lines.into_iter().map(|line| Row::of_log(process, line)));
            }
            Err(error) => {
                notes.push(format!("The log of {process} could not be read: {error} ({}).", path.display()))
            }
        }
    }
    if record.logs.is_empty() {
        notes.push("No logs were kept of this run.".to_owned());
    }
    rows.extend(evidence.history.iter().take(OPERATIONS_MAX).flat_map(Row::of_operation));
    rows.sort_by_key(|row| row.at);
    html! {
        details open {
            summary { "What the processes logged meanwhile" }
            div.scroll.log tabindex="0" {
                table { tbody { @for row in &rows { (row.draw()) } } }
            }
            @for note in &notes { p.quiet { (words::shown(note)) } }
            p.quiet {
                "From a second before the first operation to a second after the last, by the clock of each process; of each at most "
                (LINES_MAX) " lines: errors and warnings first, then those nearest to an operation."
            }
        }
    }
}

fn why_none(record: &Record) -> &'static str {
    match humantime::parse_rfc3339(&record.began) {
        Ok(_) => "the contradiction is about no moment.",
        Err(_) => "the record does not say when the run began.",
    }
}

/// The time to look at, on the wall clock.
struct Window {
    began: SystemTime,
    from: SystemTime,
    to: SystemTime,
    /// When something happened that the contradiction is about.
    near: Vec<SystemTime>,
}

/// One line of a log, with those that belong to it.
struct Line {
    at: SystemTime,
    since_began_ns: i128,
    grave: bool,
    text: String,
}

/// What a log holds of the window.
struct Found {
    lines: Vec<Line>,
    all: usize,
}

impl Window {
    fn of(evidence: &Evidence, record: &Record) -> Option<Self> {
        let began = humantime::parse_rfc3339(&record.began).ok()?;
        let edges = evidence.history.iter().flat_map(|operation| [operation.begun, operation.ended]);
        let moments: Vec<Moment> =
            if evidence.history.is_empty() { evidence.at.into_iter().collect() } else { edges.collect() };
        let wall = |moment: Moment| began.checked_add(Duration::from_nanos(moment.0));
        let near: Vec<SystemTime> = moments.into_iter().filter_map(wall).collect();
        let (first, last) = (*near.iter().min()?, *near.iter().max()?);
        Some(Self { began, from: first.checked_sub(AROUND)?, to: last.checked_add(AROUND)?, near })
    }

    /// The lines of one log that lie in it, in their order; the best of them, if they are too many.
    fn lines(&self, path: &Path) -> io::Result<Found> {
        let mut log = BufReader::new(File::open(path)?);
        let mut found = Found { lines: Vec::new(), all: 0 };
        let mut inside = false;
        let mut bytes = Vec::new();
        while log.read_until(b'\n', &mut bytes)? > 0 {
            let text = without_colours(String::from_utf8_lossy(&bytes).trim_end());
            bytes.clear();
            match stamped(&text) {
                Some((at, words)) => {
                    inside = self.from <= at && at <= self.to;
                    if inside {
                        found.all += 1;
                        found.lines.push(self.line(at, words));
                    }
                }
                None if inside => found.lines.last_mut().into_iter().for_each(|line| line.append(&text)),
                None => {}
            }
            if found.lines.len() > HELD_MAX {
                self.keep_best(&mut found.lines);
            }
        }
        self.keep_best(&mut found.lines);
        Ok(found)
    }

    fn line(&self, at: SystemTime, words: &str) -> Line {
        let level = words.split_whitespace().next().unwrap_or_default();
        let since_began_ns = match at.duration_since(self.began) {
            Ok(since) => since.as_nanos() as i128,
            Err(before) => -(before.duration().as_nanos() as i128),
        };
        let text = words.trim_start().chars().take(LINE_CHARS_MAX).collect();
        Line { at, since_began_ns, grave: matches!(level, "ERROR" | "WARN"), text }
    }

    fn keep_best(&self, lines: &mut Vec<Line>) {
        if lines.len() > LINES_MAX {
            lines.sort_by_key(|line| (!line.grave, self.distance(line.at)));
            lines.truncate(LINES_MAX);
            lines.sort_by_key(|line| line.at);
        }
    }

    fn distance(&self, at: SystemTime) -> Duration {
        let apart = |one: &SystemTime| at.duration_since(*one).unwrap_or_else(|before| before.duration());
        self.near.iter().map(apart).min().unwrap_or_default()
    }
}

impl Line {
    fn append(&mut self, text: &str) {
        if self.text.len() < LINE_CHARS_MAX {
            self.text.push_str(" ⏎ ");
            self.text.extend(text.chars().take(LINE_CHARS_MAX));
        }
    }
}

/// The time at the beginning of a line, and what follows it.
fn stamped(line: &str) -> Option<(SystemTime, &str)> {
    let (stamp, words) = line.split_once(' ')?;
    Some((humantime::parse_rfc3339(stamp).ok()?, words))
}

/// Without the sequences that colour a terminal.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, after)| after));
    }
    plain
}

/// One row of the list: a line, or what a client did.
struct Row {
    at: i128,
    who: String,
    class: String,
    text: String,
}

impl Row {
    fn of_log(process: &str, line: Line) -> Self {
        let grave = if line.grave { " grave" } else { "" };
        let class = format!("who-{}{grave}", colour(process));
        Self { at: line.since_began_ns, who: process.to_owned(), class, text: line.text }
    }

    fn of_operation(operation: &Operation) -> [Self; 2] {
        let row = |at: Moment, text: String| Self {
            at: i128::from(at.0),
            who: format!("client {}", operation.client),
            class: "client".to_owned(),
            text,
        };
        let call = words::call(&operation.call, 60);
        [
            row(operation.begun, format!("asks master-{}: {call}", operation.master)),
            row(operation.ended, format!("is told: {call} {}", words::answer(&operation.answer, 100))),
        ]
    }

    fn draw(&self) -> Markup {
        html! {
            tr class=(self.class) {
                td.number { (format!("{:.6}", self.at as f64 / 1e9)) }
                td.who { (words::short(&self.who, 40)) }
                td.text { (words::shown(&self.text)) }
            }
        }
    }
}

/// Masters have the colours in which the timeline draws them as leaders; volumes have others.
fn colour(process: &str) -> String {
    let number: u32 = process.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0);
    match process.starts_with("master") {
        true => format!("master-{}", number.saturating_sub(1) % 7 + 1),
        false => "volume".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::made_up;

    fn window() -> Window {
        let run = made_up::violated(Path::new("nowhere"), 0);
        Window::of(&run.verdicts[0].evidence[0], &run.record).expect("the record says when it began")
    }

    #[test]
    fn a_log_is_cut_to_the_time_of_the_contradiction_and_to_the_lines_that_tell_most() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        made_up::write_logs(dir.path());
        let found = window().lines(&dir.path().join("master-1.log")).expect("the log is there");
        assert_eq!(found.lines.len(), LINES_MAX);
        assert!(found.all > LINES_MAX, "{} lines", found.all);
        assert!(
            found.lines.iter().all(|line| (21_900_000_000..=24_200_000_000).contains(&line.since_began_ns))
        );
        assert!(found.lines.is_sorted_by_key(|line| line.at));
        assert!(found.lines.iter().any(|line| line.grave), "an error is never left out for an info");
    }

    #[test]
    fn colours_go_and_what_has_no_time_stays_with_the_line_before() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        made_up::write_logs(dir.path());
        let found = window().lines(&dir.path().join("master-2.log")).expect("the log is there");
        let texts: Vec<&str> = found.lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(
            texts,
            ["WARN lost the leader ⏎ thread 'main' panicked at master/src/peer/server.rs:41: ⏎ no quorum"]
        );
    }

    #[test]
    fn a_missing_log_is_said() {
        let run = made_up::violated(Path::new("nowhere"), 0);
        let drawn = around(&run.verdicts[0].evidence[0], &run.record).into_string();
        assert!(drawn.contains("The log of volume-1 could not be read"), "{drawn}");
    }
}
