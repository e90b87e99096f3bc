//! Claim 6: of several conditional writes at once, through different masters, exactly one wins.

use anyhow::{Result, ensure};
use futures_util::future::join_all;
use hayrick_client::{Client, Condition, Error, PutOptions, PutOutcome};
use hayrick_integration_tests::{cluster, ledger, metrics};

const ROUNDS: usize = 200;
const RACERS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_eight_that_create_or_swap_at_once_exactly_one_wins() -> Result<()> {
    let cluster = cluster::start(3).await?;
    let clients = cluster::client_each(&cluster)?;
    for round in 0..ROUNDS {
        let key = format!("race/{round}");
        let created = race(&clients, &key, "create", &Condition::Absent).await?;
        ensure!(created.created, "round {round}: the winner says replaced");
        let swapped = race(&clients, &key, "swap", &Condition::Matches(created.etag)).await?;
        ensure!(!swapped.created, "round {round}: the winner of the swap says created");
        ensure!(swapped.version > created.version, "round {round}: the version did not grow");
    }
    metrics::moved("races::of_eight_that_create_or_swap_at_once_exactly_one_wins", &cluster).await?;
    cluster::no_panics(&cluster)
}

/// Lets all racers write at once; exactly one wins, the rest get 412, and what is read is the winner's.
async fn race(clients: &[Client], key: &str, what: &str, condition: &Condition) -> Result<PutOutcome> {
    let attempts = (0..RACERS).map(|racer| async move {
        let options = PutOptions { condition: condition.clone(), ..PutOptions::default() };
        let body = format!("{what} by {racer}");
        let result = clients[racer % clients.len()].put_with(key, body.clone(), &options).await;
        (body, result)
    });
    let mut won = Vec::new();
    for (body, result) in join_all(attempts).await {
        match result {
            Ok(outcome) => won.push((body, outcome)),
            Err(Error::PreconditionFailed { .. }) => {}
            Err(error) => anyhow::bail!("{key}, {what}: {error}"),
        }
    }
    ensure!(won.len() == 1, "{key}, {what}: {} won: {won:?}", won.len());
    let (body, outcome) = won.remove(0);
    for client in clients {
        let read = ledger::read(client, key).await?;
        ensure!(read.as_deref() == Some(body.as_bytes()), "{key}, {what}: {read:?} is not the winner's");
    }
    Ok(outcome)
}
