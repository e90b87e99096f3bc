//! What a file is, by its name: the `Content-Type` of an object whose putter named none.

use std::path::Path;

/// The type that the ending stands for, where it is a known one.
pub(crate) fn of(name: &Path) -> Option<String> {
    mime_guess::from_path(name).first_raw().map(str::to_owned)
}
