//! What became of a request: by the answer, or by why there is none.

use std::error::Error;
use std::io;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use reqwest::{StatusCode, Url};

use super::{Expect, Login};
use crate::clock::Timestamp;
use crate::net::tls::{NO_TLS, is_no_tls};
use crate::sinks::attempt::{Answer, Fate};

/// What became of a request; of a record with several the last of these.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Verdict {
    /// It is acknowledged.
    Delivered,
    /// Nothing of it was taken, and nothing is taken now.
    Away(String),
    /// Nothing of it was taken, and nothing will be before the configuration, here or there, is another.
    Misfit(String),
    /// It may have been taken.
    Lost(String),
    /// It is never taken.
    Refused(String, u16),
}

impl Verdict {
    /// What follows for a batch that was one request.
    pub fn answer(self, after: Option<Duration>) -> Answer {
        match self {
            Self::Delivered => Answer::Delivered,
            Self::Away(reason) => Answer::Down { reason, after },
            Self::Misfit(reason) => Answer::Misfit { reason },
            Self::Lost(reason) => Answer::Unknown { reason },
            Self::Refused(reason, code) => Answer::Refused { reason, code: code.into() },
        }
    }

    /// What follows for a record beside others.
    pub fn fate(self) -> Fate {
        match self {
            Self::Delivered => Fate::Delivered,
            Self::Away(reason) | Self::Misfit(reason) => Fate::Unsent { reason },
            Self::Lost(reason) => Fate::Unknown { reason },
            Self::Refused(reason, code) => Fate::Refused { reason, code: code.into() },
        }
    }
}

/// An answer, as far as it was read.
pub(super) struct Seen<'s> {
    pub status: StatusCode,
    pub headers: &'s HeaderMap,
    pub body: &'s [u8],
    /// What is ours alone: receivers that tell of a fault may repeat the request.
    pub hidden: &'s Hidden,
}

/// Texts that no reason shows.
#[derive(Debug, Default)]
pub(super) struct Hidden(Vec<String>);

impl Hidden {
    /// What lets us in, as it stands in a request too, and what stands behind `?` of the URL.
    pub fn of(login: &Login, url: &Url) -> Self {
        let mut texts = match login {
            Login::None => Vec::new(),
            Login::Bearer(token) => vec![token.text().to_owned()],
            Login::Basic(user, password) => {
                let password = password.text();
                vec![STANDARD.encode(format!("{user}:{password}")), password.to_owned()]
            }
        };
        texts.extend(url.query().filter(|query| query.len() >= QUERY_MIN).map(str::to_owned));
        texts.retain(|text| !text.is_empty());
        Self(texts)
    }

    fn in_text(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, own| text.replace(own, "[hidden]"))
    }
}

/// Octets of what stands behind `?` at least: less is no secret, and stands in any text.
const QUERY_MIN: usize = 4;

