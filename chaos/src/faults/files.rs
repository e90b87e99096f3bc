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
use crate::record::Fate;
use crate::scene::{PAUSE, Scene, Server, name};

/// Who was neither let in nor refused after this time is told nothing.
const JUDGED_IN: Duration = Duration::from_secs(4);
/// What a master says last when its cluster knows it by another disk, and when it was set back.
const IS_ANOTHER: &str = "by another data directory";
const WAS_SET_BACK: &str = "was rolled back";
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
    let flipped = flip(scene.process(victim).data_dir(), scene.layout.flips, rng)?;
    Ok(Some((format!("{}, {flipped} bits", name(victim)), Undo::Start(vec![victim]))))
}

/// A master either heals what flipped or refuses to run; then somebody replaces it.
async fn flip_master(scene: &Arc<Scene>, rng: &mut StdRng) -> Result<Option<Begun>> {
    let Some(victim) = rotten(scene, Role::Master, rng) else { return Ok(None) };
    if scene.spare(Role::Master).is_none() {
        return Ok(None);
    }
    scene.kill(victim)?;
    let flipped = flip(scene.process(victim).data_dir(), scene.layout.flips, rng)?;
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
    is_not_taken_for_itself(scene, victim, "an empty disk", IS_ANOTHER).await?;
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
        is_not_taken_for_itself(scene, victim, "an older state of its disk", WAS_SET_BACK).await?;
    }
    put_back(scene, victim, &own)?;
    Ok(Some((name(victim), Undo::Start(vec![victim]))))
}

/// Starts a master on a directory that is not its own any more: it must end by its own word; if it serves, it was let in.
async fn is_not_taken_for_itself(
    scene: &Arc<Scene>,
    victim: Server,
    disk: &str,
    refusal: &str,
) -> Result<()> {
    scene.spawn(victim)?;
    let process = scene.process(victim);
    let client = scene.client(victim.1);
    let until = Instant::now() + JUDGED_IN;
    let mut fate = None;
    while fate.is_none() && process.is_running() && Instant::now() < until {
        if client.ready().await.is_ok() {
            fate = Some(Fate::LetIn);
        }
        sleep(PAUSE).await;
    }
    let fate = fate.unwrap_or_else(|| match process.is_running() {
        true => Fate::Untold(format!("it was still waiting after {} s", JUDGED_IN.as_secs())),
        false => ended(&process.log_tail(), refusal),
    });
    scene.note_stranger(format!("{} with {disk}", name(victim)), fate);
    scene.kill(victim)
}

/// What became of a master that ended: was it by its own word, or for another reason?
fn ended(log: &str, refusal: &str) -> Fate {
    match log.lines().rfind(|line| line.contains(refusal)) {
        Some(words) => Fate::Refused(words.trim().to_owned()),
        None => Fate::Untold(format!("it ended: {}", log.lines().last().unwrap_or("without a word").trim())),
    }
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
fn flip(dir: &Path, bits: (u32, u32), rng: &mut StdRng) -> Result<u32> {
    let mut files = Vec::new();
    files_under(dir, &mut files)?;
    files.sort();
    let total: u64 = files.iter().map(|(_, len)| len).sum();
    if total == 0 {
        return Ok(0);
    }
    let flips = rng.random_range(bits.0..=bits.1);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_is_refused_by_its_own_word_and_by_no_other_end() {
        let log = "listening: master 2\nerror: the data directory x was rolled back: it is an older state\n";
        let words = "error: the data directory x was rolled back: it is an older state".to_owned();
        assert_eq!(ended(log, WAS_SET_BACK), Fate::Refused(words.clone()));
        assert_eq!(ended(log, IS_ANOTHER), Fate::Untold(format!("it ended: {words}")));
        let panicked = "listening: master 2\nthread 'main' panicked at master/src/start.rs:1:1";
        for refusal in [WAS_SET_BACK, IS_ANOTHER] {
            assert!(matches!(ended(panicked, refusal), Fate::Untold(why) if why.contains("panicked")));
            assert!(matches!(ended("", refusal), Fate::Untold(_)));
        }
    }
}
