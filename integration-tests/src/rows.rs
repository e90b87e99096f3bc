//! A contract as rows: what is asked, or typed, what comes of it, and the test of that.
//!
//! Owns the rows and the program that runs them: all of them on one cluster, which the first that needs it starts, one after
//! the other in the order of the rows. Leaves the rows to `tests/http` and `tests/cli`, and their tables to `shown_rows`.
//! Invariants: each row is a test of its own name, and a document shows the same rows; a row whose test lies elsewhere names
//! one that is there.

use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::OnceCell;

use crate::shown_rows;

/// A row of the contract that `C` keeps ready for its tests.
pub struct Row<C: 'static> {
    /// Which table it is in.
    pub section: &'static str,
    /// What is asked, or typed.
    pub asked: &'static str,
    /// What comes of it.
    pub answered: &'static str,
    /// The name of its test.
    pub name: &'static str,
    /// The test.
    pub test: Test<C>,
}

/// What a row is tested by.
pub enum Test<C: 'static> {
    /// A test of the contract's own program.
    Here(for<'a> fn(&'a C) -> Running<'a>),
    /// One of another program, in this file of the repository.
    In(&'static str),
}

/// A test that runs.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// Rows, by their tables: `rows! { asked: "Table" { "asked" => "answered": module::test; } }`, where the tests are
/// asynchronous; `typed:` where they are not. Behind `in "FILE"` stands a test of another program.
#[macro_export]
macro_rules! rows {
    (@here asked $test:path) => {
        $crate::rows::Test::Here(|contract| Box::pin($test(contract)))
    };
    (@here typed $test:path) => {
        $crate::rows::Test::Here(|contract| {
            Box::pin(async move { tokio::task::block_in_place(|| $test(contract)) })
        })
    };
    (@test $how:ident $module:ident $test:ident) => {
        $crate::rows!(@here $how $module::$test)
    };
    (@test $how:ident $module:ident $test:ident $file:literal) => {
        $crate::rows::Test::In($file)
    };
    ($how:ident: $($section:literal {
        $($asked:literal => $answered:literal: $module:ident :: $test:ident $(in $file:literal)?;)*
    })*) => {
        &[$($($crate::rows::Row {
            section: $section,
            asked: $asked,
            answered: $answered,
            name: concat!(stringify!($module), "::", stringify!($test)),
            test: $crate::rows!(@test $how $module $test $($file)?),
        },)*)*]
    };
}

/// Runs the rows that the program's arguments ask for, those of `tests/PROGRAM` and `docs/PROGRAM.md`; `start` makes what they
/// share, `end` looks at it last.
///
/// # Errors
/// When the runtime cannot be made, or `end` finds something.
pub fn run<C: Send + Sync + 'static, F: Future<Output = Result<C>>>(
    program: &'static str,
    rows: &'static [Row<C>],
    start: impl Fn() -> F + Copy + Send + 'static,
    end: impl FnOnce(&C) -> Result<()>,
) -> Result<ExitCode> {
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let runtime = Runtime::new()?;
    let shared = Arc::new(OnceCell::new());
    let mut trials: Vec<Trial> = Vec::new();
    for row in rows {
        trials.push(trial(row, Arc::clone(&shared), runtime.handle().clone(), start));
    }
    trials
        .push(Trial::test("the_document_shows_these_rows", move || told(shown_rows::are_in(program, rows))));
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(shared) = shared.get() {
        end(shared)?;
    }
    Ok(conclusion.exit_code())
}

fn trial<C: Send + Sync + 'static, F: Future<Output = Result<C>>>(
    row: &'static Row<C>,
    shared: Arc<OnceCell<C>>,
    runtime: Handle,
    start: impl Fn() -> F + Send + 'static,
) -> Trial {
    Trial::test(row.name, move || {
        told(match row.test {
            Test::Here(test) => runtime.block_on(async { test(shared.get_or_try_init(start).await?).await }),
            Test::In(file) => is_there(file, row.name),
        })
    })
}

/// Whether this file has a test of that name.
fn is_there(file: &str, name: &str) -> Result<()> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let text = std::fs::read_to_string(path).with_context(|| file.to_owned())?;
    let test = name.rsplit("::").next().unwrap_or(name);
    let at = text.find(&format!("fn {test}(")).with_context(|| format!("{file} has no {test}"))?;
    let before = text[..at].trim_end_matches("async ").trim_end();
    ensure!(before.ends_with(']'), "{test} of {file} is no test");
    Ok(())
}

fn told(result: Result<()>) -> Result<(), Failed> {
    result.map_err(|error| Failed::from(format!("{error:?}")))
}
