//! The upper part of the timeline: what was broken, which process was there, and whom each master followed.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::svg::{LEFT, RIGHT, Scale, px};
use super::words;
use crate::history::Moment;
use crate::record::{Fault, LeaderSeen, LifeState, Record};

/// So many bars of one row can be drawn without the page growing out of hand; more are left out, which is said.
const BARS_MAX: usize = 500;

const ROW_HEIGHT: f64 = 22.0;
const BAR_HEIGHT: f64 = 16.0;
/// A fault is seen, however short it was.
const BAR_WIDTH_MIN: f64 = 2.0;
const LETTER_WIDTH: f64 = 6.2;

/// Rows that were drawn from some height on, and how high they are.
pub(super) struct Rows {
    pub(super) drawn: Markup,
    pub(super) height: f64,
}

/// A row for each kind of fault.
pub(super) fn faults(record: &Record, time: Scale, top: f64) -> Rows {
    let mut kinds: BTreeMap<&str, Vec<&Fault>> = BTreeMap::new();
    for fault in &record.faults {
        kinds.entry(&fault.kind).or_default().push(fault);
    }
    let drawn = html! {
        @for (row, (kind, faults)) in kinds.iter().enumerate() {
            @let y = top + row as f64 * ROW_HEIGHT;
            (name(y, &format!("{} ×{}", words::short(kind, 20), faults.len())))
            @for fault in faults.iter().take(BARS_MAX) {
                @let (x, width) = span(time, fault.from, fault.to);
                g.fault {
                    title { (words::short(kind, 40)) ": " (words::short(&fault.what, 200)) ", " (fault.from) " to " (fault.to) }
                    rect x=(x) y=(y) width=(width) height=(BAR_HEIGHT) rx="2" {}
                    (inside(x, width, y, &words::shown(&fault.what)))
                }
            }
            @if faults.len() > BARS_MAX { (left_out(y, faults.len())) }
        }
    };
    Rows { drawn, height: kinds.len() as f64 * ROW_HEIGHT }
}

/// A row for each process: dead and stopped times as bars, and in those of masters, whom they named as the leader.
pub(super) fn processes(record: &Record, time: Scale, end: Moment, top: f64) -> Rows {
    let names = names(record);
    let drawn = html! {
        @for (row, process) in names.iter().enumerate() {
            @let y = top + row as f64 * ROW_HEIGHT;
            (name(y, &words::short(process, 24)))
            line.axis x1=(LEFT) x2=(RIGHT) y1=(y + BAR_HEIGHT) y2=(y + BAR_HEIGHT) {}
            @if let Some(master) = master(process) { (leaders(record, master, time, end, y)) }
            (lives(record, process, time, end, y))
        }
    };
    Rows { drawn, height: names.len() as f64 * ROW_HEIGHT }
}

/// Which masters were named as leaders, for the legend.
pub(super) fn leaders_seen(record: &Record) -> BTreeSet<u32> {
    record.leaders.iter().filter_map(|seen| seen.leader).collect()
}

