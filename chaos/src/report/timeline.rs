//! One time axis for everything: what was broken, who was there and who led, and below it what clients saw of it.

use maud::{Markup, html};

use super::processes::{self, broken, faults};
use super::svg::{self, LEFT, RIGHT, Scale, WIDTH, px};
use super::words;
use crate::report::Run;
use crate::report::series::{Bucket, Series, extent};
use crate::verdict::{Evidence, Outcome};

const CHART_HEIGHT: f64 = 112.0;
const GAP: f64 = 22.0;

/// Contradictions that are marked on the axis.
const MARKS_MAX: usize = 50;

/// The whole drawing with its legend.
pub(super) fn draw(run: &Run) -> Markup {
    let record = &run.record;
    let series = Series::of(record);
    let end = extent(record);
    let time = Scale::new((0.0, end.seconds().max(0.001)), (LEFT, RIGHT));
    let faults = faults(record, time, 18.0);
    let charts_top = 18.0 + faults.height + 12.0;
    let processes = processes::processes(record, time, end, charts_top);
    let top = charts_top + processes.height + GAP;
    let chart = |number: usize| (top + number as f64 * (CHART_HEIGHT + GAP), CHART_HEIGHT);
    let bottom = top + 3.0 * (CHART_HEIGHT + GAP) - GAP;
    let columns: Vec<(f64, f64, &Bucket)> = columns(&series, time);
    html! {
        div.scroll tabindex="0" {
            svg.timeline viewBox={ "0 0 " (WIDTH) " " (px(bottom + 40.0)) } role="img"
                aria-label="Faults, processes, leaders, throughput, latency and failures over the time of the run; the tables say the same" {
                @for (from, to) in broken(&record.faults).into_iter().take(1_000) {
                    @let x = time.at(from.seconds());
                    rect.broken x=(x) y=(top) width=(px(time.at(to.seconds()) - x)) height=(px(bottom - top)) {}
                }
                (axis(end.seconds(), time, 12.0, bottom))
                (faults.drawn)
                (processes.drawn)
                (throughput(&series, &columns, chart(0)))
                (latency(&columns, chart(1)))
                (failures(&columns, chart(2)))
                (moments(run, time, bottom))
                @for (number, (from, to, bucket)) in columns.iter().enumerate() {
                    @if **bucket != Bucket::default() {
                        rect.column x=(from) y=(top) width=(px((to - from).max(0.5))) height=(px(bottom - top)) {
                            title { (figures(number as u64 * series.width_ms, bucket)) }
                        }
                    }
                }
            }
        }
        (legend(run, series.width_ms))
    }
}

fn columns(series: &Series, time: Scale) -> Vec<(f64, f64, &Bucket)> {
    let seconds = |number: usize| number as f64 * series.width_ms as f64 / 1e3;
    let place = |number: usize| time.at(seconds(number));
    series
        .buckets
        .iter()
        .enumerate()
        .map(|(number, bucket)| (place(number), place(number + 1), bucket))
        .collect()
}

fn axis(end: f64, time: Scale, top: f64, bottom: f64) -> Markup {
    html! {
        @for tick in svg::ticks(end, 10.0) {
            @let x = time.at(tick);
            line.grid x1=(x) x2=(x) y1=(top) y2=(bottom) {}
            text.tick.middle x=(x) y=(px(bottom + 16.0)) { (svg::tick(tick)) " s" }
        }
    }
}

/// The end of the last fault, and where contradictions came to light.
fn moments(run: &Run, time: Scale, bottom: f64) -> Markup {
    let violated = run.verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Violated);
    let marked: Vec<(&Evidence, f64)> = violated
        .flat_map(|verdict| &verdict.evidence)
        .filter_map(|evidence| Some((evidence, time.at(evidence.at?.seconds()))))
        .take(MARKS_MAX)
        .collect();
    let loaded = run.record.loaded;
    html! {
        @if loaded.0 > 0 {
            @let x = time.at(loaded.seconds());
            line.loaded x1=(x) x2=(x) y1="12" y2=(bottom) {}
            text.tick.end x=(px(x - 3.0)) y=(px(bottom + 32.0)) { "faults end ↑" }
        }
        @for (evidence, x) in marked {
            g.contradiction {
                title { "✗ " (words::short(&evidence.what, 300)) }
                line x1=(x) x2=(x) y1="12" y2=(bottom) {}
                text.middle x=(x) y="11" { "✗" }
            }
        }
    }
}

fn throughput(series: &Series, columns: &[(f64, f64, &Bucket)], (top, height): (f64, f64)) -> Markup {
    let per_second = |count: u64| count as f64 * 1e3 / series.width_ms as f64;
    let most =
        columns.iter().map(|(_, _, bucket)| bucket.reads.acknowledged.max(bucket.writes.acknowledged)).max();
    let most = per_second(most.unwrap_or(0)).max(1.0);
    let scale = Scale::new((0.0, most * 1.05), (top + height, top));
    let path = |count: fn(&Bucket) -> u64| {
        svg::steps(
            columns.iter().map(|(from, to, bucket)| (*from, *to, Some(scale.at(per_second(count(bucket)))))),
        )
    };
    html! {
        (title(top, "acknowledged", "per second"))
        (samples(top + 34.0))
        (frame(top, height))
        @for tick in svg::ticks(most, 3.0) { (level(scale.at(tick), &svg::tick(tick))) }
        path.line.reads d=(path(|bucket| bucket.reads.acknowledged)) {}
        path.line.writes d=(path(|bucket| bucket.writes.acknowledged)) {}
    }
}

