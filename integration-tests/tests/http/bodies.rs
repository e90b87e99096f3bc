//! Bodies: how long they are, and what becomes of those that are not in order.

use anyhow::{Result, ensure};
use hayrick_integration_tests::raw;

use crate::{Contract, MEOW, ask, has};

/// The default of `--max-object-size`.
const MAX_BYTES: usize = 64 << 20;

pub(crate) async fn a_body_says_its_length_or_is_chunked(contract: &Contract) -> Result<()> {
    let master = contract.masters[0];
    let chunks = "2\r\nme\r\n2\r\now\r\n0\r\n\r\n";
    let chunked = ask(master, "PUT /chunked", "Transfer-Encoding: chunked\r\n", chunks, 201).await?;
    has(&chunked, &[&format!("ETag: {MEOW}")])?;
    let got = ask(contract.masters[1], "GET /chunked", "", "", 200).await?;
    has(&got, &["Content-Length: 4"])?;
    let neither = "PUT /neither HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let refused = raw::send(master, neither.as_bytes()).await?;
    ensure!(refused.status == Some(411) && refused.body().contains("Content-Length"), "{:?}", refused.text);
    Ok(())
}

pub(crate) async fn an_empty_body_is_an_object(contract: &Contract) -> Result<()> {
    ask(contract.masters[0], "PUT /empty", "", "", 201).await?;
    let empty = ask(contract.masters[1], "GET /empty", "", "", 200).await?;
    has(&empty, &["Content-Length: 0", "ETag: \"d41d8cd98f00b204e9800998ecf8427e\""])
}

pub(crate) async fn a_body_that_is_too_large_is_refused_unread(contract: &Contract) -> Result<()> {
    for fields in ["", "Expect: 100-continue\r\n"] {
        let bytes = MAX_BYTES + 1;
        let head = format!("PUT /large HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {bytes}\r\n\r\n");
        let refused = raw::send(contract.masters[0], head.as_bytes()).await?;
        ensure!(refused.status == Some(413), "{:?}", refused.text);
        ensure!(refused.body().contains("--max-object-size"), "{:?}", refused.text);
    }
    ask(contract.masters[0], "GET /large", "", "", 404).await.map(drop)
}

/// That it is too much shows at its last byte.
pub(crate) async fn chunks_that_become_too_many_are_refused(contract: &Contract) -> Result<()> {
    let mut request = b"PUT /grown HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    request.extend(format!("{MAX_BYTES:x}\r\n").into_bytes());
    request.resize(request.len() + MAX_BYTES, b'x');
    request.extend(b"\r\n1\r\nx\r\n0\r\n\r\n");
    let refused = raw::send(contract.masters[0], &request).await?;
    ensure!(refused.status == Some(413), "{:?}", refused.text);
    ensure!(refused.body().contains("--max-object-size"), "{:?}", refused.text);
    ask(contract.masters[0], "GET /grown", "", "", 404).await.map(drop)
}

pub(crate) async fn no_other_coding_than_chunks_is_taken(contract: &Contract) -> Result<()> {
    for coding in ["gzip", "gzip, chunked", "identity"] {
        let head = format!(
            "PUT /coded HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: {coding}\r\n\r\n"
        );
        let request = head + "4\r\nmeow\r\n0\r\n\r\n";
        let refused = raw::send(contract.masters[0], request.as_bytes()).await?;
        // What hyper itself finds wrong with the coding is no HTTP to it.
        ensure!([Some(400), Some(501)].contains(&refused.status), "{coding}: {:?}", refused.text);
        ask(contract.masters[0], "GET /coded", "", "", 404).await?;
    }
    Ok(())
}

pub(crate) async fn who_expects_100_gets_it_or_the_refusal(contract: &Contract) -> Result<()> {
    let head = |key: &str| {
        format!(
            "PUT /{key} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\nmeow"
        )
    };
    let answer = raw::send(contract.masters[0], head("expected").as_bytes()).await?;
    ensure!(answer.text.starts_with("HTTP/1.1 100 "), "Expect is not answered: {:?}", answer.text);
    ensure!(answer.text.contains("HTTP/1.1 201 "), "and then stored: {:?}", answer.text);
    let refused = raw::send(contract.masters[0], head("a/../b").as_bytes()).await?;
    ensure!(refused.status == Some(400), "the final refusal, and no 100: {:?}", refused.text);
    Ok(())
}

pub(crate) async fn half_a_body_stores_nothing(contract: &Contract) -> Result<()> {
    ask(contract.masters[0], "PUT /half", "", "purr", 201).await?;
    for request in [
        "PUT /half HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nmeow",
        "PUT /half HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nmeow\r\n",
    ] {
        let refused = raw::send_and_close(contract.masters[1], request.as_bytes()).await?;
        ensure!(refused.status == Some(400), "{:?}", refused.text);
    }
    let kept = ask(contract.masters[2], "GET /half", "", "", 200).await?;
    ensure!(kept.body() == "purr", "{:?}", kept.text);
    Ok(())
}
