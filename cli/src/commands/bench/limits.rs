//! What this machine can do by itself, measured in the same run, to which the figures of a cluster on it are related.
//!
//! For writes that is one stream of small writes, each synced: no PUT is answered before its bytes are synced, but many PUTs share a
//! sync, so that more than all of it is possible. For reads it is the barest HTTP server with the same answer, in this process,
//! asked by the same clients.

mod answers;
mod syncs;

use std::path::Path;

use serde_json::{Value, json};
use tokio::time::{Duration, timeout};

use super::load::Mode;
use super::objects::Content;
use super::tally::percent;

/// How long each limit is measured.
const MEASURED: Duration = Duration::from_secs(1);
/// For a name server that does not answer.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// A limit, or why there is none.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Limit {
    Measured {
        per_second: f64,
        /// What was done so often.
        what: String,
    },
    LeftOut(String),
}

/// The limits of what is done.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Limits {
    pub(super) put: Option<Limit>,
    pub(super) get: Option<Limit>,
}

impl Limits {
    /// Those that matter for `mode`.
    pub(super) async fn measure(
        mode: Mode,
        masters: &[String],
        dir: &Path,
        content: &Content,
        clients: usize,
    ) -> Self {
        if !is_any_here(masters).await {
            let why = "no master of --server has a loopback address, so the cluster runs elsewhere, and what this \
                       machine can do says nothing of it";
            let limit = |wanted: bool| wanted.then(|| Limit::LeftOut(why.to_owned()));
            return Self { put: limit(mode.puts()), get: limit(mode.gets()) };
        }
        let put = match mode.puts() {
            true => Some(syncs::measure(dir, MEASURED).await),
            false => None,
        };
        let get = match mode.gets() {
            true => Some(answers::measure(content, clients, MEASURED).await),
            false => None,
        };
        Self { put, get }
    }
}

impl Limit {
    /// What `per_second` is of it, for people.
    pub(super) fn told(&self, name: &str, of_cluster: f64) -> String {
        match self {
            Self::LeftOut(why) => format!("share of this machine's limit for {name}s: left out, as {why}"),
            Self::Measured { per_second, what } => format!(
                "share of this machine's limit for {name}s: {:.0} % of {per_second:.0} a second: {what}",
                percent(of_cluster, *per_second)
            ),
        }
    }

    /// The same, for programs.
    pub(super) fn json(&self, of_cluster: f64) -> Value {
        match self {
            Self::LeftOut(why) => json!({ "left_out": why }),
            Self::Measured { per_second, what } => json!({
                "what": what,
                "per_second": per_second,
                "share_percent": percent(of_cluster, *per_second),
            }),
        }
    }
}

/// Whether a master runs on this machine, as far as its address tells.
async fn is_any_here(masters: &[String]) -> bool {
    for master in masters {
        let looked_up = timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host(master)).await;
        if let Ok(Ok(mut addresses)) = looked_up
            && addresses.any(|address| address.ip().is_loopback())
        {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_loopback_addresses_are_this_machine() {
        let here = async |masters: &[&str]| {
            is_any_here(&masters.iter().map(|master| (*master).to_owned()).collect::<Vec<_>>()).await
        };
        assert!(here(&["192.0.2.1:9090", "127.0.0.1:9090"]).await);
        assert!(here(&["[::1]:9090"]).await);
        assert!(!here(&["192.0.2.1:9090", "[2001:db8::1]:9090"]).await);
    }

    #[tokio::test]
    async fn a_cluster_elsewhere_is_not_related_to_this_machine() {
        let content = Content { bytes: Default::default(), etag: String::new() };
        let masters = ["192.0.2.1:9090".to_owned()];
        let limits = Limits::measure(Mode::Put, &masters, Path::new("/"), &content, 1).await;
        let put = limits.put.expect("it is said");
        assert!(put.told("PUT", 7.0).contains("left out, as no master of --server has a loopback address"));
        assert_eq!((put.json(7.0).get("share_percent"), limits.get), (None, None));
    }

    #[test]
    fn the_share_is_the_clusters_rate_of_the_machines() {
        let limit = Limit::Measured { per_second: 8000.0, what: "syncs".to_owned() };
        assert_eq!(
            limit.told("PUT", 6000.0),
            "share of this machine's limit for PUTs: 75 % of 8000 a second: syncs"
        );
        assert_eq!(limit.json(16_000.0)["share_percent"], 200.0);
    }
}
