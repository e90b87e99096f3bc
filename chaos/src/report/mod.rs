//! The report: one page for people, and the same as JSON for programs.