impl Seen<'_> {
    /// What it means (RFC 9110 §15).
    pub fn verdict(&self, expect: &Expect) -> Verdict {
        let Self { status, .. } = *self;
        let told = || format!("it answered {status}{}", self.said());
        match status.as_u16() {
            200..=299 => match self.misses(expect) {
                Some(what) => Verdict::Lost(format!("it answered {status} {what}{}", self.said())),
                None => Verdict::Delivered,
            },
            300..=399 => {
                let place = self
                    .text(LOCATION)
                    .map_or("nowhere".to_owned(), |place| self.hidden.in_text(&without_secrets(place)));
                Verdict::Misfit(format!("it answered {status} and points to {place}, which is not followed"))
            }
            // Whatever the record says, these are about the URL, or about who we are.
            401 | 405 | 407 => Verdict::Misfit(told()),
            // It has not begun with it.
            408 | 425 | 429 => Verdict::Away(told()),
            code @ 400..=499 => Verdict::Refused(told(), code),
            // Who passes it on may have done so, and who failed may have failed behind it.
            _ => Verdict::Lost(told()),
        }
    }

    /// How long it wants to be left alone, `most` at most (RFC 9110 §10.2.3).
    pub fn retry_after(&self, now: Timestamp, most: Duration) -> Option<Duration> {
        let text = self.text(RETRY_AFTER)?.trim();
        let wait = match text.parse() {
            Ok(secs) => Duration::from_secs(secs),
            // More digits than a number has.
            Err(_) if text.bytes().all(|octet| octet.is_ascii_digit()) && !text.is_empty() => Duration::MAX,
            Err(_) => {
                let date = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
                Timestamp(i64::try_from(date.as_micros()).ok()?).since(now)
            }
        };
        // Now is no rest.
        (!wait.is_zero()).then(|| wait.min(most))
    }

    /// What it lacks of an acknowledgement.
    fn misses(&self, expect: &Expect) -> Option<String> {
        let media_type = self.text(CONTENT_TYPE).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        let is = |other: &str| media_type.eq_ignore_ascii_case(other);
        let shown = if media_type.is_empty() { "no Content-Type" } else { media_type };
        match &expect.media_type {
            Some(want) if !is(want) => return Some(format!("with {shown} in place of {want}")),
            None if is("text/html") || is("application/xhtml+xml") => {
                return Some(format!("with {shown}, which is a page for people, unless `expect_type` says otherwise"));
            }
            _ => {}
        }
        let want = expect.text.as_ref()?;
        let has = want.is_empty() || self.body.windows(want.len()).any(|part| part == want.as_bytes());
        (!has).then(|| format!("without `{want}` in its body"))
    }

    fn text(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The begin of its body, on one line.
    fn said(&self) -> String {
        // First what is hidden, so that no begin of it is left where the text is cut.
        let text = self.hidden.in_text(&String::from_utf8_lossy(self.body));
        let text = text.split(|sign: char| sign.is_whitespace() || sign.is_control());
        let text = text.filter(|word| !word.is_empty()).take(SHOWN_MAX).collect::<Vec<_>>().join(" ");
        match text.char_indices().nth(SHOWN_MAX) {
            _ if text.is_empty() => text,
            Some((end, _)) => format!(": {}…", &text[..end]),
            None => format!(": {text}"),
        }
    }
}

/// Signs of an answer's body in a reason.
const SHOWN_MAX: usize = 120;

/// A place without what may be a password or a token.
pub(super) fn without_secrets(place: &str) -> String {
    let end = place.find(['?', '#']).unwrap_or(place.len());
    match Url::parse(&place[..end]) {
        Ok(mut url) if !url.username().is_empty() || url.password().is_some() => {
            let _no_host = (url.set_username("").is_err(), url.set_password(None).is_err());
            url.to_string()
        }
        _ => place[..end].chars().filter(|sign| !sign.is_control()).take(SHOWN_MAX).collect(),
    }
}

/// What it means that there is no answer.
pub(super) fn unanswered(error: &reqwest::Error, timeout: Duration) -> Verdict {
    let (cause, is_certificate) = root(error);
    if error.is_connect() && is_certificate {
        return Verdict::Misfit(format!("its certificate is refused: {cause}"));
    }
    if error.is_connect() {
        return Verdict::Away(format!("cannot connect: {cause}"));
    }
    if error.is_timeout() { late(timeout) } else { Verdict::Lost(format!("no whole answer: {cause}")) }
}

/// What it means that an answer does not come.
pub(super) fn late(timeout: Duration) -> Verdict {
    Verdict::Lost(format!("no answer within {} s", timeout.as_secs_f64()))
}

