//! Conditions: of a read, weighed where it is served; of a write, decided where its order is decided.

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use hayrick_integration_tests::raw;

use crate::{Contract, MEOW, PURR, ask, has};

/// Long before, and long after any object of this test was stored.
const LONG_AGO: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
const FAR_AHEAD: &str = "Fri, 14 Nov 2053 22:13:20 GMT";

pub(crate) async fn of_reads_are_weighed(contract: &Contract) -> Result<()> {
    let masters = &contract.masters;
    let put = ask(masters[0], "PUT /read", "", "meow", 201).await?;
    let version = put.field("hayrick-version").context("no Hayrick-Version")?;
    let stored = ask(masters[0], "GET /read", "", "", 200).await?;
    let modified = stored.field("last-modified").context("no Last-Modified")?.to_owned();
    let cases = [
        (format!("If-None-Match: {MEOW}"), 304),
        (format!("If-None-Match: W/{MEOW}"), 304),
        (format!("If-None-Match: {PURR}, {MEOW}"), 304),
        ("If-None-Match: *".to_owned(), 304),
        (format!("If-None-Match: {PURR}"), 200),
        (format!("If-Match: {MEOW}"), 200),
        (format!("If-Match: {PURR}, {MEOW}"), 200),
        ("If-Match: *".to_owned(), 200),
        (format!("If-Match: {PURR}"), 412),
        (format!("If-Match: W/{MEOW}"), 412),
        (format!("If-Modified-Since: {modified}"), 304),
        (format!("If-Modified-Since: {FAR_AHEAD}"), 304),
        (format!("If-Modified-Since: {LONG_AGO}"), 200),
        ("If-Modified-Since: yesterday".to_owned(), 200),
        (format!("If-Unmodified-Since: {modified}"), 200),
        (format!("If-Unmodified-Since: {LONG_AGO}"), 412),
        // The tag is the better validator of the two.
        (format!("If-None-Match: {PURR}\r\nIf-Modified-Since: {FAR_AHEAD}"), 200),
        (format!("If-Match: {MEOW}\r\nIf-Unmodified-Since: {LONG_AGO}"), 200),
        ("If-None-Match: unquoted".to_owned(), 400),
        ("If-Match: unquoted".to_owned(), 400),
        (format!("If-Match: *, {MEOW}"), 400),
    ];
    for (number, (fields, status)) in cases.iter().enumerate() {
        let master = masters[number % masters.len()];
        for method in ["GET", "HEAD"] {
            let line = format!("{method} /read");
            let answer = ask(master, &line, &format!("{fields}\r\n"), "", *status).await?;
            match status {
                304 => {
                    ensure!(answer.body().is_empty(), "a 304 with a body: {:?}", answer.text);
                    has(&answer, &[&format!("ETag: {MEOW}"), &format!("Hayrick-Version: {version}")])?;
                }
                // Nothing could have been changed; what holds instead is said.
                412 if method == "GET" => {
                    let told = answer.body();
                    ensure!(told.contains(MEOW) && told.contains(&modified), "{:?}", answer.text);
                    ensure!(!told.contains("nothing was changed"), "{:?}", answer.text);
                }
                400 if method == "GET" => {
                    ensure!(answer.body().contains("in double quotes"), "{:?}", answer.text);
                }
                _ => {}
            }
        }
    }
    // Of what is not there no condition can be weighed.
    ask(masters[0], "GET /absent", "If-Match: *\r\n", "", 404).await?;
    ask(masters[0], "GET /absent", "If-None-Match: *\r\n", "", 404).await.map(|_| ())
}

