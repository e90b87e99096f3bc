//! The search against histories that are known to be linearizable, that are known not to be, and against the definition.

use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::brute_force::is_linearizable;
use super::executions::{KEY, Shape, execution};
use super::partition::by_key;
use super::search::{Outcome, search};
use super::smallest::{Smallest, smallest};
use super::{VISITED_MAX, check};
use crate::checkers::testing::{
    assert_proved, assert_violated, delete, delete_if, get, list, put, put_if, record, record_found, value,
};
use crate::history::{Answer, Call, Condition, Moment, Operation, Value};

pub(super) fn outcome_of(operations: &[Operation]) -> Outcome {
    by_key(operations.iter())
        .values()
        .map(|steps| search(steps, VISITED_MAX).outcome)
        .next()
        .unwrap_or(Outcome::Explained)
}

pub(super) fn smallest_of(operations: &[Operation]) -> Option<Smallest<'_>> {
    let keys = by_key(operations.iter());
    let steps = keys.values().next()?;
    match search(steps, VISITED_MAX).outcome {
        Outcome::Contradiction { step } => Some(smallest(steps, step)),
        _ => None,
    }
}

// Single stories.

#[test]
fn reads_of_the_last_write_are_linearizable() {
    assert_proved(&check(&record(vec![
        put(KEY, value(1)).at(0..1).stored(),
        get(KEY).at(2..3).found(value(1)),
        delete(KEY).at(4..5).deleted(),
        get(KEY).at(6..7).absent(),
    ])));
}

#[test]
fn a_read_may_see_either_of_two_writes_under_way() {
    for seen in [1, 2] {
        assert_proved(&check(&record(vec![
            put(KEY, value(1)).by(1).at(0..10).stored(),
            put(KEY, value(2)).by(2).at(0..10).stored(),
            get(KEY).by(3).at(11..12).found(value(seen)),
        ])));
    }
}

#[test]
fn a_stale_read_is_shown_with_both_writes_and_nothing_else() {
    let stale = [
        put(KEY, value(1)).at(0..1).stored(),
        put(KEY, value(2)).at(2..3).stored(),
        get(KEY).at(8..9).found(value(1)),
    ];
    let mut history = stale.to_vec();
    history.insert(1, get(KEY).by(2).at(0..4).found(value(1)));
    history.insert(0, put("other", value(9)).by(2).at(5..6).stored());
    let verdict = check(&record(history));
    assert_violated(&verdict, "no order of these 3 operations explains their answers");
    assert_eq!(verdict.evidence[0].history, stale);
    assert_eq!(verdict.evidence[0].key.as_deref(), Some(KEY));
    assert_eq!(verdict.evidence[0].at, Some(Moment(9)));
}

#[test]
fn a_write_of_unknown_outcome_cannot_happen_twice_and_is_shown() {
    let twice = [
        put(KEY, value(1)).by(1).at(0..1).unknown(),
        get(KEY).by(2).at(2..3).found(value(1)),
        put(KEY, value(2)).by(2).at(4..5).stored(),
        get(KEY).by(2).at(6..7).found(value(1)),
    ];
    let verdict = check(&record(twice.to_vec()));
    assert_violated(&verdict, "no order of these 3 operations");
    assert_eq!(verdict.evidence[0].history, twice);
}

#[test]
fn a_write_of_unknown_outcome_may_happen_late_or_never() {
    assert_proved(&check(&record(vec![
        put(KEY, value(1)).by(1).at(0..1).unknown(),
        put(KEY, value(3)).by(1).at(0..1).unknown(),
        put(KEY, value(2)).by(2).at(2..3).stored(),
        get(KEY).by(2).at(4..5).found(value(2)),
        get(KEY).by(2).at(6..7).found(value(1)),
    ])));
}

#[test]
fn a_chain_of_unknown_conditional_writes_can_explain_a_read() {
    let chain = |first| {
        vec![
            put_if(KEY, value(2), Condition::Matches(value(1))).by(1).at(0..1).unknown(),
            put_if(KEY, value(3), Condition::Matches(value(2))).by(2).at(0..1).unknown(),
            put(KEY, first).by(3).at(2..3).stored(),
            get(KEY).by(3).at(4..5).found(value(3)),
        ]
    };
    assert_proved(&check(&record(chain(value(1)))));
    assert_violated(&check(&record(chain(value(4)))), "nothing that was asked explains this answer");
}

