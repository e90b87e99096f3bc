//! Appending needles: verify, admit each id once, hand the bytes to the stream, answer after the shared sync.
//!
//! Owns what makes an append idempotent. How a group is written and synced is `disk::Stream`'s. Invariants: a needle is
//! acknowledged only when it is durable; of the appends of one id, whenever they come, one is written and the others get
//! its outcome, if they bring the same bytes; nothing is written that was not verified whole.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use hayrick_disk::{Location, Record, SubmitError};
use hayrick_metrics as metrics;
use hayrick_protocol::digest;
use hayrick_protocol::ids::NeedleId;
use hayrick_protocol::messages::volume::{AppendError, Appended};
use hayrick_protocol::needle::{self, Header, Kind, WIRE_SALT};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use crate::index::Known;
use crate::read;
use crate::store::Store;

/// What an append of one needle comes to.
pub type Outcome = Result<Appended, AppendError>;

/// Where the fields begin that say what a needle is: before them are magic, flags and checksum, which each volume makes
/// anew.
const CONTENT_AT: usize = 7;

/// What is on its way to the disk.
#[derive(Default)]
pub(crate) struct InFlight(Mutex<Flights>);

/// Needles, and drops of needles, on their way.
#[derive(Default)]
pub(crate) struct Flights {
    needles: HashMap<NeedleId, Flight>,
    /// How many tombstones of a needle are on their way. Until one arrives the index says that the needle lives, and an
    /// append of it, submitted now, would come behind the tombstone and undo the drop. One of which nobody knows whether it
    /// reached the disk stays.
    drops: HashMap<NeedleId, u32>,
}

impl Flights {
    pub(crate) fn holds(&self, id: NeedleId) -> bool {
        self.needles.contains_key(&id)
    }

    /// Whether a tombstone of this needle is on its way.
    pub(crate) fn is_dropping(&self, id: NeedleId) -> bool {
        self.drops.contains_key(&id)
    }

    /// Whether nothing of this needle is on its way.
    pub(crate) fn is_free(&self, id: NeedleId) -> bool {
        !self.holds(id) && !self.is_dropping(id)
    }

    /// A needle is on its way; who waits is told what came of it.
    pub(crate) fn begin(&mut self, id: NeedleId, bytes: Bytes, waiting: Vec<oneshot::Sender<Outcome>>) {
        self.needles.insert(id, Flight { bytes, waiting });
    }

    pub(crate) fn drop_begins(&mut self, id: NeedleId) {
        *self.drops.entry(id).or_default() += 1;
    }

    /// The drop arrived, so that the index knows, or failed.
    pub(crate) fn drop_ends(&mut self, id: NeedleId) {
        if let Some(drops) = self.drops.get_mut(&id) {
            *drops -= 1;
            if *drops == 0 {
                self.drops.remove(&id);
            }
        }
    }
}

/// A needle on its way.
struct Flight {
    bytes: Bytes,
    waiting: Vec<oneshot::Sender<Outcome>>,
}

impl InFlight {
    /// While this is held no append is admitted, and what is submitted keeps the order in which it was decided.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Flights> {
        self.0.lock()
    }

    /// These needles arrived, or failed.
    pub(crate) fn settle(&self, needles: &[Appended], result: &Result<(), AppendError>) {
        // Answered outside the lock: whoever wakes up may append again at once.
        let answers = land(&mut self.lock(), needles);
        answer(answers, result);
    }
}

type Answers = Vec<(oneshot::Sender<Outcome>, Appended)>;

fn land(flights: &mut Flights, needles: &[Appended]) -> Answers {
    let mut answers = Vec::with_capacity(needles.len());
    for appended in needles {
        let waiting =
            flights.needles.remove(&appended.needle).map(|flight| flight.waiting).unwrap_or_default();
        answers.extend(waiting.into_iter().map(|sender| (sender, *appended)));
    }
    answers
}

fn answer(answers: Answers, result: &Result<(), AppendError>) {
    for (sender, appended) in answers {
        // Who asked may have gone.
        let _ = sender.send(result.clone().map(|()| appended));
    }
}

/// One needle of a request, on its way through `append`.
enum Step {
    Done(Outcome),
    Waiting(oneshot::Receiver<Outcome>),
    /// A needle of this id lies there: its bytes decide.
    Compare(Checked, Location),
    /// The copy that lies there is damaged: this one takes its place, if by then no other did.
    Replace(Checked, Location),
    New(Checked),
}

/// A needle that was verified.
struct Checked {
    appended: Appended,
    bytes: Bytes,
    /// Whether it is written also if one of that id was dropped: it was pulled, as it must be here, whatever was dropped
    /// before. A gateway's append that comes behind the drop of its needle was given up long ago.
    revives: bool,
}

