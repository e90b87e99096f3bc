//! What a process takes is bounded: its memory does not grow without end, and neither do its descriptors.

use std::collections::BTreeMap;

use crate::record::{Record, Resources};
use crate::verdict::{Evidence, Verdict};

const NAME: &str = "bounded";
const PROMISE: &str = "Memory and descriptors of every process stay bounded.";

const MIB: u64 = 1 << 20;

/// No process ever needs more: a master holds the index of a run, some ten thousand objects, and what its clients send at
/// once, a volume its index and caches. A few hundred MiB are usual.
const MEMORY_MAX_BYTES: u64 = 1024 * MIB;

/// Up to here growth is no sign of anything: allocators keep what they had, caches fill.
const MEMORY_USUAL_BYTES: u64 = 64 * MIB;

/// Load comes and goes with the faults: twice as much in the last third of a run as in the second, and this much more, can
/// be by chance. What leaks with every request grows by more, or is too little to find in one run.
const MEMORY_GROWTH_TIMES: u64 = 2;
const MEMORY_SLACK_BYTES: u64 = 64 * MIB;

/// Connections of some dozens of clients, masters and volumes, and segments: hundreds are usual. A usual limit is 1024 to
/// 1 Mi; a process that needs as many as this loses them.
const DESCRIPTORS_MAX: u64 = 4096;

/// What was unlinked is read on by who reads it just then, and closed. At the end nobody reads.
const NAMELESS_MAX: u64 = 8;

/// In each third, for a median that means something.
const SAMPLES_MIN: usize = 5;

/// Looks at every process by itself, whatever it was restarted.
pub(crate) fn check(record: &Record) -> Verdict {
    let mut processes: BTreeMap<&str, Vec<&Resources>> = BTreeMap::new();
    for sample in &record.resources {
        processes.entry(&sample.process).or_default().push(sample);
    }
    if processes.is_empty() {
        return Verdict::skipped(NAME, PROMISE, "nothing was sampled");
    }
    let evidence = processes.iter().flat_map(|(process, samples)| of_process(process, samples)).collect();
    let most = |what: fn(&Resources) -> u64| record.resources.iter().map(what).max().unwrap_or_default();
    let figures = format!(
        "{} processes, {} samples, at most {} MiB and {} descriptors",
        processes.len(),
        record.resources.len(),
        most(|sample| sample.memory_bytes) / MIB,
        most(|sample| sample.descriptors)
    );
    Verdict::of(NAME, PROMISE, figures, evidence)
}

fn of_process(process: &str, samples: &[&Resources]) -> Vec<Evidence> {
    let mut evidence = Vec::new();
    if let Some(sample) = samples.iter().find(|sample| sample.memory_bytes > MEMORY_MAX_BYTES) {
        let (has, max) = (sample.memory_bytes / MIB, MEMORY_MAX_BYTES / MIB);
        let what = format!("{process} had {has} MiB of memory: more than {max} MiB");
        evidence.push(Evidence { at: Some(sample.at), ..Evidence::says(what) });
    }
    if let Some(sample) = samples.iter().find(|sample| sample.descriptors > DESCRIPTORS_MAX) {
        let what = format!("{process} had {} descriptors: more than {DESCRIPTORS_MAX}", sample.descriptors);
        evidence.push(Evidence { at: Some(sample.at), ..Evidence::says(what) });
    }
    if let Some(last) = samples.last().filter(|last| last.nameless > NAMELESS_MAX) {
        let what = format!("{process} still has {} files open that were unlinked, at the end", last.nameless);
        evidence.push(Evidence { at: Some(last.at), ..Evidence::says(what) });
    }
    let third = samples.len() / 3;
    if third >= SAMPLES_MIN {
        let (second, last) = (median(&samples[third..2 * third]), median(&samples[2 * third..]));
        let allowed = MEMORY_USUAL_BYTES.max(MEMORY_GROWTH_TIMES * second) + MEMORY_SLACK_BYTES;
        if last > allowed {
            let what = format!(
                "{process} grew from {} MiB in the second third of the run to {} MiB in the last: more than {} MiB",
                second / MIB,
                last / MIB,
                allowed / MIB
            );
            evidence.push(Evidence { at: samples.last().map(|sample| sample.at), ..Evidence::says(what) });
        }
    }
    evidence
}

fn median(samples: &[&Resources]) -> u64 {
    let mut bytes: Vec<u64> = samples.iter().map(|sample| sample.memory_bytes).collect();
    bytes.sort_unstable();
    bytes[bytes.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::{assert_proved, assert_violated, record};
    use crate::history::Moment;
    use crate::verdict::Outcome;

    /// One process that has this much memory, each second.
    fn sampled(memory_mib: &[u64]) -> Record {
        let mut record = record(Vec::new());
        let sample = |(second, mib): (usize, &u64)| Resources {
            at: Moment(second as u64 * 1_000_000_000),
            process: "master-1".to_owned(),
            memory_bytes: mib * MIB,
            descriptors: 100,
            nameless: 3,
            threads: 9,
        };
        record.resources = memory_mib.iter().enumerate().map(sample).collect();
        record
    }

    #[test]
    fn files_that_were_unlinked_and_stay_open_are_told() {
        let mut record = sampled(&[10; 20]);
        record.resources[5].nameless = 100;
        assert_proved(&check(&record));
        record.resources[19].nameless = 9;
        assert_violated(&check(&record), "9 files open that were unlinked");
    }

    fn thirds(first: u64, second: u64, last: u64) -> Verdict {
        check(&sampled(&[[first; 10], [second; 10], [last; 10]].concat()))
    }

    #[test]
    fn what_stays_or_grows_a_little_is_bounded() {
        assert_proved(&thirds(20, 40, 40));
        assert_proved(&thirds(5, 10, 120));
        assert_proved(&thirds(100, 200, 460));
        assert_proved(&thirds(900, 300, 100));
    }

    #[test]
    fn what_keeps_growing_is_not() {
        assert_violated(&thirds(100, 200, 470), "master-1 grew from 200 MiB");
        assert_violated(&thirds(5, 10, 130), "master-1 grew from 10 MiB");
    }

    #[test]
    fn one_peak_is_no_growth_but_must_not_be_too_high() {
        let mut memory = vec![20; 30];
        memory[25] = 900;
        assert_proved(&check(&sampled(&memory)));
        memory[25] = 1025;
        assert_violated(&check(&sampled(&memory)), "master-1 had 1025 MiB of memory: more than 1024 MiB");
    }

    #[test]
    fn too_many_descriptors_are_told() {
        let mut record = sampled(&[20; 30]);
        record.resources[3].descriptors = DESCRIPTORS_MAX;
        assert_proved(&check(&record));
        record.resources[3].descriptors += 1;
        let verdict = check(&record);
        assert_violated(&verdict, "master-1 had 4097 descriptors");
        assert_eq!(verdict.evidence[0].at, Some(record.resources[3].at));
    }

    #[test]
    fn few_samples_say_nothing_of_growth_and_none_say_nothing() {
        assert_proved(&check(&sampled(&[1, 1, 1, 1, 1000, 1000])));
        assert_eq!(check(&sampled(&[])).outcome, Outcome::Skipped);
    }
}
