//! Read: blocks of a needle, verified, and its block table behind them if asked for.

use std::sync::Arc;

use bytes::Bytes;
use hayrick_protocol::limits::BLOCK_BYTES;
use hayrick_protocol::messages::volume::{Read, ReadError, ReadReply};
use hayrick_rpc::{HandleError, Request, Response};

use crate::peer::INLINE_BYTES_MAX;
use crate::read::Opened;
use crate::store::Store;

pub(crate) async fn answer(store: &Arc<Store>, request: &Request) -> Result<Response, HandleError> {
    let read: Read = request.message()?;
    let found = match store.open_needle(read.needle) {
        Ok(opened) => blocks(store, opened, &read).await,
        Err(error) => Err(error),
    };
    let (reply, body) = match found {
        Ok((reply, body)) => (Ok(reply), body),
        Err(error) => (Err(error), Vec::new()),
    };
    Ok(Response::to::<Read>(&reply, body))
}

async fn blocks(
    store: &Arc<Store>,
    opened: Opened,
    read: &Read,
) -> Result<(ReadReply, Vec<Bytes>), ReadError> {
    let (placement, size) = (opened.placement(), opened.size());
    let table = if read.with_table { opened.table().clone() } else { Bytes::new() };
    let asked_bytes = (read.blocks as usize).saturating_mul(BLOCK_BYTES);
    let data = if opened.is_in_memory() || asked_bytes <= INLINE_BYTES_MAX {
        store.read_blocks(&opened, read.first_block, read.blocks)?
    } else {
        let (store, first, blocks) = (Arc::clone(store), read.first_block, read.blocks);
        tokio::task::spawn_blocking(move || store.read_blocks(&opened, first, blocks))
            .await
            .map_err(|_| ReadError::Disk("the reading thread died".to_owned()))??
    };
    let bytes = |len: usize| u32::try_from(len).expect("a needle has less than 4 GiB");
    let reply = ReadReply { placement, size, data_bytes: bytes(data.len()), table_bytes: bytes(table.len()) };
    Ok((reply, vec![data, table]))
}
