//! Sizes, times and ranges of time as people write them: `64MiB`, `250ms`, `500ms-1s`.
//!
//! Owns their text forms, both ways. Invariant: what [`bytes`] prints without a fraction, [`parse_size`] reads back.

use std::time::Duration;

/// Units of sizes, the largest first.
const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// No setting means a longer time, and a clock can be asked for one that ends.
const TIME_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Bytes from `64MiB`, `1.5GiB`, `4096`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..digits_end], text[digits_end..].trim());
    let wrong = || format!("{text:?} is not a size; write 4096, 64KiB, 64MiB, 1.5GiB or 2TiB");
    let factor = match unit {
        "" => 1,
        unit => UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole
            .checked_mul(factor)
            .ok_or_else(|| format!("{text:?} is more bytes than can be counted"));
    }
    let fraction: f64 = number.parse().map_err(|_| wrong())?;
    let size = fraction * factor as f64;
    // 2^63: far beyond any disk, and exact as f64.
    if size.is_finite() && size < 9.2e18 { Ok(size as u64) } else { Err(wrong()) }
}

/// The same as a `usize`.
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

/// Bytes for people: `64.0 MiB`, `17 B`.
pub(crate) fn bytes(size: u64) -> String {
    match UNITS.iter().find(|(_, factor)| size >= *factor) {
        Some((unit, 1)) => format!("{size} {unit}"),
        Some((unit, factor)) => format!("{:.1} {unit}", size as f64 / *factor as f64),
        None => "0 B".to_owned(),
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
    fn sizes_are_read_in_binary_units() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_size("64 MiB"), Ok(64 << 20));
        assert_eq!(parse_size("1.5GiB"), Ok(3 << 29));
        assert_eq!(parse_size("0B"), Ok(0));
    }

    #[test]
    fn what_is_no_size_is_refused_with_examples() {
        for wrong in ["", "MiB", "64MB", "64mib", "-1", "1e3", "1.2.3MiB", "64MiBs", "99999999999999999999"] {
            assert!(parse_size(wrong).unwrap_err().contains("64MiB"), "{wrong}");
        }
        assert!(parse_size("99999999999TiB").unwrap_err().contains("more bytes"));
    }

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
    fn a_range_of_times_has_the_shorter_first() {
        let range = (Duration::from_millis(500), Duration::from_secs(1));
        assert_eq!(parse_time_range("500ms-1s"), Ok(range));
        assert!(parse_time_range("1s-500ms").is_err());
        assert!(parse_time_range("1s").is_err());
    }

    #[test]
    fn bytes_are_printed_in_the_largest_unit_that_fits() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(64 << 20), "64.0 MiB");
    }
}
