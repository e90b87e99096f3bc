//! Gives ruined bytes to the store in the place of an index file.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: hayrick_fuzz::write_seeds("index_in_store"),
    |input: &[u8]| hayrick_fuzz::index_in_store(input)
);
