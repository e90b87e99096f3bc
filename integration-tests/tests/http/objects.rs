//! Objects: the verbs, what is kept with them, where they live.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{Contract, KEPT, MEOW, ask, has};

pub(crate) async fn put_answers_201_then_200_and_the_key(contract: &Contract) -> Result<()> {
    let put = ask(contract.masters[0], "PUT /put/n%C3%A4her%20%2B1", "", "meow", 201).await?;
    ensure!(put.body() == "put/näher +1", "PUT answers the key: {:?}", put.body());
    has(&put, &[&format!("ETag: {MEOW}")])?;
    let first: u64 = put.field("hayrick-version").context("no Hayrick-Version")?.parse()?;
    let again = ask(contract.masters[1], "PUT /put/n%C3%A4her%20%2B1", "", "purr", 200).await?;
    let second: u64 = again.field("hayrick-version").context("no Hayrick-Version")?.parse()?;
    ensure!(second > first, "it grows with every change: {first}, {second}");
    Ok(())
}

pub(crate) async fn get_answers_the_bytes_or_a_range(contract: &Contract) -> Result<()> {
    ask(contract.masters[0], "PUT /get", "", "meow", 201).await?;
    for master in &contract.masters {
        let get = ask(*master, "GET /get", "", "", 200).await?;
        ensure!(get.body() == "meow", "{:?}", get.text);
        has(&get, &["Accept-Ranges: bytes"])?;
        for (range, wanted) in [("1-2", "eo"), ("1-", "eow"), ("-3", "eow"), ("2-99", "ow"), ("0-0", "m")] {
            let part = ask(*master, "GET /get", &format!("Range: bytes={range}\r\n"), "", 206).await?;
            ensure!(part.body() == wanted, "{range}: {:?}", part.text);
            let first = 4 - wanted.len().min(4);
            let from = if range.starts_with(['1', '2', '0']) { range.split('-').next() } else { None };
            let from = from.and_then(|from| from.parse().ok()).unwrap_or(first);
            has(&part, &[&format!("Content-Range: bytes {from}-{}/4", from + wanted.len() - 1)])?;
        }
        for range in ["4-", "9-10", "-0"] {
            let beyond = ask(*master, "GET /get", &format!("Range: bytes={range}\r\n"), "", 416).await?;
            has(&beyond, &["Content-Range: bytes */4"])?;
        }
        // Several ranges, other units and what cannot be read: the whole.
        for range in ["bytes=0-1,2-3", "lines=0-1", "bytes=2-1", "bytes=x"] {
            let whole = ask(*master, "GET /get", &format!("Range: {range}\r\n"), "", 200).await?;
            ensure!(whole.body() == "meow", "{range}: {:?}", whole.text);
        }
        let gone = ask(*master, "GET /get/nothing", "", "", 404).await?;
        ensure!(gone.body() == "Key does not exist.", "{:?}", gone.text);
    }
    Ok(())
}

pub(crate) async fn head_is_a_get_without_the_body(contract: &Contract) -> Result<()> {
    ask(contract.masters[0], "PUT /head", KEPT, "meow", 201).await?;
    for master in &contract.masters {
        let get = ask(*master, "GET /head", "", "", 200).await?;
        let head = ask(*master, "HEAD /head", "Range: bytes=0-1\r\n", "", 200).await?;
        ensure!(head.body().is_empty(), "a HEAD with a body: {:?}", head.text);
        for name in ["etag", "content-length", "content-type", "last-modified", "hayrick-meta-owner"] {
            ensure!(
                head.field(name).is_some() && head.field(name) == get.field(name),
                "{name}: {:?}",
                head.text
            );
        }
        let gone = ask(*master, "HEAD /head/nothing", "", "", 404).await?;
        has(&gone, &["Content-Length: 0"])?;
    }
    Ok(())
}

pub(crate) async fn delete_answers_204_then_404(contract: &Contract) -> Result<()> {
    ask(contract.masters[0], "PUT /delete", "", "meow", 201).await?;
    let deleted = ask(contract.masters[1], "DELETE /delete", "", "", 204).await?;
    ensure!(deleted.body().is_empty(), "{:?}", deleted.text);
    for master in &contract.masters {
        ask(*master, "GET /delete", "", "", 404).await?;
        ask(*master, "DELETE /delete", "", "", 404).await?;
    }
    Ok(())
}

pub(crate) async fn unlink_is_a_delete(contract: &Contract) -> Result<()> {
    ask(contract.masters[0], "PUT /unlink", "", "meow", 201).await?;
    ask(contract.masters[1], "UNLINK /unlink", "", "", 204).await?;
    ask(contract.masters[2], "GET /unlink", "", "", 404).await?;
    ask(contract.masters[1], "UNLINK /unlink", "", "", 404).await.map(drop)
}

