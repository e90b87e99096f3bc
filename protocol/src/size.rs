//! Sizes as people write and read them: `64MiB`, `1.5GiB`, `4096`.
//!
//! Owns their text forms, both ways, for the command line and for requests. Invariant: what [`shown`] prints without a
//! fraction, [`parse`] reads back.

/// Units of sizes, the largest first.
const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Bytes from `64MiB`, `1.5GiB`, `4096`.
///
/// # Errors
/// In words, with examples, when the text is no size.
pub fn parse(text: &str) -> Result<u64, String> {
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

/// Bytes for people: `64.0 MiB`, `17 B`.
pub fn shown(size: u64) -> String {
    match UNITS.iter().find(|(_, factor)| size >= *factor) {
        Some((unit, 1)) => format!("{size} {unit}"),
        Some((unit, factor)) => format!("{:.1} {unit}", size as f64 / *factor as f64),
        None => "0 B".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_binary_units() {
        assert_eq!(parse("4096"), Ok(4096));
        assert_eq!(parse("64MiB"), Ok(64 << 20));
        assert_eq!(parse("64 MiB"), Ok(64 << 20));
        assert_eq!(parse("1.5GiB"), Ok(3 << 29));
        assert_eq!(parse("0B"), Ok(0));
        assert_eq!(parse(&shown(64 << 20)), Ok(64 << 20));
    }

    #[test]
    fn what_is_no_size_is_refused_with_examples() {
        for wrong in ["", "MiB", "64MB", "64mib", "-1", "1e3", "1.2.3MiB", "64MiBs", "99999999999999999999"] {
            assert!(parse(wrong).unwrap_err().contains("64MiB"), "{wrong}");
        }
        assert!(parse("99999999999TiB").unwrap_err().contains("more bytes"));
    }

    #[test]
    fn sizes_are_printed_in_the_largest_unit_that_fits() {
        assert_eq!(shown(0), "0 B");
        assert_eq!(shown(1023), "1023 B");
        assert_eq!(shown(1536), "1.5 KiB");
        assert_eq!(shown(64 << 20), "64.0 MiB");
    }
}
