//! Why each default is what it is, and what else of a setting its flag has no place for: an example, bounds.
//!
//! `hayrick config` and docs/configuration.md tell it. Tests look for a reason of every default, for an example of all that
//! has no value by default, and for what lies within the bounds, and just without, in what the servers take.

/// What is told of a setting beside its flag.
#[derive(Debug)]
pub(crate) struct Told {
    key: &'static str,
    /// Why the default is what it is; empty where there is none.
    pub(crate) why: &'static str,
    /// A value as it stands in the file, where the default shows none.
    pub(crate) example: &'static str,
    /// Which values work, where their kind does not say it.
    pub(crate) bounds: Option<Bounds>,
}

/// Which values work.
#[derive(Debug)]
pub(crate) struct Bounds {
    pub(crate) told: &'static str,
    /// The outermost that work.
    #[cfg_attr(not(test), expect(dead_code, reason = "shows in tests that what is told is so"))]
    within: &'static [&'static str],
    /// Those next to them, which are refused.
    #[cfg_attr(not(test), expect(dead_code, reason = "shows in tests that what is told is so"))]
    without: &'static [&'static str],
}

/// What is told of a server's setting.
pub(crate) fn of(server: &str, key: &str) -> Option<&'static Told> {
    let own = SERVERS.iter().find(|(name, _)| *name == server).map_or(&[][..], |(_, told)| told);
    own.iter().chain(ALL_SERVERS).find(|told| told.key == key)
}

/// A setting that has a value by default, and why it is that.
const fn default(key: &'static str, why: &'static str) -> Told {
    Told { key, why, example: "", bounds: None }
}

/// A setting that has no value by default.
const fn example(key: &'static str, example: &'static str) -> Told {
    Told { key, why: "", example, bounds: None }
}

impl Told {
    const fn because(self, why: &'static str) -> Self {
        Self { why, ..self }
    }

    const fn bounds(
        self,
        told: &'static str,
        within: &'static [&'static str],
        without: &'static [&'static str],
    ) -> Self {
        Self { bounds: Some(Bounds { told, within, without }), ..self }
    }
}

const SERVERS: [(&str, &[Told]); 3] = [("master", MASTER), ("volume", VOLUME), ("dev", DEV)];

const ALL_SERVERS: &[Told] = &[example("log", "\"warn,hayrick=debug\"").because(
    "What the libraries below tell at info nobody needs who runs a server; RUST_LOG is where people look for such a \
     filter.",
)];

