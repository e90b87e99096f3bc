//! Fetch: whole needles for another volume.

use std::sync::Arc;

use hayrick_protocol::limits::APPEND_BATCH_NEEDLES_MAX;
use hayrick_protocol::messages::volume::{Fetch, Fetched};
use hayrick_rpc::{HandleError, Request, Response};

use crate::peer::in_background;
use crate::store::Store;

pub(crate) async fn answer(store: &Arc<Store>, request: &Request) -> Result<Response, HandleError> {
    let Fetch { needles } = request.message()?;
    if needles.is_empty() || needles.len() > APPEND_BATCH_NEEDLES_MAX {
        let text = format!("a fetch names 1 to {APPEND_BATCH_NEEDLES_MAX} needles, not {}", needles.len());
        return Err(HandleError::Malformed(text));
    }
    let fetched = in_background(store, move |store| store.fetch(&needles)).await?;
    Ok(Response::to::<Fetch>(&Fetched(fetched.outcomes), fetched.needles))
}
