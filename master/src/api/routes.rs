//! What the client port can be asked, as one table.
//!
//! Requests are told apart by it, methods and parameters refused by it, and `/-/openapi.json` and docs/http.md made from
//! it, so that none of these can say what another does not. Owns paths, methods, the names of parameters, and which
//! answers there are. Leaves what an operation does to its file. Invariant: every path that is not a system route is a
//! key, also one that only looks like a route.

use hayrick_web::{Parameters, Problem, parameter};
use http::{Method, StatusCode, Uri};

/// How the system's own routes begin.
const SYSTEM: &str = "/-/";
/// What volumes serve, and who looks for it here.
const NEEDLES: &str = "/-/needles/";
const OF_VOLUMES: &str = " on a master: volumes serve needles, on their own ports, by default 9091";
/// The template of an object's path.
const OBJECT: &str = "/{key}";

/// An operation, by what it does: the `operationId` of the description, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum OperationId {
    FrontPage,
    List,
    ListDeleted,
    Put,
    Read,
    Delete,
    DeleteList,
    Undelete,
    Health,
    Ready,
    Status,
    Metrics,
    OpenApi,
    Explain,
    Check,
    Backup,
    ShowMoveRate,
    SetMoveRate,
    Rebalance,
    Drain,
    Undrain,
    RemoveVolume,
    AddMaster,
    RemoveMaster,
    Transfer,
}

impl OperationId {
    /// Whether it reads or changes objects, and not only says something of them or of the system.
    pub(super) fn is_of_objects(self) -> bool {
        matches!(
            self,
            Self::List
                | Self::ListDeleted
                | Self::Put
                | Self::Read
                | Self::Delete
                | Self::DeleteList
                | Self::Undelete
        )
    }
}

/// What one of the operations takes and answers.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) id: OperationId,
    /// As `Allow` lists them.
    pub(super) methods: &'static str,
    /// With at most one part in braces, which stands for any text; at the end, slashes are part of it. `?list` behind it
    /// is a parameter that must be there.
    pub(super) path: &'static str,
    pub(super) takes: &'static [&'static str],
    /// In one line.
    pub(super) summary: &'static str,
    pub(super) answers: &'static [Answer],
}

