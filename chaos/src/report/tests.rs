//! Claims about whole reports: whatever a record holds, the page is well formed, complete, harmless and of bounded size.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::made_up::{self, HOSTILE};
use super::{Run, write};
use crate::history::Moment;
use crate::record::{Fault, LeaderSeen, Life, LifeState};

/// The page, and the report for programs.
fn written(runs: &[Run]) -> (String, serde_json::Value) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    write(dir.path(), runs, runs.len()).expect("the directory can be written");
    let page = fs::read_to_string(dir.path().join("index.html")).expect("there is a page");
    let report = fs::read(dir.path().join("report.json")).expect("there is a report");
    (page, serde_json::from_slice(&report).expect("it is JSON"))
}

/// Every element that is opened is closed, in the right order; no text of anybody opens one that is not known here.
fn assert_well_formed(page: &str) {
    const VOID: [&str; 2] = ["!DOCTYPE", "meta"];
    let (before, rest) = page.split_once("<style>").expect("there is a style");
    let (style, after) = rest.split_once("</style>").expect("it ends");
    assert!(!style.contains('<'));
    let mut open: Vec<&str> = Vec::new();
    for part in [before, after].iter().flat_map(|text| text.split('<').skip(1)) {
        let (tag, text) = part.split_once('>').expect("a tag ends");
        assert_eq!(tag.matches('"').count() % 2, 0, "attributes are closed: <{tag}>");
        assert!(!text.contains('>'), "text is escaped: {text}");
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "</{tag}> after {open:?}"),
            None => {
                let name = tag.split_whitespace().next().expect("a tag has a name");
                assert_ne!(name, "script");
                if !VOID.contains(&name) {
                    open.push(name);
                }
            }
        }
    }
    assert!(open.is_empty(), "{open:?} stay open");
}

#[test]
fn a_violated_run_with_hostile_words_gives_a_harmless_and_complete_page() {
    let logs = tempfile::tempdir().expect("a temporary directory");
    made_up::write_logs(logs.path());
    let mut run = made_up::violated(logs.path(), 3_000);
    run.record.plan.mix = format!("mix {HOSTILE}");
    run.record.plan.replay += HOSTILE;
    run.record.left_out.push(HOSTILE.to_owned());
    run.verdicts[1].promise += HOSTILE;
    let (page, report) = written(&[run.clone(), made_up::held(100)]);
    assert_well_formed(&page);
    assert!(!page.contains("<script") && !page.contains("<svg onload"));
    assert!(!page.contains('\u{202e}'), "nothing turns a line around");
    for verdict in &run.verdicts {
        assert!(page.contains(verdict.promise.trim_end_matches(HOSTILE)), "{}", verdict.promise);
        assert!(page.contains(&verdict.figures), "{}", verdict.figures);
    }
    for word in [
        "one-way-cuts",
        "8150734",
        "← 3f3f3f3f…",
        "lost the leader",
        "client 5, number 17",
        "volume-1 could not be read",
    ] {
        assert!(page.contains(word), "{word} is not on the page");
    }
    assert_eq!(report["standing"], "violated");
    assert_eq!(report["runs"][0]["plan"]["seed"], 8_150_734);
    assert_eq!(report["runs"][1]["standing"], "held");
    assert_eq!(report["runs"][0]["verdicts"][0]["evidence"][0]["history"].as_array().map(Vec::len), Some(5));
}

#[test]
fn a_record_of_nothing_gives_a_page() {
    assert_well_formed(&written(&[]).0);
    let (page, report) = written(&[Run { record: made_up::record(), verdicts: Vec::new() }]);
    assert_well_formed(&page);
    assert_eq!(report["standing"], "proved_nothing");
}

