//! Bugs that a build for chaos tests can be told to have.
//!
//! A harness that finds nothing proves little, unless it is known to find what is there. So the product can be built with the
//! feature `chaos`, and then does at most one thing wrong, named by `HAYRICK_BUG` when a process starts. At each place
//! where a bug sits, the right code asks `planted::is(Bug::…)`. Without the feature that is a constant `false`, and the
//! compiler removes what hangs on it.
//!
//! Looks at nothing. Invariant: without the feature no bug can be chosen, and the variable is not even read.

/// Which bug to have.
pub const VARIABLE: &str = "HAYRICK_BUG";

macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// A bug that can be planted; what the process does then.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Bug {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Bug {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// What `HAYRICK_BUG` calls it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What the process does then, in one sentence.
            pub const fn about(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

bugs! {
    /// Appends are acknowledged without an fdatasync.
    SkipSync = "skip-sync",
}

impl Bug {
    /// The bug of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|bug| bug.name() == name)
    }
}

/// Whether this process has this bug.
#[cfg(not(feature = "chaos"))]
#[inline(always)]
pub const fn is(_bug: Bug) -> bool {
    false
}

/// Whether this process has this bug.
#[cfg(feature = "chaos")]
pub fn is(bug: Bug) -> bool {
    chosen::get() == Some(bug)
}

#[cfg(feature = "chaos")]
pub use chosen::choose;

#[cfg(feature = "chaos")]
mod chosen {
    use std::sync::OnceLock;

    use super::{Bug, VARIABLE};

    static CHOSEN: OnceLock<Option<Bug>> = OnceLock::new();

    pub(super) fn get() -> Option<Bug> {
        *CHOSEN.get().unwrap_or(&None)
    }

    /// Takes the bug that the environment names, if any; once, when the process starts.
    ///
    /// # Errors
    /// When there is no such bug; the text lists those there are.
    pub fn choose() -> Result<Option<Bug>, String> {
        let name = std::env::var(VARIABLE).unwrap_or_default();
        let bug = match (name.as_str(), Bug::named(&name)) {
            ("", _) => None,
            (_, Some(bug)) => Some(bug),
            (name, None) => {
                let names: Vec<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
                return Err(format!("{VARIABLE}: there is no bug {name:?}; there are: {}", names.join(", ")));
            }
        };
        Ok(*CHOSEN.get_or_init(|| bug))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_bug_has_a_name_and_a_sentence_of_its_own() {
        let names: BTreeSet<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        assert_eq!(names.len(), Bug::ALL.len());
        assert!(
            Bug::ALL.iter().all(|bug| Bug::named(bug.name()) == Some(*bug) && bug.about().ends_with('.'))
        );
    }
}
