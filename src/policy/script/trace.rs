//! What handlers have decided lately, for `tollgate script trace`: each shard keeps its last turns, a turn being one run of one
//! handler, with the lines that decided.
//!
//! While a handler runs its steps are noted in a [`Draft`]; when it has ended they are filed in a ring, whose oldest turns
//! give way. All of it is bounded: turns by the configuration and in octets, steps of a turn, octets of a step.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mlua::{Lua, MultiValue, Value};

use super::frames::{self, Kept, Part, Ring};
use crate::clock::Timestamp;
use crate::sip::message::{NameAddr, Uri};

/// Turns that each shard keeps where the configuration says nothing.
pub const TURNS_USUAL: usize = 1_000;
/// What the turns of one shard take at most, in octets.
pub const RING_BYTES_MAX: usize = 4 << 20;
/// Steps of one turn that are kept: the first ones and the last; of those between only the number is.
pub const STEPS_MAX: usize = 64;
/// Octets that are kept of the arguments of one step.
pub const ARGUMENTS_BYTES_MAX: usize = 128;
/// Octets that are kept of each of Call-ID, From, Request-URI and names.
pub const NAME_BYTES_MAX: usize = 255;

/// The turns of all shards, over reloads.
#[derive(Debug)]
pub struct Traces {
    rings: Box<[Mutex<Ring>]>,
    /// The ring that the next policy takes.
    next: AtomicUsize,
    /// How many turns each keeps; [`NO_SCRIPT`]: there is nothing that could have any.
    keeps: AtomicUsize,
}

const NO_SCRIPT: usize = usize::MAX;

impl Default for Traces {
    fn default() -> Self {
        Self::new(1)
    }
}

/// Which turns are wanted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Find {
    /// Those of the call of this Call-ID; with `*` at its end of all that begin so.
    pub call: Option<String>,
    /// Those of calls whose From or Request-URI has this user part.
    pub number: Option<String>,
    /// The newest of them, so many at most.
    pub max: usize,
}

/// What was found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Found {
    /// The turns in the order in which they ran.
    pub turns: Vec<Shown>,
    /// How many there are, those beyond [`Find::max`] included.
    pub total: usize,
    /// How many turns each shard keeps.
    pub keeps: usize,
    /// The oldest turn that is kept of any call.
    pub oldest: Option<Timestamp>,
}

/// One turn.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shown {
    /// When what it is about came.
    pub at: Timestamp,
    /// When the script was loaded whose lines are named: a file may have changed since.
    pub loaded: Timestamp,
    /// Its handler, such as `failure_route.next`.
    pub handler: String,
    /// Of the request, or of the call that has ended; cut, as all texts are.
    pub call_id: String,
    /// Method of the request.
    pub method: String,
    /// From URI and Request-URI, of a request that came in.
    pub from: String,
    /// The latter.
    pub uri: String,
    /// Whether the request has a To tag.
    pub in_dialog: bool,
    /// Code of the response it was about.
    pub code: Option<u16>,
    /// What it has called and set, in this order.
    pub steps: Vec<ShownStep>,
    /// Steps beyond [`STEPS_MAX`], which came before the last.
    pub left_out: u32,
    /// What came of it.
    pub outcome: Outcome,
    /// The route that has named it, or that it has left the request to.
    pub route: String,
    /// Why it has ended early, with file and line; empty: it has not.
    pub error: String,
    /// How long it took.
    pub span: Duration,
}

/// A call or an assignment that decides something.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ShownStep {
    /// Line of the script; 0: not known.
    pub line: u32,
    /// As it could stand in a script.
    pub text: String,
    /// What a function gave back.
    pub result: Option<bool>,
}

/// What came of a turn.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Outcome {
    /// It decides nothing.
    #[default]
    Nothing,
    /// The request is relayed.
    Relay,
    /// It gets this response.
    Reply(u16),
    /// It is dropped, or its target not tried.
    Drop,
    /// The tables decide.
    Tables,
    /// The plan that there was goes on: the next targets, or the best response.
    AsPlanned,
}

