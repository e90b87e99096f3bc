//! Verify: a page of what lies here of some placements, read and verified.

use std::sync::Arc;

use hayrick_protocol::messages::volume::Verify;
use hayrick_rpc::{HandleError, Request, Response};

use crate::peer::{check_placements, in_background};
use crate::store::Store;

/// The answer, and how many bytes were read for it.
pub(crate) async fn answer(store: &Arc<Store>, request: &Request) -> Result<(Response, u64), HandleError> {
    let Verify { placements, from, bytes_max } = request.message()?;
    check_placements(&placements)?;
    let page = in_background(store, move |store| store.verify_page(&placements, from, bytes_max)).await?;
    let listed = page.as_ref().map(|page| page.listing.needles.as_slice()).unwrap_or_default();
    let bytes = listed.iter().map(|one| u64::from(one.bytes)).sum();
    Ok((Response::to::<Verify>(&page, Vec::new()), bytes))
}
