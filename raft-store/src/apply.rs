//! The one place that says what each command does: `apply(state, rows, command) → reply`.
//!
//! Pure and deterministic: no clock, no randomness, no placement is computed here, and nothing is decided that is not in
//! the state or the command. The only failure is that a row cannot be read, and then the node stops.
//!
//! The order of the questions for what a client's request caused: is there a cluster; is the epoch open; is the answer
//! remembered; was the seq resolved; is the window full; then placement and generation; then the precondition. The
//! answer, refusals too, is remembered for a repeated sending.

mod epochs;
mod members;
mod missing;
mod moves;
mod objects;
mod reap;
mod table;

use hayrick_metrics as metrics;
use hayrick_planted::{self as planted, Bug};
use hayrick_protocol::command::{Command, Refusal, Reply, Session as Sending};
use hayrick_protocol::record::{Garbage, ObjectRecord};
use hayrick_protocol::{AppliedVersion, ObjectKey};

use crate::state::{RowKey, State};
use crate::store::StoreError;

/// The rows of objects and garbage, as apply sees them: its own writes included.
pub(crate) trait Rows {
    fn object(&mut self, key: &ObjectKey) -> Result<Option<ObjectRecord>, StoreError>;
    fn put_object(&mut self, key: &ObjectKey, record: &ObjectRecord) -> Result<(), StoreError>;
    fn remove_object(&mut self, key: &ObjectKey) -> Result<(), StoreError>;
    fn garbage(&mut self, version: AppliedVersion) -> Result<Option<Garbage>, StoreError>;
    fn put_garbage(&mut self, version: AppliedVersion, garbage: &Garbage) -> Result<(), StoreError>;
    fn remove_garbage(&mut self, version: AppliedVersion) -> Result<(), StoreError>;
}

/// What a command does where it is not refused.
type Outcome = Result<Reply, Failure>;

/// Why a command has no reply of success.
enum Failure {
    /// An answer like any other.
    Refused(Refusal),
    /// The node stops.
    Store(StoreError),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Applies one command.
pub(crate) fn apply(state: &mut State, rows: &mut dyn Rows, command: Command) -> Result<Reply, StoreError> {
    let outcome = match command {
        Command::FormCluster(config) => members::form_cluster(state, config),
        _ if state.cluster.config.is_none() => Err(Refusal::NotFormed.into()),
        Command::RegisterMaster(master) => members::register_master(state, master),
        Command::OpenEpoch { master, at_start, nonce } => epochs::open(state, master, at_start, nonce),
        Command::FenceEpoch(epoch) => epochs::fence(state, epoch),
        Command::Commit(commit) => {
            let sending = commit.session;
            once(state, sending, |state| objects::commit(state, rows, commit))
        }
        Command::Delete(delete) => {
            let sending = delete.session;
            once(state, sending, |state| objects::delete(state, rows, &delete))
        }
        Command::Undelete(undelete) => {
            let sending = undelete.session;
            once(state, sending, |state| objects::undelete(state, rows, &undelete))
        }
        Command::RegisterVolume(volume) => members::register_volume(state, volume),
        Command::SetVolumeStates(changes) => members::set_volume_states(state, &changes),
        Command::ChangeTable { map_version, table_version, changes } => {
            table::change(state, map_version, table_version, changes)
        }
        Command::Doom(versions) => reap::doom(state, rows, &versions),
        Command::Reaped(versions) => reap::reaped(state, rows, &versions),
        Command::RemoveMaster(master) => members::remove_master(state, master),
        Command::BeginMove { placement, newcomer } => moves::begin(state, placement, newcomer),
        Command::ReplaceMember { placement, out, newcomer } => {
            moves::replace(state, placement, out, newcomer)
        }
        Command::Rebalance(on) => {
            state.set_rebalances(on);
            Ok(Reply::Done)
        }
        Command::SetMoveRate(bytes_per_s) => moves::set_rate(state, bytes_per_s),
        Command::AbandonMove { placement, newcomer } => moves::abandon(state, placement, newcomer),
        Command::Forget(placements) => table::forget(state, &placements),
        Command::Missing(named) => missing::missing(state, rows, named),
        Command::Found { placement, needles } => missing::found(state, rows, placement, needles),
    };
    reply(outcome)
}

fn reply(outcome: Outcome) -> Result<Reply, StoreError> {
    match outcome {
        Ok(reply) => Ok(reply),
        Err(Failure::Refused(refusal)) => Ok(Reply::Refused(refusal)),
        Err(Failure::Store(error)) => Err(error),
    }
}

/// Runs what a client's request caused, unless its answer is known already.
fn once(state: &mut State, sending: Sending, run: impl FnOnce(&mut State) -> Outcome) -> Outcome {
    if planted::is(Bug::EpochFenceIgnored) && state.session(sending.epoch).is_none() {
        return run(state);
    }
    let session = state.session(sending.epoch).ok_or(Refusal::Fenced)?;
    let known = session.answer(&sending);
    state.changed.insert(RowKey::Session(sending.epoch));
    if let Some(known) = known {
        // Told to nobody but people: the state is the same.
        metrics::COMMANDS_REPEATED.increment();
        return Ok(known);
    }
    let reply = reply(run(state))?;
    if let Some(session) = state.session(sending.epoch) {
        session.remember(sending.seq, reply.clone());
    }
    Ok(reply)
}

#[cfg(test)]
pub(crate) mod transcripts;
