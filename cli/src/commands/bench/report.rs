//! What was measured, in words and as JSON, and whether it may count as a success.
//!
//! Invariant: what failed is told wherever a rate is.

use serde_json::{Map, Value, json};
use tokio::time::Duration;

use super::drawing::{self, Canvas, time};
use super::failure::Failure;
use super::limits::{Limit, Limits};
use super::load::{Mode, Tallies};
use super::objects::Removal;
use super::tally::{Tally, percent};
use crate::units::bytes;

/// More failures than this, in percent, are no success. Some are to be expected of a cluster of which a server is restarted.
const FAILED_PERCENT_MAX: f64 = 1.0;

/// All that was asked for and found out.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) mode: Mode,
    pub(super) size: usize,
    pub(super) clients: usize,
    pub(super) warm_up: Duration,
    pub(super) masters: Vec<String>,
    /// What the keys of the run begin with.
    pub(super) prefix: String,
    /// How many objects were there to be read.
    pub(super) readable: u64,
    pub(super) interrupted: bool,
    pub(super) tallies: Tallies,
    pub(super) limits: Limits,
}

impl Report {
    /// What was done: the name, how it went, and the limit it is related to.
    fn kinds(&self) -> Vec<(&'static str, &Tally, Option<&Limit>)> {
        let put = ("PUT", &self.tallies.put, self.limits.put.as_ref());
        let get = ("GET", &self.tallies.get, self.limits.get.as_ref());
        let all = [(self.mode.puts(), put), (self.mode.gets(), get)];
        all.into_iter().filter(|(is_done, _)| *is_done).map(|(_, kind)| kind).collect()
    }

    /// For people.
    pub(super) fn in_words(&self, canvas: Canvas) -> String {
        let mut parts = vec![self.head()];
        for (name, tally, _) in self.kinds() {
            parts.push(self.kind(name, tally));
            let rows = drawing::rows(tally.latencies_us());
            if !rows.is_empty() {
                parts.push(drawing::draw(&format!("{name}s"), &rows, canvas));
            }
        }
        parts.extend(self.failures());
        parts.extend(self.shares());
        parts.join("\n\n")
    }

    fn head(&self) -> String {
        let masters = match self.masters.len() {
            1 => "at one master".to_owned(),
            count => format!("spread over {count} masters"),
        };
        let readable = match self.mode.gets() {
            true => format!(", reads of {}", counted(self.readable, "object")),
            false => String::new(),
        };
        let early = if self.interrupted { ", interrupted" } else { "" };
        format!(
            "{} {masters}, objects of {}{readable}; {:.1} s measured behind {:.1} s of warm-up{early}",
            counted(self.clients as u64, "client"),
            bytes(self.size as u64),
            self.tallies.elapsed.as_secs_f64(),
            self.warm_up.as_secs_f64(),
        )
    }

    fn kind(&self, name: &str, tally: &Tally) -> String {
        let rate = tally.per_second(self.tallies.elapsed);
        let [p50, p99, p999, longest] = [0.5, 0.99, 0.999, 1.0].map(|part| time(tally.quantile_us(part)));
        format!(
            "{name}  {rate:.0} a second, {} a second; {} answered, {} failed\n     \
             p50 {p50}, p99 {p99}, p99.9 {p999}, longest {longest}",
            bytes((rate * self.size as f64) as u64),
            tally.done(),
            tally.failures().total(),
        )
    }

