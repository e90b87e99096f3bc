//! What a command ends with: the exit codes that scripts rely on, and the one sentence for people.
//!
//! Owns the mapping from the client's errors to codes. Leaves wrong flags to clap, which also ends with 2.

use std::io;
use std::process::ExitCode;

use hayrick_client::{BuildError, Error};

/// How a command ended. The numbers are a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// There is no such key.
    NoSuchKey = 3,
    /// A condition failed; nothing was changed.
    ConditionFailed = 4,
    /// Wrong use.
    WrongUse = 2,
    /// It could not be done.
    Failed = 1,
    /// It may have happened, or may still happen.
    OutcomeUnknown = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The code that tells what `error` means.
pub(crate) fn of(error: &anyhow::Error) -> Exit {
    if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        // Whoever read our output has enough of it, as `head` does.
        return Exit::Done;
    }
    if error.downcast_ref::<BuildError>().is_some() {
        return Exit::WrongUse;
    }
    match error.downcast_ref::<Error>() {
        Some(Error::NotFound { .. }) => Exit::NoSuchKey,
        Some(Error::PreconditionFailed { .. }) => Exit::ConditionFailed,
        Some(Error::Unknown { .. }) => Exit::OutcomeUnknown,
        Some(Error::Key(_) | Error::BadHeader { .. }) => Exit::WrongUse,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_end_with_the_codes_of_the_contract() {
        let code = |error: Error| of(&error.into()) as u8;
        assert_eq!(code(Error::NotFound { key: "k".into() }), 3);
        assert_eq!(code(Error::PreconditionFailed { message: String::new() }), 4);
        assert_eq!(code(Error::Unknown { message: String::new() }), 5);
        assert_eq!(code(Error::Refused { status: 503, message: String::new() }), 1);
        assert_eq!(code(Error::NoMaster { tried: Vec::new() }), 1);
        assert_eq!(of(&BuildError::NoMasters.into()) as u8, 2);
        assert_eq!(of(&anyhow::anyhow!("anything else")) as u8, 1);
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        assert_eq!(of(&io::Error::from(io::ErrorKind::BrokenPipe).into()), Exit::Done);
    }

    #[test]
    fn of_several_keys_the_outcome_that_needs_a_look_most_wins() {
        let worst = [Exit::NoSuchKey, Exit::OutcomeUnknown, Exit::Failed].into_iter().max();
        assert_eq!(worst, Some(Exit::OutcomeUnknown));
    }
}