/// The innermost cause of an error, and whether that is a certificate.
fn root(error: &reqwest::Error) -> (String, bool) {
    let mut inner: &(dyn Error + 'static) = error;
    // What an error of the system holds is not its source, but the one whose source is its own.
    while let Some(next) = held(inner).or_else(|| inner.source()) {
        inner = next;
    }
    let secured = inner.downcast_ref();
    let is_certificate = matches!(secured, Some(rustls::Error::InvalidCertificate(_)));
    let cause = if secured.is_some_and(is_no_tls) { NO_TLS.to_owned() } else { inner.to_string() };
    (cause, is_certificate)
}

fn held<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    let held = error.downcast_ref::<io::Error>()?.get_ref()?;
    Some(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(given: &[(HeaderName, &str)]) -> HeaderMap {
        given.iter().map(|(name, value)| (name.clone(), value.parse().expect("a value"))).collect()
    }

    fn verdict(status: u16, given: &[(HeaderName, &str)], body: &str, expect: &Expect) -> Verdict {
        let status = StatusCode::from_u16(status).expect("a status");
        let hidden = &Hidden::default();
        Seen { status, headers: &headers(given), body: body.as_bytes(), hidden }.verdict(expect)
    }

    #[test]
    fn a_status_says_what_follows() {
        use Verdict::{Away, Delivered, Lost, Misfit, Refused};
        let none = Expect::default();
        let text = |text: &str| text.to_owned();
        for (status, want) in [
            (200, Delivered),
            (204, Delivered),
            (302, Misfit(text("it answered 302 Found and points to nowhere, which is not followed"))),
            (400, Refused(text("it answered 400 Bad Request: no way"), 400)),
            (401, Misfit(text("it answered 401 Unauthorized: no way"))),
            (403, Refused(text("it answered 403 Forbidden: no way"), 403)),
            (405, Misfit(text("it answered 405 Method Not Allowed: no way"))),
            (408, Away(text("it answered 408 Request Timeout: no way"))),
            (413, Refused(text("it answered 413 Payload Too Large: no way"), 413)),
            (425, Away(text("it answered 425 Too Early: no way"))),
            (429, Away(text("it answered 429 Too Many Requests: no way"))),
            (500, Lost(text("it answered 500 Internal Server Error: no way"))),
            (503, Lost(text("it answered 503 Service Unavailable: no way"))),
            (799, Lost(text("it answered 799 <unknown status code>: no way"))),
        ] {
            assert_eq!(verdict(status, &[], " no\r\n\tway\0\n", &none), want, "{status}");
        }
    }

    #[test]
    fn a_redirection_tells_its_place_without_secrets() {
        for (place, shown) in [
            ("https://other.example/acc", "https://other.example/acc"),
            ("https://other.example/login?next=/acc&token=1", "https://other.example/login"),
            ("https://me:secret@other.example/acc", "https://other.example/acc"),
            ("/login", "/login"),
        ] {
            let Verdict::Misfit(reason) = verdict(301, &[(LOCATION, place)], "", &Expect::default()) else {
                panic!("{place}")
            };
            assert_eq!(
                reason,
                format!("it answered 301 Moved Permanently and points to {shown}, which is not followed")
            );
        }
    }

    #[test]
    fn a_200_has_to_be_what_is_expected() {
        let expect = |media_type: Option<&str>, text: Option<&str>| Expect {
            media_type: media_type.map(str::to_owned),
            text: text.map(str::to_owned),
        };
        let page = "<html><body>Database error</body></html>";
        for (expect, media_type, body, want) in [
            (expect(None, None), Some("text/plain"), "ok", None),
            (expect(None, None), None, "", None),
            (
                expect(None, None),
                Some("Text/HTML; charset=utf-8"),
                page,
                Some(
                    "with Text/HTML, which is a page for people, unless `expect_type` says otherwise: <html><body>Database error</body></html>",
                ),
            ),
            (expect(Some("text/html"), None), Some("text/html; charset=utf-8"), "ok", None),
            (expect(Some("application/json"), None), Some("application/json"), "{}", None),
            (
                expect(Some("application/json"), None),
                None,
                "",
                Some("with no Content-Type in place of application/json"),
            ),
            (expect(None, Some("\"ok\"")), None, "{\"status\": \"ok\"}", None),
            (
                expect(Some("application/json"), Some("\"ok\"")),
                Some("application/json"),
                "{\"status\": \"error\"}",
                Some("without `\"ok\"` in its body: {\"status\": \"error\"}"),
            ),
        ] {
            let given: Vec<_> = media_type.map(|media_type| (CONTENT_TYPE, media_type)).into_iter().collect();
            let want = want.map_or(Verdict::Delivered, |want| Verdict::Lost(format!("it answered 200 OK {want}")));
            assert_eq!(verdict(200, &given, body, &expect), want, "{expect:?} {body}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now = Timestamp(784_111_777_000_000);
        let secs = |secs| Some(Duration::from_secs(secs));
        for (text, want) in [
            ("120", secs(120)),
            (" 7 ", secs(7)),
            ("0", None),
            ("99999", secs(3600)),
            ("99999999999999999999999", secs(3600)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", secs(30)),
            ("Sunday, 06-Nov-94 08:50:07 GMT", secs(30)),
            ("Sun Nov  6 08:50:07 1994", secs(30)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", None),
            ("Sat, 06 Nov 2094 08:50:07 GMT", secs(3600)),
            ("soon", None),
            ("-5", None),
            ("1.5", None),
            ("", None),
        ] {
            let headers = headers(&[(RETRY_AFTER, text)]);
            let (status, hidden) = (StatusCode::SERVICE_UNAVAILABLE, &Hidden::default());
            let seen = Seen { status, headers: &headers, body: b"", hidden };
            assert_eq!(seen.retry_after(now, Duration::from_secs(3600)), want, "{text}");
        }
    }
}
