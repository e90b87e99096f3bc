//! Taking in the body of a PUT, whole, under the memory budget; a list of keys; and the few words that an operator sends.
//!
//! Owns the length rules (411, 413, 400) and the pace that a body must keep (408); leaves digests to `digests`. The bytes
//! land once, behind the key, where the needle is made of them. Invariants: a body that is shorter than announced, or
//! does not match its digests, becomes no object; memory is taken once bytes arrive, not for such as are only announced.

use axum::body::Body;
use bytes::Bytes;
use hayrick_protocol::ObjectKey;
use hayrick_protocol::limits::BLOCK_BYTES;
use hayrick_protocol::needle;
use hayrick_web::{BodyError, BodyIdle, Problem};
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use tokio::time::{Duration, Instant, timeout, timeout_at};

use super::digests::Digests;
use super::problem::{bad_request, exhausted};
use crate::gateway::bodies::{Bodies, Holding, SMALL_BYTES};

/// A body has this much time, and more for its bytes. Who sends slower than that only holds memory.
const PACE_GRACE: Duration = Duration::from_secs(30);
/// What a body of words has at most: far more than an id, an address or a rate take.
const WORDS_BYTES_MAX: usize = 4096;
/// The slowest pace, behind the grace: 64 KB a second.
const PACE_BYTES_PER_MS: usize = 64;

/// A body, taken in.
pub(super) struct Taken {
    /// Key, data and checksums: the needle but for its header.
    pub(super) needle: needle::Body,
    /// MD5 of the data.
    pub(super) md5: [u8; 16],
    /// Its share of the memory budget, given back when the request is done.
    pub(super) share: Holding,
}

/// Reads the whole of `body`.
pub(super) async fn take_in(
    bodies: &Bodies,
    max_bytes: usize,
    key: &ObjectKey,
    fields: &HeaderMap,
    body: Body,
) -> Result<Taken, Problem> {
    let announced = announced_bytes(fields)?;
    let mut digests = Digests::announced(fields)?;
    if announced.is_some_and(|bytes| bytes > max_bytes as u64) {
        return Err(too_large(max_bytes));
    }
    let most = announced.map_or(Ok(max_bytes), usize::try_from).unwrap_or(max_bytes);
    let mut share = bodies.open(most);
    let key_bytes = key.as_str().as_bytes();
    let mut bytes = Vec::with_capacity(key_bytes.len() + most.min(SMALL_BYTES) + 64);
    bytes.extend_from_slice(key_bytes);
    let mut body = BodyIdle::new(body);
    let mut pace = Pace::new();
    let mut total = 0;
    while let Some(frame) = timeout_at(pace.due(total), body.frame()).await.map_err(|_| too_slow())? {
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        total += data.len();
        if total > max_bytes {
            return Err(too_large(max_bytes));
        }
        if total > share.bytes() {
            let waits = Instant::now();
            share.grow(step(total, most)).await.map_err(exhausted)?;
            pace.pause(waits.elapsed());
            if total > SMALL_BYTES && bytes.capacity() < share.bytes() {
                // Where there is room for all, with its checksums, so that it is never copied again.
                let room = if share.all_fit() { most } else { share.bytes() };
                bytes.reserve_exact(key_bytes.len() + room - bytes.len() + room / (BLOCK_BYTES / 4) + 64);
            }
        }
        digests.update(&data);
        bytes.extend_from_slice(&data);
    }
    share.settle(total);
    let md5 = digests.verify()?;
    Ok(Taken { needle: needle::Body::new(bytes, key_bytes.len()), md5, share })
}

/// What a body takes that has so many bytes: a little ahead, so that it does not ask for every packet, and half as much again of
/// a large one, so that it is not copied for every step.
fn step(bytes: usize, most: usize) -> usize {
    let step = if bytes <= SMALL_BYTES { bytes.next_multiple_of(4096) } else { bytes + bytes / 2 };
    step.min(most)
}