/// One of the answers: status, what it holds, when it comes.
#[derive(Debug)]
pub(super) struct Answer(pub(super) u16, pub(super) Holds, pub(super) &'static str);

/// What the body of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Nothing,
    /// The bytes of an object, of whatever type it was put with.
    Object,
    Bytes,
    Text,
    /// JSON of the schema with this name.
    Json(&'static str),
    /// The same, or text for people.
    JsonOrText(&'static str),
    /// A line of JSON each.
    Lines(&'static str),
    /// A line that says what is wrong and what to do, as text or as `application/problem+json`.
    Problem,
}

use Holds::{Bytes, Json, JsonOrText, Lines, Nothing, Object, Text};

const fn problem(status: u16, when: &'static str) -> Answer {
    Answer(status, Holds::Problem, when)
}

const BAD_KEY: Answer = problem(400, "the key, a header or a parameter is not in order");
const BAD_REQUEST: Answer = problem(400, "a parameter or the body is not in order");
const NO_KEY: Answer = problem(404, "there is no object with this key");
const NOT_NOW: Answer = problem(503, "not now, and no effect: no leader, or too few volumes; try again");
const UNKNOWN: Answer = problem(504, "the outcome is unknown: it may have happened or still happen");
const NO_LENGTH: Answer = problem(411, "neither Content-Length nor chunked");
const SLOW_BODY: Answer = problem(408, "the body stood still for 30 s, or came too slowly");
const TOO_LARGE: Answer = problem(413, "the body is larger than what is taken");
const CONDITION: Answer = problem(412, "the condition does not hold; no effect");
const CONFLICT: Answer = problem(409, "not as things are, and what to do first; no effect");

/// All of them, the more special path before the more general.
pub(super) static OPERATIONS: [Operation; 25] = [
    Operation {
        id: OperationId::FrontPage,
        methods: "GET, HEAD",
        path: "/",
        takes: &[],
        summary: "A page of text: what this is, and what to try",
        answers: &[Answer(200, Text, "the page"), BAD_REQUEST],
    },
    Operation {
        id: OperationId::Read,
        methods: "GET, HEAD",
        path: "/{key}",
        takes: &["consistency", "redirect"],
        summary: "An object, whole or a range of it; with HEAD what is known of it",
        answers: &[
            Answer(200, Object, "the object"),
            Answer(206, Object, "the range of it"),
            Answer(304, Nothing, "the client has it"),
            Answer(307, Text, "with redirect: a volume that holds it"),
            BAD_KEY,
            NO_KEY,
            CONDITION,
            problem(416, "the range lies behind the end"),
            NOT_NOW,
        ],
    },
    Operation {
        id: OperationId::Put,
        methods: "PUT",
        path: "/{key}",
        takes: &[],
        summary: "Stores an object; it is durable on all its volumes when this is answered",
        answers: &[
            Answer(200, Text, "it replaced another; the body is the key"),
            Answer(201, Text, "the key is new; the body is the key"),
            BAD_KEY,
            SLOW_BODY,
            NO_LENGTH,
            CONDITION,
            TOO_LARGE,
            problem(431, "the kept headers have more than 2 KiB"),
            NOT_NOW,
            UNKNOWN,
            problem(507, "the volumes are full; no effect"),
        ],
    },
    Operation {
        id: OperationId::Delete,
        methods: "DELETE, UNLINK",
        path: "/{key}",
        takes: &[],
        summary: "Deletes an object; undelete brings it back for --reap-after. UNLINK is the same, by minikeyvalue's name",
        answers: &[Answer(204, Nothing, "deleted"), BAD_KEY, NO_KEY, CONDITION, NOT_NOW, UNKNOWN],
    },
    Operation {
        id: OperationId::List,
        methods: "GET, HEAD",
        path: "/{key}?list",
        takes: &["list", "limit", "start", "delimiter", "detail", "consistency"],
        summary: "The keys that begin with this prefix, in their order, a page at a time; /?list lists all",
        answers: &[Answer(200, Json("Page"), "a page of keys"), BAD_KEY, NOT_NOW],
    },
    Operation {
        id: OperationId::ListDeleted,
        methods: "GET, HEAD",
        path: "/{key}?unlinked",
        takes: &["unlinked", "limit", "start"],
        summary: "The keys with this prefix that an undelete would bring back, in the order in which they were deleted",
        answers: &[Answer(200, Json("Page"), "a page of keys"), BAD_KEY, NOT_NOW],
    },
    Operation {
        id: OperationId::DeleteList,
        methods: "POST",
        path: "/-/delete",
        takes: &[],
        summary: "Deletes each key of a JSON list, 1000 at most",
        answers: &[
            Answer(200, Json("Deleted"), "what became of each key, in the order asked"),
            BAD_REQUEST,
            SLOW_BODY,
            NO_LENGTH,
            TOO_LARGE,
            NOT_NOW,
        ],
    },
    Operation {
        id: OperationId::Undelete,
        methods: "POST",
        path: "/-/undelete/{key}",
        takes: &[],
        summary: "Brings back what the last delete of the key took away",
        answers: &[
            Answer(200, Text, "it is back as it was"),
            BAD_KEY,
            problem(404, "there is nothing to bring back"),
            problem(409, "something newer has the key; no effect"),
            NOT_NOW,
            UNKNOWN,
        ],
    },
    Operation {
        id: OperationId::Health,
        methods: "GET, HEAD",
        path: "/-/health",
        takes: ANY,
        summary: "Whether the process works",
        answers: &[Answer(200, Text, "it does")],
    },
    Operation {
        id: OperationId::Ready,
        methods: "GET, HEAD",
        path: "/-/ready",
        takes: ANY,
        summary: "Whether this master can serve linearizable reads and writes",
        answers: &[Answer(200, Text, "it can"), problem(503, "it cannot, and why")],
    },
    Operation {
        id: OperationId::Status,
        methods: "GET, HEAD",
        path: "/-/status",
        takes: &["state-hash"],
        summary: "How the cluster fares",
        answers: &[Answer(200, Json("Status"), "as this master knows it"), BAD_REQUEST, NOT_NOW],
    },
    Operation {
        id: OperationId::Metrics,
        methods: "GET, HEAD",
        path: "/-/metrics",
        takes: ANY,
        summary: "Counters and gauges as Prometheus reads them",
        answers: &[Answer(200, Text, "all of them")],
    },
    Operation {
        id: OperationId::OpenApi,
        methods: "GET, HEAD",
        path: "/-/openapi.json",
        takes: &[],
        summary: "This description",
        answers: &[Answer(200, Json("OpenApi"), "OpenAPI 3.1"), BAD_REQUEST],
    },
    Operation {
        id: OperationId::Explain,
        methods: "GET, HEAD",
        path: "/-/explain/{key}",
        takes: &["without"],
        summary: "Where the key lives and why, what its copies are, and what would be without a volume",
        answers: &[
            Answer(200, JsonOrText("Explanation"), "as the index and the volumes say"),
            BAD_KEY,
            NOT_NOW,
        ],
    },
    Operation {
        id: OperationId::Check,
        methods: "GET",
        path: "/-/check",
        takes: &["deep"],
        summary: "Compares the index with what the volumes hold; with deep every byte of it",
        answers: &[
            Answer(200, Lines("CheckLine"), "how far it is, and last what was found"),
            BAD_REQUEST,
            problem(429, "another check is being made by this master"),
            NOT_NOW,
        ],
    },
    Operation {
        id: OperationId::Backup,
        methods: "GET",
        path: "/-/backup",
        takes: &[],
        summary: "The whole index, as it is now",
        answers: &[Answer(200, Bytes, "the backup"), BAD_REQUEST, NOT_NOW],
    },
    Operation {
        id: OperationId::ShowMoveRate,
        methods: "GET, HEAD",
        path: "/-/move-rate",
        takes: &[],
        summary: "How fast copies are made and moved",
        answers: &[Answer(200, Json("MoveRate"), "bytes a second"), BAD_REQUEST, NOT_NOW],
    },
    Operation {
        id: OperationId::SetMoveRate,
        methods: "PUT",
        path: "/-/move-rate",
        takes: &[],
        summary: "Sets that, as 64KiB or 50MiB; the word default takes it back",
        answers: &[Answer(200, Text, "what holds now"), BAD_REQUEST, SLOW_BODY, TOO_LARGE, NOT_NOW, UNKNOWN],
    },
    Operation {
        id: OperationId::Rebalance,
        methods: "POST",
        path: "/-/rebalance",
        takes: &["dry-run", "stop"],
        summary: "Moves what lies elsewhere than its partition does now; with dry-run says what would move",
        answers: &[Answer(200, JsonOrText("Moves"), "what moves"), BAD_REQUEST, NOT_NOW, UNKNOWN],
    },
    Operation {
        id: OperationId::Drain,
        methods: "POST",
        path: "/-/volumes/{id}/drain",
        takes: &["dry-run"],
        summary: "Empties a volume: what it holds is copied to others",
        answers: VOLUME_ANSWERS,
    },
    Operation {
        id: OperationId::Undrain,
        methods: "POST",
        path: "/-/volumes/{id}/undrain",
        takes: &["dry-run"],
        summary: "Takes a drain back",
        answers: VOLUME_ANSWERS,
    },
    Operation {
        id: OperationId::RemoveVolume,
        methods: "POST",
        path: "/-/volumes/{id}/remove",
        takes: &["dry-run"],
        summary: "Removes a volume that is drained or down, for good",
        answers: VOLUME_ANSWERS,
    },
    Operation {
        id: OperationId::AddMaster,
        methods: "POST",
        path: "/-/masters",
        takes: &[],
        summary: "Adds a master that was started with --join",
        answers: &[
            Answer(200, Text, "it votes"),
            Answer(202, Text, "it receives the log, and votes by itself once it has caught up"),
            BAD_REQUEST,
            SLOW_BODY,
            CONFLICT,
            TOO_LARGE,
            NOT_NOW,
            UNKNOWN,
        ],
    },
    Operation {
        id: OperationId::RemoveMaster,
        methods: "DELETE",
        path: "/-/masters/{id}",
        takes: &[],
        summary: "Removes a master for good",
        answers: MASTER_ANSWERS,
    },
    Operation {
        id: OperationId::Transfer,
        methods: "POST",
        path: "/-/leader/{id}",
        takes: &[],
        summary: "Makes a master the leader",
        answers: MASTER_ANSWERS,
    },
];

const VOLUME_ANSWERS: &[Answer] = &[
    Answer(200, JsonOrText("VolumeChange"), "what was done, or with dry-run what would be"),
    BAD_REQUEST,
    problem(404, "there is no such volume"),
    CONFLICT,
    NOT_NOW,
    UNKNOWN,
];
const MASTER_ANSWERS: &[Answer] = &[
    Answer(200, Text, "done, or so already"),
    BAD_REQUEST,
    problem(404, "there is no such master"),
    CONFLICT,
    NOT_NOW,
    UNKNOWN,
];

/// A health check may add what it likes, as some do against caches: it is asked about nothing but the process.
const ANY: &[&str] = &["*"];

/// What a request asks for.
#[derive(Debug)]
pub(super) struct Routed<'a> {
    pub(super) operation: OperationId,
    /// What stands for the part of the path in braces, still percent-encoded; `""` if there is none.
    pub(super) named: &'a str,
}

/// Why a request asks for nothing that there is.
#[derive(Debug)]
pub(super) enum NoRoute {
    Problem(Problem),
    /// 405: the methods that the path takes.
    Method(String),
}

impl From<Problem> for NoRoute {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// Which operation a request asks for, with no parameter that it does not take.
pub(super) fn route<'a>(method: &Method, uri: &'a Uri) -> Result<Routed<'a>, NoRoute> {
    let path = uri.path();
    let is_there =
        |name: &&str| is_read(method) && !path.starts_with(SYSTEM) && parameter(uri, name).is_some();
    let listing = ["list", "unlinked"].into_iter().find(is_there);
    let on_path =
        |it: &&'static Operation| it.listing() == listing && captured(it.template(), path).is_some();
    // The first, as it is the more special: a path belongs to one template.
    let Some(first) = OPERATIONS.iter().find(on_path) else { return Err(no_route(method, path).into()) };
    let Some(operation) = first.beside().find(|it| it.takes_method(method)) else {
        let allow: Vec<&str> = first.beside().map(|operation| operation.methods).collect();
        return Err(NoRoute::Method(allow.join(", ")));
    };
    operation.check(uri)?;
    Ok(Routed { operation: operation.id, named: captured(first.template(), path).unwrap_or_default() })
}

impl Operation {
    /// Its path without a parameter.
    pub(super) fn template(&self) -> &'static str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// The parameter that makes it a listing, if it is one.
    pub(super) fn listing(&self) -> Option<&'static str> {
        self.path.split_once('?').map(|(_, name)| name)
    }

    /// All that its path is asked for by other methods, itself among them.
    fn beside(&self) -> impl Iterator<Item = &'static Operation> {
        let path = self.path;
        OPERATIONS.iter().filter(move |other| other.path == path)
    }

    pub(super) fn takes_method(&self, method: &Method) -> bool {
        self.methods.split(", ").any(|taken| taken == method.as_str())
    }

    fn check(&self, uri: &Uri) -> Result<(), Problem> {
        if self.takes == ANY {
            return Ok(());
        }
        let hint = match self.id {
            OperationId::FrontPage => "/?list lists all keys, and takes more",
            OperationId::List | OperationId::ListDeleted => "a ? in the prefix is written as %3F",
            OperationId::Read => "those of a listing count beside list, and a ? in the key is written as %3F",
            _ if self.path.ends_with("{key}") => "a ? in the key is written as %3F",
            _ => "",
        };
        Parameters { takes: self.takes, hint }.check(uri)
    }
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// What stands in `path` for the part of `template` in braces; `""` if there is no such part.
fn captured<'a>(template: &str, path: &'a str) -> Option<&'a str> {
    let Some((before, rest)) = template.split_once('{') else { return (template == path).then_some("") };
    let (_, after) = rest.split_once('}')?;
    let named = path.strip_prefix(before)?.strip_suffix(after)?;
    let is_key = template == OBJECT && path.starts_with(SYSTEM);
    (!is_key && (after.is_empty() || !named.contains('/'))).then_some(named)
}

