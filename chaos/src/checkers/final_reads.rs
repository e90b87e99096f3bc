//! What was read back at the end, as operations: for every checker that is about reads.

use crate::history::{Answer, Call, Moment, Operation};
use crate::record::Record;

/// The client that all was read back by. It is none of those that loaded the cluster.
pub const READS_BACK: u32 = u32::MAX;

/// A GET of each value that was found, after all else had ended. Those of one key are at the same time: in which order
/// they were found is not recorded.
pub(super) fn final_reads(record: &Record) -> Vec<Operation> {
    let last = record.history.operations.iter().map(|operation| operation.ended).max().unwrap_or_default();
    let end = last.max(record.ended);
    let begun = Moment(end.0 + 1);
    let ended = Moment(end.0 + 2);
    let found = &record.quiet.found;
    let each = found.iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
    each.map(|(key, value)| Operation {
        client: READS_BACK,
        master: 0,
        begun,
        ended,
        call: Call::Get { key: key.clone() },
        answer: value.map_or(Answer::Absent, Answer::Found),
    })
    .collect()
}
