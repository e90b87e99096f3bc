//! A contradiction: its sentence, and the operations that show it, one lane a client.
//!
//! The axis is that of what happened before what, not of time: between two moments that count there is as much room as
//! the words need. A smallest history often spans seconds, with operations of a millisecond; to scale, one would see
//! nothing. The times are written below it and in the table.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::svg::px;
use super::words;
use crate::history::{Answer, Call, History, Moment, Operation, Value};
use crate::report::figures::Ending;
use crate::verdict::Evidence;

/// So many operations can still be followed in a drawing; a history that needs more is in the table.
const DRAWN_MAX: usize = 60;

/// And so many in a table.
const ROWS_MAX: usize = 300;

/// Of a key in a bar.
const KEY_CHARS_MAX: usize = 28;
/// Where all operations are about the same key, which is said above them.
const SAME_KEY_CHARS_MAX: usize = 12;
const ANSWER_CHARS_MAX: usize = 36;
const LANES_LEFT: f64 = 76.0;
const LANE_HEIGHT: f64 = 54.0;
const BAR_HEIGHT: f64 = 42.0;
const STEP_MIN: f64 = 26.0;
/// Of the monospaced letters in a bar, rather too wide than too narrow.
const LETTER_WIDTH: f64 = 7.4;
/// A time below the axis.
const TIME_WIDTH: f64 = 54.0;

/// The sentence and the drawing; the log lines are not its business.
pub(super) fn evidence(evidence: &Evidence, history: &History) -> Markup {
    let mut operations: Vec<&Operation> = evidence.history.iter().collect();
    operations.sort_by_key(|operation| (operation.begun, operation.ended));
    html! {
        p.what { (words::shown(&evidence.what)) }
        p.quiet {
            @if let Some(key) = &evidence.key { "Key " code { (words::short(key, 200)) } ". " }
            @if let Some(at) = evidence.at { "It came to light at " (at) ". " }
            @if operations.is_empty() { "It is not about requests: there is no history to show." }
        }
        @if !operations.is_empty() {
            (lanes(&operations[..operations.len().min(DRAWN_MAX)]))
            @if operations.len() > DRAWN_MAX {
                p.quiet { "Drawn are the first " (DRAWN_MAX) " of " (words::many(operations.len(), "operation", "operations")) "." }
            }
            (table(&operations, history))
        }
    }
}

fn lanes(operations: &[&Operation]) -> Markup {
    let places = Places::of(operations);
    let clients = by_first_operation(operations);
    let values = distinct_values(operations);
    let bottom = clients.len() as f64 * LANE_HEIGHT + 4.0;
    let (width, height) = (places.right + 28.0, bottom + 22.0);
    let lane = |client: u32| clients.iter().position(|one| *one == client).unwrap_or(0) as f64 * LANE_HEIGHT;
    html! {
        div.scroll {
            svg.lanes viewBox={ "0 0 " (px(width)) " " (px(height)) } width=(px(width)) height=(px(height)) role="img"
                aria-label="The operations that contradict each other, one lane a client; the table below says the same" {
                @for client in &clients {
                    text.name x="0" y=(lane(*client) + 29.0) { "client " (client) }
                    line.axis x1=(LANES_LEFT) x2=(px(places.right + 20.0)) y1=(lane(*client) + LANE_HEIGHT) y2=(lane(*client) + LANE_HEIGHT) {}
                }
                @for (x, moment) in places.labelled() {
                    line.moment x1=(x) x2=(x) y1="0" y2=(bottom) {}
                    text.tick x=(x) y=(bottom + 15.0) { (format!("{:.3}", moment.seconds())) }
                }
                @for operation in operations {
                    (bar(operation, &places, lane(operation.client) + 6.0, &values))
                }
            }
        }
        p.quiet {
            "From left to right in the order of beginnings and ends, seconds below; not to scale. "
            "What overlaps may have taken effect in either order. A dashed bar that goes on to the right has an unknown outcome. "
            "The stripe at the left of a bar is the colour of the value."
        }
    }
}

/// The clients from top to bottom, so that the bars fall like stairs.
fn by_first_operation(operations: &[&Operation]) -> Vec<u32> {
    let mut clients = Vec::new();
    for operation in operations {
        if !clients.contains(&operation.client) {
            clients.push(operation.client);
        }
    }
    clients
}

fn bar(operation: &Operation, places: &Places, y: f64, values: &BTreeMap<Value, usize>) -> Markup {
    let (x, end) = (places.begin(operation), places.end(operation));
    let unknown = Ending::of(&operation.answer) == Ending::Unknown;
    html! {
        g.operation.write[operation.is_write()].read[!operation.is_write()].unknown[unknown]
            .failed[Ending::of(&operation.answer) == Ending::Failed].wrong[Ending::of(&operation.answer) == Ending::Wrong] {
            title {
                "client " (operation.client) " through master-" (operation.master) ": "
                (words::call(&operation.call, 300)) " " (words::answer(&operation.answer, 300))
                "; from " (precise(operation.begun)) " to " (precise(operation.ended))
            }
            @if unknown {
                path.bar d={ "M" (px(places.right + 22.0)) " " (y) "H" (x) "V" (y + BAR_HEIGHT) "H" (px(places.right + 22.0)) } {}
                text.tick x=(px(places.right + 14.0)) y=(y + 25.0) { "?" }
            } @else {
                rect.bar x=(x) y=(y) width=(px(end - x)) height=(BAR_HEIGHT) rx="3" {}
            }
            @if let Some(number) = value_of(operation).and_then(|value| values.get(&value)) {
                rect class={ "value value-" (number % 7 + 1) } x=(x) y=(y) width="5" height=(BAR_HEIGHT) {}
            }
            text.call x=(px(x + 11.0)) y=(y + 17.0) { (words::call(&operation.call, places.key_chars_max)) }
            text.answer x=(px(x + 11.0)) y=(y + 34.0) { (words::answer(&operation.answer, ANSWER_CHARS_MAX)) }
        }
    }
}

