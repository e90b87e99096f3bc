//! Other people's clients: each stores and reads back the same awkward keys, byte for byte, and encodes them its own way.
//!
//! A client that is not installed is left out, and that is said; in CI all are installed (`.ci/run`), and none may lack.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use hayrick_integration_tests::{cluster, content, figure};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde::Serialize;

const KEYS: usize = 200;
/// Bytes of a body, at most.
const BODY_BYTES_MAX: usize = 70_000;
/// What keys are made of: everything that some layer may take for something else.
const PIECES: [&str; 36] = [
    " ", "  ", "%", "%25", "%2F", "%zz", "+", "?", "#", "&", "=", ";", ":", "@", "!", "*", "'", "\"", "(",
    ")", "[", "]", "{", "}", "|", "\\", "^", "`", "~", "$", ",", "<", ">", "é", "猫", "🐈",
];
const FIXED: [&str; 14] = [
    "/",
    "a/",
    "//",
    "/a",
    "a//b",
    "...",
    "a..b",
    ".hidden",
    "-",
    "~",
    "a b+c",
    "ends in space ",
    "%",
    "?list",
];

#[derive(Serialize)]
struct Object {
    prefix: String,
    key: String,
    /// In hex.
    body: String,
}

/// Stores and reads the objects; says how many.
type Tool = fn(&Work) -> Result<String>;

/// What the clients are given.
struct Work {
    dir: tempfile::TempDir,
    objects: Vec<Object>,
    base: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybodys_clients_store_and_read_awkward_keys() -> Result<()> {
    let seed = content::seed("tools");
    let cluster = cluster::start(3).await?;
    let base = format!("http://{}", cluster.client_addrs()[0]);
    let tools: [(&str, Tool); 6] = [
        ("curl", curl),
        ("wget", wget),
        ("requests", requests),
        ("fetch", node),
        ("go", go),
        ("hayrick", hayrick),
    ];
    let mut left_out = Vec::new();
    for (name, tool) in tools {
        if !is_there(name) {
            left_out.push(name);
            continue;
        }
        let work = Work { dir: tempfile::tempdir()?, objects: objects(seed, name), base: base.clone() };
        std::fs::write(work.list(), serde_json::to_vec(&work.objects)?)?;
        let told =
            tokio::task::block_in_place(|| tool(&work)).with_context(|| format!("{name}, seed {seed}"))?;
        figure::say(&format!("{name}: {}", told.trim()));
    }
    if !left_out.is_empty() {
        let left_out = left_out.join(", ");
        ensure!(
            std::env::var_os("CI").is_none(),
            "not installed: {left_out}; `.ci/run` does where apt-get is"
        );
        figure::say(&format!("not installed, and left out: {left_out}"));
    }
    cluster::no_panics(&cluster)
}

/// The keys, all below a prefix of their own.
fn objects(seed: u64, tool: &str) -> Vec<Object> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let prefix = format!("tools/{tool}/");
    let mut names: Vec<String> = FIXED.iter().map(|name| (*name).to_owned()).collect();
    names.push("k".repeat(1024 - prefix.len()));
    names.push("é".repeat((1024 - prefix.len()) / 2));
    while names.len() < KEYS {
        let pieces = (0..rng.random_range(1..8)).map(|_| match rng.random_range(0..4) {
            0 => "/",
            1 => "word",
            _ => PIECES.choose(&mut rng).copied().unwrap_or_default(),
        });
        let name: String = pieces.collect();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let object = |name: String| {
        let length = *[0, 1, 17, 4096, rng.random_range(0..BODY_BYTES_MAX)].choose(&mut rng).unwrap_or(&1);
        let body: Vec<u8> = (0..length).map(|_| rng.random()).collect();
        let hex = body.iter().map(|byte| format!("{byte:02x}")).collect();
        Object { prefix: prefix.clone(), key: format!("{prefix}{name}"), body: hex }
    };
    names.into_iter().map(object).collect()
}

impl Work {
    fn list(&self) -> PathBuf {
        self.dir.path().join("objects.json")
    }

    fn script(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools").join(name)
    }

