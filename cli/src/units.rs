//! Times and ranges of time as people write them: `250ms`, `500ms-1s`. Sizes are `protocol`'s.
//!
//! Owns their text forms, both ways.

use std::time::Duration;

pub(crate) use hayrick_protocol::size::{parse as parse_size, shown as bytes};

/// No setting means a longer time, and a clock can be asked for one that ends.
const TIME_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// A size as a `usize`.
pub(crate) fn parse_size_usize(text: &str) -> Result<usize, String> {
    usize::try_from(parse_size(text)?).map_err(|_| format!("{text:?} is more than this machine can address"))
}

/// A time from `3s`, `250ms`, `1h`.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is not a time; write 250ms, 3s, 5m or 1h"))?;
    if time.is_zero() {
        return Err("a time of zero does not work here".to_owned());
    }
    if time > TIME_MAX {
        return Err(format!("{text:?} is longer than a year, which does not work here"));
    }
    Ok(time)
}

/// The shortest and the longest of `500ms-1s`.
pub(crate) fn parse_time_range(text: &str) -> Result<(Duration, Duration), String> {
    let (from, to) =
        text.split_once('-').ok_or_else(|| format!("{text:?} is not a range of times; write 500ms-1s"))?;
    let (from, to) = (parse_time(from.trim())?, parse_time(to.trim())?);
    if from < to { Ok((from, to)) } else { Err(format!("{text:?}: the first time must be the shorter one")) }
}

/// A time that is known roughly.
pub(crate) fn about(time: Duration) -> String {
    let seconds = time.as_millis().div_ceil(1000);
    match seconds {
        0..=119 => format!("about {seconds} s"),
        120..=7199 => format!("about {} min", seconds.div_ceil(60)),
        _ => format!("about {} h", seconds.div_ceil(3600)),
    }
}

/// A time that is known to the minute.
pub(crate) fn minutes(minutes: u64) -> String {
    match minutes {
        0 => "less than a minute".to_owned(),
        1 => "about a minute".to_owned(),
        _ => format!("about {minutes} minutes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_zero_is_refused() {
        assert_eq!(parse_time("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_time("1h"), Ok(Duration::from_secs(3600)));
        assert!(parse_time("0s").is_err());
        assert!(parse_time("3").is_err());
        assert!(parse_time("2y").unwrap_err().contains("longer than a year"));
        assert!(parse_time("500000000y").is_err());
    }

    #[test]
    fn a_time_that_is_known_roughly_is_told_so() {
        let told = [0, 24_100, 119_001, 7_200_000].map(|ms| about(Duration::from_millis(ms)));
        assert_eq!(told, ["about 0 s", "about 25 s", "about 2 min", "about 2 h"]);
    }

    #[test]
    fn a_range_of_times_has_the_shorter_first() {
        let range = (Duration::from_millis(500), Duration::from_secs(1));
        assert_eq!(parse_time_range("500ms-1s"), Ok(range));
        assert!(parse_time_range("1s-500ms").is_err());
        assert!(parse_time_range("1s").is_err());
    }
}
