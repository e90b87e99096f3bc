//! Pull: what another volume holds of some placements and this one does not, in time for the answer.

use std::sync::Arc;

use hayrick_protocol::limits::{LIST_PAGE_NEEDLES_MAX, NAME_BYTES_MAX};
use hayrick_protocol::messages::Identity;
use hayrick_protocol::messages::volume::Pull;
use hayrick_rpc::{HandleError, Request, Response};

use crate::peer::check_placements;
use crate::pull::Puller;
use crate::store::Store;

pub(crate) async fn answer(
    store: &Arc<Store>,
    puller: &Puller,
    request: &Request,
) -> Result<Response, HandleError> {
    let pull: Pull = request.message()?;
    check_placements(&pull.placements)?;
    let malformed = |text: &str| Err(HandleError::Malformed(text.to_owned()));
    if pull.source.0 == 0 || Identity::Volume(pull.source) == puller.identity() {
        return malformed("a volume pulls from another one");
    }
    if pull.address.len() > NAME_BYTES_MAX {
        return malformed("the address of the source is longer than any");
    }
    if pull.only.len() > LIST_PAGE_NEEDLES_MAX || !pull.only.is_sorted_by(|one, next| one < next) {
        return malformed("the needles that are wanted are too many, or do not ascend");
    }
    let pulled = puller.pull(store, &pull, request.deadline).await;
    Ok(Response::to::<Pull>(&pulled, Vec::new()))
}
