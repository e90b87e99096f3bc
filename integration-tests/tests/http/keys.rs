//! What a key may be.

use anyhow::{Result, ensure};

use crate::{Contract, ask};

pub(crate) async fn awkward_keys_are_kept_as_they_are(contract: &Contract) -> Result<()> {
    let longest = "k".repeat(1024);
    let cases = [
        ("a%20b", "a b"),
        ("a+b", "a+b"),
        ("100%25", "100%"),
        ("what%3F", "what?"),
        ("%23hash", "#hash"),
        ("n%C3%A4her/%E7%8C%AB", "näher/猫"),
        ("/double//slash/", "/double//slash/"),
        ("...", "..."),
        ("-", "-"),
        ("-a/b", "-a/b"),
        ("\"quoted\"", "\"quoted\""),
        (longest.as_str(), longest.as_str()),
    ];
    for (number, (encoded, key)) in cases.into_iter().enumerate() {
        let master = contract.masters[number % contract.masters.len()];
        let put = ask(master, &format!("PUT /{encoded}"), "", key, 201).await?;
        ensure!(put.body() == key, "{encoded}: {:?}", put.body());
        let got = ask(contract.masters[0], &format!("GET /{encoded}"), "", "", 200).await?;
        ensure!(got.body() == key, "{encoded}: {:?}", got.body());
        ask(master, &format!("DELETE /{encoded}"), "", "", 204).await?;
    }
    Ok(())
}

pub(crate) async fn what_is_no_key_is_refused_with_the_reason(contract: &Contract) -> Result<()> {
    let too_long = "k".repeat(1025);
    let cases = [
        ("a/../b", "`..`"),
        ("a/./b", "`.`"),
        ("%2e%2e/secret", "`..`"),
        ("%01", "U+0001"),
        ("a%00b", "U+0000"),
        ("%C2%80", "U+0080"),
        ("%zz", "%25"),
        ("%e", "%25"),
        ("%ff%fe", "UTF-8"),
        (too_long.as_str(), "1024"),
    ];
    for (target, reason) in cases {
        for method in ["GET", "PUT", "DELETE"] {
            let refused = ask(contract.masters[0], &format!("{method} /{target}"), "", "", 400).await?;
            ensure!(refused.body().contains(reason), "{method} {target}: {:?}", refused.text);
        }
    }
    for method in ["PUT", "DELETE"] {
        let refused = ask(contract.masters[1], &format!("{method} /-/x"), "", "", 400).await?;
        ensure!(refused.body().contains("do not begin with `-/`"), "{:?}", refused.text);
    }
    Ok(())
}