impl Store {
    /// Appends needles, each given as its bytes on the wire, and says for each in order what came of it, once that is
    /// durable. It is submitted before this returns; dropping the future does not take it back.
    pub fn append(&self, needles: Vec<Bytes>) -> impl Future<Output = Vec<Outcome>> + Send + use<> {
        self.append_each(needles.into_iter().map(|bytes| (bytes, false)))
    }

    /// The same of needles that were pulled, each with whether it comes back if it was dropped.
    pub fn append_pulled(
        &self,
        needles: Vec<(Bytes, bool)>,
    ) -> impl Future<Output = Vec<Outcome>> + Send + use<> {
        self.append_each(needles.into_iter())
    }

    fn append_each<I: Iterator<Item = (Bytes, bool)>>(
        &self,
        needles: I,
    ) -> impl Future<Output = Vec<Outcome>> + Send + use<I> {
        let step = |(bytes, revives)| match check(bytes) {
            Ok(checked) => Step::New(Checked { revives, ..checked }),
            Err(error) => Step::Done(Err(error)),
        };
        let mut steps: Vec<Step> = needles.map(step).collect();
        self.admit(&mut steps);
        // Comparing reads the disk, so it is done without the lock; what turns out damaged is admitted afresh, and compared
        // again with what another append may have put there meanwhile.
        while self.compare_all(&mut steps) {
            self.admit(&mut steps);
        }
        async move {
            let mut outcomes = Vec::with_capacity(steps.len());
            for step in steps {
                outcomes.push(match step {
                    Step::Done(outcome) => outcome,
                    Step::Waiting(outcome) => outcome.await.unwrap_or_else(|_| Err(closed())),
                    Step::Compare(..) | Step::Replace(..) | Step::New(_) => {
                        unreachable!("every needle was admitted, compared or refused")
                    }
                });
            }
            outcomes
        }
    }

    /// Compares what is to be compared. Whether something is to be admitted afresh.
    fn compare_all(&self, steps: &mut [Step]) -> bool {
        let mut replaces = false;
        for step in steps {
            *step = match std::mem::replace(step, Step::Done(Err(AppendError::Busy))) {
                Step::Compare(checked, at) => self.compare(checked, at),
                step => step,
            };
            replaces |= matches!(step, Step::Replace(..));
        }
        replaces
    }

    /// Decides about each new needle and submits those that are to be written, in one go.
    fn admit(&self, steps: &mut [Step]) {
        let mut records = Vec::new();
        let mut flights = self.shared.in_flight.lock();
        for step in steps {
            *step = match std::mem::replace(step, Step::Done(Err(AppendError::Busy))) {
                Step::New(checked) => self.begin(&mut flights, &mut records, checked, None),
                Step::Replace(checked, at) => self.begin(&mut flights, &mut records, checked, Some(at)),
                step => step,
            };
        }
        self.submit(&mut flights, records);
    }

    fn begin(
        &self,
        flights: &mut Flights,
        records: &mut Vec<(Record, Appended)>,
        checked: Checked,
        replaces: Option<Location>,
    ) -> Step {
        let id = checked.appended.needle;
        if let Some(cause) = self.stream.poisoned() {
            return Step::Done(Err(AppendError::ReadOnly(cause.to_string())));
        }
        let (sender, receiver) = oneshot::channel();
        if flights.is_dropping(id) {
            return Step::Done(Err(AppendError::Conflict(id)));
        }
        if let Some(flight) = flights.needles.get_mut(&id) {
            if !same_content(&flight.bytes, &checked.bytes) {
                return Step::Done(Err(AppendError::Conflict(id)));
            }
            flight.waiting.push(sender);
            return Step::Waiting(receiver);
        }
        // A needle leaves `flights` only after the index knows of it, so one that is in neither was never here.
        match self.shared.index.read().get(id) {
            Some(Known::Live(at)) if replaces != Some(at) => return Step::Compare(checked, at),
            Some(Known::Dropped) if !checked.revives => return Step::Done(Err(AppendError::Conflict(id))),
            Some(_) | None => {}
        }
        flights.begin(id, checked.bytes.clone(), vec![sender]);
        records.push((checked.bytes.into(), checked.appended));
        Step::Waiting(receiver)
    }

    /// Submits the needles of one request: as one submission, unless they are too much for that.
    fn submit(&self, flights: &mut Flights, needles: Vec<(Record, Appended)>) {
        for part in self.parts(needles, |(record, _)| record.padded_len()) {
            let (records, appended): (Vec<_>, Vec<_>) = part.into_iter().unzip();
            let shared = Arc::clone(&self.shared);
            let of_part = appended.clone();
            let submitted = self.stream.submit(records, move |result| {
                let result = shared.in_reach(result);
                match result {
                    Ok(()) => metrics::NEEDLES_APPENDED.add(of_part.len() as u64),
                    Err(AppendError::Full { .. }) => metrics::APPENDS_REFUSED_FULL.add(of_part.len() as u64),
                    Err(_) => {}
                }
                for appended in of_part.iter().filter(|_| result.is_ok()) {
                    shared.damage.forget(appended.needle);
                }
                shared.in_flight.settle(&of_part, &result);
            });
            if let Err(error) = submitted {
                answer(land(flights, &appended), &Err(submit_error(&error)));
            }
        }
    }

