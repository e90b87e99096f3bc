//! What is the same each time, of what is said.

use serde_json::Value;

use crate::cases::Place;

/// Names for addresses and directories that differ each time.
pub(crate) struct Shown {
    /// The longest first.
    names: Vec<(String, String)>,
}

impl Shown {
    pub(crate) fn new(place: &Place) -> Self {
        let mut names = vec![(place.dir.path().display().to_string(), "DIR".to_owned())];
        for process in place.cluster.processes() {
            let name = process.name().to_uppercase().replace(' ', "-");
            names.push((process.http_addr().to_string(), name.clone()));
            names.push((process.peer_addr().to_string(), format!("{name}-PEER")));
        }
        let of_cluster = place.cluster.dir().display().to_string();
        names.push((of_cluster, "CLUSTER".to_owned()));
        names.extend(
            place.free.iter().zip(1..).map(|(port, at)| (format!("127.0.0.1:{port}"), format!("FREE-{at}"))),
        );
        names.push((place.dying.to_string(), "DYING".to_owned()));
        let port = place.cluster.master(1).http_addr().port();
        names.push((format!("--port {}", port.saturating_add(1000)), "--port OTHER".to_owned()));
        names.push((format!("--port {port}"), "--port PORT".to_owned()));
        names.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
        Self { names }
    }

    pub(crate) fn words(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (from, to) in &self.names {
            text = text.replace(from.as_str(), to);
        }
        for hash in
            text.clone().split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|it| is_hash(it))
        {
            text = text.replace(hash, "ID");
        }
        text
    }

    /// Line by line; of a line of the log its message.
    pub(crate) fn lines(&self, text: &str) -> String {
        let line = |line: &str| match serde_json::from_str::<Value>(line) {
            Ok(log) if log["level"].is_string() => {
                let fields = log.as_object().into_iter().flatten();
                let rest = fields.filter(|(name, _)| {
                    !["timestamp", "level", "message", "target"].contains(&name.as_str())
                });
                let rest: Vec<String> = rest.map(|(name, value)| format!("{name}={value}")).collect();
                let (level, message) = (&log["level"], &log["message"]);
                format!("{} {} {}", as_text(level), as_text(message), rest.join(" "))
            }
            _ => line.to_owned(),
        };
        text.lines().map(|it| format!("{}\n", self.words(line(it).trim_end()))).collect()
    }
}

fn as_text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A cluster's or a directory's id.
fn is_hash(word: &str) -> bool {
    word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}
