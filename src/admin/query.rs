//! Parameters in a query, and what is said of one that is wrong: which it is, what was given, and what it takes.

use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;

use super::api::refused;
use super::perform::brief;

/// What a path takes in its query.
pub(super) trait Parameters: Sized {
    /// Their names.
    const NAMES: &'static [&'static str];

    /// Reads them.
    ///
    /// # Errors
    /// In words, which one is wrong.
    fn read(given: &Given) -> Result<Self, String>;
}

/// The parameters of a request; one that is unknown, twice there or wrong is refused rather than passed over.
pub(super) struct Asked<T>(pub T);

impl<T: Parameters, S: Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map(|Query(pairs)| Given(pairs));
        // Whatever stands in a query is pairs.
        let given = pairs.unwrap_or_else(|_| Given(Vec::new()));
        let read = given.known(T::NAMES).and_then(|()| T::read(&given));
        read.map(Self).map_err(|text| refused(StatusCode::BAD_REQUEST, text))
    }
}

/// Names and values as they were given.
pub(super) struct Given(Vec<(String, String)>);

impl Given {
    fn known(&self, names: &[&str]) -> Result<(), String> {
        for (at, (name, _)) in self.0.iter().enumerate() {
            if !names.contains(&name.as_str()) {
                let known: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
                return Err(format!("there is no parameter `{}` here; known are {}", brief(name), known.join(", ")));
            }
            if self.0[..at].iter().any(|(before, _)| before == name) {
                return Err(format!("`{name}` is there twice; it takes one value"));
            }
        }
        Ok(())
    }

    /// A text, if it was given.
    pub fn text(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone())
    }

    /// A text that has to be there; `what` says what it is.
    ///
    /// # Errors
    /// It is not.
    pub fn needed(&self, name: &str, what: &str) -> Result<String, String> {
        self.text(name).ok_or_else(|| format!("`{name}` is missing; it takes {what}"))
    }

    /// A value that is read by `read`; `what` says what it takes.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn value<V>(&self, name: &str, what: &str, read: impl FnOnce(&str) -> Option<V>) -> Result<Option<V>, String> {
        let wrong = |text: &str| match text {
            "" => format!("`{name}` is empty; it takes {what}"),
            text => format!("`{name}` is `{}`; it takes {what}", brief(text)),
        };
        self.text(name).map(|text| read(&text).ok_or_else(|| wrong(&text))).transpose()
    }

    /// How many there are to be in an answer; more than `most` counts as that.
    ///
    /// # Errors
    /// It is no number.
    pub fn count(&self, name: &str, most: usize) -> Result<Option<usize>, String> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
        // One that is too long for the machine is more than `most`.
        let read = |text: &str| is_number(text).then(|| text.parse().unwrap_or(most).min(most));
        self.value(name, &format!("a whole number up to {most}"), read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_with_its_value_and_what_it_takes() {
        for (query, want) in [
            ("max=5", Ok(Some(5))),
            ("", Ok(None)),
            ("max=0", Ok(Some(0))),
            ("max=65", Ok(Some(64))),
            ("max=99999999999999999999999", Ok(Some(64))),
            ("max=", Err("`max` is empty; it takes a whole number up to 64")),
            ("max", Err("`max` is empty; it takes a whole number up to 64")),
            ("max=-1", Err("`max` is `-1`; it takes a whole number up to 64")),
            ("max=%2B1", Err("`max` is `+1`; it takes a whole number up to 64")),
            ("max=a%0Ab", Err("`max` is `a\\nb`; it takes a whole number up to 64")),
            ("max=1&max=2", Err("`max` is there twice; it takes one value")),
            ("mxa=1", Err("there is no parameter `mxa` here; known are `max`, `call`")),
            ("=1", Err("there is no parameter `` here; known are `max`, `call`")),
        ] {
            let uri = format!("/x?{query}").parse().expect("a target");
            let given = Query::<Vec<(String, String)>>::try_from_uri(&uri).map(|Query(pairs)| Given(pairs));
            let given = given.expect("pairs");
            let read = given.known(&["max", "call"]).and_then(|()| given.count("max", 64));
            assert_eq!(read, want.map_err(str::to_owned), "{query}");
        }
        assert_eq!(
            Given(Vec::new()).needed("call", "a Call-ID"),
            Err("`call` is missing; it takes a Call-ID".to_owned())
        );
    }
}
