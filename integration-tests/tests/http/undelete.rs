//! `POST /-/undelete/{key}`: its statuses and words, and what it takes for a key.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::raw::Answer;

use crate::{Contract, KEPT, ask, has};

/// Fields of a HEAD that an undelete leaves as they were.
const AS_IT_WAS: [&str; 8] = [
    "etag",
    "last-modified",
    "content-length",
    "content-type",
    "content-language",
    "hayrick-meta-owner",
    "hayrick-needle",
    "hayrick-placement",
];

pub(crate) async fn brings_back_what_was_deleted(contract: &Contract) -> Result<()> {
    let masters = &contract.masters;
    let [one, two, three] = masters[..] else { anyhow::bail!("three masters") };
    let never = ask(one, "POST /-/undelete/un/never", "", "", 404).await?;
    ensure!(never.body().contains("nothing to bring back: un/never"), "{:?}", never.text);
    ensure!(never.body().contains("--reap-after"), "{:?}", never.text);

    // A key with all that has to be encoded.
    let key = "un/a%20%C3%A4%3F%25";
    ask(one, &format!("PUT /{key}"), KEPT, "meow", 201).await?;
    let before = ask(two, &format!("HEAD /{key}"), "", "", 200).await?;
    let there = ask(three, &format!("POST /-/undelete/{key}"), "", "", 404).await?;
    ensure!(there.body().contains("nothing to bring back: un/a ä?% is there"), "{:?}", there.text);
    ask(two, &format!("DELETE /{key}"), "", "", 204).await?;
    let back = ask(three, &format!("POST /-/undelete/{key}"), "X-Request-Id: u-1\r\n", "", 200).await?;
    ensure!(back.body() == "un/a ä?% is back as it was\n", "{:?}", back.text);
    has(&back, &["X-Request-Id: u-1", "Content-Type: text/plain; charset=utf-8"])?;
    let now = version(&back)?;
    for master in [one, two, three] {
        let after = ask(master, &format!("HEAD /{key}"), "", "", 200).await?;
        for name in AS_IT_WAS {
            let (was, is) = (before.field(name), after.field(name));
            ensure!(was.is_some() && was == is, "{name} was {was:?} and is {is:?}");
        }
        ensure!(version(&after)? == now, "{after:?}");
        ensure!(ask(master, &format!("GET /{key}"), "", "", 200).await?.body() == "meow");
    }
    ensure!(now > version(&before)?, "{now}: {before:?}");
    ask(one, &format!("POST /-/undelete/{key}"), "", "", 404).await?;
    nothing_newer_is_replaced(one, two).await?;
    what_is_no_undelete_is_refused(one).await
}

async fn nothing_newer_is_replaced(one: SocketAddr, two: SocketAddr) -> Result<()> {
    ask(one, "PUT /un/newer", "", "old", 201).await?;
    ask(two, "DELETE /un/newer", "", "", 204).await?;
    ask(one, "PUT /un/newer", "", "middle", 201).await?;
    let taken = ask(two, "POST /-/undelete/un/newer", "", "", 409).await?;
    ensure!(taken.body().contains("un/newer was put again"), "{:?}", taken.text);
    let fields = "Accept: application/problem+json\r\n";
    let problem = ask(one, "POST /-/undelete/un/newer", fields, "", 409).await?;
    has(&problem, &["Content-Type: application/problem+json"])?;
    ensure!(ask(one, "GET /un/newer", "", "", 200).await?.body() == "middle");
    // Of what was there at one time or another, the last delete is taken back: neither `old` nor `middle`.
    ask(two, "PUT /un/newer", "", "new", 200).await?;
    ask(one, "DELETE /un/newer", "", "", 204).await?;
    ask(two, "POST /-/undelete/un/newer", "", "", 200).await?;
    ensure!(ask(one, "GET /un/newer", "", "", 200).await?.body() == "new");
    Ok(())
}

async fn what_is_no_undelete_is_refused(master: SocketAddr) -> Result<()> {
    for method in ["GET", "PUT", "DELETE"] {
        let refused = ask(master, &format!("{method} /-/undelete/un/newer"), "", "", 405).await?;
        has(&refused, &["Allow: POST"])?;
    }
    let parameter = ask(master, "POST /-/undelete/un/newer?x=1", "", "", 400).await?;
    ensure!(parameter.body().contains("\"x\" is no parameter") && parameter.body().contains("%3F"));
    for wrong in ["", "a/../b", "%ff", "%0a", "-/health"] {
        ask(master, &format!("POST /-/undelete/{wrong}"), "", "", 400).await?;
    }
    let nowhere = ask(master, "POST /-/undelete", "", "", 404).await?;
    ensure!(nowhere.body().contains("/-/undelete/{key}"), "{:?}", nowhere.text);
    Ok(())
}

fn version(answer: &Answer) -> Result<u64> {
    Ok(answer.field("hayrick-version").context("no version")?.parse()?)
}