impl Traces {
    /// With a ring for each shard; none has anything to keep until [`serve`](Self::serve) says so.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        let rings = (0..shards.max(1)).map(|_| Mutex::default()).collect();
        Self { rings, next: AtomicUsize::new(0), keeps: AtomicUsize::new(NO_SCRIPT) }
    }

    /// From here on there is a script that keeps so many turns; `None`: there is no script.
    pub fn serve(&self, keeps: Option<usize>) {
        self.keeps.store(keeps.unwrap_or(NO_SCRIPT), Ordering::Relaxed);
        for ring in &self.rings {
            locked(ring).shrink(keeps.unwrap_or(0));
        }
    }

    /// How many turns each shard keeps; `None`: there is no script.
    #[must_use]
    pub fn keeps(&self) -> Option<usize> {
        Some(self.keeps.load(Ordering::Relaxed)).filter(|keeps| *keeps != NO_SCRIPT)
    }

    /// The ring of one more policy. All shards build theirs anew at a reload, so that each gets one again.
    pub(super) fn take(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % self.rings.len()
    }

    /// Files a turn.
    pub(super) fn file(&self, ring: usize, keeps: usize, frame: &[u8]) {
        locked(&self.rings[ring]).file(keeps, frame);
    }

    /// Some turns.
    #[must_use]
    pub fn find(&self, find: &Find) -> Found {
        let mut found = Found { keeps: self.keeps().unwrap_or(0), ..Found::default() };
        let mut turns: Vec<(Timestamp, u64, Shown)> = Vec::new();
        for ring in &self.rings {
            let copied = locked(ring).copy();
            let kept = copied.turns();
            let oldest = kept.first().map(|(_, turn)| turn.at);
            found.oldest = [found.oldest, oldest].into_iter().flatten().min();
            let calls = find.number.as_ref().map(|number| calls_of(&kept, number.as_bytes()));
            let wanted = kept.iter().rev().filter(|(_, turn)| {
                find.call.as_ref().is_none_or(|call| is_named(turn.part(Part::CallId), call.as_bytes()))
                    && calls.as_ref().is_none_or(|calls| calls.contains(turn.part(Part::CallId)))
            });
            let before = found.total;
            for (seq, turn) in wanted {
                found.total += 1;
                if found.total - before <= find.max {
                    turns.push((turn.at, *seq, turn.shown()));
                }
            }
        }
        turns.sort_by_key(|(at, seq, _)| (*at, *seq));
        let first = turns.len().saturating_sub(find.max);
        found.turns = turns.drain(first..).map(|(_, _, turn)| turn).collect();
        found
    }
}

fn locked(ring: &Mutex<Ring>) -> MutexGuard<'_, Ring> {
    ring.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a Call-ID, of which only the beginning is kept, is the wanted one.
fn is_named(kept: &[u8], wanted: &[u8]) -> bool {
    match wanted.split_last() {
        Some((b'*', beginning)) => {
            cut(beginning, NAME_BYTES_MAX).len() <= kept.len() && kept.starts_with(cut(beginning, NAME_BYTES_MAX))
        }
        _ => kept == cut(wanted, NAME_BYTES_MAX),
    }
}

/// The beginning of a text.
pub(super) fn cut(text: &[u8], most: usize) -> &[u8] {
    &text[..text.len().min(most)]
}

/// Call-IDs of calls from or to this user.
fn calls_of<'a>(turns: &[(u64, Kept<'a>)], number: &[u8]) -> HashSet<&'a [u8]> {
    let is_of = |uri: &[u8]| Uri::parse(uri).and_then(|uri| uri.user).is_some_and(|user| user == number);
    let turns = turns.iter().map(|(_, turn)| turn);
    turns
        .filter(|turn| is_of(uri_of(turn.part(Part::From))) || is_of(turn.part(Part::Uri)))
        .map(|turn| turn.part(Part::CallId))
        .collect()
}

/// The URI of a header as it came: it is taken apart for whoever asks, and not for each call.
pub(super) fn uri_of(from: &[u8]) -> &[u8] {
    NameAddr::parse(from).map_or(from, |party| party.uri)
}

/// What is to be said of a turn beside its steps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts<'a> {
    pub(super) at: Timestamp,
    pub(super) loaded: Timestamp,
    /// Such as `failure_route`, and the name behind the dot.
    pub(super) handler: (&'static str, &'a str),
    pub(super) call_id: &'a [u8],
    pub(super) method: &'a [u8],
    /// The header as it came.
    pub(super) from: &'a [u8],
    pub(super) uri: &'a [u8],
    pub(super) in_dialog: bool,
    pub(super) code: u16,
    pub(super) outcome: Outcome,
    pub(super) route: &'a str,
    pub(super) error: &'a str,
}

/// The steps of the handler that runs.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Whether anybody keeps them.
    is_on: bool,
    steps: Vec<u8>,
    count: usize,
    /// Where the last one begins.
    last: usize,
    left_out: u32,
    /// The turn that has ended.
    frame: Vec<u8>,
}

