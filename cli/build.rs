//! Tells the binary which commit it was made from, for `--version`.
//!
//! Asks git and nobody else. Outside of a checkout of this very project (an unpacked archive, perhaps within another
//! repository) the commit is what `HAYRICK_COMMIT` says, or `unknown`.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=HAYRICK_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    let given = std::env::var("HAYRICK_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(commit_of_checkout).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=HAYRICK_COMMIT={commit}");
}

fn commit_of_checkout() -> Option<String> {
    let workspace = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR")?).parent()?.canonicalize().ok()?;
    let top = PathBuf::from(git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()?;
    if top != workspace {
        return None;
    }
    // Written with every commit and checkout. Without it (reflogs are off) a stale commit is better than a rebuild
    // every time.
    if let Some(log) = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"])
        && Path::new(&log).exists()
    {
        println!("cargo:rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned()).filter(|text| !text.is_empty())
}
