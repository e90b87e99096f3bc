//! What a refusal looks like: one line that says what is wrong and what to do.
//!
//! Owns its two forms, plain text and `application/problem+json` (RFC 9457), and `Retry-After`. Leaves the words to
//! whoever refuses. Invariants: whatever the text holds, the plain form is one line; a HEAD of what is not there is told the
//! length 0.

use axum::body::Body;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, VARY};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use serde::Serialize;

/// What 503 and 429 say when nobody knows better.
const RETRY_AFTER_S_DEFAULT: u32 = 1;

/// An answer other than success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its status.
    pub status: StatusCode,
    /// What is wrong and what to do, one line without its newline.
    pub text: String,
    /// Seconds after which to try again; 503 and 429 say 1 if there is none.
    pub retry_after_s: Option<u32>,
    /// The plain form is the text to the letter, without the end of its line: clients compare it.
    pub verbatim: bool,
}

/// RFC 9457; the type `about:blank` says that the title is the status's.
#[derive(Serialize)]
struct Json<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    /// A problem in `text`'s words.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), retry_after_s: None, verbatim: false }
    }

    /// Leaves the end of the line out of the plain form.
    pub fn verbatim(mut self) -> Self {
        self.verbatim = true;
        self
    }

    /// Says when to try again.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The answer: `application/problem+json` if the `request`'s `Accept` asks for JSON, else one line of `text/plain`.
    pub fn response<B>(&self, request: &Request<B>) -> Response<Body> {
        let (content_type, text) = match asks_for_json(request.headers()) {
            true => ("application/problem+json", self.json()),
            false => ("text/plain; charset=utf-8", self.line()),
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        fields.insert(VARY, HeaderValue::from_static("accept"));
        // A HEAD tells the length of an object; of one that is not there, that is 0 and not the length of the words.
        if request.method() == Method::HEAD && self.status == StatusCode::NOT_FOUND {
            fields.insert(CONTENT_LENGTH, HeaderValue::from(0));
        } else {
            *response.body_mut() = Body::from(text);
        }
        let fields = response.headers_mut();
        let later = matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        if let Some(seconds) = self.retry_after_s.or(later.then_some(RETRY_AFTER_S_DEFAULT)) {
            fields.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// The text as one line, with its end unless it is verbatim.
    pub(crate) fn line(&self) -> String {
        let mut line = self.text.replace(|letter: char| letter.is_control(), " ");
        if !self.verbatim {
            line.push('\n');
        }
        line
    }

    fn json(&self) -> String {
        let title = self.status.canonical_reason().unwrap_or("Unknown");
        let json = Json { r#type: "about:blank", title, status: self.status.as_u16(), detail: &self.text };
        let mut text = serde_json::to_string(&json).expect("strings and numbers always serialize");
        text.push('\n');
        text
    }
}

/// Whether JSON is among what is accepted by name, and not with a weight of 0.
pub fn asks_for_json(request: &HeaderMap) -> bool {
    let accepted = request.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|list| list.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let refused = parts.any(|part| {
            let weight = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
            weight.and_then(|weight| weight.parse::<f32>().ok()) == Some(0.0)
        });
        (kind == "application/json" || kind.ends_with("+json")) && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::{
        ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, Method, Problem, RETRY_AFTER, Request,
        StatusCode,
    };
    use http_body_util::BodyExt;

    async fn answer(problem: &Problem, accept: Option<&'static str>) -> (HeaderMap, String) {
        let mut request = Request::new(());
        if let Some(accept) = accept {
            request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
        }
        let (parts, body) = problem.response(&request).into_parts();
        assert_eq!(parts.status, problem.status);
        let bytes = body.collect().await.expect("it is in memory").to_bytes();
        (parts.headers, String::from_utf8(bytes.to_vec()).expect("it is text"))
    }

    #[tokio::test]
    async fn a_problem_is_one_line_of_text() {
        let problem = Problem::new(StatusCode::NOT_FOUND, "no\nsuch\r\nroute");
        for accept in [None, Some("*/*"), Some("text/html, application/json;q=0")] {
            let (fields, text) = answer(&problem, accept).await;
            assert_eq!(text, "no such  route\n");
            assert_eq!(fields[CONTENT_TYPE], "text/plain; charset=utf-8");
            assert!(!fields.contains_key(RETRY_AFTER));
        }
    }

    #[test]
    fn a_head_of_what_is_not_there_has_no_length() {
        let mut request = Request::new(());
        *request.method_mut() = Method::HEAD;
        let length = |status| {
            let response = Problem::new(status, "no").response(&request);
            response.headers().get(CONTENT_LENGTH).cloned()
        };
        assert_eq!(length(StatusCode::NOT_FOUND).expect("it is told"), "0");
        assert_eq!(length(StatusCode::BAD_REQUEST), None, "that of the words, which hyper counts");
    }

    #[tokio::test]
    async fn a_problem_is_json_for_those_who_ask() {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too few volumes");
        for accept in ["application/json", "text/plain;q=0.5, application/problem+json"] {
            let (fields, text) = answer(&problem, Some(accept)).await;
            let expected = r#"{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"too few volumes"}"#;
            assert_eq!(text.trim_end(), expected);
            assert_eq!(fields[CONTENT_TYPE], "application/problem+json");
        }
    }

    #[tokio::test]
    async fn who_may_try_again_is_told_when() {
        for status in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS] {
            assert_eq!(answer(&Problem::new(status, "later"), None).await.0[RETRY_AFTER], "1");
            assert_eq!(answer(&Problem::new(status, "later").retry_after(7), None).await.0[RETRY_AFTER], "7");
        }
    }
}
