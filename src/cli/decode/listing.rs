//! The messages of a capture as text and as JSON, each with its frame.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::capture::{Begins, Found, Over, Reader};

/// What knows the messages.
pub(super) trait Protocols {
    /// What these octets begin.
    fn begins(&self, octets: &[u8]) -> Begins;

    /// A whole message as text and as JSON.
    fn show(&self, octets: &[u8]) -> Result<(String, Value), String>;
}

/// What is shown of a capture.
pub(super) struct Listing<P> {
    /// What knows them.
    pub protocols: P,
    /// Messages as text, each behind a line about its frame.
    pub text: String,
    /// The same as JSON, and what is to be said of single frames.
    pub all: Vec<Value>,
    /// What is to be said of single frames.
    pub notes: Vec<String>,
}

impl<P: Protocols> Listing<P> {
    /// An empty one.
    pub(super) const fn new(protocols: P) -> Self {
        Self { protocols, text: String::new(), all: Vec::new(), notes: Vec::new() }
    }
}

impl<P: Protocols> Reader for Listing<P> {
    fn begins(&self, octets: &[u8], _over: Over) -> Begins {
        self.protocols.begins(octets)
    }

    fn message(&mut self, found: &Found<'_>) -> Result<(), String> {
        let (text, json) = self.protocols.show(found.octets)?;
        let carrier = if found.over == Over::Tcp { "TCP" } else { "UDP" };
        let (number, way) = (found.frame, found.way);
        let since = found.at.and_then(|at| jiff::SignedDuration::try_from(at).ok());
        let time = since.and_then(|since| jiff::Timestamp::UNIX_EPOCH.checked_add(since).ok());
        let time = time.map(|time| time.to_string());
        let shown = time.as_ref().map_or_else(String::new, |time| format!(" {time}"));
        let _infallible = writeln!(self.text, "frame {number}{shown} {carrier} {way}");
        self.text.push_str(&text);
        self.text.push('\n');
        self.all.push(json!({
            "frame": number,
            "time": time,
            "transport": carrier,
            "source": way.from.to_string(),
            "destination": way.to.to_string(),
            "message": json,
        }));
        Ok(())
    }

    fn note(&mut self, frame: Option<u64>, what: String) {
        let head = frame.map_or_else(String::new, |frame| format!("frame {frame}: "));
        self.all.push(json!({ "frame": frame, "note": what }));
        self.notes.push(format!("{head}{what}"));
    }
}
