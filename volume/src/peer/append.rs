//! Append: the needles of the body, in one submission, answered when they are durable.

use std::sync::Arc;

use bytes::Bytes;
use hayrick_protocol::limits::{APPEND_BATCH_BYTES_MAX, APPEND_BATCH_NEEDLES_MAX};
use hayrick_protocol::messages::volume::{Append, AppendReply};
use hayrick_protocol::needle::{Header, NeedleError};
use hayrick_rpc::{HandleError, Request, Response};

use crate::peer::INLINE_BYTES_MAX;
use crate::store::Store;

pub(crate) async fn answer(store: &Arc<Store>, request: Request) -> Result<Response, HandleError> {
    let Append { needles } = request.message()?;
    let large = request.body.len() > INLINE_BYTES_MAX;
    let needles = split(request.body, needles as usize).map_err(HandleError::Malformed)?;
    let outcomes = if large {
        let store = Arc::clone(store);
        let appended = tokio::task::spawn_blocking(move || store.append(needles)).await;
        appended.map_err(|_| HandleError::Overloaded)?.await
    } else {
        store.append(needles).await
    };
    Ok(Response::to::<Append>(&AppendReply(outcomes), Vec::new()))
}

/// The needles that lie in `body` one after the other, told apart by the lengths in their headers.
pub(crate) fn split(mut body: Bytes, needles: usize) -> Result<Vec<Bytes>, String> {
    if needles == 0 || needles > APPEND_BATCH_NEEDLES_MAX {
        return Err(format!("an append holds 1 to {APPEND_BATCH_NEEDLES_MAX} needles, not {needles}"));
    }
    if needles > 1 && body.len() > APPEND_BATCH_BYTES_MAX {
        return Err(format!("several needles together have at most {APPEND_BATCH_BYTES_MAX} bytes"));
    }
    let mut parts = Vec::with_capacity(needles);
    for number in 1..=needles {
        let len = whole_needle(&body).map_err(|why| format!("needle {number} of {needles}: {why}"))?;
        parts.push(body.split_to(len));
    }
    if body.is_empty() { Ok(parts) } else { Err(format!("{} bytes follow the last needle", body.len())) }
}

/// The length of the needle that the bytes begin with.
fn whole_needle(bytes: &[u8]) -> Result<usize, NeedleError> {
    let header = Header::read(bytes)?;
    let (needed, have) = (header.total_len(), bytes.len());
    if needed <= have { Ok(needed) } else { Err(NeedleError::Short { needed, have }) }
}

#[cfg(test)]
mod tests {
    use hayrick_protocol::ids::{NeedleId, PlacementId};
    use hayrick_protocol::needle::Body;
    use proptest::prelude::*;

    use super::*;

    fn needle(id: u64, data: &[u8]) -> Vec<u8> {
        Body::new([b"k", data].concat(), 1).with_header(NeedleId(id), PlacementId(1), 0).concat()
    }

    #[test]
    fn a_body_is_split_at_its_needles_and_nowhere_else() {
        let (one, two) = (needle(1, b"a"), needle(2, &[5; 100]));
        let body = Bytes::from([&one[..], &two[..]].concat());
        assert_eq!(split(body.clone(), 2).expect("whole"), [one, two]);
        for (body, needles) in [
            (body.clone(), 1),
            (body.clone(), 3),
            (body.clone(), 0),
            (body.clone(), APPEND_BATCH_NEEDLES_MAX + 1),
            (body.slice(..body.len() - 8), 2),
            (Bytes::new(), 1),
        ] {
            assert!(split(body, needles).is_err());
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(body in prop::collection::vec(any::<u8>(), 0..200), needles in 0usize..600) {
            prop_assert!(split(body.into(), needles).is_err());
        }
    }
}
