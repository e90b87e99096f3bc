//! A library, put before a server by `LD_PRELOAD`, whose syncs hang while one file exists, and whose reads fail while another
//! does: a disk that stopped answering, or gives EIO, while the process and its network are well.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
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
ssize_t pread64(int fd, void *buf, size_t count, off64_t offset) {
    static ssize_t (*real)(int, void *, size_t, off64_t);
    const char *path = getenv("HAYRICK_TEST_EIO_FILE");
    if (!real) real = (ssize_t (*)(int, void *, size_t, off64_t)) dlsym(RTLD_NEXT, "pread64");
    if (path && access(path, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    return real(fd, buf, count, offset);
}
"#;

/// The compiled library, the file that makes syncs hang, and the one that makes reads fail.
pub struct DiskShim {
    library: PathBuf,
    hang_file: PathBuf,
    eio_file: PathBuf,
}

impl DiskShim {
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
        Ok(Self { library, hang_file: dir.join("hang"), eio_file: dir.join("eio") })
    }

    /// The environment of the process whose disk it is.
    pub fn env(&self) -> [(&'static str, &Path); 3] {
        [
            ("LD_PRELOAD", &self.library),
            ("HAYRICK_TEST_HANG_FILE", &self.hang_file),
            ("HAYRICK_TEST_EIO_FILE", &self.eio_file),
        ]
    }

    /// From now on reads fail.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn fail_reads(&self) -> Result<()> {
        Ok(std::fs::write(&self.eio_file, "")?)
    }

    /// Lets them succeed.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn let_read(&self) -> Result<()> {
        Ok(std::fs::remove_file(&self.eio_file)?)
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