fn table(operations: &[&Operation], history: &History) -> Markup {
    html! {
        details {
            summary { "The same as a table, with all times" }
            div.scroll {
                table {
                    thead { tr { th.number { "from" } th.number { "to" } th { "client" } th { "through" } th { "asked" } th { "answer" } } }
                    tbody {
                        @for operation in operations.iter().take(ROWS_MAX) {
                            tr {
                                td.number { (precise(operation.begun)) }
                                td.number { (precise(operation.ended)) }
                                td { "client " (operation.client) }
                                td { "master-" (operation.master) }
                                td { code { (words::call(&operation.call, 200)) } }
                                td { code { (words::answer(&operation.answer, 300)) } }
                            }
                        }
                    }
                }
            }
            @if operations.len() > ROWS_MAX { p { "… and " (operations.len() - ROWS_MAX) " more." } }
            ul.plain {
                @for value in distinct_values(operations).keys().take(ROWS_MAX) {
                    @if let Some(about) = history.values.get(value) {
                        li { code { (value) } ": " (words::short(about, 200)) }
                    }
                }
            }
        }
    }
}

fn precise(moment: Moment) -> String {
    format!("{:.6}", moment.seconds())
}

/// The value that the operation writes or found.
fn value_of(operation: &Operation) -> Option<Value> {
    match (&operation.call, &operation.answer) {
        (Call::Put { value, .. }, _) | (_, Answer::Found(value)) => Some(*value),
        _ => None,
    }
}

/// Each with its number, in the order in which they come up.
fn distinct_values(operations: &[&Operation]) -> BTreeMap<Value, usize> {
    let mut values = BTreeMap::new();
    for value in operations.iter().filter_map(|operation| value_of(operation)) {
        let number = values.len();
        values.entry(value).or_insert(number);
    }
    values
}

/// Where each beginning and each end lies, from left to right. A beginning comes before an end of the same moment: the two
/// operations overlap.
struct Places {
    at: BTreeMap<(Moment, bool), f64>,
    right: f64,
    key_chars_max: usize,
}

impl Places {
    fn of(operations: &[&Operation]) -> Self {
        let same_key = operations.windows(2).all(|pair| pair[0].key() == pair[1].key());
        let key_chars_max = if same_key { SAME_KEY_CHARS_MAX } else { KEY_CHARS_MAX };
        let mut at: BTreeMap<(Moment, bool), f64> = BTreeMap::new();
        for operation in operations {
            at.insert((operation.begun, false), 0.0);
            at.insert((operation.ended.max(operation.begun), true), 0.0);
        }
        let mut x = LANES_LEFT + 8.0;
        let edges: Vec<(Moment, bool)> = at.keys().copied().collect();
        for edge in edges {
            let ending = operations.iter().filter(|one| (one.ended.max(one.begun), true) == edge);
            let room =
                ending.map(|one| at[&(one.begun, false)] + words_width(one, key_chars_max)).fold(x, f64::max);
            at.insert(edge, px(room));
            x = room + STEP_MIN;
        }
        Self { at, right: x - STEP_MIN, key_chars_max }
    }

    fn begin(&self, operation: &Operation) -> f64 {
        self.at[&(operation.begun, false)]
    }

    fn end(&self, operation: &Operation) -> f64 {
        self.at[&(operation.ended.max(operation.begun), true)]
    }

    /// The moments for whose times there is room.
    fn labelled(&self) -> Vec<(f64, Moment)> {
        let mut free = 0.0;
        let mut labelled = Vec::new();
        for ((moment, _), x) in &self.at {
            if *x >= free {
                labelled.push((*x, *moment));
                free = x + TIME_WIDTH;
            }
        }
        labelled
    }
}

fn words_width(operation: &Operation, key_chars_max: usize) -> f64 {
    let call = words::call(&operation.call, key_chars_max).chars().count();
    let answer = words::answer(&operation.answer, ANSWER_CHARS_MAX).chars().count();
    call.max(answer) as f64 * LETTER_WIDTH + 20.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::made_up::{get, put, unknown_put};

    #[test]
    fn what_happened_before_lies_left_and_what_overlaps_overlaps() {
        let (first, overlapping, later) = (put(0, 100), get(100, 200), get(150, 90_000));
        let places = Places::of(&[&first, &overlapping, &later]);
        assert!(places.begin(&overlapping) < places.end(&first), "both at the same moment");
        assert!(places.begin(&later) > places.end(&first));
        assert!(places.begin(&later) < places.end(&overlapping));
        assert!(places.end(&later) < 1_200.0, "a long wait takes no room");
    }

    #[test]
    fn lanes_fall_like_stairs() {
        let of = |client, begun_ms| Operation { client, ..put(begun_ms, begun_ms + 1) };
        let operations = [of(7, 0), of(2, 10), of(7, 20), of(5, 30)];
        assert_eq!(by_first_operation(&operations.iter().collect::<Vec<_>>()), [7, 2, 5]);
    }

    #[test]
    fn every_bar_has_room_for_its_words() {
        let operations = [put(5, 5), unknown_put(0, 1), get(3, 4)];
        let operations: Vec<&Operation> = operations.iter().collect();
        let places = Places::of(&operations);
        for operation in operations {
            let room = places.end(operation) - places.begin(operation);
            assert!(room >= words_width(operation, places.key_chars_max) - 0.1, "{operation:?}");
        }
    }
}
