//! Gives ruined bytes to what reads index files.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: hayrick_fuzz::write_seeds("index_file"),
    |input: &[u8]| hayrick_fuzz::index_file(input)
);
