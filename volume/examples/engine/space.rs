//! What the files of a store take, beside the bytes of the objects in them.
//!
//! All files of the directory count in full, index files among them, but for three: the segment that is appended to
//! next, the one that is prepared after it, and of the last one that was filled what lies behind its last needle. Those
//! are no larger however much a volume holds.

use std::path::Path;

use anyhow::{Context, Result};

use crate::figure::Figure;
use crate::needles::Load;
use crate::{KIB, needles};

/// Bytes of the files over those that users gave: keys and objects.
pub(crate) async fn overhead(dir: &Path, count: u64) -> Result<Figure> {
    let store = crate::open_store(crate::options(dir))?;
    needles::fill(&store, count, KIB).await?;
    store.seal();
    needles::append_one(&store, Load::new(KIB).needle()).await?;
    needles::wait_for_index_files(&store, dir).await?;

    let sealed = needles::sealed(&store);
    let last = sealed.last().context("nothing was sealed")?;
    let is_segment = |name: &str| name.ends_with(".seg");
    let mut bytes = 0;
    for (name, len) in needles::files(dir)? {
        let segment =
            sealed.iter().find(|segment| is_segment(&name) && name.starts_with(&segment.id.to_string()));
        bytes += match segment {
            Some(segment) if segment.id == last.id => segment.bytes,
            None if is_segment(&name) => 0,
            _ => len,
        };
    }
    Ok(Figure::plain(bytes as f64 / (count * (needles::KEY_BYTES + KIB) as u64) as f64))
}
