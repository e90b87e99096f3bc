//! What a user is shown for the likeliest mistakes: each with the command, its exit code and every word, in `transcript.txt`.
//!
//! `UPDATE_TRANSCRIPTS=1` writes it anew. To be read then with a user's eyes: does each say what to do?

mod cases;
mod full_and_removed;
mod shown;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_integration_tests::program::Program;
use hayrick_integration_tests::{cluster, wait};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::block_in_place;

use crate::cases::{CAT, Case, HAYRICK, Place};
use crate::shown::Shown;

/// What a server that goes on may take to say what is wrong.
const SAYS_TIMEOUT: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_of_the_likeliest_mistakes_is_in_the_transcript() -> Result<()> {
    let mut transcript = String::new();
    let place = Place::new(cluster::start(3).await?, dying().await?)?;
    tell(&mut transcript, &place, &cases::before_any_server_ends(&place)?).await?;
    for volume in place.cluster.volumes() {
        block_in_place(|| volume.kill())?;
    }
    for number in 1..=3 {
        cluster::volume_seen(&place.cluster, number, "down").await?;
    }
    tell(&mut transcript, &place, &cases::without_volumes(&place)).await?;
    cluster::no_panics(&place.cluster)?;
    drop(place);

    let place = Place::new(full_and_removed::cluster().await?, dying().await?)?;
    tell(&mut transcript, &place, &cases::of_full_and_removed(&place)?).await?;
    cluster::no_panics(&place.cluster)?;
    compare(&transcript)
}

fn compare(transcript: &str) -> Result<()> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes/transcript.txt");
    if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
        std::fs::write(&path, transcript)?;
    }
    let wanted = std::fs::read_to_string(&path).context("transcript.txt")?;
    let how = "UPDATE_TRANSCRIPTS=1 cargo test -p hayrick-integration-tests --test mistakes; then read what has changed";
    for (told, wanted) in transcript.split("\n\n").zip(wanted.split("\n\n")) {
        ensure!(told == wanted, "told:\n{told}\n\nin transcript.txt:\n{wanted}\n\n{how}");
    }
    ensure!(transcript == wanted, "there are more or fewer mistakes than in transcript.txt: {how}");
    Ok(())
}

/// A master, as it were, that dies whenever it has taken in a whole PUT of `cat.jpg`.
async fn dying() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut taken = Vec::new();
            while !taken.ends_with(CAT) && stream.read_buf(&mut taken).await.is_ok_and(|bytes| bytes > 0) {}
        }
    });
    Ok(address)
}

async fn tell(transcript: &mut String, place: &Place, cases: &[Case]) -> Result<()> {
    for case in cases {
        transcript.push_str(&told(place, case).await.with_context(|| case.mistake.to_owned())?);
    }
    Ok(())
}

/// The mistake, the command, and all that was said.
async fn told(place: &Place, case: &Case) -> Result<String> {
    let shown = Shown::new(place);
    let program = if case.program == HAYRICK { cluster::binary()? } else { case.program.into() };
    let mut command = std::process::Command::new(program);
    command.args(&case.args).current_dir(place.dir.path());
    let line = shown.words(&format!("{} {}", case.program, case.args.join(" ")));
    let said = match case.says {
        None => {
            let output = block_in_place(|| command.stdin(std::process::Stdio::null()).output());
            let output = output.with_context(|| format!("cannot run {}", case.program))?;
            let text = [output.stdout, output.stderr].concat();
            let code = output.status.code().context("it was killed")?;
            format!("{}(exit code {code})", shown.lines(&String::from_utf8_lossy(&text)))
        }
        Some(words) => {
            let program = Program::start(&mut command)?;
            let mut found = None;
            wait::until(&format!("it says {words:?}"), SAYS_TIMEOUT, async || {
                found = program.lines().into_iter().find(|line| line.contains(words));
                ensure!(found.is_some(), "it said {:#?}", program.lines());
                Ok(())
            })
            .await?;
            format!("{}(goes on)", shown.lines(&found.unwrap_or_default()))
        }
    };
    Ok(format!("# {}\n$ {line}\n{said}\n\n", case.mistake))
}
