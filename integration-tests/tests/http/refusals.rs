//! Refusals that say what to do, and what every answer carries.

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::{cluster, raw};
use tokio::task::block_in_place;

use crate::{Contract, MEOW, VOLUMES, ask, has};

/// What is not taken is refused by name, with what is.
pub(crate) async fn unknown_parameters_are_named(contract: &Contract) -> Result<()> {
    let (master, volume) = (contract.masters[0], contract.cluster.volume(1).http_addr());
    ask(master, "PUT /taken", "", "meow", 201).await?;
    let cases = [
        (master, "GET /taken?nonsense", "\"nonsense\" is no parameter", "consistency"),
        (master, "GET /taken?consistency=stale&limit=3", "\"limit\" is no parameter", "list"),
        (master, "GET /taken?detail", "\"detail\" is no parameter", "redirect"),
        (master, "GET /taken?consistency=perhaps", "consistency=perhaps", "stale"),
        (master, "PUT /taken?list", "\"list\" is no parameter", "%3F"),
        (master, "DELETE /taken?x=1", "\"x\" is no parameter", "%3F"),
        (master, "GET /?list&nonsense=1", "\"nonsense\" is no parameter", "limit, start"),
        (master, "GET /?list&redirect", "\"redirect\" is no parameter", "delimiter, detail"),
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

/// Of the answers to whole requests `ask` looks at each; these never become one.
pub(crate) async fn every_answer_says_who_gives_it(contract: &Contract) -> Result<()> {
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "k".repeat(9000));
    let wide = format!("GET /k HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    let volume = contract.cluster.volume(1).http_addr();
    for (addr, kind) in [(contract.masters[0], "master"), (volume, "volume")] {
        for (request, status) in [
            ("GET /k HTTP/1.1\r\n\r\n", 400),
            ("this is no HTTP\r\n\r\n", 400),
            (&long, 414),
            (&wide, 431),
            ("GET /k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        ] {
            let answer = raw::send(addr, request.as_bytes()).await?;
            ensure!(answer.status == Some(status), "{:?}", answer.text);
            ensure!(answer.field("hayrick-server") == Some(kind), "{:?}", answer.text);
        }
    }
    Ok(())
}

/// Of every kind of answer: it comes back as it was sent, and only then.
pub(crate) async fn request_ids_are_echoed_and_never_added(contract: &Contract) -> Result<()> {
    let masters = &contract.masters;
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

/// While no volume runs, whoever asks is told which to start.
pub(crate) async fn unreadable_objects_name_the_volumes_to_start(contract: &Contract) -> Result<()> {
    let cluster = &contract.cluster;
    ask(contract.masters[0], "PUT /unreadable", "", "meow", 201).await?;
    let described = ask(contract.masters[0], "HEAD /unreadable", "", "", 200).await?;
    let members = cluster::volumes_of(described.field("hayrick-placement").context("no Hayrick-Placement")?);
    for volume in cluster.volumes() {
        block_in_place(|| volume.kill())?;
    }
    for master in cluster.client_addrs() {
        let refused = ask(master, "GET /unreadable", "", "", 503).await?;
        ensure!(refused.field("retry-after").is_some(), "{:?}", refused.text);
        for volume in cluster.volumes() {
            let id = volume.server_id().context("registered")?;
            let named = format!("{id} ({})", volume.http_addr());
            let is_named = refused.body().contains(&named);
            ensure!(is_named == members.contains(&id), "{named}: {:?}", refused.text);
        }
        // The index alone answers these.
        ask(master, "HEAD /unreadable", "", "", 200).await?;
        ask(master, "GET /absent", "", "", 404).await?;
    }
    block_in_place(|| cluster.start_all())?;
    cluster::all_up(cluster, VOLUMES).await
}

pub(crate) async fn a_refused_write_has_no_effect(contract: &Contract) -> Result<()> {
    ask(contract.masters[0], "PUT /refused", "", "meow", 201).await?;
    let cases = [
        ("PUT", "If-None-Match: *\r\n", 412),
        ("PUT", "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==\r\n", 400),
        ("PUT", "Content-Range: bytes 0-3/4\r\n", 400),
        ("PUT", "If-Match: unquoted\r\n", 400),
        ("DELETE", "If-Match: \"no\"\r\n", 412),
        ("DELETE", "If-Unmodified-Since: Tue, 14 Nov 2023 22:13:20 GMT\r\n", 400),
    ];
    for (number, (method, fields, status)) in cases.into_iter().enumerate() {
        let master = contract.masters[number % contract.masters.len()];
        ask(master, &format!("{method} /refused"), fields, "purr", status).await?;
    }
    for master in &contract.masters {
        let kept = ask(*master, "GET /refused", "", "", 200).await?;
        ensure!(kept.body() == "meow", "{:?}", kept.text);
        has(&kept, &[&format!("ETag: {MEOW}")])?;
    }
    Ok(())
}

pub(crate) async fn an_unknown_route_is_repeated(contract: &Contract) -> Result<()> {
    for master in &contract.masters {
        let unknown = ask(*master, "GET /-/nothing/here", "", "", 404).await?;
        ensure!(
            unknown.body().contains("there is no route /-/nothing/here; there are /-/"),
            "{:?}",
            unknown.text
        );
        ask(*master, "HEAD /-/nothing", "", "", 404).await?;
    }
    Ok(())
}

pub(crate) async fn other_methods_are_405_with_allow(contract: &Contract) -> Result<()> {
    let cases = [
        ("BREW", "/key", "GET, HEAD, PUT, DELETE, UNLINK"),
        ("POST", "/key", "GET, HEAD, PUT, DELETE, UNLINK"),
        ("POST", "/", "GET, HEAD"),
        ("DELETE", "/-/status", "GET, HEAD"),
        ("GET", "/-/delete", "POST"),
        ("GET", "/-/undelete/key", "POST"),
        ("GET", "/-/leader/1", "POST"),
        ("GET", "/-/masters/1", "DELETE"),
        ("DELETE", "/-/move-rate", "GET, HEAD, PUT"),
    ];
    for (method, path, allow) in cases {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        let refused = raw::send(contract.masters[0], request.as_bytes()).await?;
        ensure!(
            refused.status == Some(405) && refused.body().contains(allow),
            "{method} {path}: {:?}",
            refused.text
        );
        has(&refused, &[&format!("Allow: {allow}")])?;
    }
    Ok(())
}

pub(crate) async fn problems_are_a_line_or_json(contract: &Contract) -> Result<()> {
    let (master, volume) = (contract.masters[0], contract.cluster.volume(1).http_addr());
    for (addr, line, status) in [
        (master, "GET /problem", 404),
        (master, "GET /problem?nonsense", 400),
        (master, "GET /-/nothing", 404),
        (volume, "GET /-/nothing", 404),
        (volume, "GET /problem", 404),
    ] {
        let text = ask(addr, line, "", "", status).await?;
        has(&text, &["Content-Type: text/plain; charset=utf-8"])?;
        ensure!(text.body().trim_end_matches('\n').lines().count() == 1, "{:?}", text.text);
        let problem = ask(addr, line, "Accept: application/json\r\n", "", status).await?;
        has(&problem, &["Content-Type: application/problem+json"])?;
        let problem: serde_json::Value = serde_json::from_str(problem.body())?;
        ensure!(problem["status"] == status && problem["detail"] == text.body().trim_end(), "{problem}");
    }
    Ok(())
}
