//! Messages in a capture: a file of pcap or pcapng, as tcpdump, tshark and Wireshark write it.
//!
//! Frames of Ethernet (with VLAN), Linux "cooked", loopback and bare IP; UDP, and TCP put together by its sequence numbers.
//! What cannot be read is told with its frame: parts of IP packets, and what the capture has not whole.

mod frames;
mod segment;
mod stream;

use std::collections::HashMap;
use std::time::Duration;

use self::frames::Frame;
pub use self::segment::Way;
use self::segment::{Carrier, Other, Segment};
pub use self::stream::Begins;
use self::stream::{Outcome, Stream};

/// What knows the messages, and takes them.
pub trait Reader {
    /// What the octets of a stream, or of a datagram, begin.
    fn begins(&self, octets: &[u8], over: Over) -> Begins;

    /// Takes a whole message.
    ///
    /// # Errors
    /// Why it is none, to be told with its frame.
    fn message(&mut self, found: &Found<'_>) -> Result<(), String>;

    /// Something is to be said: of a frame, or of the whole.
    fn note(&mut self, frame: Option<u64>, what: String);
}

/// What carries messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Over {
    /// Datagrams of UDP; so many octets had this one, of which the capture may have fewer.
    Udp {
        /// Octets that it had.
        length: usize,
    },
    /// A connection of TCP.
    Tcp,
}

/// A message that was found.
#[derive(Clone, Copy, Debug)]
pub struct Found<'o> {
    /// The message.
    pub octets: &'o [u8],
    /// What carried it.
    pub over: Over,
    /// From whom to whom.
    pub way: Way,
    /// The frame in which it begins, from 1.
    pub frame: u64,
    /// When that was seen, since 1970.
    pub at: Option<Duration>,
}

/// What a capture holds.
#[derive(Debug, Default)]
pub struct Held {
    /// Messages.
    pub messages: u64,
    /// Frames.
    pub frames: u64,
    /// Frames without a segment or a message.
    pub others: u64,
    /// Why it ends before its file does.
    pub damage: Option<String>,
}

/// Whether a file begins as a capture does.
pub fn is_capture(octets: &[u8]) -> bool {
    frames::is_capture(octets)
}

/// Reads a capture.
pub fn read(octets: &[u8], reader: &mut dyn Reader) -> Held {
    let frames = frames::read(octets);
    let held = Held { frames: frames.all.len() as u64, damage: frames.damage, ..Held::default() };
    let mut reading = Reading { reader, times: HashMap::new(), streams: HashMap::new(), held };
    for frame in &frames.all {
        reading.frame(frame);
    }
    let mut open: Vec<Way> = reading.streams.iter().filter(|(_, own)| !own.is_empty()).map(|(way, _)| *way).collect();
    open.sort_unstable();
    for way in open {
        reading.reader.note(None, format!("TCP {way} ends within a message"));
    }
    reading.held
}

struct Reading<'r> {
    reader: &'r mut dyn Reader,
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
        self.reader.note(Some(frame.number), what);
    }

    fn datagram(&mut self, frame: &Frame<'_>, segment: &Segment<'_>) {
        let over = Over::Udp { length: segment.length };
        match self.reader.begins(segment.octets, over) {
            // Octets behind the message are padding (RFC 2865 §3).
            Begins::Message(length) if length <= segment.octets.len() => {
                let octets = &segment.octets[..length];
                self.message(Found { octets, over, way: segment.way, frame: frame.number, at: frame.at });
            }
            Begins::Message(length) if segment.length >= length => {
                let what = format!("{}: cut: the capture has {} of {length} octets", segment.way, segment.octets.len());
                self.reader.note(Some(frame.number), what);
            }
            Begins::Message(length) => {
                let what = format!("{}: a message of {length} octets in a datagram of {}", segment.way, segment.length);
                self.reader.note(Some(frame.number), what);
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
        let reader = &*self.reader;
        let octets = (sequence, segment.octets, segment.length);
        let outcomes = stream.take(frame.number, octets, |octets| reader.begins(octets, Over::Tcp));
        if segment.length > 0 {
            self.times.insert(frame.number, frame.at);
        }
        let mut is_other = outcomes.is_empty() && segment.length > 0 && stream.is_empty();
        for outcome in outcomes {
            match outcome {
                Outcome::Message(message, began) => {
                    let at = self.times.get(&began).copied().flatten();
                    self.message(Found { octets: &message, over: Over::Tcp, way: segment.way, frame: began, at });
                }
                Outcome::Gap => {
                    let what =
                        format!("TCP {}: octets are missing, and with them what they were a part of", segment.way);
                    self.reader.note(Some(frame.number), what);
                }
                Outcome::Lost => is_other = true,
            }
        }
        self.held.others += u64::from(is_other);
    }

    fn message(&mut self, found: Found<'_>) {
        match self.reader.message(&found) {
            Ok(()) => self.held.messages += 1,
            Err(why) => self.reader.note(Some(found.frame), format!("{}: {why}", found.way)),
        }
    }
}

/// Directions of TCP connections that are followed.
const STREAMS_MAX: usize = 65_536;