#[test]
fn a_failed_condition_must_be_justified() {
    let asked = |condition| {
        check(&record(vec![
            put(KEY, value(1)).at(0..1).stored(),
            put_if(KEY, value(2), condition).at(2..3).condition_failed(),
        ]))
    };
    assert_proved(&asked(Condition::Absent));
    assert_proved(&asked(Condition::Matches(value(7))));
    assert_violated(&asked(Condition::Matches(value(1))), "no order of these 2");
    assert_violated(&asked(Condition::Always), "nothing that was asked explains this answer");
}

#[test]
fn a_conditional_delete_of_nothing_may_be_told_either() {
    let delete = || delete_if(KEY, Condition::Matches(value(1))).at(2..3);
    let after = |first, second| check(&record(vec![first, second]));
    assert_proved(&check(&record(vec![delete().absent(), delete().condition_failed()])));
    assert_proved(&after(put(KEY, value(2)).stored(), delete().condition_failed()));
    assert_violated(&after(put(KEY, value(1)).stored(), delete().absent()), "no order of these 2");
    assert_violated(&check(&record(vec![delete().deleted()])), "nothing that was asked");
}

#[test]
fn lists_say_of_each_key_whether_it_is_there() {
    let history = |listed: &[&str]| {
        check(&record(vec![
            put("a/1", value(1)).by(1).at(0..1).stored(),
            put("a/2", value(2)).by(2).at(0..1).refused(),
            put("b", value(3)).by(3).at(0..1).stored(),
            list("a/").at(2..3).listed(listed),
        ]))
    };
    assert_proved(&history(&["a/1"]));
    assert_violated(&history(&[]), "no order of these 2");
    assert_violated(&history(&["a/1", "a/2"]), "nothing that was asked");
    assert_violated(&history(&["a/1", "a/nobody-wrote-it"]), "nothing that was asked");
}

#[test]
fn what_is_read_back_is_part_of_the_history() {
    let history = vec![put(KEY, value(1)).at(0..1).stored(), put(KEY, value(2)).at(2..3).stored()];
    assert_proved(&check(&record_found(history.clone(), KEY, &[Some(value(2))])));
    assert_violated(&check(&record_found(history.clone(), KEY, &[Some(value(1))])), "no order of these 3");
    assert_violated(&check(&record_found(history, KEY, &[Some(value(2)), None])), "no order of these 2");
}

#[test]
fn what_touches_is_concurrent() {
    let read =
        |begun| check(&record(vec![put(KEY, value(1)).at(0..5).stored(), get(KEY).at(begun..9).absent()]));
    assert_proved(&read(5));
    assert_violated(&read(6), "no order of these 2");
}

#[test]
fn a_key_that_is_not_decided_is_named() {
    let crowd = (0..200).map(|client| put(KEY, value(1)).by(client).at(0..9).stored()).collect();
    let verdict = check(&record(crowd));
    assert_eq!(verdict.outcome, crate::verdict::Outcome::NotDecidedInTime);
    assert!(verdict.figures.contains("not decided: k"), "{verdict:#?}");
    let history = execution(7, Shape::contended(200));
    assert_eq!(search(&by_key(history.iter())[KEY], 50).outcome, Outcome::GivenUp);
}

// Executions, and what breaks them.

#[test]
fn executions_are_linearizable() {
    for seed in 0..200 {
        for shape in [
            Shape::contended(600),
            Shape { clients: 4, unknown_percent: 30, ..Shape::contended(400) },
            Shape { clients: 6, unknown_percent: 10, reused_percent: 60, ..Shape::contended(400) },
            Shape { clients: 24, unknown_percent: 0, deletes: false, ..Shape::contended(400) },
        ] {
            let outcome = outcome_of(&execution(seed, shape));
            assert_eq!(outcome, Outcome::Explained, "seed {seed}, {shape:?}");
        }
    }
}

