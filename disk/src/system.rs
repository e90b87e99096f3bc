//! Which disk the servers use: the real one. In a build for chaos tests, one that can be broken from outside, if the
//! environment names a control file. What that may say stands at the top of `breakable`.

use std::sync::Arc;

use crate::disk::Disk;
#[cfg(not(feature = "chaos"))]
use crate::real::RealDisk;

/// Names the control file; read in a build for chaos tests alone.
#[cfg(any(test, feature = "chaos"))]
pub(crate) const FAULTS_VARIABLE: &str = "HAYRICK_DISK_FAULTS";

/// The disk of this machine.
#[cfg(not(feature = "chaos"))]
#[must_use]
pub fn system() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

/// The disk of this machine; broken as the control file says that `HAYRICK_DISK_FAULTS` names. The same one for
/// all who ask: they may open the same files.
#[cfg(feature = "chaos")]
#[must_use]
pub fn system() -> Arc<dyn Disk> {
    Arc::clone(chosen::DISK.get_or_init(chosen::choose))
}

#[cfg(feature = "chaos")]
mod chosen {
    use std::sync::{Arc, OnceLock};

    use super::FAULTS_VARIABLE;
    use crate::breakable::BreakableDisk;
    use crate::disk::Disk;
    use crate::real::RealDisk;

    pub(super) static DISK: OnceLock<Arc<dyn Disk>> = OnceLock::new();

    pub(super) fn choose() -> Arc<dyn Disk> {
        let Some(path) = std::env::var_os(FAULTS_VARIABLE).filter(|path| !path.is_empty()) else {
            return Arc::new(RealDisk);
        };
        match BreakableDisk::new(path.into()) {
            Ok(disk) => Arc::new(disk),
            Err(error) => {
                eprintln!("{FAULTS_VARIABLE}: the disk will not break: no thread to obey: {error}");
                Arc::new(RealDisk)
            }
        }
    }
}
