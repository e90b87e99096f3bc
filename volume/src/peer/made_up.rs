//! MadeUp: all that must be here is here, so what is damaged is nobody's.

use std::sync::Arc;

use hayrick_protocol::messages::volume::MadeUp;
use hayrick_rpc::{HandleError, Request, Response};

use crate::peer::in_background;
use crate::store::Store;

pub(crate) async fn answer(store: &Arc<Store>, request: &Request) -> Result<Response, HandleError> {
    let MadeUp { mark } = request.message()?;
    in_background(store, move |store| store.made_up(mark)).await?.await;
    Ok(Response::to::<MadeUp>(&(), Vec::new()))
}
