//! Messages in a capture: a file of pcap or pcapng, as tcpdump, tshark and Wireshark write it.
//!
//! Frames of Ethernet (with VLAN), Linux "cooked", loopback and bare IP; UDP, and TCP put together by its sequence numbers.
//! What cannot be read is told with its frame: parts of IP packets, and what the capture has not whole.

mod frames;
mod segment;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use self::frames::Frame;
use self::segment::{Carrier, Other, Segment, Way};
pub(super) use self::stream::Begins;
use self::stream::{Outcome, Stream};

/// What knows the messages.
pub(super) trait Protocols {
    /// What these octets begin.
    fn begins(&self, octets: &[u8]) -> Begins;

    /// A whole message as text and as JSON.
    fn show(&self, octets: &[u8]) -> Result<(String, Value), String>;
}

/// What a capture holds.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Messages as text, each behind a line about its frame.
    pub text: String,
    /// The same as JSON, and what is to be said of single frames.
    pub all: Vec<Value>,
    pub messages: u64,
    /// What is to be said of single frames.
    pub notes: Vec<String>,
    pub frames: u64,
    /// Frames without a segment or a message.
    pub others: u64,
    pub damage: Option<String>,
}

/// Whether a file begins as a capture does.
pub(super) fn is_capture(octets: &[u8]) -> bool {
    frames::is_capture(octets)
}

/// Reads a capture.
pub(super) fn read(octets: &[u8], protocols: &dyn Protocols) -> Held {
    let frames = frames::read(octets);
    let held = Held { frames: frames.all.len() as u64, damage: frames.damage, ..Held::default() };
    let mut reading = Reading { protocols, times: HashMap::new(), streams: HashMap::new(), held };
    for frame in &frames.all {
        reading.frame(frame);
    }
    let mut open: Vec<Way> = reading.streams.iter().filter(|(_, own)| !own.is_empty()).map(|(way, _)| *way).collect();
    open.sort_unstable();
    for way in open {
        reading.note(None, format!("TCP {way} ends within a message"));
    }
    reading.held
}

struct Reading<'p> {
    protocols: &'p dyn Protocols,
    /// When the frames were seen in which messages of streams begin.
    times: HashMap<u64, Option<Duration>>,
    streams: HashMap<Way, Stream>,
    held: Held,
}

impl Reading<'_> {
    fn frame(&mut self, frame: &Frame<'_>) {
        let segment = match segment::of(frame) {
            Ok(segment) => segment,
            Err(other) => return self.other(frame, other),
        };
        match segment.carrier {
            Carrier::Udp => self.datagram(frame, &segment),
            Carrier::Tcp { sequence, is_first } => self.stream(frame, &segment, (sequence, is_first)),
        }
    }

    fn other(&mut self, frame: &Frame<'_>, other: Other) {
        let what = match other {
            Other::Unrelated => {
                self.held.others += 1;
                return;
            }
            Other::Fragment => "a part of an IP packet: they are not put together".to_owned(),
            Other::Cut => format!("cut: the capture has {} of {} octets", frame.data.len(), frame.length),
            Other::Link(link) => format!("frames of link type {link} are not read"),
        };
        self.note(Some(frame.number), what);
    }

    fn datagram(&mut self, frame: &Frame<'_>, segment: &Segment<'_>) {
        match self.protocols.begins(segment.octets) {
            // Octets behind the message are padding (RFC 2865 §3).
            Begins::Message(length) if length <= segment.octets.len() => {
                self.message(&segment.octets[..length], ("UDP", segment.way), (frame.number, frame.at));
            }
            Begins::Message(length) if segment.length >= length => {
                let what = format!("{}: cut: the capture has {} of {length} octets", segment.way, segment.octets.len());
                self.note(Some(frame.number), what);
            }
            Begins::Message(length) => {
                let what = format!("{}: a message of {length} octets in a datagram of {}", segment.way, segment.length);
                self.note(Some(frame.number), what);
            }
            Begins::Unknown | Begins::Nothing => self.held.others += 1,
        }
    }

    fn stream(&mut self, frame: &Frame<'_>, segment: &Segment<'_>, (sequence, is_first): (u32, bool)) {
        if self.streams.len() >= STREAMS_MAX && !self.streams.contains_key(&segment.way) {
            self.held.others += 1;
            return;
        }
        let stream = self.streams.entry(segment.way).or_default();
        if is_first {
            stream.open(sequence);
            return;
        }
        let protocols = self.protocols;
        let octets = (sequence, segment.octets, segment.length);
        let outcomes = stream.take(frame.number, octets, |octets| protocols.begins(octets));
        if segment.length > 0 {
            self.times.insert(frame.number, frame.at);
        }
        let mut is_other = outcomes.is_empty() && segment.length > 0 && stream.is_empty();
        for outcome in outcomes {
            match outcome {
                Outcome::Message(message, began) => {
                    let at = self.times.get(&began).copied().flatten();
                    self.message(&message, ("TCP", segment.way), (began, at));
                }
                Outcome::Gap => {
                    let what =
                        format!("TCP {}: octets are missing, and with them what they were a part of", segment.way);
                    self.note(Some(frame.number), what);
                }
                Outcome::Lost => is_other = true,
            }
        }
        self.held.others += u64::from(is_other);
    }

    fn message(&mut self, octets: &[u8], (carrier, way): (&str, Way), (number, at): (u64, Option<Duration>)) {
        let time =
            at.and_then(|at| jiff::Timestamp::UNIX_EPOCH.checked_add(jiff::SignedDuration::try_from(at).ok()?).ok());
        let (text, json) = match self.protocols.show(octets) {
            Ok(shown) => shown,
            Err(why) => return self.note(Some(number), format!("{way}: {why}")),
        };
        let time = time.map(|time| time.to_string());
        let shown = time.as_ref().map_or_else(String::new, |time| format!(" {time}"));
        let _infallible = writeln!(self.held.text, "frame {number}{shown} {carrier} {way}");
        self.held.text.push_str(&text);
        self.held.text.push('\n');
        self.held.all.push(json!({
            "frame": number,
            "time": time,
            "transport": carrier,
            "source": way.from.to_string(),
            "destination": way.to.to_string(),
            "message": json,
        }));
        self.held.messages += 1;
    }

    fn note(&mut self, frame: Option<u64>, what: String) {
        let head = frame.map_or_else(String::new, |frame| format!("frame {frame}: "));
        self.held.all.push(json!({ "frame": frame, "note": what }));
        self.held.notes.push(format!("{head}{what}"));
    }
}

/// Directions of TCP connections that are followed.
const STREAMS_MAX: usize = 65_536;
