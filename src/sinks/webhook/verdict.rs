//! What became of a request: by the answer, or by why there is none.

use std::error::Error;
use std::io;
use std::time::{Duration, UNIX_EPOCH};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use reqwest::{StatusCode, Url};

use super::Expect;
use crate::clock::Timestamp;
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
}

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
                let place = self.text(LOCATION).map_or("nowhere".to_owned(), without_secrets);
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
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(4 * SHOWN_MAX)]).into_owned();
        let text = text.split(|sign: char| sign.is_whitespace() || sign.is_control());
        let text = text.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
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
    let is_certificate = matches!(inner.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)));
    (inner.to_string(), is_certificate)
}

fn held<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    let held = error.downcast_ref::<io::Error>()?.get_ref()?;
    Some(held)
}
