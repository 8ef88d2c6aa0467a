//! `tollgate replay`: what would have been accounted of the calls in a capture.
//!
//! The messages go through a [`Mirror`], whose time is that of the capture: at once, or as slowly as they came.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Args;
use data_encoding::HEXLOWER;

use super::decode::capture::{self, Begins, Found, Held, Over};
use super::desk::{Desk, Seek};
use super::output::{self, Format};
use super::{Failure, kept, load};
use crate::accounting::{self, Made, Outcome, SinkMode};
use crate::admin::request::Kept;
use crate::clock::{self, Now, Timestamp};
use crate::config;
use crate::hep;
use crate::ids::{SinkMask, SinkNumber};
use crate::mirror::{Count, Hop, Mirror, Own, Settings, Sight};
use crate::policy::Marks;
use crate::record::facts::Fact;
use crate::record::{Record, codec};
use crate::sip::message::content_length_of;
use crate::sip::stack::Transport;
use crate::timers::random;

/// Arguments of `tollgate replay`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Capture: pcap or pcapng, of SIP or of HEP
    file: PathBuf,
    /// Address of the proxy whose calls are accounted, with a port or not, or a block; may be given again
    ///
    /// Without it each request counts at the hop where it was seen first, which is that of its caller where the capture has
    /// one proxy.
    #[arg(long, value_name = "ADDRESS")]
    proxy: Vec<Own>,
    /// Take as long as the calls took
    #[arg(long)]
    real_time: bool,
    /// Put the records into the queue of the configuration, from where its sinks get them
    #[arg(long)]
    deliver: bool,
    #[command(flatten)]
    format: Format,
}

/// Replays the capture.
///
/// # Errors
/// The file is no capture, or has no SIP; the configuration is wrong; the queue takes no records.
pub fn run(seek: &Seek, arguments: &Arguments) -> Result<(), Failure> {
    let path = &arguments.file;
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if size > CAPTURE_OCTETS_MAX {
        let limit = CAPTURE_OCTETS_MAX >> 20;
        return Err(Failure::Failed(anyhow!("{}: more than {limit} MiB; `editcap -c` cuts a capture", path.display())));
    }
    let octets = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    if !capture::is_capture(&octets) {
        return Err(Failure::Failed(anyhow!("{}: no capture, neither pcap nor pcapng", path.display())));
    }
    let how = How::of(&seek.config, arguments)?;
    let drain = match arguments.deliver {
        true => Drain::Queue { desk: Box::new(Desk::open(seek)?), batch: kept::Batch::default() },
        false => Drain::Nowhere,
    };
    let [high, low] = random::seed();
    let mirror = Mirror::new(how.settings, u128::from(high) << 64 | u128::from(low));
    let mut replay = Replay {
        mirror,
        out: Outcome::default(),
        sinks: how.sinks,
        pace: if arguments.real_time { Pace::Real { begun: None } } else { Pace::AtOnce { now: clock::now() } },
        format: arguments.format.clone(),
        drain,
        records: 0,
        failed: None,
    };
    let held = capture::read(&octets, &mut replay);
    replay.end(&held)
}

/// What a configuration, or the lack of one, says.
struct How {
    settings: Settings,
    /// Names of the sinks, by number; none without a configuration.
    sinks: Vec<String>,
}

impl How {
    fn of(path: &Path, arguments: &Arguments) -> Result<Self, Failure> {
        let mut proxy = arguments.proxy.clone();
        let is_there = path.exists() || path != Path::new(config::DEFAULT_PATH) || arguments.deliver;
        let (accounting, marks, sinks) = if is_there {
            let plan = load(path)?;
            let numbers: Vec<_> = (0_u8..).map(SinkNumber).take(plan.sinks.len()).collect();
            let mirror = if let [mirror] = &plan.mirrors[..] { Some(mirror) } else { None };
            if let Some(mirror) = mirror.filter(|_| proxy.is_empty()) {
                proxy.clone_from(&mirror.proxy);
            }
            (plan.accounting(&numbers), mirror.map_or(plan.marks, |own| own.marks), plan.sink_names())
        } else {
            eprintln!("no {}: sessions are accounted by the defaults", path.display());
            let sinks = vec![SinkMode::Sessions];
            (accounting::Settings { sinks, ..accounting::Settings::default() }, Marks::NONE, Vec::new())
        };
        let all = (0_u8..).map(SinkNumber).take(sinks.len().max(1)).fold(SinkMask::NONE, SinkMask::with);
        let whole = Marks { accounting: all, missed: all, failed: all };
        // Who marks by routes alone sees all.
        let marks = if marks.is_empty() { whole } else { marks };
        let settings = Settings {
            name: "replay".to_owned(),
            proxy,
            marks,
            accounting,
            reorder: Settings::REORDER,
            requests_max: REQUESTS_MAX,
        };
        Ok(Self { settings, sinks })
    }
}

