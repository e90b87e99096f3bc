//! The volume port.

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::cluster;

use crate::{Contract, KEPT, MEOW, PURR, ask, has, json};

pub(crate) async fn a_volume_answers_keys(contract: &Contract) -> Result<()> {
    ask(contract.masters[0], "PUT /on%20volumes", KEPT, "meow", 201).await?;
    let described = ask(contract.masters[0], "GET /on%20volumes", "", "", 200).await?;
    let placement = described.field("hayrick-placement").context("no Hayrick-Placement")?;
    let members = cluster::volumes_of(placement);
    let mut elsewhere = 0;
    for volume in contract.cluster.volumes() {
        let (addr, id) = (volume.http_addr(), volume.server_id().context("registered")?);
        let holds = members.contains(&id);
        let status = if holds { 200 } else { 307 };
        let answer = ask(addr, "GET /on%20volumes", "", "", status).await?;
        let head = ask(addr, "HEAD /on%20volumes", "", "", status).await?;
        ensure!(head.body().is_empty(), "{:?}", head.text);
        for field in
            ["content-length", "etag", "content-type", "hayrick-version", "hayrick-placement", "location"]
        {
            ensure!(
                head.field(field) == answer.field(field),
                "{field}: {:?}, not {:?}",
                head.text,
                answer.text
            );
        }
        if !holds {
            elsewhere += 1;
            let location = answer.field("location").context("no Location")?;
            ensure!(location.ends_with("/on%20volumes"), "{location}");
            ensure!(
                contract.masters.iter().any(|it| location.starts_with(&format!("http://{it}/"))),
                "{location}"
            );
        } else {
            ensure!(answer.body() == "meow", "{:?}", answer.text);
            let as_a_master =
                ["etag", "content-type", "content-language", "hayrick-version", "hayrick-placement"];
            for name in as_a_master {
                ensure!(answer.field(name) == described.field(name), "{name}: {:?}", answer.text);
            }
            has(&answer, &[&format!("Hayrick-Served-By: {id}")])?;
            let part = ask(addr, "GET /on%20volumes", "Range: bytes=1-2\r\n", "", 206).await?;
            ensure!(part.body() == "eo", "{:?}", part.text);
            let whole = format!("Range: bytes=1-2\r\nIf-Range: {PURR}\r\n");
            ensure!(ask(addr, "GET /on%20volumes", &whole, "", 200).await?.body() == "meow");
        }
        ask(addr, "GET /on%20volumes", &format!("If-None-Match: {MEOW}\r\n"), "", 304).await?;
        ask(addr, "GET /on%20volumes", &format!("If-Match: {PURR}\r\n"), "", 412).await?;
        let gone = ask(addr, "GET /on/no/volume", "", "", 404).await?;
        ensure!(gone.body() == "Key does not exist.", "{:?}", gone.text);
        let gone = ask(addr, "HEAD /on/no/volume", "", "", 404).await?;
        has(&gone, &["Content-Length: 0"])?;
        for known in ["stale", "linearizable"] {
            ask(addr, &format!("GET /on%20volumes?consistency={known}"), "", "", status).await?;
        }
        let other = ask(addr, "GET /on%20volumes?consistency=perhaps", "", "", 400).await?;
        ensure!(other.body().contains("stale"), "{:?}", other.text);
        let refused = ask(addr, "PUT /on%20volumes", "", "x", 405).await?;
        ensure!(refused.body().contains("write to the client port of a master"), "{:?}", refused.text);
    }
    ensure!(elsewhere == 1, "four volumes and three copies: {placement}");
    Ok(())
}

/// Every copy of an object is a needle that its volume serves by the number that the masters tell, whole and in part.
pub(crate) async fn needles_are_served_by_their_volumes(contract: &Contract) -> Result<()> {
    let text = "the needle that is looked for";
    ask(contract.masters[0], "PUT /needle", "", text, 201).await?;
    let mut told = Vec::new();
    for master in &contract.masters {
        for method in ["GET", "HEAD"] {
            let answer = ask(*master, &format!("{method} /needle"), "", "", 200).await?;
            told.push(answer.field("hayrick-needle").context("no Hayrick-Needle")?.to_owned());
        }
    }
    let id = told[0].clone();
    ensure!(told.iter().all(|it| *it == id), "the same at every master: {told:?}");
    let described = ask(contract.masters[0], "HEAD /needle", "", "", 200).await?;
    let members = cluster::volumes_of(described.field("hayrick-placement").context("no Hayrick-Placement")?);
    for volume in contract.cluster.volumes() {
        let line = format!("GET /-/needles/{id}");
        if !members.contains(&volume.server_id().context("registered")?) {
            ask(volume.http_addr(), &line, "", "", 404).await?;
            continue;
        }
        let part = ask(volume.http_addr(), &line, "Range: bytes=0-9\r\n", "", 206).await?;
        ensure!(part.body() == &text[..10], "{:?}", part.text);
        let whole = ask(volume.http_addr(), &line, "", "", 200).await?;
        ensure!(whole.body() == text, "{:?}", whole.text);
    }
    ask(contract.masters[1], "PUT /needle", "", "overwritten", 200).await?;
    let overwritten = ask(contract.masters[0], "HEAD /needle", "", "", 200).await?;
    ensure!(overwritten.field("hayrick-needle").is_some_and(|it| it != id), "{:?}", overwritten.text);
    Ok(())
}

pub(crate) async fn a_volume_tells_how_it_fares(contract: &Contract) -> Result<()> {
    for volume in contract.cluster.volumes() {
        let addr = volume.http_addr();
        ask(addr, "GET /-/health", "", "", 200).await?;
        ask(addr, "GET /-/ready", "", "", 200).await?;
        let status = json(addr, "GET /-/status").await?;
        ensure!(status["id"] == volume.server_id().context("registered")?, "{status}");
        ask(addr, "GET /-/metrics", "", "", 200).await?;
        let unknown = ask(addr, "GET /-/nothing", "", "", 404).await?;
        ensure!(unknown.body().contains("/-/nothing"), "{:?}", unknown.text);
    }
    Ok(())
}
