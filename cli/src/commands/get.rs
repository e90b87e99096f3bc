//! `hayrick get`: an object's bytes, to standard output or into a file.
//!
//! Invariant: a file that was named with `-o` holds all of the object or what it held before.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use hayrick_client::Object;
use tempfile::NamedTempFile;

use crate::commands::connect::Connect;
use crate::exit::Exit;

/// What a new file may be used for, before the umask.
const FILE_MODE: u32 = 0o666;

/// Read an object
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hayrick get photos/cat.jpg -o cat.jpg       written beside it and renamed: never half a file
  hayrick get logs/now | wc -c
  hayrick get no/such/key || echo $?          3: there is no such key")]
pub(crate) struct Args {
    /// The object's key
    key: String,
    /// Where to; `-` or nothing is standard output
    #[arg(short, long, env = "HAYRICK_OUTPUT", value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: Args) -> Result<Exit> {
    let target = args.output.filter(|path| path != Path::new("-"));
    args.connect.run(|client| async move {
        let object = client.get(&args.key).await?;
        match target {
            None => {
                let mut out = io::stdout().lock();
                copy(object, &mut out).await?;
                out.flush()?;
            }
            Some(path) => save(object, &path).await?,
        }
        Ok(Exit::Done)
    })
}

async fn save(object: Object, path: &Path) -> Result<()> {
    let shown = path.display();
    // A link keeps pointing where it does; a device or pipe is written into, not replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut permissions = Permissions::from_mode(FILE_MODE);
    match fs::metadata(&path) {
        Ok(there) if there.is_dir() => bail!("{shown} is a directory; name a file in it"),
        Ok(there) if !there.is_file() => {
            let mut file =
                OpenOptions::new().write(true).open(&path).with_context(|| format!("cannot open {shown}"))?;
            return copy(object, &mut file).await;
        }
        Ok(there) => permissions = there.permissions(),
        Err(_) => {}
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file =
        temporary_in(dir, permissions).with_context(|| format!("cannot write to {}", dir.display()))?;
    copy(object, file.as_file_mut()).await?;
    file.as_file().sync_all().with_context(|| format!("cannot write {shown}"))?;
    file.persist(&path).with_context(|| format!("cannot write {shown}"))?;
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .with_context(|| format!("cannot write to {}", dir.display()))
}

fn temporary_in(dir: &Path, permissions: Permissions) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".hayrick-").permissions(permissions).tempfile_in(dir)
}

async fn copy(object: Object, out: &mut impl Write) -> Result<()> {
    let mut chunks = object.stream();
    while let Some(chunk) = chunks.next().await {
        out.write_all(&chunk?)?;
    }
    Ok(())
}