/// Changes a linearizable history so that it no longer is; none if it has nothing to change.
type Breakage = fn(&mut StdRng, Vec<Operation>) -> Option<Vec<Operation>>;

#[test]
fn broken_executions_are_caught() {
    let breakages: [(&str, Breakage); 6] = [
        ("stale read", stale_read),
        ("lost write", lost_write),
        ("refused write is seen", refused_write_is_seen),
        ("write nobody asked for", write_nobody_asked_for),
        ("double effect", double_effect),
        ("two winners", two_winners),
    ];
    for (name, breakage) in breakages {
        let mut caught = 0;
        for seed in 0..120 {
            let mut random = StdRng::seed_from_u64(seed);
            let unknown_percent = random.random_range(0..20);
            let shape = Shape { unknown_percent, deletes: false, reused_percent: 0, ..Shape::contended(300) };
            let Some(broken) = breakage(&mut random, execution(seed, shape)) else { continue };
            let smallest = smallest_of(&broken).unwrap_or_else(|| panic!("{name}, seed {seed}: not caught"));
            assert!(smallest.is_least, "{name}, seed {seed}");
            assert_is_least(&broken, &smallest, &format!("{name}, seed {seed}"));
            caught += 1;
        }
        assert!(caught >= 60, "{name}: only {caught} histories could be broken");
    }
}

/// What is shown contradicts by the definition (of all loosened writes, the shown ones are tried) and has nothing too many.
fn assert_is_least(broken: &[Operation], smallest: &Smallest<'_>, which: &str) {
    let shown: Vec<Operation> = shown(smallest, None);
    assert!(shown.len() <= 8, "{which}: {shown:#?}");
    assert!(!is_linearizable(&shown), "{which}: {shown:#?}");
    for dropped in 0..smallest.needed.len() {
        let rest = self::shown(smallest, Some(dropped));
        assert!(is_linearizable(&rest), "{which}: {dropped} is superfluous of {shown:#?}");
    }
    assert!(
        shown.iter().all(|operation| broken.iter().any(|known| known.begun == operation.begun)),
        "{which}"
    );
}

/// What is left, without one of the needed ones: dropped if it is a read, loosened if it is a write.
pub(super) fn shown(smallest: &Smallest<'_>, without: Option<usize>) -> Vec<Operation> {
    let mut operations: Vec<Operation> = smallest.loose.iter().map(|step| loosened(step.operation)).collect();
    for (index, step) in smallest.needed.iter().enumerate() {
        if Some(index) != without {
            operations.push(step.operation.clone());
        } else if !step.is_read() {
            operations.push(loosened(step.operation));
        }
    }
    operations
}

pub(super) fn loosened(operation: &Operation) -> Operation {
    Operation { answer: Answer::Unknown { why: "loosened".to_owned() }, ..operation.clone() }
}

fn writes(history: &[Operation]) -> Vec<(Value, Operation)> {
    let stored = history.iter().filter(|operation| operation.answer == Answer::Stored);
    stored.filter_map(|operation| Some((written(operation)?, operation.clone()))).collect()
}

fn written(operation: &Operation) -> Option<Value> {
    match operation.call {
        Call::Put { value, .. } => Some(value),
        _ => None,
    }
}

fn is_get(operation: &Operation) -> bool {
    matches!(operation.call, Call::Get { .. })
        && matches!(operation.answer, Answer::Found(_) | Answer::Absent)
}

fn found(operation: &Operation) -> Option<Value> {
    match operation.answer {
        Answer::Found(value) => Some(value),
        _ => None,
    }
}

/// A read that begins after a write has ended tells the value that an earlier write, ended before it began, had stored.
fn stale_read(random: &mut StdRng, mut history: Vec<Operation>) -> Option<Vec<Operation>> {
    let writes = writes(&history);
    let (old, first) = writes[..writes.len() / 2].choose(random)?.clone();
    let (_, second) = writes.iter().find(|(_, write)| write.begun > first.ended)?;
    let mut reads: Vec<&mut Operation> =
        history.iter_mut().filter(|read| is_get(read) && read.begun > second.ended).collect();
    let index = random.random_range(0..reads.len().max(1));
    reads.get_mut(index)?.answer = Answer::Found(old);
    Some(history)
}

