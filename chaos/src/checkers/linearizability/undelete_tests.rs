//! The same for what is brought back: stories, executions, what breaks them, and the definition.

use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::brute_force::is_linearizable;
use super::check;
use super::executions::{KEY, Shape, execution};
use super::search::Outcome;
use super::tests::{any_operation, outcome_of, shown, smallest_of};
use crate::checkers::testing::{
    assert_proved, assert_violated, delete, get, list, put, put_if, record, record_found, undelete, value,
};
use crate::history::{Answer, Call, Condition, Moment, Operation, Value};
use crate::verdict;

fn shape(clients: usize, unknown_percent: u32, operations: usize) -> Shape {
    Shape { clients, unknown_percent, undeletes: true, ..Shape::contended(operations) }
}

// Single stories.

/// Put and deleted, and then this.
fn after_delete(more: Vec<Operation>) -> Vec<Operation> {
    let deleted = vec![put(KEY, value(1)).at(0..1).stored(), delete(KEY).at(2..3).deleted()];
    deleted.into_iter().chain(more).collect()
}

#[test]
fn what_is_brought_back_is_there_as_it_was() {
    let back = || undelete(KEY).at(4..5).brought_back();
    let then = |read| check(&record(after_delete(vec![back(), read])));
    assert_proved(&then(get(KEY).at(6..7).found(value(1))));
    assert_proved(&then(list("").at(6..7).listed(&[KEY])));
    assert_violated(&then(get(KEY).at(6..7).absent()), "no order of these 2");
    assert_violated(&then(get(KEY).at(6..7).found(value(2))), "nothing that was asked explains this answer");
    assert_violated(&then(list("").at(6..7).listed(&[])), "no order of these 2");
    assert_proved(&check(&record_found(after_delete(vec![back()]), KEY, &[Some(value(1))])));
    assert_violated(&check(&record_found(after_delete(vec![back()]), KEY, &[None])), "no order of these 2");
}

#[test]
fn nothing_comes_back_where_nothing_was_deleted_or_an_object_has_the_key() {
    for history in [
        vec![undelete(KEY).at(0..1).brought_back()],
        vec![put(KEY, value(1)).at(0..1).refused(), undelete(KEY).at(2..3).brought_back()],
        vec![put(KEY, value(1)).at(0..1).stored(), undelete(KEY).at(2..3).brought_back()],
        vec![put(KEY, value(1)).at(4..5).stored(), undelete(KEY).at(2..3).brought_back()],
        after_delete(vec![put(KEY, value(1)).at(4..5).stored(), undelete(KEY).at(6..7).brought_back()]),
        after_delete(vec![undelete(KEY).at(4..5).brought_back(), undelete(KEY).at(6..7).brought_back()]),
    ] {
        assert_eq!(check(&record(history.clone())).outcome, verdict::Outcome::Violated, "{history:#?}");
        assert!(!is_linearizable(&history), "{history:#?}");
    }
}

#[test]
fn a_deleted_object_may_be_reaped_at_any_time_and_then_stays_so_until_the_next_delete() {
    let nothing = |begun: u64| undelete(KEY).at(begun..begun + 1).nothing_to_bring_back();
    let back = |begun: u64| undelete(KEY).at(begun..begun + 1).brought_back();
    assert_proved(&check(&record(vec![nothing(0)])));
    assert_proved(&check(&record(after_delete(vec![nothing(4), nothing(6)]))));
    let verdict = check(&record(after_delete(vec![nothing(4), back(6)])));
    assert_violated(&verdict, "no order of these");
    assert!(verdict.evidence[0].history.contains(&nothing(4)), "{verdict:#?}");
    // At the same time, the one that found something may have been first.
    assert_proved(&check(&record(after_delete(vec![nothing(4), back(5)]))));
    let again =
        vec![nothing(4), put(KEY, value(1)).at(6..7).stored(), delete(KEY).at(8..9).deleted(), back(10)];
    assert_proved(&check(&record(after_delete(again))));
}