    /// Each object with its body in a file, the place for what is read back, and the URL.
    fn files(&self) -> Result<Vec<(PathBuf, PathBuf, String)>> {
        let each = self.objects.iter().enumerate().map(|(number, object)| {
            let of = |what: &str| self.dir.path().join(format!("{number}.{what}"));
            std::fs::write(of("sent"), bytes(&object.body))?;
            Ok((of("sent"), of("got"), format!("{}/{}", self.base, encoded(&object.key))))
        });
        each.collect()
    }

    fn compare(&self) -> Result<String> {
        for (number, object) in self.objects.iter().enumerate() {
            let got = std::fs::read(self.dir.path().join(format!("{number}.got")));
            let got = got.with_context(|| format!("{:?} was not read back", object.key))?;
            ensure!(
                got == bytes(&object.body),
                "{:?} was read back as {} other bytes",
                object.key,
                got.len()
            );
        }
        Ok(format!("{} objects", self.objects.len()))
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap_or_default();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// Everything but letters, digits and slashes.
fn encoded(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'/';
    let each = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    key.bytes().map(each).collect()
}

fn is_there(tool: &str) -> bool {
    let mut asked = match tool {
        "requests" => command("python3", &["-c", "import requests"]),
        "fetch" => command("node", &["--version"]),
        "go" => command("go", &["version"]),
        "hayrick" => return true,
        other => command(other, &["--version"]),
    };
    asked.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command
}

fn run(mut command: Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{:?}", command.get_program()))?;
    let (told, why) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        bail!("{:?}: {}\n{told}{why}", command.get_program(), output.status);
    }
    Ok(told.into_owned())
}

/// All in one process each way, so that its connection is used again.
fn curl(work: &Work) -> Result<String> {
    let quoted = |path: &Path| format!("\"{}\"", path.display());
    let (mut puts, mut gets) = (String::new(), String::new());
    for (sent, got, url) in work.files()? {
        let common = format!("url = \"{url}\"\nfail\npath-as-is\ngloboff\n");
        puts += &format!(
            "{common}request = \"PUT\"\ndata-binary = {}\noutput = \"/dev/null\"\nnext\n",
            quoted(Path::new(&format!("@{}", sent.display())))
        );
        gets += &format!("{common}output = {}\nnext\n", quoted(&got));
    }
    for (name, config) in [("puts", puts), ("gets", gets)] {
        let path = work.dir.path().join(name);
        std::fs::write(&path, config.trim_end_matches("next\n"))?;
        run(command("curl", &["--silent", "--show-error", "--config", &path.display().to_string()]))?;
    }
    work.compare()
}

fn wget(work: &Work) -> Result<String> {
    for (sent, got, url) in work.files()? {
        let body = format!("--body-file={}", sent.display());
        run(command("wget", &["--quiet", "--method=PUT", &body, "--output-document=/dev/null", &url]))?;
        run(command("wget", &["--quiet", "--output-document", &got.display().to_string(), &url]))?;
    }
    work.compare()
}

fn requests(work: &Work) -> Result<String> {
    script(work, "python3", &[], "keys.py")
}

fn node(work: &Work) -> Result<String> {
    script(work, "node", &[], "keys.mjs")
}

fn go(work: &Work) -> Result<String> {
    script(work, "go", &["run"], "keys.go")
}

fn script(work: &Work, program: &str, before: &[&str], name: &str) -> Result<String> {
    let mut command = command(program, before);
    command.arg(Work::script(name)).arg(&work.base).arg(work.list());
    // For go, which compiles.
    command.env("GOCACHE", work.dir.path().join("go")).env("GOFLAGS", "-mod=mod");
    run(command)
}

fn hayrick(work: &Work) -> Result<String> {
    let binary = cluster::binary()?;
    let server = work.base.trim_start_matches("http://");
    for (object, (sent, got, _)) in work.objects.iter().zip(work.files()?) {
        let hayrick = |verb: &str, args: &[&str]| {
            let mut command = Command::new(&binary);
            command.args([verb, "--server", server]).args(args).stdin(Stdio::null());
            run(command)
        };
        hayrick("put", &["--", &object.key, &sent.display().to_string()])?;
        hayrick("get", &["-o", &got.display().to_string(), "--", &object.key])?;
    }
    work.compare()
}