const MASTER: &[Told] = &[
    example("id", "1").bounds("a number from 1", &["1"], &["0"]),
    example("data", "\"/var/lib/hayrick/master\""),
    example("masters", "[\"1=10.0.0.1:9092\", \"2=10.0.0.2:9092\", \"3=10.0.0.3:9092\"]").bounds(
        "1 to 15 masters, itself among them",
        &[
            "1=a:1",
            "1=a:1,2=a:2,3=a:3,4=a:4,5=a:5,6=a:6,7=a:7,8=a:8,9=a:9,10=b:9,11=b:1,12=b:2,13=b:3,14=b:4,15=b:5",
        ],
        &[
            "2=a:2",
            "1=a:1,2=a:2,3=a:3,4=a:4,5=a:5,6=a:6,7=a:7,8=a:8,9=a:9,10=b:9,11=b:1,12=b:2,13=b:3,14=b:4,15=b:5,16=b:6",
        ],
    ),
    example("join", "\"10.0.0.1:9092\""),
    example("restore", "\"/backup/hayrick-2026-01-31\""),
    default(
        "listen",
        "On loopback, as nothing is protected: who reaches the port can read, write and delete, so let others reach it \
         only on a network that you trust. A machine has four ports from 9090: master and volume, for clients and for \
         peers.",
    ),
    default("peer-listen", "As --listen: on loopback until you say otherwise. The third of a machine's four ports."),
    example("advertise", "\"10.0.0.1:9090\"").because(
        "Mostly others dial the very address that is listened on. It has to be set where that is none, as 0.0.0.0.",
    ),
    example("peer-advertise", "\"10.0.0.1:9092\"")
        .because("All masters are started with the same --masters, so that it stands there already."),
    default(
        "replicas",
        "With three copies an object can still be read when one volume is down and another one's disk fails. A fourth \
         takes a third more of disks and network, against a case that repair is mostly ahead of.",
    )
    .bounds("--min-replicas to 7", &["2", "7"], &["1", "8"]),
    default(
        "min-replicas",
        "Writes go on while one of three volumes is down, and nothing that was acknowledged was ever on one disk only. \
         With 3 a restart of a volume would stop the writes of a small cluster; with 1 the loss of a disk could lose \
         what was just stored.",
    )
    .bounds("1 to --replicas", &["1", "3"], &["0", "4"]),
    default(
        "partitions",
        "Enough for some 400 volumes with 30 partitions each, which is what spreads data evenly; and few enough for a \
         table of all of them to be made and agreed on in some hundredths of a second, whenever a volume comes or goes. \
         Choose more for more volumes.",
    )
    .bounds("a power of two up to 65536", &["1", "65536"], &["0", "1000", "131072"]),
    default(
        "down-after",
        "Six heartbeats of a volume: a short pause of its process or of the network is over by then. Writes do not wait \
         for it: one that the volume fails has it probed at once.",
    )
    .bounds("1s or more", &["1s"], &["999ms"]),
    default(
        "repair-after",
        "The restart of a volume, or of its machine's network, moves no data. The longer it is, the longer there is a \
         copy less of what a lost volume held. Raise it where machines are away for minutes on purpose.",
    ),
    default(
        "fence-after",
        "Longer than a restart, or a disk that hangs for a while: a master that is only slow and taken for gone has to \
         begin its writes anew. What a dead one had under way takes room until then, and does no harm.",
    )
    .bounds("1s or more", &["1s"], &["999ms"]),
    default(
        "move-rate",
        "Less than half of what a network of 1 Gbit/s or a hard disk carries, so that clients have the larger half. What \
         has one copy left is not held back by it, and `hayrick move-rate` changes it while the cluster serves.",
    )
    .bounds("64KiB to 1TiB", &["64KiB", "1TiB"], &["65535", "1025GiB"]),
    default(
        "reap-after",
        "Long enough to notice a wrong delete and undo it, and for an hourly backup of the index to name nothing that is \
         gone; short enough that overwrites and deletes give their space back the same day. Where a volume has less than \
         a tenth of its room left, nothing waits for it.",
    ),
    default(
        "max-object-size",
        "Hayrick is made for small files, and an object is in memory whole while it is stored: four of this size fit \
         into --body-memory.",
    )
    .bounds("1 byte to 256MiB", &["1", "256MiB"], &["0", "257MiB"]),
    default(
        "request-timeout",
        "Twice the longest time in which another master is elected (2.5s with the defaults of --election): a write that \
         meets the death of the leader is still finished and answered, and does not end with its outcome unknown.",
    )
    .bounds("100ms to 10m", &["100ms", "10m"], &["99ms", "601s"]),
    default(
        "body-memory",
        "Four objects of the largest size that is taken at a time, or some thousands of small ones. What is more waits \
         unread for its turn. It is used only while bodies are there.",
    )
    .bounds("--max-object-size to 1TiB", &["64MiB", "1TiB"], &["63MiB", "1025GiB"]),
    default(
        "index-cache",
        "A key takes some 150 bytes of the index, so this holds all of it for one to two million keys. Beyond that the \
         system's page cache helps; set more where the index is large and the memory is there.",
    )
    .bounds("1MiB to 1TiB", &["1MiB", "1TiB"], &["1023KiB", "1025GiB"]),
    default(
        "heartbeat",
        "Three of them are missed before the shortest election begins, so that one that is late begins none. Each costs \
         every master a message, and idle masters should be idle.",
    )
    .bounds("10ms to half of the shorter time of --election", &["10ms", "250ms"], &["9ms", "251ms"]),
    default(
        "election",
        "A dead leader is replaced within 2.5s: that is the longer time, one by lot from the range, and a little more. With \
         shorter ones a slow disk or a busy machine would unseat leaders that are well.",
    )
    .bounds(
        "from twice --heartbeat, at least 10ms wide, up to 60s",
        &["300ms-310ms", "500ms-60s"],
        &["299ms-1s", "300ms-309ms", "500ms-61s"],
    ),
    default(
        "snapshot-after",
        "The log is cut when so many entries have come on top of those of --log-keep: it stays small on the disk, and a \
         start is through with it soon. Oftener, the index would be synced oftener for nothing.",
    )
    .bounds("100 to 10000000", &["100", "10000000"], &["99", "10000001"]),
    default(
        "log-keep",
        "A master that restarts or is cut off for a moment misses fewer than these, and gets them from the log: a snapshot \
         would send it the whole index. Under load one entry holds many writes.",
    )
    .bounds("0 to 10000000", &["0", "10000000"], &["10000001"]),
];