/// Reads a body of text, whole, and the share of the memory that it takes.
pub(super) async fn text(
    bodies: &Bodies,
    max_bytes: usize,
    fields: &HeaderMap,
    body: Body,
) -> Result<(Bytes, Holding), Problem> {
    let announced = announced_bytes(fields)?;
    let too_long = || {
        let text = format!("the body has at most {} here; send it in parts", for_people(max_bytes));
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    };
    let most = announced.map_or(Ok(max_bytes), usize::try_from).ok().filter(|bytes| *bytes <= max_bytes);
    let most = most.ok_or_else(too_long)?;
    let mut share = bodies.open(most);
    let (mut body, mut pace, mut bytes) = (BodyIdle::new(body), Pace::new(), Vec::new());
    while let Some(frame) = timeout_at(pace.due(bytes.len()), body.frame()).await.map_err(|_| too_slow())? {
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if bytes.len() + data.len() > most {
            return Err(too_long());
        }
        if bytes.len() + data.len() > share.bytes() {
            let waits = Instant::now();
            share.grow(step(bytes.len() + data.len(), most)).await.map_err(exhausted)?;
            pace.pause(waits.elapsed());
        }
        bytes.extend_from_slice(&data);
    }
    share.settle(bytes.len());
    Ok((bytes.into(), share))
}

/// Reads a body of a few words, whole; what was `wanted` is told where there is none.
pub(super) async fn words(body: Body, wanted: &str) -> Result<Bytes, Problem> {
    let words = Limited::new(BodyIdle::new(body), WORDS_BYTES_MAX).collect();
    match timeout(PACE_GRACE, words).await.map_err(|_| too_slow())? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => match error.downcast::<BodyError>() {
            Ok(error) => Err(broken(*error)),
            Err(_) => Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body has more than {WORDS_BYTES_MAX} bytes; {wanted}"),
            )),
        },
    }
}

/// How fast a body must come.
struct Pace {
    begun: Instant,
}

impl Pace {
    fn new() -> Self {
        Self { begun: Instant::now() }
    }

    /// Its sender is not to blame for a wait of ours.
    fn pause(&mut self, waited: Duration) {
        self.begun += waited;
    }

    /// By when more must come, after `bytes` that have.
    fn due(&self, bytes: usize) -> Instant {
        self.begun + PACE_GRACE + Duration::from_millis((bytes / PACE_BYTES_PER_MS) as u64)
    }
}

/// `Content-Length`, or nothing for a chunked body.
fn announced_bytes(fields: &HeaderMap) -> Result<Option<u64>, Problem> {
    if let Some(length) = fields.get(header::CONTENT_LENGTH) {
        let length = length.to_str().ok().and_then(|text| text.trim().parse().ok());
        return length.map(Some).ok_or_else(|| bad_request("Content-Length is no number"));
    }
    if fields.contains_key(header::TRANSFER_ENCODING) {
        return Ok(None);
    }
    Err(Problem::new(StatusCode::LENGTH_REQUIRED, "say how long the body is: Content-Length, or chunked"))
}

fn too_large(max_bytes: usize) -> Problem {
    let text = format!(
        "an object has at most {} here; store it in parts, or raise --max-object-size of the masters",
        for_people(max_bytes)
    );
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text)
}

/// `64 MiB (67108864 bytes)`.
fn for_people(bytes: usize) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) if bytes.is_multiple_of(unit) => {
            format!("{} {name} ({bytes} bytes)", bytes / unit)
        }
        Some((name, unit)) => format!("{:.1} {name} ({bytes} bytes)", bytes as f64 / unit as f64),
        None => format!("{bytes} bytes"),
    }
}

fn too_slow() -> Problem {
    let text = format!(
        "the body came too slowly: after {} s it must have come at {PACE_BYTES_PER_MS} KB a second; nothing was changed",
        PACE_GRACE.as_secs()
    );
    Problem::new(StatusCode::REQUEST_TIMEOUT, text)
}

