//! Gives ruined bytes to what reads records and messages of the Raft log.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: hayrick_fuzz::write_seeds("raft_log"),
    |input: &[u8]| hayrick_fuzz::raft_log(input)
);
