//! Lists: pages, prefixes, details.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json as value};

use crate::{Contract, ask, json};

async fn put(contract: &Contract, keys: &[&str]) -> Result<()> {
    for (number, key) in keys.iter().enumerate() {
        let master = contract.masters[number % contract.masters.len()];
        ask(master, &format!("PUT /{key}"), "", "x", 201).await?;
    }
    Ok(())
}

pub(crate) async fn list_pages_in_the_order_of_keys(contract: &Contract) -> Result<()> {
    put(contract, &["l/c%2F1", "l/a", "l/b%20%2B", "m"]).await?;
    for master in &contract.masters {
        let page = async |target: &str| json(*master, &format!("GET {target}")).await;
        let all = page("/l/?list").await?;
        ensure!(all == value!({ "next": "", "keys": ["l/a", "l/b +", "l/c/1"] }), "{all}");
        let first = page("/l/?list&limit=1").await?;
        ensure!(first == value!({ "next": "l/b +", "keys": ["l/a"] }), "{first}");
        // As forms encode it, and as paths do.
        for start in ["l%2Fb+%2B", "l/b%20%2B"] {
            let rest = page(&format!("/l/?list&limit=1&start={start}")).await?;
            ensure!(rest == value!({ "next": "l/c/1", "keys": ["l/b +"] }), "{rest}");
        }
        let none = page("/nothing?list").await?;
        ensure!(none == value!({ "next": "", "keys": [] }), "{none}");
        let every = page("/?list").await?;
        ensure!(every["keys"].as_array().is_some_and(|keys| keys.iter().any(|key| key == "m")), "{every}");
        for limit in ["0", "10001", "-1", "many", "+5"] {
            ask(*master, &format!("GET /?list&limit={limit}"), "", "", 400).await?;
        }
    }
    Ok(())
}

pub(crate) async fn list_with_a_delimiter_shows_prefixes(contract: &Contract) -> Result<()> {
    put(contract, &["d/a/1", "d/a/2", "d/b", "d/c/1/2", "d/c/3"]).await?;
    for master in &contract.masters {
        let page = async |target: &str| json(*master, &format!("GET {target}")).await;
        let all = page("/d/?list&delimiter=/").await?;
        ensure!(all == value!({ "next": "", "keys": ["d/b"], "prefixes": ["d/a/", "d/c/"] }), "{all}");
        let two = page("/d/?list&delimiter=/&limit=2").await?;
        ensure!(two == value!({ "next": "d/c/1/2", "keys": ["d/b"], "prefixes": ["d/a/"] }), "{two}");
        let rest = page("/d/?list&delimiter=/&limit=2&start=d/c/1/2").await?;
        ensure!(rest == value!({ "next": "", "keys": [], "prefixes": ["d/c/"] }), "{rest}");
        let below = page("/d/c/?list&delimiter=/").await?;
        ensure!(below == value!({ "next": "", "keys": ["d/c/3"], "prefixes": ["d/c/1/"] }), "{below}");
        ask(*master, "GET /d/?list&delimiter=", "", "", 400).await?;
    }
    Ok(())
}

pub(crate) async fn list_with_detail_shows_objects(contract: &Contract) -> Result<()> {
    ask(contract.masters[0], "PUT /detail/a", "Content-Type: image/gif\r\n", "meow", 201).await?;
    ask(contract.masters[0], "PUT /detail/b/c", "", "", 201).await?;
    for master in &contract.masters {
        let all = json(*master, "GET /detail/?list&detail").await?;
        let keys = all["keys"].as_array().context("keys")?;
        ensure!(keys.len() == 2 && all["prefixes"] == Value::Null, "{all}");
        let first = &keys[0];
        ensure!((&first["key"], &first["size"]) == (&"detail/a".into(), &4.into()), "{all}");
        ensure!(
            first["etag"] == "4a4be40c96ac6314e91d93f38043a634" && first["content_type"] == "image/gif",
            "{all}"
        );
        let modified = first["modified"].as_str().context("a date")?;
        ensure!(modified.len() == "2026-01-01T00:00:00.000Z".len() && modified.ends_with('Z'), "{all}");
        ensure!(keys[1]["content_type"] == "application/octet-stream" && keys[1]["size"] == 0, "{all}");
        let level = json(*master, "GET /detail/?list&detail&delimiter=/").await?;
        ensure!(
            level["prefixes"] == value!(["detail/b/"]) && level["keys"][0]["key"] == "detail/a",
            "{level}"
        );
    }
    Ok(())
}

pub(crate) async fn list_shows_what_was_acknowledged_at_any_master(contract: &Contract) -> Result<()> {
    for number in 0..30 {
        let (to, from) = (contract.masters[number % 3], contract.masters[(number + 1) % 3]);
        ask(to, &format!("PUT /seen/{number:02}"), "", "x", 201).await?;
        let listed = json(from, &format!("GET /seen/?list&start=seen/{number:02}")).await?;
        ensure!(listed["keys"][0] == format!("seen/{number:02}"), "{listed}");
        ask(from, &format!("DELETE /seen/{number:02}"), "", "", 204).await?;
        let listed = json(to, "GET /seen/?list").await?;
        ensure!(listed["keys"] == value!([]), "{listed}");
    }
    Ok(())
}

pub(crate) async fn list_of_what_was_deleted(contract: &Contract) -> Result<()> {
    put(contract, &["u/b", "u/a", "u/c", "u/kept"]).await?;
    for key in ["u/b", "u/c", "u/a"] {
        ask(contract.masters[0], &format!("DELETE /{key}"), "", "", 204).await?;
    }
    ask(contract.masters[1], "PUT /u/c", "", "again", 201).await?;
    for master in &contract.masters {
        let all = json(*master, "GET /u/?unlinked").await?;
        ensure!(all == value!({ "next": "", "keys": ["u/b", "u/a"] }), "{all}");
        let first = json(*master, "GET /u/?unlinked&limit=1").await?;
        ensure!(first["keys"] == value!(["u/b"]) && first["next"] != "", "{first}");
        let next = first["next"].as_str().context("a place")?;
        let rest = json(*master, &format!("GET /u/?unlinked&start={next}")).await?;
        ensure!(rest == value!({ "next": "", "keys": ["u/a"] }), "{rest}");
        ask(*master, "GET /u/?unlinked&start=u/a", "", "", 400).await?;
    }
    ask(contract.masters[0], "POST /-/undelete/u/b", "", "", 200).await?;
    let left = json(contract.masters[1], "GET /u/?unlinked").await?;
    ensure!(left["keys"] == value!(["u/a"]), "{left}");
    Ok(())
}
