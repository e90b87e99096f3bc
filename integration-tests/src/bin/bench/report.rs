//! The table and the file of results.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result as AnyResult};
use serde::{Deserialize, Serialize};

use crate::load::Sample;
use crate::program::Figure;
use crate::rows::{Floor, Row};

/// What the ratio of a row compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ratio {
    /// The rate over the baseline's.
    Rate,
    /// The median latency over the baseline's.
    P50,
}

/// One measured row; `json` is what `target/bench.json` holds of it.
pub(crate) struct Result {
    json: Entry,
    baseline_value: Option<f64>,
    floor: Floor,
    failed: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    name: String,
    value: f64,
    unit: String,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    baseline: Option<String>,
    ratio: Option<f64>,
}

impl Result {
    /// A figure without a baseline.
    pub(crate) fn plain(row: &Row, value: f64, unit: &str) -> Self {
        let json = Entry {
            name: row.name.to_owned(),
            value,
            unit: unit.to_owned(),
            p50_ms: None,
            p99_ms: None,
            baseline: None,
            ratio: None,
        };
        Self { json, baseline_value: None, floor: row.floor, failed: 0 }
    }

    /// What another program measured, beside a baseline where there is one.
    pub(crate) fn figure(row: &Row, figure: &Figure, unit: &str, baseline: Option<(&str, f64)>) -> Self {
        let mut measured = Self::plain(row, figure.value, unit);
        measured.json.p50_ms = figure.p50_ms;
        measured.json.p99_ms = figure.p99_ms;
        measured.json.baseline = baseline.map(|(name, _)| name.to_owned());
        measured.json.ratio = baseline.map(|(_, value)| figure.value / value);
        measured.baseline_value = baseline.map(|(_, value)| value);
        measured
    }

    /// A rate, beside a baseline where there is one.
    pub(crate) fn rate(row: &Row, sample: &Sample, baseline: Option<(&str, &Sample)>, ratio: Ratio) -> Self {
        let over = |baseline: &Sample| match ratio {
            Ratio::Rate => sample.per_second() / baseline.per_second(),
            Ratio::P50 => sample.percentile_ms(50) / baseline.percentile_ms(50),
        };
        let json = Entry {
            name: row.name.to_owned(),
            value: sample.per_second(),
            unit: "1/s".to_owned(),
            p50_ms: Some(sample.percentile_ms(50)),
            p99_ms: Some(sample.percentile_ms(99)),
            baseline: baseline.map(|(name, _)| name.to_owned()),
            ratio: baseline.map(|(_, baseline)| over(baseline)),
        };
        let baseline_value = baseline.map(|(_, baseline)| baseline.per_second());
        Self { json, baseline_value, floor: row.floor, failed: sample.failed }
    }

    fn verdict(&self) -> String {
        let (reached, floor) = match self.floor {
            Floor::None => return String::new(),
            Floor::RatioAtLeast(floor) => {
                (self.json.ratio.map(|ratio| ratio >= floor), format!("≥ {floor} ×"))
            }
            Floor::RatioAtMost(most) => (self.json.ratio.map(|ratio| ratio <= most), format!("≤ {most} ×")),
            Floor::ValueAtLeast(least) => (Some(self.json.value >= least), format!("≥ {}", shown(least))),
            Floor::ValueAtMost(most) => (Some(self.json.value < most), format!("< {}", shown(most))),
        };
        match reached {
            Some(true) => floor,
            Some(false) => format!("{floor}  MISSED"),
            None => format!("{floor}  (no baseline)"),
        }
    }
}

/// The table as text.
pub(crate) fn table(results: &[Result]) -> String {
    let mut table = format!(
        "{:<28} {:>12} {:<12} {:>8} {:>8}  {:<16} {:>9} {:>7}  floor\n",
        "row", "value", "unit", "p50 ms", "p99 ms", "baseline", "its value", "ratio"
    );
    for result in results {
        let json = &result.json;
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let failed = if result.failed > 0 { format!("  {} FAILED", result.failed) } else { String::new() };
        let _ = writeln!(
            table,
            "{:<28} {:>12} {:<12} {:>8} {:>8}  {:<16} {:>9} {:>7}  {}{failed}",
            json.name,
            shown(json.value),
            json.unit,
            number(json.p50_ms, 3),
            number(json.p99_ms, 3),
            json.baseline.as_deref().unwrap_or("-"),
            result.baseline_value.map_or_else(|| "-".to_owned(), shown),
            number(json.ratio, 3),
            result.verdict(),
        );
    }
    table
}

fn shown(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Writes the results; rows that were not measured now stay as they are.
pub(crate) fn write_json(path: &Path, results: &[Result]) -> AnyResult<()> {
    let mut entries: Vec<serde_json::Value> = match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is not what this program writes; remove it", path.display()))?,
        Err(_) => Vec::new(),
    };
    for result in results {
        let entry = serde_json::to_value(&result.json)?;
        match entries.iter_mut().find(|former| former["name"] == entry["name"]) {
            Some(former) => *former = entry,
            None => entries.push(entry),
        }
    }
    std::fs::write(path, serde_json::to_string_pretty(&entries)? + "\n")?;
    Ok(())
}
