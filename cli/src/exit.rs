//! What a command ends with: the exit codes that scripts rely on, and the one sentence for people.
//!
//! Owns the mapping from the client's errors to codes, and to what can be done: the client knows no commands or flags to name.
//! Leaves wrong flags to clap, which also ends with 2.

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use hayrick_client::{BuildError, Error};

use crate::output;

/// How a command ended. The numbers are a contract.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    #[default]
    Done = 0,
    /// It could not be done.
    Failed = 1,
    /// Wrong use.
    WrongUse = 2,
    /// There is no such key.
    NoSuchKey = 3,
    /// A condition failed; nothing was changed.
    ConditionFailed = 4,
    /// It may have happened, or may still happen.
    OutcomeUnknown = 5,
    /// What should be found out was not: it could not be run to its end, or was interrupted.
    NotRun = 6,
}

impl Exit {
    /// How much an outcome needs a look. The numbers of the contract do not tell: a missing key is a higher one than
    /// a failure, and matters less.
    fn severity(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::NoSuchKey => 1,
            Self::ConditionFailed => 2,
            Self::WrongUse => 3,
            Self::NotRun => 4,
            Self::Failed => 5,
            Self::OutcomeUnknown => 6,
        }
    }
}

/// What a command ends with that did several things: with the outcome that needs a look most.
pub(crate) fn worst(ends: impl IntoIterator<Item = Exit>) -> Exit {
    ends.into_iter().max_by_key(|end| end.severity()).unwrap_or(Exit::Done)
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The command cannot be meant as it stands, told by more than one flag or by the parts below: what is wrong, and what
/// would do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WrongUse(pub(crate) String);

/// What went wrong lies in what should have found something out, and not in what it is about. A context of the error that
/// says what it was.
#[derive(Debug, thiserror::Error)]
#[error("not run to its end")]
pub(crate) struct NotRun;

/// The code that tells what `error` means.
pub(crate) fn of(error: &anyhow::Error) -> Exit {
    if error.downcast_ref::<io::Error>().is_some_and(output::is_enough) {
        // As `head` has. A pipe that was named is another thing: nobody got what was to go there.
        return Exit::Done;
    }
    if error.is::<BuildError>() || error.is::<WrongUse>() {
        return Exit::WrongUse;
    }
    if error.is::<NotRun>() {
        return Exit::NotRun;
    }
    match error.downcast_ref::<Error>() {
        Some(Error::NotFound { .. } | Error::NothingToBringBack { .. }) => Exit::NoSuchKey,
        Some(Error::PreconditionFailed { .. } | Error::Taken { .. }) => Exit::ConditionFailed,
        Some(Error::Unknown { .. }) => Exit::OutcomeUnknown,
        Some(Error::Key(_) | Error::BadHeader { .. } | Error::BadPrefix { .. }) => Exit::WrongUse,
        _ => Exit::Failed,
    }
}

/// What went wrong, and what to do, in one sentence for people.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    let remedy = error.downcast_ref::<Error>().and_then(remedy);
    let is_full = |error: &io::Error| error.kind() == ErrorKind::StorageFull;
    let of_disk = error.downcast_ref::<io::Error>().filter(|error| is_full(error));
    match remedy.or(of_disk.map(|_| "make room there, or name another place")) {
        Some(remedy) => format!("{error:#}; {remedy}"),
        None => format!("{error:#}"),
    }
}

/// What to do, where the error does not say it already.
fn remedy(error: &Error) -> Option<&'static str> {
    match error {
        Error::NotFound { key } if key.starts_with('/') => {
            Some("it begins with a slash: without that it is another key, and most have none")
        }
        Error::NotFound { .. } => Some("`hayrick ls PREFIX` shows those that there are"),
        Error::PreconditionFailed { .. } => Some("`hayrick stat KEY` shows what is there now"),
        Error::Unknown { .. } => Some("look before you do it again, as with `hayrick stat KEY`"),
        Error::NoMaster { .. } => Some("start them, or name their client ports with --server"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn errors_end_with_the_codes_of_the_contract() {
        let code = |error: Error| of(&error.into()) as u8;
        assert_eq!(code(Error::NotFound { key: "k".into() }), 3);
        assert_eq!(code(Error::NothingToBringBack { message: String::new() }), 3);
        assert_eq!(code(Error::PreconditionFailed { message: String::new() }), 4);
        assert_eq!(code(Error::Taken { message: String::new() }), 4);
        assert_eq!(code(Error::Unknown { message: String::new() }), 5);
        assert_eq!(code(Error::Refused { status: 503, message: String::new() }), 1);
        assert_eq!(code(Error::NoMaster { tried: Vec::new() }), 1);
        assert_eq!(code(Error::NoRoom { message: String::new() }), 1);
        assert_eq!(code(Error::TooLarge { message: String::new() }), 1);
        assert_eq!(code(Error::BadPrefix { prefix: "a/../b".into(), message: String::new() }), 2);
        assert_eq!(of(&BuildError::NoMasters.into()) as u8, 2);
        assert_eq!(of(&WrongUse("that is not a size".into()).into()) as u8, 2);
        assert_eq!(of(&anyhow::anyhow!("anything else")) as u8, 1);
        // Whatever it was that could not be reached.
        let not_run = anyhow::Error::from(Error::Unknown { message: String::new() }).context(NotRun);
        assert_eq!(of(&not_run) as u8, 6);
    }

    #[test]
    fn a_reader_of_another_pipe_than_standard_output_that_went_away_is_a_failure() {
        let broken = || io::Error::from(ErrorKind::BrokenPipe);
        assert_eq!(of(&broken().into()), Exit::Failed);
        let enough = io::Error::new(ErrorKind::BrokenPipe, output::HasEnough);
        assert_eq!(of(&anyhow::Error::from(enough).context("cannot write it")), Exit::Done);
    }

    #[test]
    fn a_sentence_says_what_to_do_whatever_it_was_about() {
        let told = |error: Error| sentence(&anyhow::Error::from(error).context("a"));
        assert_eq!(
            told(Error::NotFound { key: "k".into() }),
            "a: k: there is no such key; `hayrick ls PREFIX` shows those that there are"
        );
        assert!(told(Error::NoMaster { tried: Vec::new() }).ends_with("--server"));
        assert_eq!(told(Error::NoRoom { message: "full".into() }), "a: full", "masters say it themselves");
        let full = Err::<(), _>(io::Error::from(ErrorKind::StorageFull)).context("cannot write it");
        assert!(sentence(&full.expect_err("it is full")).contains("make room"));
    }

    #[test]
    fn of_several_keys_the_outcome_that_needs_a_look_most_wins() {
        let from_mild_to_grave = [
            Exit::Done,
            Exit::NoSuchKey,
            Exit::ConditionFailed,
            Exit::WrongUse,
            Exit::NotRun,
            Exit::Failed,
            Exit::OutcomeUnknown,
        ];
        for (at, grave) in from_mild_to_grave.into_iter().enumerate() {
            for mild in &from_mild_to_grave[..=at] {
                assert_eq!(worst([*mild, grave]), grave);
                assert_eq!(worst([grave, *mild]), grave);
            }
        }
        assert_eq!(worst([]), Exit::Done);
    }
}
