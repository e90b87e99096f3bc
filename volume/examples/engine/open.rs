//! A store of many small needles, and how long it takes to open it again.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use hayrick_volume::Store;
use tokio::time::Instant;

use crate::figure::Figure;
use crate::needles;

const DATA_BYTES: usize = 100;

/// Appends the needles and waits for the index files of what is sealed; the last segment stays the one that is appended
/// to.
pub(crate) async fn fill(dir: &Path, count: u64) -> Result<Arc<Store>> {
    let store = crate::open_store(crate::options(dir))?;
    needles::fill(&store, count, DATA_BYTES).await?;
    needles::wait_for_index_files(&store, dir).await?;
    Ok(store)
}

/// Seconds until the store is open, and the needles in it as what it is measured beside.
pub(crate) fn time(dir: &Path) -> Result<(Figure, Arc<Store>)> {
    let began = Instant::now();
    let store = crate::open_store(crate::options(dir))?;
    let took = began.elapsed();
    let needles = store.status().needles as f64;
    Ok((Figure { baseline: Some(needles), ..Figure::plain(took.as_secs_f64()) }, store))
}
