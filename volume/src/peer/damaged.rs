//! Damaged: of which placements needles cannot be read here.

use std::sync::Arc;

use hayrick_protocol::messages::volume::Damaged;
use hayrick_rpc::{HandleError, Request, Response};

use crate::peer::in_background;
use crate::store::Store;

pub(crate) async fn answer(store: &Arc<Store>, request: &Request) -> Result<Response, HandleError> {
    let Damaged = request.message()?;
    let mut damaged = in_background(store, Store::damaged_placements).await?;
    // Whoever asks may know of an earlier process, or an earlier round of scrub; and what is made up for by his comparison
    // is not to be compared any more. Asked for after the mark was taken: if it has become so since, that mark says nothing.
    damaged.others |= store.status().uncompared;
    Ok(Response::to::<Damaged>(&damaged, Vec::new()))
}
