//! Refusals that say what to do, and what every answer carries.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use hayrick_integration_tests::cluster;
use hayrick_launcher::Cluster;
use tokio::task::block_in_place;

use crate::{ask, has};

/// What is not taken is refused by name, with what is.
pub(crate) async fn unknown_parameters_are_named(cluster: &Cluster) -> Result<()> {
    let (master, volume) = (cluster.client_addrs()[0], cluster.volume(1).http_addr());
    ask(master, "PUT /taken", "", "meow", 201).await?;
    let cases = [
        (master, "GET /taken?nonsense", "\"nonsense\" is no parameter", "consistency"),
        (master, "GET /taken?consistency=stale&limit=3", "\"limit\" is no parameter", "list"),
        (master, "GET /taken?redirect", "\"redirect\" is not there yet", "consistency"),
        (master, "GET /taken?consistency=perhaps", "consistency=perhaps", "stale"),
        (master, "PUT /taken?list", "\"list\" is no parameter", "%3F"),
        (master, "DELETE /taken?x=1", "\"x\" is no parameter", "%3F"),
        (master, "GET /?list&nonsense=1", "\"nonsense\" is no parameter", "limit, start"),
        (master, "GET /?list&delimiter=/", "\"delimiter\" is not there yet", "limit, start"),
        (master, "GET /?limit=3", "\"limit\" is no parameter", "/?list"),
        (master, "GET /-/status?hash", "\"hash\" is no parameter", "state-hash"),
        (volume, "GET /-/status?x", "\"x\" is no parameter", "none"),
        (volume, "GET /-/needles/1?x", "\"x\" is no parameter", "none"),
    ];
    for (addr, line, what, taken) in cases {
        let refused = ask(addr, line, "", "", 400).await?;
        ensure!(
            refused.body().contains(what) && refused.body().contains(taken),
            "{line}: {:?}",
            refused.text
        );
    }
    ask(master, "GET /-/status?state-hash", "", "", 200).await?;
    for addr in [master, volume] {
        ask(addr, "GET /-/health?at=1", "", "", 200).await?;
        ask(addr, "GET /-/ready?at=1", "", "", 200).await?;
    }
    let kept = ask(master, "GET /taken?consistency=linearizable", "", "", 200).await?;
    ensure!(kept.body() == "meow", "{:?}", kept.text);
    Ok(())
}

/// Of every kind of answer: it comes back as it was sent, and only then.
pub(crate) async fn request_ids_are_echoed_and_never_added(masters: &[SocketAddr]) -> Result<()> {
    let cases = [
        ("PUT /request", 201),
        ("GET /request", 200),
        ("HEAD /request", 200),
        ("GET /?list", 200),
        ("GET /absent", 404),
        ("GET /absent?nonsense", 400),
        ("POST /request", 405),
        ("GET /-/health", 200),
        ("GET /-/nothing", 404),
        ("DELETE /request", 204),
    ];
    for (number, (line, status)) in cases.into_iter().enumerate() {
        let master = masters[number % masters.len()];
        let echoed = ask(master, line, "X-Request-Id: a/b c-1\r\n", "", status).await?;
        has(&echoed, &["X-Request-Id: a/b c-1"])?;
        let repeated = match status {
            201 => 200,
            204 => 404,
            same => same,
        };
        let bare = ask(master, line, "", "", repeated).await?;
        ensure!(bare.field("x-request-id").is_none(), "{line}: added: {:?}", bare.text);
    }
    Ok(())
}

/// Ends all volumes: whoever asks is told which to start.
pub(crate) async fn unreadable_objects_name_the_volumes_to_start(cluster: &Cluster) -> Result<()> {
    let client = cluster::client_any(cluster)?;
    cluster::put_copies(&client, "unreadable", cluster.volumes().len(), || "meow").await?;
    for volume in cluster.volumes() {
        block_in_place(|| volume.kill())?;
    }
    for master in cluster.client_addrs() {
        let refused = ask(master, "GET /unreadable", "", "", 503).await?;
        ensure!(refused.field("retry-after").is_some(), "{:?}", refused.text);
        for volume in cluster.volumes() {
            let id = volume.server_id().unwrap_or_default();
            let named = format!("{id} ({})", volume.http_addr());
            ensure!(refused.body().contains(&named), "it does not name volume {named}: {:?}", refused.text);
        }
        // The index alone answers these.
        ask(master, "HEAD /unreadable", "", "", 200).await?;
        ask(master, "GET /absent", "", "", 404).await?;
    }
    Ok(())
}
