//! What is ordered right now: the control file, looked at again and again, and what each call has to wait for.
//!
//! What a fault does to a file is left to `file`. Invariant: nothing that stands in the control file ends the process.

use std::fs;
use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Deserializer};

/// How long an order may take to be obeyed.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The kinds of calls that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Call {
    Read,
    /// What changes bytes or length of a file.
    Write,
    /// Of a file or a directory.
    Sync,
    /// What looks for names, and changes them: it never fails by order, but may hang.
    #[serde(skip)]
    Name,
}

/// The control file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Orders {
    #[serde(deserialize_with = "duration")]
    slow: Duration,
    full: bool,
    eio: Option<Call>,
    every: Option<NonZeroU64>,
    hang: bool,
    forget: bool,
    torn: bool,
    seed: Option<u64>,
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(serde::de::Error::custom)
}

/// What counts only when the process starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) forget: bool,
    /// Random sectors are written out, drawn from this seed.
    pub(super) torn: Option<u64>,
}

/// What is ordered right now.
pub(super) struct Control {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    orders: Orders,
    /// How often the orders changed.
    changes: u64,
    /// Calls of the kind that is to fail, since then.
    calls: u64,
    /// How often the file was looked at.
    looks: u64,
}

impl Control {
    /// Obeys the control file until the sender is dropped; also says how it wants the process to start.
    pub(super) fn watch(path: PathBuf) -> io::Result<(Arc<Self>, Start, mpsc::Sender<()>)> {
        let mut seen = Seen::default();
        let orders = seen.look(&path).unwrap_or_default();
        if orders.torn && !orders.forget {
            tell(&path, &"torn does nothing without forget = true");
        }
        let seed = orders.seed.unwrap_or_else(rand::random);
        let start = Start { forget: orders.forget, torn: (orders.forget && orders.torn).then_some(seed) };
        let control = Arc::new(Self {
            state: Mutex::new(State { orders: orders.clone(), ..State::default() }),
            changed: Condvar::new(),
        });
        let (running, ended) = mpsc::channel();
        let obeying = Arc::clone(&control);
        let body = move || {
            while ended.recv_timeout(LOOK_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
                let new = seen.look(&path);
                obeying.state.lock().looks += 1;
                if let Some(new) = new {
                    if (new.forget, new.torn, new.seed) != (orders.forget, orders.torn, orders.seed) {
                        tell(&path, &"forget, torn and seed count only when the process starts");
                    }
                    obeying.obey(new);
                }
            }
        };
        std::thread::Builder::new().name("disk-faults".to_owned()).spawn(body)?;
        Ok((control, start, running))
    }

    fn obey(&self, orders: Orders) {
        let mut state = self.state.lock();
        *state = State { orders, changes: state.changes + 1, calls: 0, looks: state.looks };
        drop(state);
        self.changed.notify_all();
    }

    /// What a call has to go through before it does anything.
    pub(super) fn enter(&self, call: Call) -> io::Result<()> {
        let mut state = self.state.lock();
        let (slow, changes) = (state.orders.slow, state.changes);
        if matches!(call, Call::Write | Call::Sync) && !slow.is_zero() {
            self.changed.wait_while_for(&mut state, |state| state.changes == changes, slow);
        }
        self.changed.wait_while(&mut state, |state| state.orders.hang);
        if state.orders.eio != Some(call) {
            return Ok(());
        }
        state.calls += 1;
        let fails = state.calls.is_multiple_of(state.orders.every.map_or(1, NonZeroU64::get));
        if fails { Err(rustix::io::Errno::IO.into()) } else { Ok(()) }
    }

    pub(super) fn is_full(&self) -> bool {
        self.state.lock().orders.full
    }

    pub(super) fn hangs(&self) -> bool {
        self.state.lock().orders.hang
    }

    /// How often the file was looked at.
    #[cfg(test)]
    pub(super) fn looks(&self) -> u64 {
        self.state.lock().looks
    }

    /// How often the orders changed.
    #[cfg(test)]
    pub(super) fn changes(&self) -> u64 {
        self.state.lock().changes
    }
}

/// What the control file said when it was last looked at.
#[derive(Default)]
struct Seen {
    text: String,
}

impl Seen {
    /// New orders, if there are any. The text is compared and not the time of its last change, which may be too coarse.
    fn look(&mut self, path: &Path) -> Option<Orders> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            read => read,
        };
        // What cannot be read is told once, as if the error were what stands there.
        let (shown, orders) = match text {
            Ok(text) => (text.clone(), toml::from_str(&text).map_err(|error| error.to_string())),
            Err(error) => (format!("\0{error}"), Err(error.to_string())),
        };
        if shown == self.text {
            return None;
        }
        self.text = shown;
        orders.map_err(|error| tell(path, &error)).ok()
    }
}

/// Says what is wrong with the control file.
fn tell(path: &Path, mistake: &dyn std::fmt::Display) {
    eprintln!("{} {}: ignored: {mistake}", crate::system::FAULTS_VARIABLE, path.display());
}
