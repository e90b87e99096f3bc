//! `?consistency=`: how new what a read sees must be.

use http::{StatusCode, Uri};

use crate::{Problem, parameter};

/// How new what a read sees must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// As new as when the request came.
    Linearizable,
    /// As the master that is asked knows it: `?consistency=stale`.
    Stale,
}

impl Consistency {
    /// What a target asks for.
    ///
    /// # Errors
    /// 400 for another word.
    pub fn of(uri: &Uri) -> Result<Self, Problem> {
        match parameter(uri, "consistency") {
            None | Some("linearizable") => Ok(Self::Linearizable),
            Some("stale") => Ok(Self::Stale),
            Some(other) => {
                let text = format!("consistency={other} is not known; leave it out or say stale");
                Err(Problem::new(StatusCode::BAD_REQUEST, text))
            }
        }
    }
}