#[test]
fn taken_is_said_only_where_an_object_is() {
    let taken = || undelete(KEY).at(6..7).taken();
    assert_violated(&check(&record(after_delete(vec![taken()]))), "no order of these");
    assert_proved(&check(&record(after_delete(vec![undelete(KEY).at(4..5).brought_back(), taken()]))));
    let unknown = undelete(KEY).at(4..5).unknown();
    assert_proved(&check(&record(after_delete(vec![unknown, taken()]))));
}

#[test]
fn an_undelete_of_unknown_outcome_may_happen_late_once_or_never() {
    let unknown = || undelete(KEY).at(4..5).unknown();
    let absent = || get(KEY).at(6..7).absent();
    let found = |begun: u64| get(KEY).at(begun..begun + 1).found(value(1));
    assert_proved(&check(&record(after_delete(vec![unknown(), absent()]))));
    assert_proved(&check(&record(after_delete(vec![unknown(), absent(), found(8)]))));
    let twice = vec![unknown(), found(8), delete(KEY).at(10..11).deleted(), found(12)];
    assert_violated(&check(&record(after_delete(twice))), "no order of these");
    assert_proved(&check(&record(vec![unknown(), absent()])));
    // Where it has happened, there is nothing left to bring back either.
    let nothing = undelete(KEY).at(6..7).nothing_to_bring_back();
    assert_proved(&check(&record(after_delete(vec![unknown(), nothing.clone(), found(8)]))));
    let reaped = vec![unknown(), nothing, get(KEY).at(8..9).absent(), found(10)];
    assert_violated(&check(&record(after_delete(reaped))), "no order of these");
}

#[test]
fn which_of_several_values_came_back_is_not_decided() {
    let history = |other| {
        let mut history = after_delete(vec![undelete(KEY).at(6..7).brought_back()]);
        history.insert(1, other);
        check(&record(history))
    };
    let verdict = history(put(KEY, value(2)).at(0..1).stored());
    assert_eq!(verdict.outcome, verdict::Outcome::NotDecidedInTime);
    assert!(verdict.figures.contains("not decided: k"), "{verdict:#?}");
    assert_proved(&history(put(KEY, value(2)).at(0..1).refused()));
    let absent = Condition::Absent;
    assert_proved(&history(put_if(KEY, value(2), absent).at(1..2).condition_failed()));
}

// Executions, and what breaks them.

#[test]
fn executions_with_undeletes_are_linearizable() {
    for seed in 0..200 {
        for shape in [shape(1, 0, 100), shape(4, 20, 400), shape(16, 3, 600)] {
            let outcome = outcome_of(&execution(seed, shape));
            assert_eq!(outcome, Outcome::Explained, "seed {seed}, {shape:?}");
        }
    }
}

#[test]
fn a_key_that_is_brought_back_all_the_time_is_decided() {
    for shape in [shape(16, 0, 20_000), shape(16, 3, 2000)] {
        assert_eq!(outcome_of(&execution(1, shape)), Outcome::Explained, "{shape:?}");
    }
}

/// Which answers of one client, who knows what becomes of all it asks, cannot be others.
type Breakage = fn(&Answer) -> Option<Answer>;

#[test]
fn broken_undeletes_are_caught() {
    let breakages: [(&str, Breakage); 4] = [
        ("back over another object", |answer| (*answer == Answer::Taken).then_some(Answer::BroughtBack)),
        ("taken by nothing", |answer| (*answer == Answer::BroughtBack).then_some(Answer::Taken)),
        ("back from nowhere", |answer| {
            (*answer == Answer::NothingToBringBack).then_some(Answer::BroughtBack)
        }),
        ("another object", |answer| match answer {
            Answer::Found(Value(bytes)) => Some(Answer::Found(Value([bytes[0] + 1; 16]))),
            _ => None,
        }),
    ];
    for (name, breakage) in breakages {
        let mut caught = 0;
        for seed in 0..60 {
            let mut history = execution(seed, shape(1, 0, 80));
            let told = history.iter().enumerate().filter_map(|(at, one)| Some((at, breakage(&one.answer)?)));
            let told: Vec<(usize, Answer)> = told.collect();
            let Some((at, answer)) = told.choose(&mut StdRng::seed_from_u64(seed)).cloned() else { continue };
            history[at].answer = answer;
            // Reaped in secret, and what else nobody can tell, is not to be caught.
            if !is_linearizable(&history[..=at]) {
                let smallest =
                    smallest_of(&history).unwrap_or_else(|| panic!("{name}, seed {seed}: not caught"));
                assert!(!is_linearizable(&shown(&smallest, None)), "{name}, seed {seed}");
                caught += 1;
            }
        }
        assert!(caught >= 40, "{name}: only {caught} histories could be broken");
    }
}

