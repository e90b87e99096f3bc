//! What a volume is told that was asked for a key: the same read as a client's, up to the bytes.
//!
//! Owns the order of its steps, the same as in `get`, and the translation to a message. Leaves the bytes, ranges of them,
//! and what is done where its copy is no good, to the volume. Invariant: what is told of a key is as new as a read of it.

use std::sync::Arc;

use hayrick_protocol::messages::master::{NotResolved, Resolve, Resolved};
use hayrick_web::{Consistency, Problem};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::time::Instant;

use super::conditions::{self, Conditions, Verdict};
use super::fields;
use super::get::consistent;
use super::problem::{bad_request, no_such_key, not_now, not_what_was_meant};
use crate::master::Master;

pub(crate) async fn resolve(
    master: &Arc<Master>,
    message: &Resolve,
    deadline: Instant,
) -> Result<Resolved, NotResolved> {
    let resolved = read(master, message, deadline).await;
    resolved.map_err(|problem| NotResolved { status: problem.status.as_u16(), text: problem.text })
}

async fn read(master: &Arc<Master>, message: &Resolve, deadline: Instant) -> Result<Resolved, Problem> {
    if let Some(reason) = master.admission.failure() {
        return Err(not_now(reason));
    }
    let asked = asked(&message.fields)?;
    let conditions = Conditions::of(&asked)?;
    let consistency = if message.stale { Consistency::Stale } else { Consistency::Linearizable };
    consistent(master, consistency, deadline).await?;
    let record = master.node.get(&message.key);
    let record = record.map_err(|error| not_now(format!("the index could not be read: {error}")))?;
    let Some(record) = record else { return Err(no_such_key()) };
    let described = fields::describe(&record, &master.node.cluster());
    let needle = match conditions.weigh(&record) {
        // Also one that is missing: the volume that asks may be the one that has it, and a master looks on all others.
        Verdict::Send => Some(record.needle),
        Verdict::NotModified => None,
        Verdict::Failed(field) => return Err(not_what_was_meant(&field, &described)),
    };
    Ok(Resolved {
        needle,
        crc: record.crc,
        range_counts: conditions::range_counts(&Method::GET, &asked, &record),
        fields: described.iter().filter_map(text).collect(),
        master: master.client_address.clone(),
    })
}

fn asked(fields: &[(String, String)]) -> Result<HeaderMap, Problem> {
    let mut asked = HeaderMap::new();
    for (name, value) in fields {
        let field = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
        let (name, value) = field.ok_or_else(|| bad_request(format!("{name} is no field of a request")))?;
        asked.append(name, value);
    }
    Ok(asked)
}

/// What is kept of an object is text, and so is what describes it.
fn text((name, value): (&HeaderName, &HeaderValue)) -> Option<(String, String)> {
    Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
}