fn latency(columns: &[(f64, f64, &Bucket)], (top, height): (f64, f64)) -> Markup {
    let all = columns.iter().flat_map(|(_, _, bucket)| [bucket.reads.p99_ns, bucket.writes.p99_ns]).flatten();
    let decade = |ns: u64| (ns.max(1_000) as f64).log10();
    let lowest = all.clone().min().map_or(6.0, |ns| decade(ns).floor());
    let highest = all.max().map_or(9.0, |ns| decade(ns).ceil()).max(lowest + 1.0);
    let scale = Scale::new((lowest, highest), (top + height, top));
    let path = |p99: fn(&Bucket) -> Option<u64>| {
        svg::steps(
            columns.iter().map(|(from, to, bucket)| (*from, *to, p99(bucket).map(|ns| scale.at(decade(ns))))),
        )
    };
    html! {
        (title(top, "p99 latency", "log scale"))
        (samples(top + 34.0))
        (frame(top, height))
        @for power in lowest as i32..=highest as i32 { (level(scale.at(f64::from(power)), &power_of_ten(power))) }
        path.line.reads d=(path(|bucket| bucket.reads.p99_ns)) {}
        path.line.writes d=(path(|bucket| bucket.writes.p99_ns)) {}
    }
}

/// `10 ms` for 7: of nanoseconds.
fn power_of_ten(power: i32) -> String {
    let factor = 10_u64.pow(power.rem_euclid(3) as u32);
    match power.div_euclid(3) {
        1 => format!("{factor} µs"),
        2 => format!("{factor} ms"),
        3 => format!("{factor} s"),
        _ => format!("{factor}e{} s", power.div_euclid(3) * 3 - 9),
    }
}

fn failures(columns: &[(f64, f64, &Bucket)], (top, height): (f64, f64)) -> Markup {
    let most = columns.iter().map(|(_, _, bucket)| bucket.failed + bucket.unknown + bucket.wrong).max();
    let most = most.unwrap_or(0).max(1) as f64;
    let scale = Scale::new((0.0, most * 1.05), (top + height, top));
    let bar = |class: &str, (from, to): (f64, f64), below: u64, count: u64| {
        let (foot, head) = (scale.at(below as f64), scale.at((below + count) as f64));
        html! {
            @if count > 0 {
                rect class=(class) x=(from) y=(head) width=(px((to - from).max(1.0))) height=(px((foot - head).max(1.0))) {}
            }
        }
    };
    html! {
        (title(top, "not acknowledged", "per bucket"))
        rect.failed x="0" y=(px(top + 26.0)) width="14" height="9" {}
        text.tick x="20" y=(px(top + 34.0)) { "failed for sure" }
        rect.unknown x="0" y=(px(top + 42.0)) width="14" height="9" {}
        text.tick x="20" y=(px(top + 50.0)) { "unknown" }
        rect.wrong x="0" y=(px(top + 58.0)) width="14" height="9" {}
        text.tick x="20" y=(px(top + 66.0)) { "wrong" }
        (frame(top, height))
        @for tick in svg::ticks(most, 3.0) { @if tick.fract() == 0.0 { (level(scale.at(tick), &svg::tick(tick))) } }
        @for (from, to, bucket) in columns {
            (bar("failed", (*from, *to), 0, bucket.failed))
            (bar("unknown", (*from, *to), bucket.failed, bucket.unknown))
            (bar("wrong", (*from, *to), bucket.failed + bucket.unknown, bucket.wrong))
        }
    }
}

/// What is seen of one bucket, in words.
fn figures(begins_ms: u64, bucket: &Bucket) -> String {
    let p99 = |ns: Option<u64>| ns.map_or_else(String::new, |ns| format!(" (p99 {})", words::duration(ns)));
    let Bucket { reads, writes, failed, unknown, wrong } = bucket;
    format!(
        "{:.2} s: {} reads{}, {} writes{}, {failed} failed, {unknown} unknown, {wrong} wrong",
        begins_ms as f64 / 1e3,
        reads.acknowledged,
        p99(reads.p99_ns),
        writes.acknowledged,
        p99(writes.p99_ns)
    )
}

fn title(top: f64, what: &str, unit: &str) -> Markup {
    html! {
        text.name x="0" y=(px(top + 8.0)) { (what) }
        text.tick x="0" y=(px(top + 21.0)) { (unit) }
    }
}

fn samples(y: f64) -> Markup {
    html! {
        line.line.reads x1="0" x2="22" y1=(px(y - 4.0)) y2=(px(y - 4.0)) {}
        text.tick x="28" y=(px(y)) { "reads" }
        line.line.writes x1="0" x2="22" y1=(px(y + 11.0)) y2=(px(y + 11.0)) {}
        text.tick x="28" y=(px(y + 15.0)) { "writes" }
    }
}

fn frame(top: f64, height: f64) -> Markup {
    html! { line.axis x1=(LEFT) x2=(RIGHT) y1=(px(top + height)) y2=(px(top + height)) {} }
}

fn level(y: f64, label: &str) -> Markup {
    html! {
        line.grid x1=(LEFT) x2=(RIGHT) y1=(y) y2=(y) {}
        text.tick.end x=(LEFT - 6.0) y=(px(y + 4.0)) { (label) }
    }
}

fn legend(run: &Run, width_ms: u64) -> Markup {
    html! {
        p.legend {
            "Charts per " (width_ms) " ms. Shaded: something is broken. "
            span.sample.dead {} " dead " span.sample.stopped {} " stopped. "
            @let leaders = processes::leaders_seen(&run.record);
            @if !leaders.is_empty() {
                "Whom a master names as the leader: "
                @for leader in leaders.into_iter().take(7) {
                    span class={ "sample " (processes::colour(leader)) } { (leader) } " master-" (leader) ", "
                }
                "at full height where it names itself. "
            }
            "Point at anything for its figures."
        }
    }
}
