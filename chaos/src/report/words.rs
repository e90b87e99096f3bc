//! How the things of a run are said: operations, sizes, times, and text that may be hostile.

use crate::history::{Answer, Call, Condition, Value};

/// Text from outside, so that nothing in it is invisible or turns the line around: control and bidirectional format
/// characters are named. What HTML makes of it is the business of `maud`.
pub(super) fn shown(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if hidden(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// [`shown`], and no longer than so many characters.
pub(super) fn short(text: &str, chars_max: usize) -> String {
    let text = shown(text);
    match text.char_indices().nth(chars_max) {
        None => text,
        Some(_) => text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// With narrow spaces between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// Nanoseconds, with the unit that suits.
pub(super) fn duration(ns: u64) -> String {
    let ns = ns as f64;
    match ns {
        _ if ns < 1e6 => format!("{:.0} µs", ns / 1e3),
        _ if ns < 1e7 => format!("{:.1} ms", ns / 1e6),
        _ if ns < 1e9 => format!("{:.0} ms", ns / 1e6),
        _ => format!("{:.2} s", ns / 1e9),
    }
}

/// A size, with the unit that suits.
pub(super) fn bytes(size_bytes: u64) -> String {
    let size = size_bytes as f64;
    match size_bytes {
        0..1_024 => format!("{size_bytes} B"),
        1_024..1_048_576 => format!("{:.0} KiB", size / 1_024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", size / 1_048_576.0),
        _ => format!("{:.2} GiB", size / 1_073_741_824.0),
    }
}

/// `put a ← 3f2a1b4c…`, with keys of at most so many characters.
pub(super) fn call(call: &Call, chars_max: usize) -> String {
    let named = |verb: &str, key: &str| format!("{verb} {}", short(key, chars_max));
    match call {
        Call::Get { key } => named("get", key),
        Call::Head { key } => named("head", key),
        Call::Put { key, value: bytes, condition, .. } => {
            format!("{} ← {}{}", named("put", key), value(*bytes), only(*condition))
        }
        Call::Delete { key, condition } => format!("{}{}", named("delete", key), only(*condition)),
        Call::List { prefix } => format!("list {}*", short(prefix, chars_max)),
        Call::Undelete { key } => named("undelete", key),
    }
}

fn only(condition: Condition) -> String {
    match condition {
        Condition::Always => String::new(),
        Condition::Absent => " if absent".to_owned(),
        Condition::Matches(bytes) => format!(" if {}", value(bytes)),
    }
}

/// `→ nothing`, with words of at most so many characters.
pub(super) fn answer(answer: &Answer, chars_max: usize) -> String {
    match answer {
        Answer::Found(bytes) => format!("→ {}", value(*bytes)),
        Answer::Absent => "→ nothing".to_owned(),
        Answer::Stored => "stored".to_owned(),
        Answer::Deleted => "deleted".to_owned(),
        Answer::ConditionFailed => "condition failed (412)".to_owned(),
        Answer::Listed(keys) => {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            short(&format!("→ {} keys: {}", keys.len(), keys.join(", ")), chars_max)
        }
        Answer::Wrong { why } => short(&format!("→ wrong: {why}"), chars_max),
        Answer::Refused { status: 0, why } => short(&format!("refused, no master reached: {why}"), chars_max),
        Answer::Refused { status, why } => short(&format!("refused ({status}): {why}"), chars_max),
        Answer::Unknown { why } => short(&format!("unknown: {why}"), chars_max),
        Answer::BroughtBack => "brought back".to_owned(),
        Answer::NothingToBringBack => "nothing to bring back (404)".to_owned(),
        Answer::Taken => "key is taken (409)".to_owned(),
    }
}

/// The beginning of the MD5: enough to tell the values of one history apart.
pub(super) fn value(value: Value) -> String {
    format!("{value:?}…")
}

/// `1 fault`, `2 faults`.
pub(super) fn many(count: usize, one: &str, more: &str) -> String {
    format!("{} {}", grouped(count as u64), if count == 1 { one } else { more })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_hostile_text_stays_invisible() {
        assert_eq!(shown("a\u{202e}b\n\u{0}é"), "a\\u{202e}b\\n\\u{0}é");
        assert_eq!(short("ééééé", 3), "éé…");
        assert_eq!(short("ééé", 3), "ééé");
    }

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(grouped(123), "123");
        assert_eq!(
            [850_000, 3_200_000, 45_000_000, 1_500_000_000].map(duration),
            ["850 µs", "3.2 ms", "45 ms", "1.50 s"]
        );
        assert_eq!([12, 2_048, 5 << 20, 3 << 30].map(bytes), ["12 B", "2 KiB", "5.0 MiB", "3.00 GiB"]);
    }

    #[test]
    fn an_operation_is_said_in_few_words() {
        let value = Value([0x3f; 16]);
        let put = Call::Put { key: "a".into(), value, size_bytes: 1, condition: Condition::Absent };
        assert_eq!(call(&put, 10), "put a ← 3f3f3f3f… if absent");
        assert_eq!(call(&Call::List { prefix: "p/".into() }, 10), "list p/*");
        assert_eq!(call(&Call::Undelete { key: "a".into() }, 10), "undelete a");
        assert_eq!(answer(&Answer::Found(value), 40), "→ 3f3f3f3f…");
        assert_eq!(answer(&Answer::NothingToBringBack, 40), "nothing to bring back (404)");
        assert_eq!(
            answer(&Answer::Refused { status: 503, why: "no quorum".into() }, 40),
            "refused (503): no quorum"
        );
    }
}