/// How fast time passes.
enum Pace {
    /// Not at all: the capture has a time of its own.
    AtOnce { now: Now },
    /// As it did, from the first message on.
    Real { begun: Option<(Timestamp, Now)> },
}

/// Where records go beside standard output.
enum Drain {
    Nowhere,
    Queue { desk: Box<Desk>, batch: kept::Batch },
}

struct Replay {
    mirror: Mirror,
    out: Outcome,
    sinks: Vec<String>,
    pace: Pace,
    format: Format,
    drain: Drain,
    records: u64,
    /// Why nothing more is done.
    failed: Option<Failure>,
}

impl capture::Reader for Replay {
    fn begins(&self, octets: &[u8], over: Over) -> Begins {
        begins(octets, over)
    }

    fn message(&mut self, found: &Found<'_>) -> Result<(), String> {
        if self.failed.is_some() || found.octets.trim_ascii().is_empty() {
            return Ok(());
        }
        let since = found.at.ok_or("its frame has no time")?;
        let at = Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
        let transport = if found.over == Over::Tcp { Transport::Tcp } else { Transport::Udp };
        let hop = Hop { from: found.way.from, to: found.way.to };
        let (sight, octets) = match found.octets {
            octets if octets.starts_with(HEP) => unwrapped(octets, at)?,
            octets => (Sight { at, hop, transport }, octets),
        };
        let heard = self.wait_for(sight.at);
        self.mirror.hear(heard, sight, octets.to_vec(), &mut self.out);
        self.tell();
        Ok(())
    }

    fn note(&mut self, frame: Option<u64>, what: String) {
        let head = frame.map_or_else(String::new, |frame| format!("frame {frame}: "));
        eprintln!("{head}{what}");
    }
}

/// The message in a packet of HEP, and where and when it was seen: at `at`, if the packet does not say.
fn unwrapped(octets: &[u8], at: Timestamp) -> Result<(Sight, &[u8]), String> {
    let packet = hep::decode(octets).map_err(|error| format!("a packet of HEP: {error}"))?;
    if packet.protocol != hep::SIP {
        return Err("a packet of HEP with another protocol".to_owned());
    }
    let transport = match packet.carrier {
        6 => Transport::Tcp,
        22 => Transport::Tls,
        _ => Transport::Udp,
    };
    let hop = Hop { from: packet.from, to: packet.to };
    Ok((Sight { at: packet.at.unwrap_or(at), hop, transport }, packet.payload))
}

impl Replay {
    /// The time at which a message is heard: now, or when it is due.
    fn wait_for(&mut self, at: Timestamp) -> Now {
        let due = match &mut self.pace {
            Pace::AtOnce { now } => return *now,
            Pace::Real { begun } => {
                let (first, since) = *begun.get_or_insert_with(|| (at, clock::now()));
                since.mono + at.since(first)
            }
        };
        loop {
            let next = self.mirror.deadline().map_or(due, |deadline| deadline.min(due));
            std::thread::sleep(next.since(clock::mono()));
            let now = clock::now();
            if now.mono >= due {
                return now;
            }
            self.mirror.tick(now, &mut self.out);
            self.tell();
        }
    }

    /// Prints the records that were made, and hands them on.
    fn tell(&mut self) {
        self.out.calls.clear();
        for made in std::mem::take(&mut self.out.records) {
            self.records += 1;
            let names: Vec<String> =
                made.sinks.iter().filter_map(|sink| self.sinks.get(usize::from(sink.0)).cloned()).collect();
            let line = if self.format.is_json() { json(&made.record, &names) } else { line(&made.record, &names) };
            let done = output::print(&line).map_err(Failure::from).and_then(|()| self.drain.take(&made, names));
            if let Err(failure) = done {
                self.failed.get_or_insert(failure);
                return;
            }
        }
    }

