//! The histogram of latencies: a few rows whose bounds are round numbers, and a bar for each.
//!
//! Invariant: every request is in one row, so that the rows add up; no line is wider than the terminal.

use std::io;

use hdrhistogram::Histogram;
use terminal_size::terminal_size_of;

use crate::output::{self, Align};
use crate::screen;

/// More do not fit a glance.
const ROWS_MAX: usize = 16;
/// Where the width is not known.
const COLUMNS_DEFAULT: usize = 80;
/// Longer bars tell no more.
const BAR_COLUMNS_MAX: usize = 50;
/// Ten to this many microseconds are longer than anything that is recorded.
const DECADES: u32 = 11;
/// Bounds within a decade, in tenths of its beginning, from fine to coarse: the finest is taken that does not need too many rows.
const STEPS: [&[u64]; 4] = [&[10, 15, 20, 30, 50, 70], &[10, 20, 50], &[10, 30], &[10]];
/// A bar's last character: none, one eighth of a column, and so on.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// Requests that took longer than the bound of the row before, and not longer than this one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) up_to_us: u64,
    pub(super) count: u64,
    /// Those of this row and of all before it.
    pub(super) so_far: u64,
}

/// What the place can show where it is drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Canvas {
    columns: usize,
    has_blocks: bool,
}

impl Canvas {
    /// Standard output. Into a pipe or a file goes plain ASCII.
    pub(super) fn of_stdout() -> Self {
        let out = io::stdout();
        let width = terminal_size_of(&out).map(|(width, _)| usize::from(width.0)).filter(|width| *width > 1);
        // One column less, as some terminals begin a new line behind the last.
        Self { columns: width.map_or(COLUMNS_DEFAULT, |width| width - 1), has_blocks: screen::obeys(&out) }
    }
}

#[cfg(test)]
impl Canvas {
    /// Of so many columns, in ASCII.
    pub(super) fn plain(columns: usize) -> Self {
        Self { columns, has_blocks: false }
    }
}

/// The rows of a histogram of microseconds; none if nothing is in it.
pub(super) fn rows(latencies_us: &Histogram<u64>) -> Vec<Row> {
    if latencies_us.is_empty() {
        return Vec::new();
    }
    let bounds = bounds(lowest(latencies_us, latencies_us.min()), lowest(latencies_us, latencies_us.max()));
    let mut rows: Vec<Row> =
        bounds.into_iter().map(|up_to_us| Row { up_to_us, count: 0, so_far: 0 }).collect();
    for value in latencies_us.iter_recorded() {
        let latency = lowest(latencies_us, value.value_iterated_to());
        let at = rows.partition_point(|row| row.up_to_us < latency);
        rows[at].count += value.count_at_value();
    }
    let mut so_far = 0;
    for row in &mut rows {
        so_far += row.count;
        row.so_far = so_far;
    }
    rows
}

/// The lowest of the values that the histogram does not tell from this one: round times are their own, and so stay below their
/// bound.
fn lowest(latencies_us: &Histogram<u64>, value: u64) -> u64 {
    latencies_us.lowest_equivalent(value)
}

/// The bounds of the rows that `min` to `max` need.
fn bounds(min: u64, max: u64) -> Vec<u64> {
    let needed = |tenths: &&[u64]| {
        let all = (0..DECADES).flat_map(|decade| {
            tenths.iter().map(move |tenths| tenths * 10_u64.pow(decade)).filter(|bound| bound % 10 == 0)
        });
        let all: Vec<u64> = all.map(|tenths| tenths / 10).collect();
        let first = all.partition_point(|bound| *bound < min);
        let last = all.partition_point(|bound| *bound < max);
        all[first..=last].to_vec()
    };
    let from_fine_to_coarse = STEPS.iter().map(needed);
    let mut fitting = from_fine_to_coarse.skip_while(|bounds| bounds.len() > ROWS_MAX);
    fitting.next().expect("there are fewer decades than rows")
}

