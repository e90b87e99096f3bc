//! `hayrick status --watch`: a look every second, and what changed between two.

use std::time::Duration;

use anyhow::Result;
use hayrick_client::Client;
use tokio::time::sleep;

use super::Look;
use crate::exit::Exit;
use crate::screen::Screen;
use crate::units::bytes;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Looks until it is interrupted, or nobody reads it any more.
pub(super) async fn run(client: &Client) -> Result<Exit> {
    let mut screen = Screen::of_stdout();
    let mut before = None;
    loop {
        // What goes wrong now may be well in a second.
        let (shown, look) = match Look::take(client).await {
            Ok(look) => (look.told(before.as_ref()), Some(look)),
            Err(error) => (format!("{error:#}"), None),
        };
        screen.show(&shown)?;
        before = look;
        sleep(EVERY).await;
    }
}

/// What came, or went, a second between two looks at the same master. Another one may be some entries behind, which would
/// look like a loss.
pub(super) fn rates(before: &Look, now: &Look) -> Option<String> {
    let seconds = now.at.duration_since(before.at).as_secs_f64();
    if before.status.node != now.status.node || seconds <= 0.0 {
        return None;
    }
    let rate = |was: u64, is: u64| ((is as f64 - was as f64) / seconds).round() as i64;
    let objects = rate(before.status.objects, now.status.objects);
    let size = rate(before.status.object_bytes, now.status.object_bytes);
    let entries = rate(before.status.applied, now.status.applied);
    Some(format!("{}, {}, {entries} log entries", signed(objects, "objects"), signed_bytes(size)))
}

fn signed(number: i64, what: &str) -> String {
    if number == 0 { format!("0 {what}") } else { format!("{number:+} {what}") }
}

fn signed_bytes(size: i64) -> String {
    let sign = match size {
        0 => "",
        1.. => "+",
        _ => "-",
    };
    format!("{sign}{}", bytes(size.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::time::Instant;

    use super::super::tests::look;
    use super::*;

    fn at(seconds: u64, began: Instant, node: u64, objects: u64, applied: u64) -> Look {
        let status =
            json!({ "node": node, "objects": objects, "object_bytes": objects * 1024, "applied": applied });
        look(&status, began + Duration::from_secs(seconds))
    }

    #[test]
    fn what_comes_and_goes_is_told_by_the_second() {
        let began = Instant::now();
        let first = at(0, began, 1, 100, 1000);
        assert_eq!(
            rates(&first, &at(2, began, 1, 300, 1040)).as_deref(),
            Some("+100 objects, +100.0 KiB, 20 log entries")
        );
        assert_eq!(
            rates(&first, &at(1, began, 1, 40, 1010)).as_deref(),
            Some("-60 objects, -60.0 KiB, 10 log entries")
        );
        assert_eq!(
            rates(&first, &at(1, began, 1, 100, 1000)).as_deref(),
            Some("0 objects, 0 B, 0 log entries")
        );
        let told = at(2, began, 1, 300, 1040).told(Some(&first));
        assert!(told.contains("\na second  +100 objects, "), "{told}");
    }

    #[test]
    fn looks_at_two_masters_or_at_the_same_moment_tell_no_rate() {
        let began = Instant::now();
        let first = at(0, began, 1, 100, 1000);
        assert_eq!(rates(&first, &at(1, began, 2, 90, 900)), None);
        assert_eq!(rates(&first, &at(0, began, 1, 110, 1100)), None);
    }
}