    /// Takes what is left, and says what was seen.
    fn end(mut self, held: &Held) -> Result<(), Failure> {
        let now = match self.pace {
            Pace::AtOnce { now } => now,
            Pace::Real { .. } => clock::now(),
        };
        self.mirror.finish(now, &mut self.out);
        self.tell();
        if let Some(failure) = self.failed {
            return Err(failure);
        }
        let counts: Vec<_> = self.mirror.counts().filter(|(_, number)| *number > 0).collect();
        let heard = |wanted: Count| counts.iter().find(|(count, _)| *count == wanted).map_or(0, |(_, number)| *number);
        eprintln!("{} records of {} messages in {} frames", self.records, held.messages, held.frames);
        for (count, number) in &counts {
            eprintln!("  {:<10} {number}", count.name());
        }
        if self.mirror.calls() > 0 {
            eprintln!("calls in progress at the end of the capture: {}", self.mirror.calls());
        }
        if let Some(side) = self.mirror.silent_side() {
            eprintln!("no message {side} the proxy was seen");
        }
        self.drain.end()?;
        match &held.damage {
            Some(why) => Err(Failure::Failed(anyhow!("{why}; what stands before it was used"))),
            None if held.messages == 0 => Err(Failure::Failed(anyhow!("no SIP in {} frames", held.frames))),
            None if heard(Count::Received) + heard(Count::Sent) == 0 && heard(Count::Elsewhere) > 0 => {
                Err(Failure::Failed(anyhow!("no message from or to the addresses of --proxy")))
            }
            None => Ok(()),
        }
    }
}

impl Drain {
    fn take(&mut self, made: &Made, sinks: Vec<String>) -> Result<(), Failure> {
        let Self::Queue { desk, batch } = self else { return Ok(()) };
        batch.put(desk, Kept { sinks, body: HEXLOWER.encode(&codec::encode(&made.record)) })
    }

    fn end(self) -> Result<(), Failure> {
        let Self::Queue { mut desk, batch } = self else { return Ok(()) };
        let done = batch.end(&mut desk)?;
        eprintln!("put into the queue: {}, once for each sink", done.records);
        desk.close()
    }
}

/// What octets begin, as far as SIP and HEP go.
fn begins(octets: &[u8], over: Over) -> Begins {
    if octets.starts_with(HEP) {
        return match (hep::frame(octets), over) {
            (hep::Frame::Packet(length), _) => Begins::Message(length),
            (hep::Frame::Unknown, _) => Begins::Unknown,
            (hep::Frame::Lost, _) => Begins::Nothing,
        };
    }
    let breaks = octets.iter().take_while(|octet| matches!(octet, b'\r' | b'\n')).count();
    let line = octets[breaks..].split(|octet| *octet == b'\n').next().unwrap_or_default();
    let is_whole = breaks + line.len() < octets.len();
    let is_sip = line.starts_with(b"SIP/2.0 ") || line.trim_ascii_end().ends_with(b" SIP/2.0");
    match over {
        Over::Udp { length } if is_sip => Begins::Message(length.max(octets.len())),
        Over::Udp { .. } => Begins::Nothing,
        // Keep-alives of RFC 5626 §3.5.1.
        Over::Tcp if breaks > 0 && line.is_empty() => Begins::Message(breaks),
        Over::Tcp if is_whole && !is_sip => Begins::Nothing,
        Over::Tcp => match memchr::memmem::find(&octets[breaks..], b"\r\n\r\n") {
            Some(head) => {
                let head = breaks + head + 4;
                let body = content_length_of(&octets[breaks..head]).ok().flatten().unwrap_or(0);
                Begins::Message(head.saturating_add(body))
            }
            None if octets.len() > HEAD_OCTETS_MAX => Begins::Nothing,
            None => Begins::Unknown,
        },
    }
}

/// A record as a line: when, what, from whom to whom, and how it ended.
fn line(record: &Record, sinks: &[String]) -> String {
    let text = |octets: &[u8]| output::shown(&String::from_utf8_lossy(octets));
    let number = |fact| record.facts.text(fact).map_or_else(|| "?".to_owned(), text);
    let mut line = format!(
        "{} {:<7} {} {:03} {} > {} {}",
        record.times.event,
        record.kind.name(),
        text(&record.method),
        record.code,
        number(Fact::Caller),
        number(Fact::Dialled),
        text(&record.call_id),
    );
    if let Some(duration) = record.times.duration {
        line.push_str(&format!(" {:.3} s", duration.as_secs_f64()));
    }
    if let Some(end) = record.end {
        line.push_str(&format!(" {} by {}", end.cause.name(), end.by.name()));
    }
    if !sinks.is_empty() {
        line.push_str(&format!(" for {}", sinks.join(", ")));
    }
    line
}

fn json(record: &Record, sinks: &[String]) -> String {
    let mut json = record.to_json();
    if let Some(map) = json.as_object_mut().filter(|_| !sinks.is_empty()) {
        map.insert("sinks".to_owned(), sinks.into());
    }
    json.to_string()
}

const HEP: &[u8] = b"HEP3";
/// Octets of a capture at most: it is read whole.
const CAPTURE_OCTETS_MAX: u64 = 4 << 30;
/// Octets of a message's head in a stream.
const HEAD_OCTETS_MAX: usize = 65_535;
/// Requests that are followed at once: a capture at once may have those of a busy proxy.
const REQUESTS_MAX: usize = 1_000_000;