/// What was brought back is not there; the write that hides it is left out.
#[test]
fn brought_back_and_lost_again_is_caught() {
    let mut caught = 0;
    for seed in 0..60 {
        let mut history = execution(seed, shape(1, 0, 80));
        let lost = history.windows(2).position(|pair| {
            pair[0].answer == Answer::BroughtBack && matches!(pair[1].answer, Answer::Found(_))
        });
        let Some(lost) = lost else { continue };
        history[lost + 1].answer = Answer::Absent;
        assert!(smallest_of(&history).is_some(), "seed {seed}");
        caught += 1;
    }
    assert!(caught >= 20, "only {caught} histories could be broken");
}

// The definition.

fn any_of_one_value() -> impl Strategy<Value = Operation> {
    let of_one_value = any_operation().prop_map(|mut operation| {
        if let Call::Put { value: put, .. } = &mut operation.call {
            *put = value(1);
        }
        operation
    });
    let told = prop_oneof![
        4 => Just(Answer::BroughtBack),
        2 => Just(Answer::NothingToBringBack),
        2 => Just(Answer::Taken),
        3 => Just(Answer::Unknown { why: String::new() }),
    ];
    let undelete = (told, 0..12_u64, 0..8_u64).prop_map(|(answer, begun, lasts)| Operation {
        begun: Moment(begun),
        ended: Moment(begun + lasts),
        ..undelete(KEY).told(answer)
    });
    prop_oneof![2 => of_one_value, 1 => undelete]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_search_agrees_with_the_definition(operations in prop::collection::vec(any_of_one_value(), 1..=7)) {
        let expected = is_linearizable(&operations);
        let outcome = outcome_of(&operations);
        prop_assert_eq!(expected, outcome == Outcome::Explained, "{:?}", outcome);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn executions_with_one_answer_changed_agree_with_the_definition(
        seed in any::<u64>(), clients in 1..6_usize, unknown in 0..50_u32, other in any_of_one_value(), at in 0..8_usize
    ) {
        let mut operations = execution(seed, shape(clients, unknown, 8));
        // What executions call their one value.
        let mut one = [0; 16];
        one[0] = 1;
        for operation in &mut operations {
            for value in values(operation) {
                *value = crate::checkers::testing::value(u8::from(*value == Value(one)));
            }
        }
        operations[at] = Operation { begun: operations[at].begun, ended: operations[at].ended, ..other };
        let expected = is_linearizable(&operations);
        prop_assert_eq!(expected, outcome_of(&operations) == Outcome::Explained);
    }
}

fn values(operation: &mut Operation) -> Vec<&mut Value> {
    let mut values = Vec::new();
    match &mut operation.call {
        Call::Put { value, condition, .. } => {
            values.push(value);
            if let Condition::Matches(value) = condition {
                values.push(value);
            }
        }
        Call::Delete { condition: Condition::Matches(value), .. } => values.push(value),
        _ => {}
    }
    if let Answer::Found(value) = &mut operation.answer {
        values.push(value);
    }
    values
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_shown_contradicts_and_has_nothing_too_many(
        operations in prop::collection::vec(any_of_one_value(), 1..=7)
    ) {
        if let Some(smallest) = smallest_of(&operations) {
            prop_assert!(smallest.is_least);
            prop_assert!(!is_linearizable(&shown(&smallest, None)));
            for dropped in 0..smallest.needed.len() {
                prop_assert!(is_linearizable(&shown(&smallest, Some(dropped))));
            }
        }
    }
}