pub(crate) async fn of_writes_are_decided(contract: &Contract) -> Result<()> {
    let masters = &contract.masters;
    let absent = "If-None-Match: *\r\n";
    ask(masters[0], "PUT /if", absent, "meow", 201).await?;
    ask(masters[1], "PUT /if", absent, "purr", 412).await?;
    ask(masters[2], "PUT /if", &format!("If-Match: {PURR}\r\n"), "purr", 412).await?;
    ask(masters[1], "PUT /if", &format!("If-Match: W/{MEOW}\r\n"), "purr", 412).await?;
    ask(masters[0], "PUT /if", &format!("If-Match: {PURR}, {MEOW}\r\n"), "purr", 200).await?;
    ask(masters[1], "PUT /if", "If-Match: *\r\n", "purr", 200).await?;
    ask(masters[2], "PUT /unless", "If-Match: *\r\n", "purr", 412).await?;
    ask(masters[0], "PUT /if", "If-None-Match: \"x\"\r\n", "purr", 400).await?;

    let failed = ask(masters[1], "DELETE /if", &format!("If-Match: {MEOW}\r\n"), "", 412).await?;
    ensure!(failed.body().contains("nothing was changed"), "{:?}", failed.text);
    ask(masters[1], "DELETE /if", absent, "", 412).await?;
    for line in ["PUT /if", "DELETE /if"] {
        let unquoted = MEOW.trim_matches('"');
        let refused = ask(masters[0], line, &format!("If-Match: {unquoted}\r\n"), "", 400).await?;
        ensure!(refused.body().contains("in double quotes"), "{:?}", refused.text);
    }
    let kept = ask(masters[2], "GET /if", "", "", 200).await?;
    ensure!(kept.body() == "purr", "{:?}", kept.text);
    let deleted = ask(masters[2], "DELETE /if", &format!("If-Match: {PURR}\r\n"), "", 204).await?;
    ensure!(deleted.body().is_empty(), "{:?}", deleted.text);
    ask(masters[0], "DELETE /if", "", "", 404).await?;
    // Of what is not there no condition is weighed.
    ask(masters[0], "DELETE /if", &format!("If-Match: {PURR}\r\n"), "", 404).await?;
    ask(masters[0], "DELETE /if", "If-Match: *\r\n", "", 404).await?;

    // A date cannot tell two writes of a second apart; beside an ETag it does not count.
    let date = "If-Unmodified-Since: Tue, 14 Nov 2023 22:13:19 GMT\r\n";
    ask(masters[0], "PUT /dated", "", "meow", 201).await?;
    for line in ["PUT /dated", "DELETE /dated"] {
        let refused = ask(masters[1], line, date, "purr", 400).await?;
        ensure!(refused.body().contains("If-Match"), "{:?}", refused.text);
    }
    ask(masters[2], "PUT /dated", &format!("If-Match: {MEOW}\r\n{date}"), "purr", 200).await.map(|_| ())
}

pub(crate) async fn of_racing_writers_one_wins(contract: &Contract) -> Result<()> {
    const WRITERS: usize = 12;
    ask(contract.masters[0], "PUT /race/set", "", "meow", 201).await?;
    let conditions = [("race/new", "If-None-Match: *".to_owned()), ("race/set", format!("If-Match: {MEOW}"))];
    for (key, condition) in conditions {
        let writers = (0..WRITERS).map(async |number| {
            let body = number.to_string();
            let request = format!(
                "PUT /{key} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{condition}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            raw::send(contract.masters[number % contract.masters.len()], request.as_bytes()).await
        });
        let answers: Vec<_> = join_all(writers).await.into_iter().collect::<Result<_>>()?;
        let winners = answers.iter().filter(|it| matches!(it.status, Some(200 | 201))).count();
        let losers = answers.iter().filter(|it| it.status == Some(412)).count();
        ensure!((winners, losers) == (1, WRITERS - 1), "{key}: {answers:?}");
        let won = answers.iter().position(|it| matches!(it.status, Some(200 | 201))).context("one won")?;
        let kept = ask(contract.masters[1], &format!("GET /{key}"), "", "", 200).await?;
        ensure!(kept.body() == won.to_string(), "{won} won: {:?}", kept.text);
    }
    Ok(())
}

pub(crate) async fn if_range_gives_the_range_or_the_whole(contract: &Contract) -> Result<()> {
    ask(contract.masters[0], "PUT /if-range", "", "meow", 201).await?;
    let cases = [
        (MEOW.to_owned(), 206, "eo"),
        (PURR.to_owned(), 200, "meow"),
        (format!("W/{MEOW}"), 200, "meow"),
        // A date is no strong validator of what may change twice a second.
        (FAR_AHEAD.to_owned(), 200, "meow"),
    ];
    for master in &contract.masters {
        for (validator, status, body) in &cases {
            let fields = format!("Range: bytes=1-2\r\nIf-Range: {validator}\r\n");
            let answer = ask(*master, "GET /if-range", &fields, "", *status).await?;
            ensure!(answer.body() == *body, "{validator}: {:?}", answer.text);
        }
    }
    Ok(())
}
