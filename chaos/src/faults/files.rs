//! Files that rot, vanish, or turn back to what they were.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hayrick_launcher::Role;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};

use super::membership::replace;
use super::{Begun, Kind, Undo, any};
use crate::clock::seconds;
use crate::scene::{PAUSE, Scene, Server, name};

/// Who was not let in after this time is not let in.
const JUDGED_IN: Duration = Duration::from_secs(4);
/// Bits that flip at a time.
const FLIPS: (u32, u32) = (1, 40);
/// So many bytes are looked at for some that are not zero.
const TRIES: usize = 10_000;
/// How long a master goes on, in seconds, after its state was copied and before it is set back to it.
const GOES_ON_SECONDS: (f64, f64) = (2.0, 5.0);

pub(super) async fn begin(scene: &Arc<Scene>, kind: Kind, rng: &mut StdRng) -> Result<Option<Begun>> {
    match kind {
        Kind::FlipSegment => flip_volume(scene, rng),
        Kind::FlipIndex => flip_master(scene, rng).await,
        Kind::WipeVolume => wipe_volume(scene, rng).await,
        Kind::WipeMaster => wipe_master(scene, rng).await,
        Kind::RollBackMaster => roll_back_master(scene, rng).await,
        other => unreachable!("{other:?} is not of these"),
    }
}

fn flip_volume(scene: &Scene, rng: &mut StdRng) -> Result<Option<Begun>> {
    let Some(victim) = rotten(scene, Role::Volume, rng) else { return Ok(None) };
    scene.kill(victim)?;
    let flipped = flip(scene.process(victim).data_dir(), rng)?;
    Ok(Some((format!("{}, {flipped} bits", name(victim)), Undo::Start(vec![victim]))))
}

/// A master either heals what flipped or refuses to run; then somebody replaces it.
async fn flip_master(scene: &Arc<Scene>, rng: &mut StdRng) -> Result<Option<Begun>> {
    let Some(victim) = rotten(scene, Role::Master, rng) else { return Ok(None) };
    if scene.spare(Role::Master).is_none() {
        return Ok(None);
    }
    scene.kill(victim)?;
    let flipped = flip(scene.process(victim).data_dir(), rng)?;
    scene.spawn(victim)?;
    let process = scene.process(victim);
    let _ = block_in_place(|| process.wait_ended(seconds(2.0)));
    let mut what = format!("{}, {flipped} bits", name(victim));
    if !process.is_running() {
        if scene.spare(Role::Master).is_none() {
            scene
                .leave_out("a damaged master stayed away: one more replacement was needed than was laid out");
            scene.left(victim);
            return Ok(Some((what, Undo::Nothing)));
        }
        let newcomer = replace(scene, victim).await?;
        what = format!("{what}: it refused, {} came for it", name(newcomer));
    }
    Ok(Some((what, Undo::Nothing)))
}

/// Whose disk rots: the same one all the time, as what flips on two at once may be all copies of something. A master that was
/// replaced leaves the place to another.
fn rotten(scene: &Scene, role: Role, rng: &mut StdRng) -> Option<Server> {
    let known = scene.rotten(role).filter(|server| scene.members(role).contains(&server.1));
    let victim = known.or_else(|| any(scene, role, rng))?;
    scene.rots(victim);
    Some(victim)
}

/// Only while every object has all its copies: what is wiped sooner may be the last one, and nobody promised to keep that.
async fn wipe_volume(scene: &Scene, rng: &mut StdRng) -> Result<Option<Begun>> {
    if scene.is_whole().await.is_err() {
        return Ok(None);
    }
    let Some(victim) = any(scene, Role::Volume, rng) else { return Ok(None) };
    scene.kill(victim)?;
    fs::remove_dir_all(scene.process(victim).data_dir())?;
    Ok(Some((name(victim), Undo::Start(vec![victim]))))
}

