//! Claim 4: a volume that was away while objects were overwritten and deleted brings nothing stale back.

use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use hayrick_client::Client;
use hayrick_integration_tests::cluster;
use hayrick_integration_tests::content::{self, Content};
use hayrick_integration_tests::ledger::{Ledger, Possible};
use tokio::task::block_in_place;

const OBJECTS: usize = 300;
const SIZE_BYTES_MAX: usize = 16 * 1024;
const AT_ONCE: usize = 8;
const VOLUMES: u32 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_comes_back_serves_nothing_stale() -> Result<()> {
    let seed = content::seed("stale volume");
    let cluster = cluster::start(VOLUMES).await?;
    let clients = cluster::client_each(&cluster)?;
    let any = cluster::client_any(&cluster)?;
    let mut rng = content::rng(seed, 0);
    let keys: Vec<String> = (0..OBJECTS).map(|number| format!("stale/{number}")).collect();
    let first: Vec<Content> = keys.iter().map(|_| Content::random(&mut rng, SIZE_BYTES_MAX)).collect();
    put_all(&any, keys.iter().zip(&first)).await?;

    let away = cluster.volume(1);
    block_in_place(|| away.kill())?;
    cluster::volume_seen(&cluster, 1, "down").await?;

    // A third is overwritten, a third deleted, a third left alone.
    let second: Vec<Content> = keys.iter().map(|_| Content::random(&mut rng, SIZE_BYTES_MAX)).collect();
    put_all(&any, keys.iter().zip(&second).step_by(3)).await?;
    for key in keys.iter().skip(1).step_by(3) {
        any.delete(key).await?;
    }
    let mut ledger = Ledger::default();
    for (number, key) in keys.iter().enumerate() {
        let holds = match number % 3 {
            0 => Some(second[number]),
            1 => None,
            _ => Some(first[number]),
        };
        ledger.keys.insert(key.clone(), Possible::exactly(holds));
    }

    block_in_place(|| away.start())?;
    cluster::all_up(&cluster, VOLUMES).await?;
    for client in &clients {
        ledger.verify(client).await?;
    }
    // With each of the others away in turn, reads fall on the one that came back.
    for number in 2..=VOLUMES {
        let other = cluster.volume(number);
        block_in_place(|| other.kill())?;
        for client in &clients {
            ledger.verify(client).await?;
        }
        block_in_place(|| other.start())?;
        cluster::all_up(&cluster, VOLUMES).await?;
    }
    // And after another restart of the one that was away.
    block_in_place(|| away.restart())?;
    cluster::all_up(&cluster, VOLUMES).await?;
    for client in &clients {
        ledger.verify(client).await?;
    }
    cluster::no_panics(&cluster)
}

async fn put_all<'a>(client: &Client, items: impl Iterator<Item = (&'a String, &'a Content)>) -> Result<()> {
    stream::iter(items)
        .map(|(key, content)| client.put(key, content.bytes()))
        .buffer_unordered(AT_ONCE)
        .try_for_each(async |_| Ok(()))
        .await?;
    Ok(())
}
