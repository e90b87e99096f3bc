//! Which of the names there are somebody may have meant, who wrote one that there is not.

/// How much a name must be like one there is, for that to be meant perhaps.
const ALIKE: f64 = 0.85;

/// The one of `names` that is most like `name`, if any is like it at all.
pub(crate) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let alike = |known: &str| strsim::jaro_winkler(known, name);
    let all = names.into_iter().map(|known| (alike(known), known));
    all.filter(|(alike, _)| *alike > ALIKE)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|found| found.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["down-after", "repair-after", "reap-after", "listen"];

    #[test]
    fn a_slip_of_the_finger_finds_the_name_that_was_meant() {
        for (slip, meant) in [
            ("dwon-after", "down-after"),
            ("down_after", "down-after"),
            ("downafter", "down-after"),
            ("repair-aftre", "repair-after"),
            ("reap", "reap-after"),
            ("lisen", "listen"),
        ] {
            assert_eq!(nearest(slip, NAMES), Some(meant), "{slip}");
        }
    }

    #[test]
    fn a_name_that_is_like_none_finds_none() {
        for name in ["", "zone", "x", "capacity"] {
            assert_eq!(nearest(name, NAMES), None, "{name}");
        }
        assert_eq!(nearest("listen", []), None);
    }
}