    fn compare(&self, checked: Checked, at: Location) -> Step {
        let id = checked.appended.needle;
        // The length in the index is from a header that verified. So a small needle never makes a large one be read here:
        // all that is compared for a request is no more than the request brought.
        if at.len as usize != checked.bytes.len() {
            return Step::Done(Err(AppendError::Conflict(id)));
        }
        let Some(reader) = self.stream.reader(at.file) else { return Step::Replace(checked, at) };
        match read::record(&reader, at, id) {
            Ok(stored) if same_content(&stored, &checked.bytes) => {
                self.well(id, at);
                Step::Done(Ok(checked.appended))
            }
            Ok(_) => Step::Done(Err(AppendError::Conflict(id))),
            // Of a damaged copy, the header may still say which key, placement and length are the needle's.
            Err(_) if read::start(&reader, at, id).is_some_and(|start| !checked.begins_with(&start)) => {
                Step::Done(Err(AppendError::Conflict(id)))
            }
            Err(error) => {
                tracing::warn!(needle = %id, %error, "a stored copy is replaced by one that was appended again");
                Step::Replace(checked, at)
            }
        }
    }
}

impl Checked {
    /// Whether it begins with this header and key.
    fn begins_with(&self, start: &[u8]) -> bool {
        self.bytes.get(CONTENT_AT..start.len()) == start.get(CONTENT_AT..)
    }
}

/// Verifies a whole needle as it came over the wire.
fn check(bytes: Bytes) -> Result<Checked, AppendError> {
    let malformed = |why: &str| Err(AppendError::Malformed(why.to_owned()));
    let needle = match needle::parse(&bytes, WIRE_SALT) {
        Ok(needle) => needle,
        Err(error) => return malformed(&error.to_string()),
    };
    if needle.header.kind != Kind::Needle {
        return malformed("it is a mark or a tombstone, which only the volume itself writes");
    }
    if needle.header.placement.0 == 0 {
        return malformed("it names no placement");
    }
    if bytes.len() != needle.header.total_len() || bytes[needle.header.end()..].iter().any(|byte| *byte != 0)
    {
        return malformed("what follows its checksums is not its padding");
    }
    let appended = Appended { needle: needle.header.id, crc: digest::table_crc(needle.table) };
    Ok(Checked { appended, bytes, revives: false })
}

/// Whether two verified needles are the same. The padding is none of either: nothing vouches for it.
fn same_content(one: &[u8], other: &[u8]) -> bool {
    let content = |bytes| Header::peek(bytes).and_then(|header| bytes.get(CONTENT_AT..header.end()));
    content(one) == content(other)
}

/// Why the stream did not take a submission in.
pub(crate) fn submit_error(error: &SubmitError) -> AppendError {
    match error {
        SubmitError::QueueFull { .. } => AppendError::Busy,
        error => AppendError::Failed(error.to_string()),
    }
}

/// The answer of a store that is closing.
pub(crate) fn closed() -> AppendError {
    AppendError::Failed("the volume is shutting down".to_owned())
}

#[cfg(test)]
mod tests {
    use hayrick_disk::FaultyDisk;
    use hayrick_protocol::ids::PlacementId;
    use hayrick_protocol::needle::Body;

    use super::*;
    use crate::store::StoreOptions;

    fn needle(data: &[u8]) -> Bytes {
        let body = Body::new([b"k", data].concat(), 1);
        body.with_header(NeedleId(1), PlacementId(1), 0).concat().into()
    }

    #[tokio::test]
    async fn a_copy_is_replaced_only_while_it_is_still_the_one_that_was_found_damaged() {
        let options = StoreOptions::new("/needles", 64 << 20);
        let store = Store::open(Arc::new(FaultyDisk::new(1)), options).expect("the store opens");
        store.append(vec![needle(b"one")]).await.remove(0).expect("a good needle");
        let Some(Known::Live(at)) = store.shared.index.read().get(NeedleId(1)) else { panic!("it is there") };
        let begin = |found_damaged: Location| {
            let checked = check(needle(b"two")).expect("a good needle");
            let (mut flights, mut records) = (Flights::default(), Vec::new());
            let step = store.begin(&mut flights, &mut records, checked, Some(found_damaged));
            (step, records.len())
        };
        let (step, written) = begin(Location { offset: at.offset - 8, ..at });
        assert!(matches!(step, Step::Compare(_, there) if there == at), "another append came first");
        assert_eq!(written, 0);
        let (step, written) = begin(at);
        assert!(matches!(step, Step::Waiting(_)));
        assert_eq!(written, 1);
    }
}