impl Draft {
    /// A handler begins.
    pub(super) fn begin(&mut self, is_on: bool) {
        self.is_on = is_on;
        self.steps.clear();
        (self.count, self.last, self.left_out) = (0, 0, 0);
    }

    /// Notes a step, unless nobody keeps it; `write` appends its arguments to its text.
    pub(super) fn note(
        &mut self,
        lua: &Lua,
        (name, result): (&'static str, Option<bool>),
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        if !self.is_on {
            return;
        }
        // The last step is most often the one that decides: it takes the place of the one before.
        if self.count >= STEPS_MAX {
            self.drop_last();
            self.left_out = self.left_out.saturating_add(1);
        }
        self.last = self.steps.len();
        frames::write_step(&mut self.steps, (line(lua), name, result), ARGUMENTS_BYTES_MAX, write);
        self.count += 1;
    }

    /// The last step came to nothing.
    pub(super) fn retract(&mut self) {
        if self.is_on {
            self.drop_last();
        }
    }

    fn drop_last(&mut self) {
        self.steps.truncate(self.last);
        self.count = self.count.saturating_sub(1);
    }

    /// What it has noted, with what else is to be said of the turn, as it is kept.
    pub(super) fn end(&mut self, facts: &Facts<'_>, span: Duration) -> &[u8] {
        frames::write(facts, span, self.left_out, &self.steps, &mut self.frame);
        &self.frame
    }
}

/// The line of the script that runs: that of the function which has called ours.
fn line(lua: &Lua) -> u32 {
    let number = |line: usize| u32::try_from(line).ok();
    let at = |level| lua.inspect_stack(level, |frame| frame.current_line().and_then(number)).flatten();
    // Behind a protected call stand lines that are not the script's.
    let of_script = |level| {
        let is_ours = lua.inspect_stack(level, |frame| frame.source().source.is_some_and(|name| name.starts_with('@')));
        at(level).filter(|_| is_ours == Some(true))
    };
    at(1).or_else(|| (2..LEVELS_MAX).find_map(of_script)).unwrap_or(0)
}

/// Calls within each other that are looked through for a line of the script.
const LEVELS_MAX: usize = 8;

/// Appends what a function was called with.
pub(super) fn write_call(values: &MultiValue, out: &mut Vec<u8>) {
    let begin = out.len();
    out.push(b'(');
    for (place, value) in values.iter().enumerate() {
        if place > 0 {
            out.extend_from_slice(b", ");
        }
        if out.len() - begin > ARGUMENTS_BYTES_MAX {
            break;
        }
        write_value(value, out);
    }
    out.push(b')');
}

/// Appends what is assigned to a field.
pub(super) fn write_field(key: &[u8], value: &Value, out: &mut Vec<u8>) {
    out.push(b'.');
    out.extend_from_slice(cut(key, ARGUMENTS_BYTES_MAX + 1));
    out.extend_from_slice(b" = ");
    write_value(value, out);
}

/// Appends a value as a script writes it; of a table what stands in it, and of tables in that only that they are there.
fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Table(table) => {
            out.extend_from_slice(b"{ ");
            let begin = out.len();
            for (key, value) in table.clone().pairs::<Value, Value>().flatten() {
                if out.len() > begin {
                    out.extend_from_slice(b", ");
                }
                if out.len() - begin > ARGUMENTS_BYTES_MAX {
                    break;
                }
                if let Value::String(key) = &key {
                    out.extend_from_slice(cut(&key.as_bytes(), ARGUMENTS_BYTES_MAX + 1));
                    out.extend_from_slice(b" = ");
                }
                match value {
                    Value::Table(_) => out.extend_from_slice(b"{ ... }"),
                    plain => write_plain(&plain, out),
                }
            }
            out.extend_from_slice(b" }");
        }
        plain => write_plain(plain, out),
    }
}

fn write_plain(value: &Value, out: &mut Vec<u8>) {
    use std::io::Write as _;
    let _infallible = match value {
        Value::String(text) => {
            out.push(b'"');
            out.extend_from_slice(cut(&text.as_bytes(), ARGUMENTS_BYTES_MAX + 1));
            out.push(b'"');
            Ok(())
        }
        Value::Nil => out.write_all(b"nil"),
        Value::Boolean(value) => write!(out, "{value}"),
        Value::Integer(value) => write!(out, "{value}"),
        Value::Number(value) => write!(out, "{value}"),
        other => out.write_all(other.type_name().as_bytes()),
    };
}
