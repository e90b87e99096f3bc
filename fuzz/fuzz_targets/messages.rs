//! Gives ruined bytes to what reads frames, messages and needles as they come over the wire.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: hayrick_fuzz::write_seeds("messages"),
    |input: &[u8]| hayrick_fuzz::messages(input)
);