/// A read tells that there is nothing, though something was stored and nobody deletes.
fn lost_write(random: &mut StdRng, mut history: Vec<Operation>) -> Option<Vec<Operation>> {
    let first_end = writes(&history).iter().map(|(_, write)| write.ended).min()?;
    let mut reads: Vec<&mut Operation> =
        history.iter_mut().filter(|read| is_get(read) && read.begun > first_end).collect();
    let index = random.random_range(0..reads.len().max(1));
    reads.get_mut(index)?.answer = Answer::Absent;
    Some(history)
}

/// A write whose value was read was refused.
fn refused_write_is_seen(random: &mut StdRng, mut history: Vec<Operation>) -> Option<Vec<Operation>> {
    let seen: Vec<Value> = history.iter().filter_map(found).collect();
    let seen = *seen.choose(random)?;
    let write = history.iter_mut().find(|operation| written(operation) == Some(seen))?;
    write.answer = Answer::Refused { status: 503, why: "no leader".to_owned() };
    Some(history)
}

/// The write is not there at all.
fn write_nobody_asked_for(random: &mut StdRng, mut history: Vec<Operation>) -> Option<Vec<Operation>> {
    let seen: Vec<Value> = history.iter().filter_map(found).collect();
    let seen = *seen.choose(random)?;
    history.retain(|operation| written(operation) != Some(seen));
    Some(history)
}

/// Three reads, one after the other: the last tells what the first told, and between them there was something else.
fn double_effect(random: &mut StdRng, mut history: Vec<Operation>) -> Option<Vec<Operation>> {
    let reads: Vec<Operation> = history.iter().filter(|read| found(read).is_some()).cloned().collect();
    let first = reads[..reads.len() / 2].choose(random)?;
    let second = reads.iter().find(|read| read.begun > first.ended && found(read) != found(first))?;
    let third = history.iter_mut().find(|read| is_get(read) && read.begun > second.ended)?;
    third.answer = first.answer.clone();
    Some(history)
}

/// Two writes that were to take place only where there is nothing have been told that they did; nobody deletes.
fn two_winners(random: &mut StdRng, mut history: Vec<Operation>) -> Option<Vec<Operation>> {
    let first_end = writes(&history).iter().map(|(_, write)| write.ended).min()?;
    let if_absent = |operation: &Operation| {
        matches!(operation.call, Call::Put { condition: Condition::Absent, .. })
            && operation.answer == Answer::ConditionFailed
            && operation.ended > first_end
    };
    let mut losers: Vec<&mut Operation> =
        history.iter_mut().filter(|operation| if_absent(operation)).collect();
    let index = random.random_range(0..losers.len().max(1));
    let loser = losers.get_mut(index)?;
    // It was the first to be stored or began after something was: in either case something is there before it.
    if loser.begun <= first_end {
        return None;
    }
    loser.answer = Answer::Stored;
    Some(history)
}

// Against the definition.

fn any_value() -> impl Strategy<Value = Value> {
    (1..=3_u8).prop_map(value)
}

fn any_condition() -> impl Strategy<Value = Condition> {
    prop_oneof![3 => Just(Condition::Always), 1 => Just(Condition::Absent), 2 => any_value().prop_map(Condition::Matches)]
}

