//! Why a master's Raft node ended of itself, and what to do.
//!
//! Owns the words. Leaves the causes to the Raft store: what failed first, or which panic took the node along.

use std::path::Path;

use hayrick_protocol::NodeId;
use hayrick_raft_store::last_panic;

use crate::master::Master;

/// In one sentence each: what happened, and what to do.
pub(crate) fn in_words(master: &Master) -> String {
    let stopped = master.node.status().stopped;
    words(master.options.id, &master.options.data, stopped.as_deref(), last_panic().as_deref())
}

fn words(id: NodeId, data: &Path, stopped: Option<&str>, panicked: Option<&str>) -> String {
    let data = data.display();
    let replace = format!(
        "replace it: `hayrick master remove {id}`, then a master with an empty directory, an id that was never used, and --join"
    );
    match (stopped, panicked) {
        // An earlier panic that was caught is not the reason.
        (Some(why), _) if !why.contains("panicked") => format!(
            "master {id} cannot go on, as its log or its index failed: {why}. Look whether the disk of {data} is sound and has \
             room, then start it again; where it is not, {replace}"
        ),
        (why, Some(panic)) => {
            let why = why.map_or_else(String::new, |why| format!(" ({why})"));
            format!(
                "master {id} cannot go on, as a part of it panicked{why}, which is a defect: {panic}. Start it again, and report \
                 this line; if it ends so every time, {replace}"
            )
        }
        (why, None) => format!(
            "master {id} cannot go on: its Raft node ended ({}); its log above may say more. Start it again; if it ends so every \
             time, {replace}",
            why.unwrap_or("it left no reason")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_that_is_known_is_named_and_what_to_do() {
        let said = |stopped, panicked| words(NodeId(3), Path::new("/data"), stopped, panicked);
        let failed = said(Some("sync of 1.log: Input/output error"), None);
        assert!(
            failed.contains("its log or its index failed: sync of 1.log: Input/output error"),
            "{failed}"
        );
        assert!(failed.contains("the disk of /data"), "{failed}");
        let panic = "\"index out of bounds\" at state.rs:7";
        let panicked = said(None, Some(panic));
        assert!(panicked.contains(&format!("panicked, which is a defect: {panic}")), "{panicked}");
        let both = said(Some("the thread that writes behind panicked"), Some(panic));
        assert!(
            both.contains("panicked (the thread that writes behind panicked)") && both.contains(panic),
            "{both}"
        );
        assert_eq!(
            said(Some("sync of 1.log: Input/output error"), Some(panic)),
            failed,
            "that one was caught"
        );
        for text in [failed, panicked, both, said(None, None)] {
            assert!(text.contains("Start it again") || text.contains("start it again"), "{text}");
            assert!(text.contains("`hayrick master remove 3`") && !text.contains("it was stopped"), "{text}");
        }
    }
}
