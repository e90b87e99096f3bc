//! Offer: a page of what lies here, with a ticket for the answer.

use std::sync::Arc;

use hayrick_protocol::limits::LIST_PAGE_NEEDLES_MAX;
use hayrick_protocol::messages::volume::Offer;
use hayrick_rpc::{HandleError, Request, Response};

use crate::peer::in_background;
use crate::store::Store;

pub(crate) async fn answer(store: &Arc<Store>, request: &Request) -> Result<Response, HandleError> {
    let Offer { from } = request.message()?;
    let offered = in_background(store, move |store| store.offer(from, LIST_PAGE_NEEDLES_MAX));
    Ok(Response::to::<Offer>(&offered.await?, Vec::new()))
}
