//! What is not run, and why; and what is there already where a document tells of it.

use crate::shown::Shown;

/// Commands by how they begin, and why they are not run. What can be seen without running is looked at all the same: flags,
/// targets, quotes.
pub(crate) const NOT_RUN: &[(&str, &str)] = &[
    ("cargo install", "builds for minutes"),
    ("make static", "builds for minutes"),
    ("make cluster", "never ends; dev.rs runs its program"),
    ("hayrick dev", "never ends; dev.rs runs it"),
    ("hayrick config master > /etc", "would replace the settings that the others run on"),
    ("hayrick master --config", "never ends"),
    ("hayrick prove", "breaks clusters for minutes; prove.rs runs it"),
    ("for m in 1 2 3; do scp", "there is one machine here"),
    ("sudo ufw", "would change the firewall of this machine"),
    ("curl -s 'http://mkv:3000", "needs a minikeyvalue"),
];

/// What has happened by the time a document shows a command: the document, how the command begins, and what brings it about.
const BEFORE: &[(&str, &str, &str)] = &[
    (
        "docs/http.md",
        "curl -X PUT -T cat.jpg -H 'If-None-Match: *'",
        "curl -X DELETE http://127.0.0.1:9090/cats/1",
    ),
    ("docs/http.md", "curl -X DELETE", "curl -X PUT -T cat.jpg http://127.0.0.1:9090/cats/1"),
    ("docs/operations.md", "hayrick undelete", "hayrick rm photos/cat.jpg"),
    ("docs/operations.md", "curl -X POST http://10.0.0.1:9090/-/undelete", "hayrick rm photos/cat.jpg"),
    (
        "docs/operations.md",
        "hayrick volume remove 3",
        "until hayrick volume drain 3 | grep -q 'is drained'; do sleep 1; done",
    ),
];

/// What stands for more that is not shown, in a command.
const AND_SO_ON: char = '…';

/// Commands that end only when somebody ends them: they are looked at for a while.
const ENDLESS: &[&str] = &["hayrick status --watch"];
const LOOKED_AT_SECONDS: u32 = 3;

/// Why it is not run, if it is not.
pub(crate) fn why(shown: &Shown) -> Option<&'static str> {
    if shown.text.contains(AND_SO_ON) {
        return Some("is not all of a command");
    }
    NOT_RUN.iter().find(|(begins, _)| shown.text.starts_with(begins)).map(|(_, reason)| *reason)
}

/// What bash is given to run: what was before, and an end to what has none.
pub(crate) fn script(shown: &Shown) -> String {
    let happened = |it: &&(&str, &str, &str)| it.0 == shown.document && shown.text.starts_with(it.1);
    let before = BEFORE.iter().find(happened).map_or_else(String::new, |(_, _, text)| format!("{text}\n"));
    let text = &shown.text;
    match ENDLESS.contains(&text.as_str()) {
        true => format!("{before}{{ timeout -s INT {LOOKED_AT_SECONDS} {text} || [ $? = 124 ]; }}"),
        false => format!("{before}{text}"),
    }
}