/// The times in which anything was broken, without overlaps.
pub(super) fn broken(faults: &[Fault]) -> Vec<(Moment, Moment)> {
    let mut spans: Vec<(Moment, Moment)> = faults.iter().map(|fault| (fault.from, fault.to)).collect();
    spans.sort_unstable();
    let mut merged: Vec<(Moment, Moment)> = Vec::new();
    for (from, to) in spans {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

/// Seven colours are told apart; the number stands beside them.
pub(super) fn colour(master: u32) -> String {
    format!("master-{}", master.saturating_sub(1) % 7 + 1)
}

/// Low where it follows, full height where it says that it leads itself.
fn leaders(record: &Record, by: u32, time: Scale, end: Moment, y: f64) -> Markup {
    let mut seen: Vec<&LeaderSeen> = record.leaders.iter().filter(|seen| seen.by == by).collect();
    seen.sort_by_key(|seen| seen.at);
    let until = seen.iter().skip(1).map(|next| next.at).chain([end]);
    let spans = seen.iter().zip(until).filter_map(|(seen, to)| Some((seen.leader?, seen.term, seen.at, to)));
    html! {
        @for (leader, term, from, to) in spans.take(BARS_MAX) {
            @let (x, width) = span(time, from, to);
            @let height = if leader == by { BAR_HEIGHT } else { BAR_HEIGHT / 2.0 };
            g class={ "leader " (colour(leader)) } {
                title { "master-" (by) ": master-" (leader) " leads in term " (term) ", " (from) " to " (to) }
                rect x=(x) y=(px(y + BAR_HEIGHT - height)) width=(width) height=(height) {}
                @if leader == by { (inside(x, width, y, &format!("{leader} leads, term {term}"))) }
            }
        }
    }
}

fn lives(record: &Record, process: &str, time: Scale, end: Moment, y: f64) -> Markup {
    let mut lives: Vec<_> = record.lives.iter().filter(|life| life.process == process).collect();
    lives.sort_by_key(|life| life.at);
    let until = lives.iter().skip(1).map(|next| next.at).chain([end]);
    let gone = lives.iter().zip(until).filter_map(|(life, to)| {
        let (class, word) = match life.state {
            LifeState::Runs => return None,
            LifeState::Stopped => ("stopped", "stopped"),
            LifeState::Dead => ("dead", "dead"),
        };
        Some((class, word, life.at, to))
    });
    html! {
        @for (class, word, from, to) in gone.take(BARS_MAX) {
            @let (x, width) = span(time, from, to);
            g class=(class) {
                title { (words::short(process, 40)) " is " (word) ", " (from) " to " (to) }
                rect x=(x) y=(y) width=(width) height=(BAR_HEIGHT) {}
                (inside(x, width, y, word))
            }
        }
    }
}

fn name(y: f64, text: &str) -> Markup {
    html! { text.name x="0" y=(px(y + 12.5)) { (text) } }
}

fn left_out(y: f64, all: usize) -> Markup {
    html! { text.tick.end x=(RIGHT) y=(px(y + 12.0)) { "the first " (BARS_MAX) " of " (all) } }
}

/// Words in a bar: all of them, or as much of the beginning as there is room for, or none.
fn inside(x: f64, width: f64, y: f64, text: &str) -> Markup {
    let room = ((width - 6.0) / LETTER_WIDTH).max(0.0) as usize;
    let all = text.chars().count() <= room;
    html! {
        @if all || room >= 6 { text.inside x=(px(x + 4.0)) y=(px(y + 12.0)) { (words::short(text, room)) } }
    }
}

fn span(time: Scale, from: Moment, to: Moment) -> (f64, f64) {
    let (x, end) = (time.at(from.seconds()), time.at(to.seconds()));
    (x, px((end - x).max(BAR_WIDTH_MIN)))
}

/// Masters first, and by their numbers.
fn names(record: &Record) -> Vec<String> {
    let mut names: BTreeSet<String> = record.lives.iter().map(|life| life.process.clone()).collect();
    names.extend(record.resources.iter().map(|one| one.process.clone()));
    names.extend(record.leaders.iter().map(|seen| format!("master-{}", seen.by)));
    let mut names: Vec<String> = names.into_iter().collect();
    names.sort_by_cached_key(|name| order(name));
    names
}

/// `volume-10` comes after `volume-9`.
pub(super) fn order(process: &str) -> (String, u64) {
    match process.rsplit_once('-').map(|(kind, number)| (kind, number.parse())) {
        Some((kind, Ok(number))) => (kind.to_owned(), number),
        _ => (process.to_owned(), 0),
    }
}

fn master(process: &str) -> Option<u32> {
    process.strip_prefix("master-")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_which_anything_is_broken_do_not_overlap() {
        let fault =
            |from, to| Fault { kind: String::new(), what: String::new(), from: Moment(from), to: Moment(to) };
        let faults = [fault(5, 9), fault(1, 3), fault(2, 4), fault(4, 5), fault(20, 30), fault(21, 22)];
        assert_eq!(broken(&faults), [(Moment(1), Moment(9)), (Moment(20), Moment(30))]);
    }

    #[test]
    fn processes_are_in_the_order_of_their_numbers() {
        let mut names = ["volume-10", "volume-9", "master-2", "relay"];
        names.sort_by_cached_key(|name| order(name));
        assert_eq!(names, ["master-2", "relay", "volume-9", "volume-10"]);
    }
}