fn broken(error: BodyError) -> Problem {
    match error {
        BodyError::Idle { .. } => {
            Problem::new(StatusCode::REQUEST_TIMEOUT, format!("{error}; nothing was changed"))
        }
        BodyError::Broken(_) => bad_request(format!("{error}; nothing was changed")),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use futures_util::stream;
    use http::HeaderValue;
    use tokio::time::sleep;

    use super::*;
    use crate::gateway::bodies::PATIENCE;

    /// One byte every ten seconds, as many as `length` says.
    fn trickle(length: u64) -> Body {
        Body::from_stream(stream::unfold(0, move |sent| async move {
            sleep(Duration::from_secs(10)).await;
            (sent < length).then(|| (Ok::<_, std::io::Error>(Bytes::from_static(b"x")), sent + 1))
        }))
    }

    fn of_length(bytes: u64) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_LENGTH, HeaderValue::from(bytes))])
    }

    /// A quarter of a MiB every 10 ms.
    fn steady(bytes: usize) -> Body {
        const PIECE: usize = 256 * 1024;
        Body::from_stream(stream::unfold(0, move |sent| async move {
            sleep(Duration::from_millis(10)).await;
            (sent < bytes).then(|| (Ok::<_, std::io::Error>(Bytes::from(vec![7; PIECE])), sent + PIECE))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn many_large_bodies_at_once_are_taken_in_one_after_the_other() {
        const LARGE: usize = 4 << 20;
        let chunked =
            HeaderMap::from_iter([(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))]);
        for (fields, max_bytes) in [(of_length(LARGE as u64), 64 << 20), (chunked, 16 << 20)] {
            let bodies = Bodies::new(32 << 20, PATIENCE);
            let key = ObjectKey::new("a").expect("a key");
            let taken = join_all((0..64).map(|_| async {
                let taken = take_in(&bodies, max_bytes, &key, &fields, steady(LARGE)).await;
                // As long as it takes to store it; its share goes back then.
                sleep(Duration::from_secs(1)).await;
                taken.map(drop)
            }))
            .await;
            let refused = taken.into_iter().filter_map(Result::err).count();
            assert_eq!(refused, 0, "none waits for what another holds and waits with");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn trickling_bodies_hold_up_nobody_and_are_ended() {
        const MAX: usize = 64 << 20;
        let bodies = Bodies::new(4 * MAX, Duration::from_secs(5));
        let key = ObjectKey::new("a").expect("a key");
        let announced = of_length(MAX as u64);
        let slow = join_all((0..4).map(|_| take_in(&bodies, MAX, &key, &announced, trickle(MAX as u64))));
        let honest = async {
            sleep(Duration::from_secs(1)).await;
            let fields = of_length(1 << 20);
            take_in(&bodies, MAX, &key, &fields, Body::from(vec![0; 1 << 20])).await
        };
        let begun = Instant::now();
        let (slow, honest) = tokio::join!(slow, honest);
        assert!(honest.is_ok(), "a few bytes have arrived, and memory is taken for no more");
        assert!(begun.elapsed() < PACE_GRACE + Duration::from_secs(1), "{:?}", begun.elapsed());
        let statuses = slow.into_iter().map(|taken| taken.err().map(|problem| problem.status));
        assert!(statuses.eq([Some(StatusCode::REQUEST_TIMEOUT); 4]));
    }

    #[test]
    fn the_limit_is_told_in_the_unit_that_it_is_set_in() {
        let of = |bytes| too_large(bytes).text;
        assert!(
            of(64 << 20).contains("at most 64 MiB (67108864 bytes)") && of(1).contains("at most 1 bytes")
        );
        assert!(
            of(3 << 29).contains("1.5 GiB (1610612736 bytes)") && of(1025).contains("1.0 KiB (1025 bytes)")
        );
        assert!(of(1 << 10).contains("at most 1 KiB (1024 bytes)") && of(1).contains("--max-object-size"));
    }

    #[test]
    fn a_body_says_how_long_it_is_or_is_chunked() {
        let of = |name, value| HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
        assert_eq!(announced_bytes(&of(header::CONTENT_LENGTH, "12")).ok(), Some(Some(12)));
        assert_eq!(announced_bytes(&of(header::TRANSFER_ENCODING, "chunked")).ok(), Some(None));
        let missing = announced_bytes(&HeaderMap::new()).expect_err("neither");
        assert_eq!(missing.status, StatusCode::LENGTH_REQUIRED);
        assert!(announced_bytes(&of(header::CONTENT_LENGTH, "twelve")).is_err());
    }
}
