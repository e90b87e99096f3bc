//! What a server is now, and not what it did.

use crate::{On, PROCESS_OPEN_FDS, PROCESS_RESIDENT_BYTES};

/// A figure that goes up and down; who is asked for it says what it is.
#[derive(Debug)]
pub struct Gauge {
    name: &'static str,
    help: &'static str,
    on: On,
}

described!(Gauge);

impl Gauge {
    pub(crate) const fn new(name: &'static str, help: &'static str, on: On) -> Self {
        Self { name, help, on }
    }
}

/// Those of this process, as far as the system tells: memory and open files.
pub fn of_process() -> Vec<(&'static Gauge, f64)> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident_kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    // One of them is the directory itself while it is read.
    let open = std::fs::read_dir("/proc/self/fd").map(|entries| entries.count().saturating_sub(1) as f64);
    let resident = resident_kib.map(|kib| (&PROCESS_RESIDENT_BYTES, kib * 1024.0));
    resident.into_iter().chain(open.ok().map(|open| (&PROCESS_OPEN_FDS, open))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_files() {
        let shown = of_process();
        assert_eq!(shown.len(), 2, "{shown:?}");
        assert!(shown.iter().all(|(_, value)| *value >= 1.0), "{shown:?}");
    }
}