async fn wipe_master(scene: &Arc<Scene>, rng: &mut StdRng) -> Result<Option<Begun>> {
    let Some(victim) = any(scene, Role::Master, rng) else { return Ok(None) };
    scene.kill(victim)?;
    let own = set_aside(scene, victim)?;
    is_not_taken_for_itself(scene, victim, "an empty disk").await?;
    put_back(scene, victim, &own)?;
    Ok(Some((name(victim), Undo::Start(vec![victim]))))
}

async fn roll_back_master(scene: &Arc<Scene>, rng: &mut StdRng) -> Result<Option<Begun>> {
    let Some(victim) = any(scene, Role::Master, rng) else { return Ok(None) };
    let dir = scene.process(victim).data_dir().to_owned();
    let Some(before) = scene.status(victim.1).await else { return Ok(None) };
    scene.kill(victim)?;
    let old = dir.with_extension("old");
    copy(&dir, &old)?;
    scene.spawn(victim)?;
    let patience = seconds(rng.random_range(GOES_ON_SECONDS.0..=GOES_ON_SECONDS.1));
    sleep(patience).await;
    let after = scene.status(victim.1).await;
    scene.kill(victim)?;
    let own = set_aside(scene, victim)?;
    fs::rename(&old, &dir)?;
    // Nobody can tell it from itself if nothing happened meanwhile.
    if after.is_some_and(|after| after.applied > before.applied) {
        is_not_taken_for_itself(scene, victim, "an older state of its disk").await?;
    }
    put_back(scene, victim, &own)?;
    Ok(Some((name(victim), Undo::Start(vec![victim]))))
}

/// Starts a master on a directory that is not its own any more: it must end by itself, or wait; if it serves, it was let in.
async fn is_not_taken_for_itself(scene: &Arc<Scene>, victim: Server, what: &str) -> Result<()> {
    scene.spawn(victim)?;
    let process = scene.process(victim);
    let client = scene.client(victim.1);
    let until = Instant::now() + JUDGED_IN;
    while process.is_running() && Instant::now() < until {
        if client.ready().await.is_ok() {
            scene.let_in(format!("{} was let in with {what}", name(victim)));
            break;
        }
        sleep(PAUSE).await;
    }
    scene.kill(victim)
}

fn set_aside(scene: &Scene, victim: Server) -> Result<PathBuf> {
    let dir = scene.process(victim).data_dir();
    let own = dir.with_extension("own");
    fs::rename(dir, &own).with_context(|| dir.display().to_string())?;
    Ok(own)
}

fn put_back(scene: &Scene, victim: Server, own: &Path) -> Result<()> {
    let dir = scene.process(victim).data_dir();
    fs::remove_dir_all(dir).with_context(|| dir.display().to_string())?;
    fs::rename(own, dir).with_context(|| dir.display().to_string())
}

/// Flips bits in files under a directory, by lot over all their bytes; how many.
fn flip(dir: &Path, rng: &mut StdRng) -> Result<u32> {
    let mut files = Vec::new();
    files_under(dir, &mut files)?;
    files.sort();
    let total: u64 = files.iter().map(|(_, len)| len).sum();
    if total == 0 {
        return Ok(0);
    }
    let flips = rng.random_range(FLIPS.0..=FLIPS.1);
    let mut flipped = 0;
    // Most of what is set aside for later is zeros that nobody reads.
    for _ in 0..TRIES {
        let at = rng.random_range(0..total);
        if flip_bit_of(&files, at, rng.random_range(0..8))? {
            flipped += 1;
        }
        if flipped == flips {
            break;
        }
    }
    Ok(flipped)
}

/// Flips a bit of a byte of all files in a row, if that byte is not zero.
fn flip_bit_of(files: &[(PathBuf, u64)], mut at: u64, bit: u32) -> Result<bool> {
    for (path, len) in files {
        if at >= *len {
            at -= len;
            continue;
        }
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)?;
        if byte[0] != 0 {
            byte[0] ^= 1 << bit;
            file.write_all_at(&byte, at).with_context(|| path.display().to_string())?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// All files under a directory, and their lengths.
fn files_under(dir: &Path, files: &mut Vec<(PathBuf, u64)>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_dir() {
            files_under(&entry.path(), files)?;
        } else {
            files.push((entry.path(), meta.len()));
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
