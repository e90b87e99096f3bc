//! Digests: of bodies on their way in, and on demand on their way out (RFC 9530).

use anyhow::{Result, ensure};

use crate::{Contract, MEOW, ask, has};

/// Of `meow`, in base64.
const MD5: &str = "SkvkDJasYxTpHZPzgEOmNA==";
const SHA256: &str = "QEzde8EJxDL4zCRDtFvP6VmA9RByFcZFI25XeSmsPlI=";
/// More than is verified as a whole.
const LARGE_BYTES: usize = (1 << 20) + 1;

pub(crate) async fn wrong_ones_store_nothing(contract: &Contract) -> Result<()> {
    let master = contract.masters[0];
    let right = [
        format!("Content-MD5: {MD5}\r\n"),
        format!("Repr-Digest: sha-256=:{SHA256}:\r\n"),
        format!("Content-Digest: md5=:{MD5}:, sha-256=:{SHA256}:\r\n"),
    ];
    for (number, fields) in right.iter().enumerate() {
        ask(master, &format!("PUT /digests/right/{number}"), fields, "meow", 201).await?;
        // One letter of the body is another.
        let wrong = ask(master, "PUT /digests/wrong", fields, "meoW", 400).await?;
        ensure!(wrong.body().contains("nothing was changed"), "{:?}", wrong.text);
        ask(master, "PUT /digests/right/0", fields, "meoW", 400).await?;
    }
    // One that is right does not excuse another that is wrong.
    let mixed = format!("Content-MD5: {MD5}\r\nRepr-Digest: sha-256=:{}:\r\n", "A".repeat(43) + "=");
    ask(master, "PUT /digests/wrong", &mixed, "meow", 400).await?;
    ask(master, "PUT /digests/wrong", "Repr-Digest: sha-512=:AAAA:\r\n", "meow", 400).await?;
    ask(master, "GET /digests/wrong", "", "", 404).await?;
    let kept = ask(master, "GET /digests/right/0", "", "", 200).await?;
    ensure!(kept.body() == "meow", "a refused PUT replaced it: {:?}", kept.text);
    Ok(())
}

pub(crate) async fn wanted_ones_are_answered(contract: &Contract) -> Result<()> {
    let masters = &contract.masters;
    ask(masters[0], "PUT /digests/wanted", "", "meow", 201).await?;
    ask(masters[0], "PUT /digests/large", "", &"x".repeat(LARGE_BYTES), 201).await?;
    let (md5, sha256) = (Some(format!("md5=:{MD5}:")), Some(format!("sha-256=:{SHA256}:")));
    let cases = [
        ("GET", "md5=3", &md5),
        ("HEAD", "md5=3", &md5),
        ("GET", "sha-256=5, md5=3", &sha256),
        // Nothing is read for a digest.
        ("HEAD", "sha-256=5, md5=3", &md5),
        ("HEAD", "sha-256=5", &None),
        ("GET", "md5=0", &None),
        ("GET", "sha-512=10", &None),
    ];
    for (master, (method, want, expected)) in masters.iter().cycle().zip(cases) {
        let fields = format!("Want-Repr-Digest: {want}\r\n");
        let answer = ask(*master, &format!("{method} /digests/wanted"), &fields, "", 200).await?;
        let found = answer.field("repr-digest");
        ensure!(found == expected.as_deref(), "{method}, {want}: {:?}", answer.text);
    }
    // Of the whole object, also when only a part is sent.
    let want = "Want-Repr-Digest: sha-256=5, md5=3\r\n";
    let part =
        ask(masters[1], "GET /digests/wanted", &format!("{want}Range: bytes=0-1\r\n"), "", 206).await?;
    has(&part, &[&format!("Repr-Digest: md5=:{MD5}:")])?;
    let large = ask(masters[2], "GET /digests/large", want, "", 200).await?;
    ensure!(
        large.field("repr-digest").is_some_and(|it| it.starts_with("md5=:")),
        "{:?}",
        large.field("repr-digest")
    );
    let unasked = ask(masters[0], "GET /digests/wanted", "", "", 200).await?;
    ensure!(unasked.field("repr-digest").is_none(), "{:?}", unasked.text);
    Ok(())
}

pub(crate) async fn the_etag_is_the_md5(contract: &Contract) -> Result<()> {
    let put = ask(contract.masters[0], "PUT /digests/etag", "", "meow", 201).await?;
    has(&put, &[&format!("ETag: {MEOW}")])?;
    for method in ["GET", "HEAD"] {
        let answer = ask(contract.masters[1], &format!("{method} /digests/etag"), "", "", 200).await?;
        has(&answer, &[&format!("ETag: {MEOW}")])?;
    }
    Ok(())
}
