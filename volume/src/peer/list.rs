//! List: a page of what lies here of some placements.

use std::sync::Arc;

use hayrick_protocol::limits::LIST_PAGE_NEEDLES_MAX;
use hayrick_protocol::messages::volume::List;
use hayrick_rpc::{HandleError, Request, Response};

use crate::peer::{check_placements, in_background};
use crate::store::Store;

pub(crate) async fn answer(store: &Arc<Store>, request: &Request) -> Result<Response, HandleError> {
    let List { placements, from, only_looks } = request.message()?;
    check_placements(&placements)?;
    let page = in_background(store, move |store| match only_looks {
        true => store.page_of(&placements, from, LIST_PAGE_NEEDLES_MAX),
        false => store.list_page(&placements, from, LIST_PAGE_NEEDLES_MAX),
    });
    Ok(Response::to::<List>(&page.await?, Vec::new()))
}
