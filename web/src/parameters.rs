//! The query parameters of a request, and the refusal of those that it does not take.
//!
//! Owns how a query is read: pairs, still percent-encoded, each name once. Leaves their meaning to the
//! routes. Invariant: whatever a query holds is known to its route, or the request is refused: what is silently
//! left out of account would make it another request.

use hayrick_protocol::key::percent_decode;
use http::{StatusCode, Uri};

use crate::Problem;

/// What a kind of request takes.
#[derive(Debug, Clone, Copy)]
pub struct Parameters {
    /// By name.
    pub takes: &'static [&'static str],
    /// What else may have been meant, for the end of the refusal; `""` for nothing.
    pub hint: &'static str,
}

impl Parameters {
    /// None at all.
    pub const NONE: Self = Self { takes: &[], hint: "" };

    /// Refuses a target with any other, or with one twice.
    ///
    /// # Errors
    /// 400, which names the first of those and what is taken.
    pub fn check(&self, uri: &Uri) -> Result<(), Problem> {
        let names = || pairs(uri).map(|(name, _)| name);
        let Some(name) = names().find(|name| !self.takes.contains(name)) else {
            let twice = |name: &&str| names().filter(|other| other == name).count() > 1;
            return names().find(twice).map_or(Ok(()), |name| {
                let text = format!("{name:?} is there more than once; it counts once");
                Err(Problem::new(StatusCode::BAD_REQUEST, text))
            });
        };
        let taken = if self.takes.is_empty() { "none".to_owned() } else { self.takes.join(", ") };
        let hint = if self.hint.is_empty() { String::new() } else { format!("; {}", self.hint) };
        let text = format!("{name:?} is no parameter; this request takes {taken}{hint}");
        Err(Problem::new(StatusCode::BAD_REQUEST, text))
    }
}

/// The text of a query parameter, decoded as forms are: `+` is a space. `""` when it stands alone.
///
/// # Errors
/// 400 when it is no UTF-8, or its percent-encoding is malformed.
pub fn parameter_text(uri: &Uri, name: &str) -> Result<Option<String>, Problem> {
    let Some(encoded) = parameter(uri, name) else { return Ok(None) };
    let text = percent_decode(&encoded.replace('+', "%20"));
    text.map(Some)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("{name}={encoded}: {error}")))
}

/// The value of a query parameter, still percent-encoded; `""` when it stands alone.
pub fn parameter<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    pairs(uri).find(|(found, _)| *found == name).map(|(_, value)| value)
}

fn pairs(uri: &Uri) -> impl Iterator<Item = (&str, &str)> {
    let pairs = uri.query().into_iter().flat_map(|query| query.split('&'));
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: Parameters = Parameters { takes: &["list", "limit"], hint: "or so" };

    fn refusal(uri: &'static str, parameters: Parameters) -> Option<String> {
        let problem = parameters.check(&Uri::from_static(uri)).err()?;
        assert_eq!(problem.status, StatusCode::BAD_REQUEST);
        Some(problem.text)
    }

    #[test]
    fn what_a_request_does_not_take_is_refused_by_name() {
        assert_eq!(refusal("/a", Parameters::NONE), None);
        assert_eq!(refusal("/a?list&limit=3", PAGE), None);
        let text = |uri, parameters| refusal(uri, parameters).expect("it is refused");
        let unknown = "\"b\" is no parameter; this request takes list, limit; or so";
        assert_eq!(text("/a?list&b=limit", PAGE), unknown);
        let none = "\"a\" is no parameter; this request takes none";
        assert_eq!(text("/-/x?a", Parameters::NONE), none);
        let twice = "\"limit\" is there more than once; it counts once";
        assert_eq!(text("/a?list&limit=3&limit=3", PAGE), twice);
        assert!(refusal("/a?", Parameters::NONE).is_some(), "a question mark may be meant as part of a key");
    }

    #[test]
    fn a_text_is_decoded_as_forms_are() {
        let of = |uri| parameter_text(&Uri::from_static(uri), "start").map_err(|problem| problem.text);
        assert_eq!(of("/a?list"), Ok(None));
        assert_eq!(of("/a?start"), Ok(Some(String::new())));
        assert_eq!(of("/a?start=a+b%2Bc%20%C3%A9"), Ok(Some("a b+c é".to_owned())));
        assert!(of("/a?start=%zz").is_err_and(|text| text.starts_with("start=%zz: ")));
        assert!(of("/a?start=%ff").is_err());
    }

    #[test]
    fn the_first_parameter_of_a_name_counts() {
        let uri = Uri::from_static("/a?list&limit=3&limit=4&start=%20=");
        let of = |name| parameter(&uri, name);
        assert_eq!(
            (of("list"), of("limit"), of("start"), of("b")),
            (Some(""), Some("3"), Some("%20="), None)
        );
    }
}
