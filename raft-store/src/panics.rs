//! What the last panic of this process said.
//!
//! Owns the memory of it, and nothing of what becomes of it: a task that panics is gone without a word to those who wait for
//! it, and openraft's says no more than that. Invariant: what was done with panics before is done still.

use std::panic::{self, PanicHookInfo};
use std::sync::Once;

use parking_lot::Mutex;

static LAST: Mutex<Option<String>> = Mutex::new(None);

/// From now on panics are remembered.
pub(crate) fn remember() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            *LAST.lock() = Some(in_words(panic));
            before(panic);
        }));
    });
}

/// What the last one said, and where, since a node was first opened.
pub fn last_panic() -> Option<String> {
    LAST.lock().clone()
}

fn in_words(panic: &PanicHookInfo<'_>) -> String {
    let text = panic.payload().downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.payload().downcast_ref::<&str>().copied()).unwrap_or("no message");
    match panic.location() {
        Some(at) => format!("\"{text}\" at {}:{}", at.file(), at.line()),
        None => format!("\"{text}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_on_any_thread_is_remembered_with_its_place() {
        remember();
        // Others may panic meanwhile, on purpose as well.
        let told = |text: &str| {
            let text = text.to_owned();
            let panics = || {
                std::thread::spawn({
                    let text = text.clone();
                    move || panic!("on purpose: {text}")
                })
            };
            let mut tries = 0..100;
            tries.any(|_| {
                panics().join().expect_err("it panics");
                last_panic().is_some_and(|last| {
                    last.starts_with(&format!("\"on purpose: {text}\" at ")) && last.contains("panics.rs:")
                })
            })
        };
        assert!(told("one") && told("two"));
    }
}
