//! What the processes took over time: one small drawing each, all to the same scale, so that the odd one is seen.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde::Serialize;

use super::processes::order;
use super::svg::{self, Scale, px};
use super::words;
use crate::record::{Record, Resources};
use crate::report::series::extent;

/// A small drawing has no room for more.
const POINTS_MAX: usize = 160;
const WIDTH: f64 = 250.0;
const HEIGHT: f64 = 44.0;

/// What one process took of one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Range {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) most: u64,
}

/// What one process took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Usage {
    pub(super) samples: usize,
    pub(super) memory_bytes: Range,
    pub(super) descriptors: Range,
    pub(super) threads: Range,
}

/// By the name of the process.
pub(super) fn usage(record: &Record) -> BTreeMap<String, Usage> {
    let samples = by_process(record);
    let usage = |samples: &[&Resources]| Usage {
        samples: samples.len(),
        memory_bytes: range(samples, |one| one.memory_bytes),
        descriptors: range(samples, |one| one.descriptors),
        threads: range(samples, |one| one.threads),
    };
    samples.into_iter().map(|(process, samples)| (process.to_owned(), usage(&samples))).collect()
}

/// The curves of memory and descriptors.
pub(super) fn curves(record: &Record) -> Markup {
    let samples = by_process(record);
    let mut names: Vec<&str> = samples.keys().copied().collect();
    names.sort_by_cached_key(|name| order(name));
    let most = |what: fn(&Resources) -> u64| record.resources.iter().map(what).max().unwrap_or(0);
    let (memory, descriptors) = (most(|one| one.memory_bytes), most(|one| one.descriptors));
    let end = extent(record).seconds();
    html! {
        @if names.is_empty() { p.quiet { "Nothing was measured." } }
        div.multiples {
            @for name in names {
                figure {
                    figcaption { (words::short(name, 40)) }
                    (curve("memory", &samples[name], end, memory, |one| one.memory_bytes, words::bytes))
                    (curve("descriptors", &samples[name], end, descriptors, |one| one.descriptors, words::grouped))
                }
            }
        }
        @if !samples.is_empty() {
            p.quiet { "All to the same scale, from 0 to " (words::bytes(memory)) " and " (words::grouped(descriptors)) " descriptors." }
        }
    }
}

fn curve(
    what: &str,
    samples: &[&Resources],
    end: f64,
    most: u64,
    number: fn(&Resources) -> u64,
    say: fn(u64) -> String,
) -> Markup {
    let time = Scale::new((0.0, end), (1.0, WIDTH - 1.0));
    let scale = Scale::new((0.0, most as f64), (HEIGHT - 1.0, 2.0));
    let points = thin(samples, number)
        .into_iter()
        .map(|one| (time.at(one.at.seconds()), scale.at(number(one) as f64)));
    let range = range(samples, number);
    let words = format!("{what} {} → {}, most {}", say(range.first), say(range.last), say(range.most));
    html! {
        svg.curve viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(words) {
            title { (words) }
            line.axis x1="0" x2=(WIDTH) y1=(px(HEIGHT - 0.5)) y2=(px(HEIGHT - 0.5)) {}
            path.line.reads d=(svg::line(points)) {}
        }
        p.quiet { (words) }
    }
}

/// Of as many neighbours as need be only the largest: a peak stays.
fn thin<'a>(samples: &[&'a Resources], number: fn(&Resources) -> u64) -> Vec<&'a Resources> {
    let together = samples.len().div_ceil(POINTS_MAX).max(1);
    samples.chunks(together).filter_map(|chunk| chunk.iter().copied().max_by_key(|one| number(one))).collect()
}

fn by_process(record: &Record) -> BTreeMap<&str, Vec<&Resources>> {
    let mut samples: BTreeMap<&str, Vec<&Resources>> = BTreeMap::new();
    for one in &record.resources {
        samples.entry(&one.process).or_default().push(one);
    }
    for samples in samples.values_mut() {
        samples.sort_by_key(|one| one.at);
    }
    samples
}

fn range(samples: &[&Resources], number: fn(&Resources) -> u64) -> Range {
    let numbers = samples.iter().map(|one| number(one));
    Range {
        first: numbers.clone().next().unwrap_or(0),
        last: numbers.clone().next_back().unwrap_or(0),
        most: numbers.max().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Moment;
    use crate::report::made_up;

    #[test]
    fn a_peak_is_never_thinned_out() {
        let sample = |second: u64| Resources {
            at: Moment(second * 1_000_000_000),
            process: "master-1".to_owned(),
            memory_bytes: if second == 1_234 { 9_000 } else { 10 + second % 7 },
            descriptors: 1,
            nameless: 0,
            threads: 1,
        };
        let mut record = made_up::record();
        record.resources = (0..5_000).map(sample).collect();
        let samples = by_process(&record);
        let thinned = thin(&samples["master-1"], |one| one.memory_bytes);
        assert!(thinned.len() <= POINTS_MAX, "{} points", thinned.len());
        assert!(thinned.iter().any(|one| one.memory_bytes == 9_000));
        assert_eq!(usage(&record)["master-1"].memory_bytes, Range { first: 10, last: 11, most: 9_000 });
    }
}
