//! A library, put before a server by `LD_PRELOAD`, whose syncs hang while a file exists: a disk that stopped
//! answering while the process and its network are well.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void hold(void) {
    const char *path = getenv("HAYRICK_TEST_HANG_FILE");
    struct timespec pause = { 0, 10 * 1000 * 1000 };
    while (path && access(path, F_OK) == 0) nanosleep(&pause, NULL);
}
int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int)) dlsym(RTLD_NEXT, "fsync");
    hold();
    return real(fd);
}
int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int)) dlsym(RTLD_NEXT, "fdatasync");
    hold();
    return real(fd);
}
"#;

/// The compiled library and the file that makes syncs hang.
pub struct SyncShim {
    library: PathBuf,
    hang_file: PathBuf,
}

impl SyncShim {
    /// Compiles it into `dir` with `cc`.
    ///
    /// # Errors
    /// When there is no C compiler.
    pub fn compile(dir: &Path) -> Result<Self> {
        let source = dir.join("hang_syncs.c");
        let library = dir.join("hang_syncs.so");
        std::fs::write(&source, SOURCE)?;
        let output = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(&source)
            .arg("-ldl")
            .output()
            .context("cannot run cc; install a C compiler (Debian: apt-get install gcc libc6-dev)")?;
        ensure!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Self { library, hang_file: dir.join("hang") })
    }

    /// The environment of the process whose syncs shall be held.
    pub fn env(&self) -> [(&'static str, &Path); 2] {
        [("LD_PRELOAD", &self.library), ("HAYRICK_TEST_HANG_FILE", &self.hang_file)]
    }

    /// From now on syncs hang.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn hang(&self) -> Result<()> {
        Ok(std::fs::write(&self.hang_file, "")?)
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn release(&self) -> Result<()> {
        Ok(std::fs::remove_file(&self.hang_file)?)
    }
}