    fn failures(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, tally, _) in self.kinds() {
            for (failure, count, words) in tally.failures().told() {
                lines.push(format!("{name}s that failed: {count}, {}; the first: {words}", failure.told()));
            }
        }
        if self.tallies.warm_up_failed > 0 {
            let Tallies { warm_up, warm_up_failed, .. } = self.tallies;
            lines.push(format!(
                "in the warm-up, {warm_up_failed} of {warm_up} requests failed; none is in the figures"
            ));
        }
        if lines.is_empty() { Vec::new() } else { vec![lines.join("\n")] }
    }

    fn shares(&self) -> Option<String> {
        let mut lines = Vec::new();
        let mut is_measured = false;
        for (name, tally, limit) in self.kinds() {
            let Some(limit) = limit else { continue };
            is_measured |= matches!(limit, Limit::Measured { .. });
            lines.push(limit.told(name, tally.per_second(self.tallies.elapsed)));
        }
        if is_measured {
            lines.push("It means something only if all of the cluster runs on this machine.".to_owned());
        }
        if is_measured && self.mode.puts() {
            lines.push("PUTs share syncs, so that more than 100 % is possible.".to_owned());
        }
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// For programs.
    pub(super) fn json(&self, removal: Option<&Removal>, objects: u64) -> Value {
        let removal = match removal {
            Some(removal) => json!({ "sent": objects, "removed": removal.removed, "left": removal.left }),
            None => json!({ "sent": objects, "kept": true }),
        };
        let mut json = json!({
            "mode": if self.mode.puts() && self.mode.gets() { "mixed" } else if self.mode.puts() { "put" } else { "get" },
            "size_bytes": self.size,
            "clients": self.clients,
            "masters": self.masters,
            "prefix": self.prefix,
            "warm_up_seconds": self.warm_up.as_secs_f64(),
            "warm_up_requests": self.tallies.warm_up,
            "warm_up_failed": self.tallies.warm_up_failed,
            "measured_seconds": self.tallies.elapsed.as_secs_f64(),
            "interrupted": self.interrupted,
            "objects": removal,
        });
        if self.mode.gets() {
            json["readable_objects"] = self.readable.into();
        }
        for (name, tally, limit) in self.kinds() {
            json[name.to_lowercase()] = self.kind_json(tally, limit);
        }
        json
    }

    fn kind_json(&self, tally: &Tally, limit: Option<&Limit>) -> Value {
        let rate = tally.per_second(self.tallies.elapsed);
        let failures = tally.failures();
        let failed: Map<String, Value> = Failure::ALL
            .into_iter()
            .map(|failure| (failure.name().to_owned(), failures.count(failure).into()))
            .collect();
        let row = |row: drawing::Row| json!({ "up_to_us": row.up_to_us, "requests": row.count, "so_far": row.so_far });
        json!({
            "answered": tally.done(),
            "failed": failures.total(),
            "failed_by_kind": failed,
            "per_second": rate,
            "bytes_per_second": rate * self.size as f64,
            "latency_p50_us": tally.quantile_us(0.5),
            "latency_p99_us": tally.quantile_us(0.99),
            "latency_p99_9_us": tally.quantile_us(0.999),
            "latency_longest_us": tally.quantile_us(1.0),
            "histogram": drawing::rows(tally.latencies_us()).into_iter().map(row).collect::<Vec<_>>(),
            "machine_limit": limit.map(|limit| limit.json(rate)),
        })
    }

    /// Why it is no success, if it is none.
    pub(super) fn complaint(&self) -> Option<String> {
        let (mut done, mut failed, mut wrong) = (0, 0, 0);
        for (_, tally, _) in self.kinds() {
            done += tally.done();
            failed += tally.failures().total();
            wrong += tally.failures().count(Failure::Wrong);
        }
        let share = percent(failed as f64, (done + failed) as f64);
        if wrong > 0 {
            return Some(format!(
                "{} not as it must be; run it again with --keep, and let `hayrick check --deep` look for what is damaged",
                counted(wrong, "answer")
            ));
        }
        if share > FAILED_PERCENT_MAX {
            return Some(format!(
                "{failed} of {} requests failed, {share:.1} %, which is more than {FAILED_PERCENT_MAX} %; `hayrick status` shows what the cluster lacks",
                done + failed
            ));
        }
        if self.interrupted {
            return Some("interrupted; the figures are those until then".to_owned());
        }
        (done == 0).then(|| {
            "no request was sent and answered in the measured time; measure longer, with --seconds".to_owned()
        })
    }
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::bench::failure::Failed;

    fn report(answered: u64, failed: u64, failure: Failure) -> Report {
        let mut tallies = Tallies { elapsed: Duration::from_secs(10), ..Tallies::default() };
        for _ in 0..answered {
            tallies.put.add_in_time();
            tallies.put.add(Duration::from_millis(2), Ok(()));
        }
        for _ in 0..failed {
            tallies.put.add(Duration::ZERO, Err(Failed { failure, words: "no leader".to_owned() }));
        }
        Report {
            mode: Mode::Put,
            size: 1024,
            clients: 2,
            warm_up: Duration::from_secs(2),
            masters: vec!["127.0.0.1:9090".to_owned()],
            prefix: "bench/1/".to_owned(),
            readable: 0,
            interrupted: false,
            tallies,
            limits: Limits {
                put: Some(Limit::Measured { per_second: 200.0, what: "syncs".to_owned() }),
                get: None,
            },
        }
    }

    #[test]
    fn rates_latencies_failures_and_shares_are_told() {
        let report = report(1000, 5, Failure::Refused);
        let told = report.in_words(Canvas::plain(40));
        let expected = "\
2 clients at one master, objects of 1.0 KiB; 10.0 s measured behind 2.0 s of warm-up

PUT  100 a second, 100.0 KiB a second; 1000 answered, 5 failed
     p50 2.00 ms, p99 2.00 ms, p99.9 2.00 ms, longest 2.00 ms

  up to  PUTs    so far
2.00 ms  1000  100.00 %  ###############

PUTs that failed: 5, refused (503); the first: no leader

share of this machine's limit for PUTs: 50 % of 200 a second: syncs
It means something only if all of the cluster runs on this machine.
PUTs share syncs, so that more than 100 % is possible.";
        assert_eq!(told, expected);
    }

    #[test]
    fn more_than_a_hundredth_of_failures_is_no_success_nor_is_one_wrong_answer() {
        assert_eq!(report(99, 1, Failure::Refused).complaint(), None);
        let complaint = report(98, 2, Failure::Unknown).complaint().expect("two of a hundred");
        assert!(
            complaint.starts_with("2 of 100 requests failed, 2.0 %, which is more than 1 %"),
            "{complaint}"
        );
        let complaint = report(9999, 1, Failure::Wrong).complaint().expect("a wrong answer");
        assert!(complaint.starts_with("1 answer not as it must be"), "{complaint}");
        assert!(report(0, 0, Failure::Other).complaint().is_some_and(|words| words.contains("--seconds")));
        let interrupted = Report { interrupted: true, ..report(10, 0, Failure::Other) };
        assert!(interrupted.complaint().is_some_and(|words| words.starts_with("interrupted")));
    }

    #[test]
    fn programs_get_all_figures_with_their_units() {
        let removal = Removal { removed: 1003, left: 2, why: None };
        let json = report(1000, 5, Failure::Refused).json(Some(&removal), 1005);
        let put = &json["put"];
        assert_eq!((&put["answered"], &put["failed"]), (&1000.into(), &5.into()));
        assert_eq!(put["failed_by_kind"]["refused_503"], 5);
        assert_eq!((&put["per_second"], &put["bytes_per_second"]), (&100.0.into(), &102_400.0.into()));
        assert_eq!(put["latency_p99_us"], 2000);
        assert_eq!(put["histogram"][0], json!({ "up_to_us": 2000, "requests": 1000, "so_far": 1000 }));
        assert_eq!(put["machine_limit"]["share_percent"], 50.0);
        assert_eq!(json["objects"], json!({ "sent": 1005, "removed": 1003, "left": 2 }));
        assert_eq!((json.get("get"), &json["mode"]), (None, &"put".into()));
    }
}