/// 404, with all the routes that there are; 400 where a key was meant.
fn no_route(method: &Method, path: &str) -> Problem {
    let as_key = path.strip_prefix('/').unwrap_or(path);
    if let (&Method::PUT | &Method::DELETE, Err(refused)) = (method, super::named(as_key)) {
        return refused;
    }
    let mut routes: Vec<&str> =
        OPERATIONS.iter().map(|it| it.path).filter(|it| it.starts_with(SYSTEM)).collect();
    routes.dedup();
    let (all, hint) = (routes.join(", "), if path.starts_with(NEEDLES) { OF_VOLUMES } else { "" });
    Problem::new(StatusCode::NOT_FOUND, format!("there is no route {path}{hint}; there are {all}"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn of(method: Method, uri: &str) -> Result<(OperationId, String), String> {
        let uri: Uri = uri.parse().expect("a target");
        match route(&method, &uri) {
            Ok(routed) => Ok((routed.operation, routed.named.to_owned())),
            Err(NoRoute::Method(allow)) => Err(allow),
            Err(NoRoute::Problem(problem)) => Err(format!("{} {}", problem.status.as_u16(), problem.text)),
        }
    }

    fn does(method: Method, uri: &str) -> Option<OperationId> {
        of(method, uri).ok().map(|(does, _)| does)
    }

    #[test]
    fn every_operation_is_reached_by_its_path_and_each_of_its_methods() {
        let mut seen = HashSet::new();
        for operation in &OPERATIONS {
            assert!(seen.insert(operation.id), "{:?} is in the table twice", operation.id);
            let uri = operation.path.replace("{key}", "a/b").replace("{id}", "7");
            for method in operation.methods.split(", ") {
                let method = Method::try_from(method).expect("a method");
                let (does, named) = of(method, &uri).expect("it is there");
                let braces = operation.path.split_once('{').map(|(_, rest)| &rest[..2]);
                let wanted = match braces {
                    Some("ke") => "a/b",
                    Some(_) => "7",
                    None => "",
                };
                assert_eq!((does, named.as_str()), (operation.id, wanted));
            }
            assert!(operation.answers.iter().map(|answer| answer.0).is_sorted(), "{:?}", operation.id);
        }
    }

    #[test]
    fn what_is_no_route_is_a_key_or_refused() {
        assert_eq!(does(Method::GET, "/?list"), Some(OperationId::List));
        assert_eq!(does(Method::GET, "/a?unlinked"), Some(OperationId::ListDeleted));
        assert_eq!(does(Method::GET, "/"), Some(OperationId::FrontPage));
        assert_eq!(does(Method::PUT, "/-"), Some(OperationId::Put));
        assert_eq!(does(Method::PUT, "//-/health"), Some(OperationId::Put));
        assert_eq!(of(Method::GET, "//"), Ok((OperationId::Read, "/".to_owned())));
        assert_eq!(of(Method::PUT, "/"), Err("GET, HEAD".to_owned()));
        assert_eq!(of(Method::POST, "/a"), Err("GET, HEAD, PUT, DELETE, UNLINK".to_owned()));
        assert_eq!(of(Method::PUT, "/-/health"), Err("GET, HEAD".to_owned()));
        assert_eq!(of(Method::DELETE, "/-/move-rate"), Err("GET, HEAD, PUT".to_owned()));
        for path in ["/-/x", "/-/leader", "/-/mastersx", "/-/volumes/1", "/-/volumes/1/2/drain", "/-/health/"]
        {
            let refusal = of(Method::GET, path).expect_err("there is none");
            assert!(refusal.starts_with(&format!("404 there is no route {path}; ")), "{refusal}");
            assert!(refusal.contains("/-/volumes/{id}/drain, /-/volumes"), "{refusal}");
            assert!(!refusal.contains("9091"), "{refusal}");
            let refusal = of(Method::PUT, path).expect_err("there is none");
            assert!(refusal.starts_with("400 keys do not begin with"), "{refusal}");
        }
    }

    #[test]
    fn a_needle_is_looked_for_at_a_volume() {
        let refusal = of(Method::GET, "/-/needles/7").expect_err("masters have none");
        assert!(
            refusal.starts_with("404 there is no route /-/needles/7 on a master: volumes serve"),
            "{refusal}"
        );
    }

    #[test]
    fn a_question_mark_in_a_key_never_addresses_another_object() {
        let takes = |method, uri| does(method, uri).is_some();
        assert!(takes(Method::PUT, "/a") && takes(Method::GET, "/a?consistency=stale"));
        for uri in ["/a?b", "/a?", "/a?list", "/a?unlinked"] {
            assert!(!takes(Method::PUT, uri) && !takes(Method::DELETE, uri), "{uri}");
        }
        assert!(!takes(Method::GET, "/a?consistency=stale&b=1") && !takes(Method::GET, "/a?list&unlinked"));
        assert!(takes(Method::GET, "/-/health?at=1") && !takes(Method::GET, "/-/status?at=1"));
    }
}