pub(super) fn any_operation() -> impl Strategy<Value = Operation> {
    let unknown = || Answer::Unknown { why: String::new() };
    let read = prop_oneof![4 => any_value().prop_map(Answer::Found), 2 => Just(Answer::Absent)];
    let get = read.prop_map(|answer| get(KEY).told(answer));
    let list = any::<bool>().prop_map(|there| list("").listed(if there { &[KEY] } else { &[] }));
    let told =
        prop_oneof![4 => Just(Answer::Stored), 2 => Just(unknown()), 1 => Just(Answer::ConditionFailed)];
    let put = (any_value(), any_condition(), told)
        .prop_map(|(value, condition, answer)| put_if(KEY, value, condition).told(answer));
    let told = prop_oneof![
        3 => Just(Answer::Deleted), 1 => Just(Answer::Absent), 2 => Just(unknown()), 1 => Just(Answer::ConditionFailed)
    ];
    let delete = (any_condition(), told).prop_map(|(condition, answer)| {
        let condition = if condition == Condition::Absent { Condition::Always } else { condition };
        delete_if(KEY, condition).told(answer)
    });
    let asked = prop_oneof![4 => get, 1 => list, 5 => put, 2 => delete];
    (asked, 0..12_u64, 0..8_u64).prop_map(|(operation, begun, lasts)| Operation {
        begun: Moment(begun),
        ended: Moment(begun + lasts),
        ..operation
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_search_agrees_with_the_definition(operations in prop::collection::vec(any_operation(), 1..=7)) {
        let expected = is_linearizable(&operations);
        let outcome = outcome_of(&operations);
        prop_assert_eq!(expected, outcome == Outcome::Explained, "{:?}", outcome);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn executions_with_one_answer_changed_agree_with_the_definition(
        seed in any::<u64>(), clients in 2..6_usize, unknown_percent in 0..50_u32, other in any_operation(), at in 0..7_usize
    ) {
        let shape = Shape { clients, operations: 7, unknown_percent, deletes: true, reused_percent: 30, undeletes: false };
        let mut operations = execution(seed, shape);
        operations[at] = Operation { begun: operations[at].begun, ended: operations[at].ended, ..other };
        let expected = is_linearizable(&operations);
        prop_assert_eq!(expected, outcome_of(&operations) == Outcome::Explained);
    }

    #[test]
    fn what_is_shown_contradicts_and_has_nothing_too_many(
        operations in prop::collection::vec(any_operation(), 1..=7)
    ) {
        if let Some(smallest) = smallest_of(&operations) {
            prop_assert!(smallest.is_least);
            prop_assert!(!is_linearizable(&shown(&smallest, None)));
            for dropped in 0..smallest.needed.len() {
                prop_assert!(is_linearizable(&shown(&smallest, Some(dropped))));
            }
            // It is a contradiction of the whole: with every other write at will it remains one.
            let shown = shown(&smallest, None);
            let others = operations.iter().filter(|operation| {
                let mut shown = smallest.needed.iter().chain(&smallest.loose);
                let may_act = matches!(operation.answer, Answer::Stored | Answer::Deleted | Answer::Unknown { .. });
                operation.is_write() && may_act && !shown.any(|step| std::ptr::eq(step.operation, *operation))
            });
            let all: Vec<Operation> = shown.iter().cloned().chain(others.map(loosened)).collect();
            prop_assert!(!is_linearizable(&all));
        }
    }
}

// Long ones.

#[test]
fn twenty_contended_keys_of_twenty_thousand_operations_are_decided() {
    // Sixteen clients cannot be at each of twenty keys all the time: four are more than usual.
    let shape = Shape { clients: 4, ..Shape::contended(20_000) };
    for seed in 0..20 {
        let history = execution(seed, shape);
        let found = search(&by_key(history.iter())[KEY], 1_000_000);
        assert_eq!(found.outcome, Outcome::Explained, "seed {seed}: {} visited", found.visited);
    }
}

#[test]
fn a_key_that_sixteen_clients_are_at_all_the_time_is_decided() {
    let history = execution(1, Shape::contended(20_000));
    let found = search(&by_key(history.iter())[KEY], VISITED_MAX / 2);
    assert_eq!(found.outcome, Outcome::Explained, "{} visited", found.visited);
}

#[test]
fn the_least_of_a_long_history_is_found() {
    let shape = Shape { deletes: false, reused_percent: 0, ..Shape::contended(20_000) };
    let mut random = StdRng::seed_from_u64(1);
    let broken = stale_read(&mut random, execution(1, shape)).expect("there are stale reads to be made");
    let smallest = smallest_of(&broken).expect("a stale read contradicts");
    assert!(smallest.is_least);
    assert_is_least(&broken, &smallest, "a stale read");
}
