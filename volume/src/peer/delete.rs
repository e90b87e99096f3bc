//! Delete: needles are dropped, durably, before the answer.

use hayrick_protocol::ids::NeedleId;
use hayrick_protocol::limits::REAP_BATCH_MAX;
use hayrick_protocol::messages::volume::Delete;
use hayrick_rpc::{HandleError, Request, Response};

use crate::store::Store;

pub(crate) async fn answer(store: &Store, request: &Request) -> Result<Response, HandleError> {
    let Delete { needles } = request.message()?;
    if needles.len() > REAP_BATCH_MAX {
        let text = format!("a delete names at most {REAP_BATCH_MAX} needles, not {}", needles.len());
        return Err(HandleError::Malformed(text));
    }
    if needles.contains(&NeedleId(0)) {
        return Err(HandleError::Malformed("no needle has the id 0".to_owned()));
    }
    Ok(Response::to::<Delete>(&store.delete(&needles).await, Vec::new()))
}