const VOLUME: &[Told] = &[
    example("data", "\"/var/lib/hayrick/volume\""),
    example("masters", "[\"10.0.0.1:9092\", \"10.0.0.2:9092\", \"10.0.0.3:9092\"]"),
    default(
        "listen",
        "On loopback, as nothing is protected: who reaches the port can read what is stored. The second of a machine's \
         four ports, so that a master and a volume run side by side as they are.",
    ),
    default("peer-listen", "As --listen: on loopback until you say otherwise. The last of a machine's four ports."),
    example("advertise", "\"10.0.0.1:9091\"").because(
        "Mostly others dial the very address that is listened on. It has to be set where that is none, as 0.0.0.0.",
    ),
    example("peer-advertise", "\"10.0.0.1:9093\"").because(
        "Mostly others dial the very address that is listened on. It has to be set where that is none, as 0.0.0.0.",
    ),
    default(
        "zone",
        "Only you know what fails together. Volumes without a name are of one zone, and copies go to different volumes of it.",
    )
    .bounds("256 bytes at most", &[], &[]),
    example("capacity", "\"900GiB\"").because(
        "A file system that is full to the brim is slow, and stops whoever else writes there. What the volume takes already \
         counts as free, so that a restart comes to the same. Set it where others share the file system.",
    )
    .bounds("8MiB or more", &["8MiB"], &["8191KiB"]),
    default(
        "segment-size",
        "A thousand files for a terabyte, which a process can hold open; and compaction, which needs room for a segment, is \
         through with one in a quarter of a minute.",
    )
    .bounds("1MiB to 16GiB", &["1MiB", "16GiB"], &["1023KiB", "17GiB"]),
    default(
        "scrub-rate",
        "Less than half of what a hard disk reads in a row, so that clients notice little. It reads a terabyte in six hours, \
         and is only the bound: everything is read once a week, more slowly where that is enough.",
    ),
];

const DEV: &[Told] = &[
    default("data", "Where you are, in one directory: remove it, and the cluster is forgotten."),
    default("port", "The port of a master, so that every example works as it stands.").bounds(
        "1 to 65235: the ports of the others lie above",
        &["1", "65235"],
        &["0", "65236"],
    ),
];

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::*;
    use crate::commands::{master, volume};
    use crate::settings::{self, Unset};
    use crate::{Cli, Command};

    #[test]
    fn every_default_has_its_reason_and_no_reason_is_left_over() {
        let cli = Cli::command();
        for (name, told) in SERVERS {
            let server = cli.find_subcommand(name).expect("a server");
            for (key, arg) in settings::flags(server) {
                let told = of(name, key).unwrap_or_else(|| panic!("{name} --{key} is not here"));
                let unset = settings::unset(arg);
                assert_eq!(told.why.is_empty(), unset == Unset::Nothing, "a reason of {name} --{key}");
                let shows_value = matches!(unset, Unset::Value(_));
                assert_eq!(told.example.is_empty(), shows_value, "an example of {name} --{key}");
            }
            for told in told.iter().chain(ALL_SERVERS) {
                let is_there = settings::flags(server).any(|(key, _)| key == told.key);
                assert!(is_there, "{name} has no --{} any more", told.key);
                assert!(told.why.is_empty() || told.why.ends_with('.'), "{name} --{}: no sentence", told.key);
            }
        }
    }

    #[test]
    fn every_server_with_a_file_is_here() {
        let cli = Cli::command();
        let with_file = cli
            .get_subcommands()
            .filter(|command| command.get_arguments().any(|arg| arg.get_long() == Some("config")));
        let names: Vec<&str> = with_file.map(clap::Command::get_name).collect();
        assert_eq!(names, SERVERS.map(|(name, _)| name));
    }

    #[test]
    fn bounds_are_those_of_the_servers() {
        for (name, told) in SERVERS {
            for (told, bounds) in told.iter().filter_map(|told| Some((told, told.bounds.as_ref()?))) {
                for value in bounds.within {
                    assert_eq!(taken(name, told.key, value), Ok(()), "{name} --{} {value}", told.key);
                }
                for value in bounds.without {
                    assert!(taken(name, told.key, value).is_err(), "{name} --{} {value} is taken", told.key);
                }
            }
        }
    }

    /// Whether a server can be started so, as far as that can be told before anything is touched.
    fn taken(server: &str, key: &str, value: &str) -> Result<(), String> {
        let needed = [("id", "1"), ("data", "/no/such/directory"), ("masters", "1=127.0.0.1:1")];
        let cli = Cli::command();
        let command = cli.find_subcommand(server).expect("a server");
        let has = |key: &str| settings::flags(command).any(|(known, _)| known == key);
        let rest = needed.into_iter().filter(|(other, _)| *other != key && has(other));
        let words = rest.chain([(key, value)]).map(|(key, value)| format!("--{key}={value}"));
        let args = ["hayrick".to_owned(), server.to_owned()].into_iter().chain(words);
        let matches = Cli::command().try_get_matches_from(args).map_err(|error| error.to_string())?;
        let cli = Cli::from_arg_matches(&matches).map_err(|error| error.to_string())?;
        match cli.command {
            Command::Master(args) => master::options(*args).map(drop),
            Command::Volume(args) => volume::options(args).map(drop),
            _ => Ok(()),
        }
        .map_err(|error| format!("{error:#}"))
    }
}