/// The rows as they are shown, `what` being the title of their counts.
pub(super) fn draw(what: &str, rows: &[Row], canvas: Canvas) -> String {
    let total = rows.last().map_or(0, |row| row.so_far);
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| vec![time(row.up_to_us), row.count.to_string(), share_so_far(row.so_far, total)])
        .collect();
    let titles = [("up to", Align::Right), (what, Align::Right), ("so far", Align::Right)];
    let table = output::table(&titles, &cells);
    let width = table.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    let room = canvas.columns.saturating_sub(width + 2).min(BAR_COLUMNS_MAX);
    let most = rows.iter().map(|row| row.count).max().unwrap_or(0);
    let bars = rows.iter().map(|row| bar(row.count, most, room, canvas.has_blocks));
    let lines = table.lines().zip(std::iter::once(String::new()).chain(bars)).map(|(line, bar)| {
        let line = format!("{line}  {bar}");
        line.trim_end().chars().take(canvas.columns).collect::<String>()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// As long as `count` is of `most`; what is not nothing is seen.
fn bar(count: u64, most: u64, columns: usize, has_blocks: bool) -> String {
    if count == 0 || columns == 0 {
        return String::new();
    }
    let parts = if has_blocks { EIGHTHS.len() } else { 1 };
    let length = (count as f64 / most as f64 * (columns * parts) as f64).round() as usize;
    let length = length.clamp(1, columns * parts);
    let full = if has_blocks { "█" } else { "#" };
    full.repeat(length / parts) + EIGHTHS[length % parts]
}

/// Never 100 % while one is missing.
fn share_so_far(so_far: u64, total: u64) -> String {
    let hundredths = u128::from(so_far) * 10_000 / u128::from(total.max(1));
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

/// A time in three digits or so.
pub(super) fn time(us: u64) -> String {
    let ms = us as f64 / 1000.0;
    match us {
        0..100 => format!("{ms:.3} ms"),
        100..10_000 => format!("{ms:.2} ms"),
        10_000..100_000 => format!("{ms:.1} ms"),
        100_000..1_000_000 => format!("{ms:.0} ms"),
        _ => format!("{:.2} s", ms / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(latencies_us: &[(u64, u64)]) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("bounds");
        for (latency, count) in latencies_us {
            histogram.record_n(*latency, *count).expect("in the bounds");
        }
        histogram
    }

    const LATENCIES: &[(u64, u64)] =
        &[(900, 10), (1000, 90), (1400, 400), (2000, 300), (2900, 1), (10_000, 99), (99_000, 1)];

    #[test]
    fn rows_have_round_bounds_and_add_up() {
        let rows = rows(&histogram(LATENCIES));
        let bounds: Vec<u64> = rows.iter().map(|row| row.up_to_us).collect();
        let round =
            [1000, 1500, 2000, 3000, 5000, 7000, 10_000, 15_000, 20_000, 30_000, 50_000, 70_000, 100_000];
        assert_eq!(bounds, round);
        let counts: Vec<u64> = rows.iter().map(|row| row.count).collect();
        assert_eq!(counts, [100, 400, 300, 1, 0, 0, 99, 0, 0, 0, 0, 0, 1]);
        assert_eq!(rows.last().map(|row| row.so_far), Some(901));
        assert!(super::rows(&histogram(&[])).is_empty());
    }

    #[test]
    fn there_are_never_too_many_rows() {
        for max in [1, 2, 999, 1000, 1001, 123_456, 5_000_000, 3_600_000_000] {
            for min in [1, 700, 1000, 45_678].into_iter().filter(|min| *min <= max) {
                let latencies = histogram(&[(min, 3), (max, 2)]);
                let rows = rows(&latencies);
                assert!((1..=ROWS_MAX).contains(&rows.len()), "{min} to {max}: {rows:?}");
                assert_eq!(rows.last().map(|row| row.so_far), Some(5), "{min} to {max}: {rows:?}");
                assert!(rows[0].count > 0 && rows[rows.len() - 1].count > 0, "{min} to {max}: {rows:?}");
            }
        }
    }

    #[test]
    fn bars_are_drawn_in_blocks_or_in_plain_ascii() {
        let rows = rows(&histogram(&[(900, 10), (1400, 400), (2000, 25), (2900, 1), (6000, 1)]));
        let plain = draw("PUTs", &rows, Canvas { columns: 46, has_blocks: false });
        let expected = "  up to  PUTs    so far
1.00 ms    10    2.28 %  #
1.50 ms   400   93.82 %  #####################
2.00 ms    25   99.54 %  #
3.00 ms     1   99.77 %  #
5.00 ms     0   99.77 %
7.00 ms     1  100.00 %  #";
        assert_eq!(plain, expected);
        let blocks = draw("PUTs", &rows, Canvas { columns: 46, has_blocks: true });
        let bars: Vec<&str> = blocks.lines().skip(1).map(|line| line[23..].trim()).collect();
        assert_eq!(bars, ["▌", "█████████████████████", "█▍", "▏", "", "▏"]);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let rows = rows(&histogram(LATENCIES));
        for columns in [1, 10, 24, 30, 60, 500] {
            let drawn = draw("GETs", &rows, Canvas { columns, has_blocks: true });
            let widest = drawn.lines().map(|line| line.chars().count()).max();
            assert!(widest.is_some_and(|widest| widest <= columns.min(90)), "{columns}: {drawn}");
        }
    }

    #[test]
    fn all_is_said_only_of_all() {
        assert_eq!(share_so_far(99_999, 100_000), "99.99 %");
        assert_eq!(share_so_far(100_000, 100_000), "100.00 %");
        assert_eq!(share_so_far(0, 0), "0.00 %");
    }

    #[test]
    fn times_have_three_digits() {
        let told = [7, 850, 5800, 24_900, 310_000, 1_250_000, 61_000_000].map(time);
        assert_eq!(told, ["0.007 ms", "0.85 ms", "5.80 ms", "24.9 ms", "310 ms", "1.25 s", "61.00 s"]);
    }
}
