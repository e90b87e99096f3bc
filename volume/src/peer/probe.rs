//! Probe: a durable append of a mark, so that a volume whose disk hangs does not pass for one that works.

use hayrick_protocol::messages::volume::Probe;
use hayrick_rpc::{HandleError, Request, Response};

use crate::store::Store;

pub(crate) async fn answer(store: &Store, request: &Request) -> Result<Response, HandleError> {
    let Probe = request.message()?;
    let reply = store.probe().await.map(|()| store.status());
    Ok(Response::to::<Probe>(&reply, Vec::new()))
}
