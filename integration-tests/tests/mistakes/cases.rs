//! The mistakes, and what nobody can help.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use hayrick_launcher::{Cluster, Process, free_port};
use tempfile::TempDir;

/// What is in `cat.jpg`.
pub(crate) const CAT: &[u8] = b"meow";
/// The program that most mistakes are made with.
pub(crate) const HAYRICK: &str = "hayrick";
/// How much is in `movie.mp4`.
pub(crate) const MOVIE_BYTES: usize = 300_000;

/// A cluster, and a directory to make mistakes in.
pub(crate) struct Place {
    pub(crate) cluster: Cluster,
    pub(crate) dir: TempDir,
    /// Where every request ends with the end of who took it.
    pub(crate) dying: SocketAddr,
    /// Ports at which nobody listens.
    pub(crate) free: [u16; 2],
}

/// A mistake, and the command that makes it.
pub(crate) struct Case {
    pub(crate) mistake: &'static str,
    /// `hayrick`, or another one of those that people use.
    pub(crate) program: &'static str,
    pub(crate) args: Vec<String>,
    /// Of a server that goes on, what it says is wrong; the others end by themselves.
    pub(crate) says: Option<&'static str>,
}

impl Place {
    pub(crate) fn new(cluster: Cluster, dying: SocketAddr) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("cat.jpg"), CAT)?;
        std::fs::write(dir.path().join("movie.mp4"), vec![0; MOVIE_BYTES])?;
        // A hole takes no room.
        std::fs::File::create(dir.path().join("large"))?.set_len((64 << 20) + 1)?;
        std::fs::create_dir(dir.path().join("photos"))?;
        std::fs::write(dir.path().join("photos/cat.jpg"), "meow")?;
        std::fs::write(dir.path().join("typo.toml"), "listne = \"127.0.0.1:9090\"\n")?;
        std::fs::write(dir.path().join("value.toml"), "down-after = \"3\"\n")?;
        std::fs::write(dir.path().join("no.toml"), "this is no TOML\n")?;
        std::fs::write(dir.path().join("file"), "")?;
        Ok(Self { cluster, dir, dying, free: [free_port()?, free_port()?] })
    }
}

/// What is asked of a server that is started: its role, and what differs from a right start.
fn start(place: &Place, role: &str, rest: &[&str]) -> Vec<String> {
    let [first, second] = place.free.map(|port| format!("127.0.0.1:{port}"));
    let mut args = vec![role.to_owned()];
    if !rest.contains(&"--listen") {
        args.extend(["--listen".to_owned(), first]);
    }
    if !rest.contains(&"--peer-listen") {
        args.extend(["--peer-listen".to_owned(), second]);
    }
    args.extend(rest.iter().map(|word| (*word).to_owned()));
    args
}

fn case(mistake: &'static str, args: Vec<String>) -> Case {
    Case { mistake, program: HAYRICK, args, says: None }
}

fn curl(mistake: &'static str, args: &[&str]) -> Case {
    Case { mistake, program: "curl", args: words(&[&["-sS"], args].concat()), says: None }
}

fn words(args: &[&str]) -> Vec<String> {
    args.iter().map(|word| (*word).to_owned()).collect()
}

pub(crate) fn before_any_server_ends(place: &Place) -> Result<Vec<Case>> {
    let mut cases = of_curl(place);
    cases.extend(of_clients(place));
    cases.extend(of_settings(place));
    cases.extend(of_servers(place)?);
    cases.extend(of_operators(place));
    Ok(cases)
}

fn of_curl(place: &Place) -> Vec<Case> {
    let at = |addr: SocketAddr, path: &str| format!("http://{addr}{path}");
    let (master, volume) = (place.cluster.master(1), place.cluster.volume(1));
    let to = |path: &str| at(master.http_addr(), path);
    vec![
        curl("With curl: nothing has that key.", &[&to("/nothing")]),
        curl("POST where PUT was meant.", &["-d", "meow", &to("/a")]),
        curl("A volume where a master was meant.", &["-T", "cat.jpg", &at(volume.http_addr(), "/a")]),
        curl("A master where a volume was meant.", &[&to("/-/needles/7")]),
        curl("A peer port where a client port was meant.", &[&at(master.peer_addr(), "/a")]),
        curl("A key with ..", &["--path-as-is", "-T", "cat.jpg", &to("/a/../b")]),
        curl("A key with a quote that is not encoded.", &["-T", "cat.jpg", &to("/a\"b")]),
        curl("A slip in a parameter.", &[&to("/?lst")]),
        curl(
            "A header with letters beyond ASCII.",
            &["-T", "cat.jpg", "-H", "Hayrick-Meta-By: Jürgen", &to("/a")],
        ),
        curl(
            "A digest of other bytes.",
            &["-T", "cat.jpg", "-H", "Content-MD5: DMF1ucDxtqgxw5niaXcmYQ==", &to("/a")],
        ),
        curl("An object that is too large.", &["-T", "large", &to("/a")]),
    ]
}

