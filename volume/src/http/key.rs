//! `/{key}`: an object by its key, as a master would answer.
//!
//! A master says what a read of the key comes to, and this volume sends its own copy; where it has none that is good, it
//! sends the client to that master. Owns whom to ask, and which fields of a request bear on the answer. Leaves their
//! meaning to the master. Invariant: what is sent is the copy that the index names at that moment, verified.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hayrick_protocol::messages::master::{NotResolved, Resolve, Resolved};
use hayrick_protocol::{ObjectKey, digest};
use hayrick_rpc::{Client, Local};
use hayrick_web::{Consistency, Parameters, Problem};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::Head;
use super::needle::{Needles, NotSent};
use crate::read::Opened;

/// What one master may take.
const ATTEMPT: Duration = Duration::from_secs(2);
/// What it may take before the next is asked as well.
const HEDGE_AFTER: Duration = Duration::from_millis(100);
/// Fields that bear on what is sent.
const CONDITIONS: [HeaderName; 5] = [
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
];
const PARAMETERS: Parameters =
    Parameters { takes: &["consistency"], hint: "a ? in the key is written as %3F; lists are for a master" };
/// For a master's own `Served-By`.
const SERVED_BY: HeaderName = HeaderName::from_static("hayrick-served-by");

/// The masters, as this volume knows them.
pub(crate) struct Masters {
    local: Local,
    known: watch::Receiver<Vec<String>>,
    /// Connections, the one first that answered last.
    clients: Mutex<Vec<Arc<Client>>>,
}

impl Masters {
    pub(crate) fn new(local: Local, known: watch::Receiver<Vec<String>>) -> Self {
        Self { local, known, clients: Mutex::default() }
    }

    /// Asks one after the other until one answers for sure, and does not wait for one that is slow before it asks the next.
    async fn resolve(&self, message: &Resolve) -> Result<Resolved, NotResolved> {
        let mut others = self.clients().into_iter();
        let (mut asked, mut refused) = (FuturesUnordered::new(), None);
        loop {
            let next = others.next();
            let patience = if next.is_some() { HEDGE_AFTER } else { ATTEMPT };
            match next {
                Some(client) => asked.push(ask(client, message)),
                None if asked.is_empty() => break,
                None => {}
            }
            match timeout(patience, asked.next()).await {
                Ok(Some((client, Ok(answer)))) => {
                    self.prefer(&client);
                    return answer;
                }
                Ok(Some((_, Err(why)))) => refused = why.or(refused),
                Ok(None) | Err(_) => {}
            }
        }
        Err(refused.unwrap_or_else(|| NotResolved {
            status: StatusCode::SERVICE_UNAVAILABLE.as_u16(),
            text: format!("no master answers this volume ({}); start one", self.known.borrow().join(", ")),
        }))
    }

    fn clients(&self) -> Vec<Arc<Client>> {
        let mut clients = self.clients.lock();
        let known = self.known.borrow();
        clients.retain(|client| known.iter().any(|address| client.address() == address));
        for address in known.iter() {
            if !clients.iter().any(|client| client.address() == address) {
                clients.push(Arc::new(Client::new(self.local.clone(), address.clone(), None)));
            }
        }
        clients.clone()
    }

    fn prefer(&self, client: &Arc<Client>) {
        let mut clients = self.clients.lock();
        if let Some(at) = clients.iter().position(|other| Arc::ptr_eq(client, other)) {
            clients[..=at].rotate_right(1);
        }
    }
}

/// What one master says for sure; else what it says of that, if it answers.
async fn ask(
    client: Arc<Client>,
    message: &Resolve,
) -> (Arc<Client>, Result<Result<Resolved, NotResolved>, Option<NotResolved>>) {
    let answer = match client.call(message, Vec::new(), Instant::now() + ATTEMPT).await {
        Ok((Err(why), _)) if why.status == StatusCode::SERVICE_UNAVAILABLE.as_u16() => Err(Some(why)),
        Ok((answer, _)) => Ok(answer),
        Err(_) => Err(None),
    };
    (client, answer)
}

/// The answer; `asking` becomes the time in which a master was asked.
pub(crate) async fn get(
    needles: &Needles,
    masters: &Masters,
    volume: u32,
    request: &Head,
    asking: &mut Duration,
) -> Result<Response<Body>, Problem> {
    PARAMETERS.check(request.uri())?;
    let (message, asked) = (message(request)?, Instant::now());
    let resolved = masters.resolve(&message).await;
    *asking = asked.elapsed();
    let resolved = resolved.map_err(|NotResolved { status, text }| {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let problem = Problem::new(status, text);
        // What is said of an absent key is compared to the letter.
        if status == StatusCode::NOT_FOUND { problem.verbatim() } else { problem }
    })?;
    let described = described(&resolved.fields);
    let Some(id) = resolved.needle else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.headers_mut() = described;
        return Ok(response);
    };
    let held = match needles.open(id).await {
        Err(NotSent::NoMemory(error)) => {
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("{error}; ask a master")));
        }
        held => held.ok().filter(|held| is_named(&held.opened, &resolved)),
    };
    let sent = held.and_then(|held| needles.send(held, request, resolved.range_counts).ok());
    let Some(mut response) = sent else { return redirect(&resolved.master, request) };
    if response.status().is_success() {
        let mut fields = described;
        fields.extend(response.headers_mut().drain());
        if request.method() == Method::GET {
            fields.insert(SERVED_BY, HeaderValue::from(volume));
        }
        *response.headers_mut() = fields;
    }
    Ok(response)
}

/// Whether the copy here is the one that the index names.
fn is_named(opened: &Opened, resolved: &Resolved) -> bool {
    digest::table_crc(opened.table()) == resolved.crc
}

fn message(request: &Head) -> Result<Resolve, Problem> {
    let path = request.uri().path();
    let key = ObjectKey::from_path(path.strip_prefix('/').unwrap_or(path));
    let key = key.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    let stale = Consistency::of(request.uri())? == Consistency::Stale;
    let mut fields = Vec::new();
    for name in &CONDITIONS {
        for value in request.headers().get_all(name) {
            // One that was left out would be a condition that holds.
            let text = value.to_str().map_err(|_| {
                Problem::new(
                    StatusCode::BAD_REQUEST,
                    format!("{name} is not readable text; a master may take it"),
                )
            })?;
            fields.push((name.as_str().to_owned(), text.to_owned()));
        }
    }
    Ok(Resolve { key, fields, stale })
}

fn described(fields: &[(String, String)]) -> HeaderMap {
    let mut described = HeaderMap::new();
    for (name, value) in fields {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            described.append(name, value);
        }
    }
    described
}

/// To a master, which reads whatever copy is good, and redirects nobody who does not ask for it.
fn redirect(master: &str, request: &Head) -> Result<Response<Body>, Problem> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let to = format!("http://{master}{target}");
    let text = format!("no good copy is on this volume; ask the master: {to}");
    let problem = Problem::new(StatusCode::TEMPORARY_REDIRECT, text);
    let mut response = problem.response(request);
    let location = HeaderValue::try_from(to).map_err(|_| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the master has no address for clients")
    })?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}
