//! Status: how the volume fares.

use hayrick_protocol::messages::volume::Status;
use hayrick_rpc::{HandleError, Request, Response};

use crate::store::Store;

pub(crate) fn answer(store: &Store, request: &Request) -> Result<Response, HandleError> {
    let Status = request.message()?;
    Ok(Response::to::<Status>(&store.status(), Vec::new()))
}
