//! Gives ruined bytes to what reads segments: record by record, as `hayrick inspect` does, and as the store does.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: hayrick_fuzz::write_seeds("segment"),
    |input: &[u8]| hayrick_fuzz::segment(input)
);
