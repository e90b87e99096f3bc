//! Drop: needles that were offered are dropped, durably, before the answer, if the ticket is in force.

use std::sync::Arc;

use hayrick_protocol::ids::NeedleId;
use hayrick_protocol::limits::LIST_PAGE_NEEDLES_MAX;
use hayrick_protocol::messages::volume::Drop;
use hayrick_rpc::{HandleError, Request, Response};

use crate::peer::in_background;
use crate::store::Store;

pub(crate) async fn answer(store: &Arc<Store>, request: &Request) -> Result<Response, HandleError> {
    let Drop { ticket, needles } = request.message()?;
    if needles.len() > LIST_PAGE_NEEDLES_MAX {
        let text = format!("a drop names at most {LIST_PAGE_NEEDLES_MAX} needles, not {}", needles.len());
        return Err(HandleError::Malformed(text));
    }
    if needles.contains(&NeedleId(0)) {
        return Err(HandleError::Malformed("no needle has the id 0".to_owned()));
    }
    let dropped = in_background(store, move |store| store.drop_offered(ticket, &needles)).await?;
    Ok(Response::to::<Drop>(&dropped.await, Vec::new()))
}