pub(crate) async fn delete_list_answers_each_key(contract: &Contract) -> Result<()> {
    for key in ["a", "b%22c", "%C3%A9"] {
        ask(contract.masters[0], &format!("PUT /batch/{key}"), "", "meow", 201).await?;
    }
    let keys = json!(["batch/é", "batch/none", "batch/a", "batch/../x", "batch/b\"c", "batch/a2"]);
    let answer = ask(contract.masters[1], "POST /-/delete", "", &keys.to_string(), 200).await?;
    let outcomes: Value = serde_json::from_str(answer.body())?;
    let told: Vec<(&Value, &Value)> =
        outcomes.as_array().context("a list")?.iter().map(|it| (&it["key"], &it["status"])).collect();
    let wanted = [204, 404, 204, 400, 204, 404].map(Value::from);
    let asked = keys.as_array().context("a list")?;
    ensure!(told.iter().map(|it| it.0).eq(asked), "in the order asked: {outcomes}");
    ensure!(told.iter().map(|it| it.1).eq(&wanted), "{outcomes}");
    ensure!(outcomes[3]["detail"].as_str().is_some_and(|why| why.contains("..")), "{outcomes}");
    for master in &contract.masters {
        for key in ["a", "b%22c", "%C3%A9"] {
            ask(*master, &format!("GET /batch/{key}"), "", "", 404).await?;
        }
    }
    let most = json!(vec!["batch/none"; 1000]).to_string();
    ask(contract.masters[2], "POST /-/delete", "", &most, 200).await?;
    let more = json!(vec!["batch/none"; 1001]).to_string();
    ask(contract.masters[2], "POST /-/delete", "", &more, 400).await?;
    for wrong in ["", "{}", "[1]", "not JSON"] {
        let refused = ask(contract.masters[2], "POST /-/delete", "", wrong, 400).await?;
        ensure!(refused.body().contains("JSON list of keys"), "{:?}", refused.text);
    }
    let empty = ask(contract.masters[0], "POST /-/delete", "", "[]", 200).await?;
    ensure!(empty.body() == "[]", "{:?}", empty.text);
    Ok(())
}

pub(crate) async fn redirect_leads_to_a_volume(contract: &Contract) -> Result<()> {
    ask(contract.masters[0], "PUT /red%20irect", KEPT, "meow", 201).await?;
    for master in &contract.masters {
        for method in ["GET", "HEAD"] {
            let there = ask(*master, &format!("{method} /red%20irect?redirect"), "", "", 307).await?;
            let location = there.field("location").context("no Location")?;
            let (addr, path) =
                location.strip_prefix("http://").and_then(|it| it.split_once('/')).context("a URL")?;
            ensure!(
                contract.cluster.volumes().iter().any(|it| it.http_addr().to_string() == addr),
                "{location}"
            );
            let got = ask(addr.parse()?, &format!("GET /{path}"), "", "", 200).await?;
            ensure!(got.body() == "meow", "{:?}", got.text);
            has(&got, &["Content-Type: image/gif", &format!("ETag: {MEOW}")])?;
        }
        ask(*master, "GET /redirect/nothing?redirect", "", "", 404).await?;
    }
    Ok(())
}

pub(crate) async fn stale_reads_what_a_master_knows(contract: &Contract) -> Result<()> {
    let put = ask(contract.masters[0], "PUT /stale", "", "meow", 201).await?;
    ensure!(put.status == Some(201));
    for master in &contract.masters {
        // After a linearizable read it knows it.
        ask(*master, "GET /stale", "", "", 200).await?;
        let stale = ask(*master, "GET /stale?consistency=stale", "", "", 200).await?;
        ensure!(stale.body() == "meow", "{:?}", stale.text);
        ask(*master, "GET /stale?consistency=linearizable", "", "", 200).await?;
        let refused = ask(*master, "GET /stale?consistency=perhaps", "", "", 400).await?;
        ensure!(refused.body().contains("stale"), "{:?}", refused.text);
    }
    Ok(())
}

pub(crate) async fn headers_are_kept_and_returned(contract: &Contract) -> Result<()> {
    let more = "Content-Encoding: gzip\r\nContent-Disposition: attachment\r\nExpires: 0\r\n";
    ask(contract.masters[0], "PUT /kept", &format!("{KEPT}{more}"), "meow", 201).await?;
    for master in &contract.masters {
        for method in ["GET", "HEAD"] {
            let answer = ask(*master, &format!("{method} /kept"), "", "", 200).await?;
            has(&answer, &["Content-Type: image/gif", "Content-Language: en", "Cache-Control: no-cache"])?;
            has(&answer, &["Content-Encoding: gzip", "Content-Disposition: attachment", "Expires: 0"])?;
            has(&answer, &["Hayrick-Meta-Owner: Ann"])?;
            ensure!(answer.field("cookie").is_none(), "a field that is not kept: {:?}", answer.text);
            ensure!(answer.field("last-modified").is_some(), "{:?}", answer.text);
        }
    }
    ask(contract.masters[0], "PUT /plain", "", "x", 201).await?;
    let plain = ask(contract.masters[2], "GET /plain", "", "", 200).await?;
    has(&plain, &["Content-Type: application/octet-stream"])?;
    let meta = |bytes: usize| format!("Hayrick-Meta-A: {}\r\n", "m".repeat(bytes));
    ask(contract.masters[1], "PUT /meta", &meta(2048 - "hayrick-meta-a".len()), "x", 201).await?;
    ask(contract.masters[1], "PUT /meta", &meta(2049 - "hayrick-meta-a".len()), "x", 431).await.map(drop)
}

pub(crate) async fn answers_say_where_it_lives(contract: &Contract) -> Result<()> {
    ask(contract.masters[0], "PUT /lives", "", "meow", 201).await?;
    let mut told = Vec::new();
    for master in &contract.masters {
        let get = ask(*master, "GET /lives", "", "", 200).await?;
        let served_by = get.field("hayrick-served-by").context("no Hayrick-Served-By")?.to_owned();
        let head = ask(*master, "HEAD /lives", "", "", 200).await?;
        for answer in [&get, &head] {
            let of = |name| answer.field(name).map(str::to_owned);
            told.push((of("hayrick-placement"), of("hayrick-version")));
        }
        let placement = get.field("hayrick-placement").context("no Hayrick-Placement")?;
        let (_, members) = placement.split_once("volumes=").context("no volumes")?;
        ensure!(members.split(',').any(|member| member == served_by), "{placement}; served by {served_by}");
    }
    ensure!(told.iter().all(|it| it.0.is_some() && it.1.is_some() && *it == told[0]), "{told:?}");
    Ok(())
}