fn of_clients(place: &Place) -> Vec<Case> {
    let master = place.cluster.master(1).http_addr().to_string();
    let peer = place.cluster.master(1).peer_addr().to_string();
    let volume = place.cluster.volume(1).http_addr().to_string();
    let (nobody, dying) = (format!("127.0.0.1:{}", place.free[0]), place.dying.to_string());
    let key_of_1025 = "k".repeat(1025);
    vec![
        case("Nobody listens there.", words(&["get", "a", "--server", &nobody])),
        case("A volume where a master was meant.", words(&["put", "a", "cat.jpg", "--server", &volume])),
        case("The same, and status is asked for.", words(&["status", "--server", &volume])),
        case(
            "A peer port where a client port was meant.",
            words(&["put", "a", "cat.jpg", "--server", &peer]),
        ),
        case(
            "A URL where an address was meant.",
            words(&["get", "a", "--server", &format!("http://{master}")]),
        ),
        case("An address without a port.", words(&["get", "a", "--server", "localhost"])),
        case("There is no such key.", words(&["get", "nothing", "--server", &master])),
        case("A key with ..", words(&["put", "a/../b", "cat.jpg", "--server", &master])),
        case("A key that is too long.", words(&["get", &key_of_1025, "--server", &master])),
        case("A key of the system.", words(&["get", "-/status", "--server", &master])),
        case("A file that is not there.", words(&["put", "a", "dog.jpg", "--server", &master])),
        case("A directory where a file was meant.", words(&["put", "a", "photos", "--server", &master])),
        case("The same with cp.", words(&["cp", "photos", "hay:photos/", "--server", &master])),
        case("Several files.", words(&["cp", "cat.jpg", "movie.mp4", "hay:photos/", "--server", &master])),
        case(
            "A header with letters beyond ASCII.",
            words(&["put", "a", "cat.jpg", "--meta", "by=Jürgen", "--server", &master]),
        ),
        case("An object that is too large.", words(&["put", "a", "large", "--server", &master])),
        case(
            "Created the first time …",
            words(&["put", "once", "cat.jpg", "--if-absent", "--server", &master]),
        ),
        case("… and the second.", words(&["put", "once", "cat.jpg", "--if-absent", "--server", &master])),
        case(
            "The only master that is named dies while it stores.",
            words(&["put", "a", "cat.jpg", "--server", &dying]),
        ),
        case(
            "A disk of one's own that is full.",
            words(&["get", "once", "-o", "/dev/full", "--server", &master]),
        ),
        case("A directory to write into.", words(&["get", "once", "-o", "photos", "--server", &master])),
        case("Nothing to bring back.", words(&["undelete", "cats/9", "--server", &master])),
        case("A typo in a command.", words(&["stauts"])),
        case("A typo in a flag.", words(&["get", "a", "--sever", &master])),
    ]
}

fn of_settings(place: &Place) -> Vec<Case> {
    let masters = "1=127.0.0.1:9092,2=127.0.0.1:9192,3=127.0.0.1:9292";
    let of = |rest: &[&str]| start(place, "master", rest);
    vec![
        case("A typo in a setting.", of(&["--config", "typo.toml"])),
        case("A file of settings that is not there.", of(&["--config", "none.toml"])),
        case("A value in it that is none.", of(&["--id", "1", "--data", "m", "--config", "value.toml"])),
        case("A file of settings that is no TOML.", of(&["--config", "no.toml"])),
        case(
            "A size in decimal units.",
            start(place, "volume", &["--data", "v", "--masters", "127.0.0.1:9092", "--capacity", "64GB"]),
        ),
        case(
            "A time without a unit.",
            of(&["--id", "1", "--data", "m", "--masters", masters, "--down-after", "3"]),
        ),
        case(
            "A port without a host.",
            of(&["--id", "1", "--data", "m", "--masters", masters, "--advertise", "9090"]),
        ),
        case(
            "Reachable as 0.0.0.0.",
            of(&["--id", "1", "--data", "m", "--masters", masters, "--listen", "0.0.0.0:0"]),
        ),
        case("An id that --masters does not name.", of(&["--id", "4", "--data", "m", "--masters", masters])),
        case("Masters without ids.", of(&["--id", "1", "--data", "m", "--masters", "127.0.0.1:9092"])),
        case(
            "Formed and joined at once.",
            of(&["--id", "1", "--data", "m", "--masters", masters, "--join", "127.0.0.1:9092"]),
        ),
        case("Neither.", of(&["--id", "1", "--data", "m"])),
        case("No directory.", of(&["--id", "1", "--masters", masters])),
    ]
}