#[test]
fn moments_beyond_all_bounds_give_a_page() {
    let mut run = made_up::violated(Path::new("nowhere"), 10);
    let never = Moment(u64::MAX);
    run.record.faults.push(Fault { kind: "cut".to_owned(), what: String::new(), from: never, to: never });
    run.record.lives.push(Life { at: never, process: "volume-1".to_owned(), state: LifeState::Dead });
    run.record.leaders.push(LeaderSeen { at: never, by: 0, term: u64::MAX, leader: Some(0) });
    run.record.history.operations[0].ended = never;
    run.verdicts[0].evidence[0].history[0].ended = never;
    assert_well_formed(&written(std::slice::from_ref(&run)).0);
    run.record.ended = never;
    run.record.began = "whenever".to_owned();
    assert_well_formed(&written(&[run]).0);
}

#[test]
fn half_a_million_operations_are_drawn_within_seconds_on_a_page_of_bounded_size() {
    let runs = [made_up::violated(Path::new("nowhere"), 500_000)];
    let begun = Instant::now();
    let page = super::page::document(&runs, runs.len(), &[None]).into_string();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    assert!(page.len() < 5_000_000, "{} bytes", page.len());
    assert_well_formed(&page);
}

#[test]
fn many_faults_and_elections_do_not_make_the_page_grow_without_bound() {
    let mut run = made_up::held(1_000);
    for number in 0..50_000_u64 {
        let at = Moment(number * 1_000_000);
        run.record.faults.push(Fault { kind: "cut".to_owned(), what: "x".repeat(500), from: at, to: at });
        run.record.leaders.push(LeaderSeen { at, by: 1, term: number, leader: Some(number as u32 % 3) });
        run.record.lives.push(Life { at, process: "volume-1".to_owned(), state: LifeState::Dead });
    }
    let page = super::page::document(&[run], 1, &[None]).into_string();
    assert!(page.len() < 5_000_000, "{} bytes", page.len());
}

#[test]
fn a_history_is_kept_if_it_is_small_or_somebody_has_to_look_into_it() {
    let big = super::json::SMALL as u64 + 1;
    let violated = made_up::violated(Path::new("nowhere"), big);
    let runs = [violated.clone(), made_up::held(big), made_up::held(10), violated];
    let names = super::json::history_files(&runs);
    let names: Vec<Option<&str>> = names.iter().map(Option::as_deref).collect();
    assert_eq!(
        names,
        [
            Some("history-leader-kills.json"),
            None,
            Some("history-one-way-cuts.json"),
            Some("history-leader-kills-2.json")
        ]
    );
}

#[test]
fn a_report_replaces_the_one_before_and_leaves_nothing_beside_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let run = made_up::violated(dir.path(), 100);
    write(dir.path(), std::slice::from_ref(&run), 1).expect("the directory can be written");
    write(dir.path(), &[made_up::held(100)], 1).expect("and again");
    let page = fs::read_to_string(dir.path().join("index.html")).expect("there is a page");
    assert!(page.contains("All promises held"));
    let history = fs::read(dir.path().join("history-leader-kills.json")).expect("there is a history");
    assert_eq!(
        serde_json::from_slice::<crate::history::History>(&history).expect("it is one"),
        run.record.history
    );
    let names =
        fs::read_dir(dir.path()).expect("it is there").map(|entry| entry.expect("it has a name").file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().ends_with(".partial")));
}

/// To look at: `HAYRICK_DEMO_REPORT=DIR cargo test -p hayrick-chaos demo` leaves the page in DIR.
#[test]
fn a_demo_of_a_violated_and_a_held_run_is_written() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let dir = std::env::var_os("HAYRICK_DEMO_REPORT").map_or(temporary.path().to_owned(), Into::into);
    fs::create_dir_all(&dir).expect("it can be made");
    made_up::write_logs(&dir);
    let runs = [made_up::violated(&dir, 40_000), made_up::held(15_000)];
    write(&dir, &runs, runs.len()).expect("it can be written");
    assert!(fs::metadata(dir.join("index.html")).expect("there is a page").len() > 50_000);
}