fn of_servers(place: &Place) -> Result<Vec<Case>> {
    let cluster = &place.cluster;
    let (master, volume) = (cluster.master(1), cluster.volume(1));
    let (client, peer) = (master.http_addr().to_string(), master.peer_addr().to_string());
    let data = |of: &std::path::Path| of.to_str().map(str::to_owned).context("a path of text");
    let (of_master, of_volume) = (data(master.data_dir())?, data(volume.data_dir())?);
    let [_, free] = place.free.map(|port| format!("127.0.0.1:{port}"));
    let alone = format!("1={free},2=127.0.0.1:1,3=127.0.0.1:2");
    let volume_peer = volume.peer_addr().to_string();
    let mut cases = vec![
        case(
            "A port that is taken, for a master.",
            start(place, "master", &["--id", "1", "--data", "m", "--masters", &alone, "--listen", &client]),
        ),
        case(
            "A port that is taken, for a volume.",
            start(place, "volume", &["--data", "v", "--masters", &peer, "--listen", &client]),
        ),
        case("Ports that are taken, for a whole cluster.", {
            let port = master.http_addr().port().to_string();
            words(&["dev", "--data", "dev", "--port", &port])
        }),
        case(
            "A master's directory that is in use.",
            start(place, "master", &["--id", "1", "--data", &of_master, "--masters", &alone]),
        ),
        case(
            "A volume's directory that is in use.",
            start(place, "volume", &["--data", &of_volume, "--masters", &peer]),
        ),
        case(
            "Something else's directory, for a master.",
            start(place, "master", &["--id", "1", "--data", "photos", "--masters", &alone]),
        ),
        case(
            "Something else's directory, for a volume.",
            start(place, "volume", &["--data", "photos", "--masters", &peer]),
        ),
        case(
            "A file where a directory was meant.",
            start(place, "volume", &["--data", "file/v", "--masters", &peer]),
        ),
        case(
            "A lost directory under an id that is known.",
            start(place, "master", &["--id", "2", "--data", "m2", "--masters", &with_own(cluster, &free)]),
        ),
        case(
            "To join at a client port.",
            start(place, "master", &["--id", "4", "--data", "m4", "--join", &client]),
        ),
        case(
            "To join at a volume.",
            start(place, "master", &["--id", "4", "--data", "m4", "--join", &volume_peer]),
        ),
    ];
    cases.push(Case {
        mistake: "One master of three is started.",
        program: HAYRICK,
        args: start(place, "master", &["--id", "1", "--data", "m", "--masters", &alone]),
        says: Some("do not answer"),
    });
    cases.push(Case {
        mistake: "A volume that is told of a client port.",
        program: HAYRICK,
        args: start(place, "volume", &["--data", "v", "--masters", &client]),
        says: Some("HTTP is spoken there"),
    });
    Ok(cases)
}

/// The masters of the cluster, the second at an address of its own.
fn with_own(cluster: &Cluster, own: &str) -> String {
    let of = |id: u32| if id == 2 { own.to_owned() } else { cluster.master(id).peer_addr().to_string() };
    (1..=3).map(|id| format!("{id}={}", of(id))).collect::<Vec<_>>().join(",")
}

fn of_operators(place: &Place) -> Vec<Case> {
    let master = place.cluster.master(1).http_addr().to_string();
    let of = |args: &[&str]| words(&[args, &["--server", &master]].concat());
    vec![
        case("A volume that there is not.", of(&["volume", "drain", "9"])),
        case("To drain where too few others are left.", of(&["volume", "drain", "1"])),
        case("To remove a volume that serves.", of(&["volume", "remove", "1"])),
        case("A master that there is not.", of(&["master", "transfer", "9"])),
        case("A volume's name where its id was meant.", of(&["volume", "drain", "volume-1"])),
        case("A rate that is none.", of(&["move-rate", "fast"])),
        case("A rate that is too low.", of(&["move-rate", "1"])),
    ]
}

pub(crate) fn without_volumes(place: &Place) -> Vec<Case> {
    let master = place.cluster.master(1).http_addr().to_string();
    vec![
        curl(
            "All volumes are down, and a file is to be stored.",
            &["-T", "cat.jpg", &format!("http://{master}/a")],
        ),
        case("The same with hayrick.", words(&["put", "a", "cat.jpg", "--server", &master])),
        case("All volumes are down, and one is to be read.", words(&["get", "once", "--server", &master])),
    ]
}

/// Where the volumes are full, the last of them was removed, and the last master, too.
pub(crate) fn of_full_and_removed(place: &Place) -> Result<Vec<Case>> {
    let cluster = &place.cluster;
    let (master, peer) =
        (cluster.master(1).http_addr().to_string(), cluster.master(1).peer_addr().to_string());
    let data = |of: &Process| of.data_dir().to_str().map(str::to_owned).context("a path of text");
    let last = cluster.volumes().last().context("it has volumes")?;
    Ok(vec![
        case("The disks are full.", words(&["put", "a", "movie.mp4", "--server", &master])),
        case("… and what is there is read.", words(&["get", "full/0", "-o", "0", "--server", &master])),
        case(
            "A volume that was removed is started again.",
            start(place, "volume", &["--data", &data(last)?, "--masters", &peer, "--log", "error"]),
        ),
        case("A master that was removed is started again.", {
            let removed = ["--id", "3", "--data", &data(cluster.master(3))?, "--log", "error"];
            start(place, "master", &removed)
        }),
    ])
}
