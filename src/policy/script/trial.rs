//! Tests that a script brings along: its functions whose names begin with `test_`, which play requests through its handlers.
//!
//! They have, beside all that handlers have, `messages.NAME`, the text of the file `NAME.sip` beside the script;
//! `play(message[, "ADDRESS:PORT"])`, which has `request_route` decide about a request and gives what came of it;
//! `fails(code[, reason])`, whose round of branches has failed then; `replies(code[, reason])`, a response that passes;
//! `responds(code[, reason])`, a response that the gateway makes; and `ends{ field = value }`, a call that has ended.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use mlua::{Function, Lua, LuaString, Table, Value};

use super::{BadScript, NamedSink, Outside, Script, Scripted, Severity, Witness};
use crate::clock::{Instant, Now};
use crate::ids::{SinkMask, SinkNumber};
use crate::policy::{Asked, Local, Manual, Marks, Policy, Remarks};
use crate::record::{self, Kind, Record};
use crate::sip::dialog::Word;
use crate::sip::message::Message;
use crate::sip::proxy::usual_reason;
use crate::sip::stack::{
    Edits, FinalResponse, ListenerId, Onward, Peer, Plan, RequestView, Round, ServerId, Stages, Treatment,
};

/// What became of one test.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// Name of the function.
    pub name: String,
    /// Why it has failed, with file and line; `None`: it has passed.
    pub failure: Option<String>,
}

/// Hears what handlers log and where they fail, for the tests to look at.
#[derive(Debug, Default)]
pub struct Heard(Mutex<Vec<String>>);

impl Heard {
    /// Those who listen for a script that is to be tested, and what they hear.
    #[must_use]
    pub fn outside() -> (Outside, Arc<Self>) {
        let heard = Arc::<Self>::default();
        (Outside { witness: Arc::<Self>::clone(&heard), ..Outside::default() }, heard)
    }

    fn put(&self, line: String) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Witness for Heard {
    fn said(&self, severity: Severity, text: &str, _call_id: Option<&[u8]>) {
        self.put(format!("{} {text}", severity.name()));
    }

    fn ran(&self, _handler: &'static str, _span: Duration) {}

    fn failed(&self, handler: &'static str, text: &str, _is_limit: bool) {
        self.put(format!("{handler} failed: {text}"));
    }
}

/// Where a request comes from that does not say.
const SOURCE: &str = "127.0.0.1:5060";

/// What the functions of the tests share.
struct Bench {
    scripted: RefCell<Scripted>,
    /// The request that was played last.
    played: RefCell<Option<RequestView>>,
    sinks: Vec<(String, SinkNumber)>,
    listeners: Vec<String>,
    heard: Arc<Heard>,
    now: Now,
    next: RefCell<u64>,
    /// What the later requests of a dialog bring back, by Call-ID.
    words: RefCell<HashMap<Vec<u8>, Word>>,
}

/// Runs the tests of a script in the order of their names. `messages` has the texts of messages by name, `sinks` those of
/// the settings with the numbers that the script was made with, `heard` is of the [`Outside`] it was made with.
///
/// # Errors
/// The script cannot be loaded.
pub fn run(
    script: &Script,
    (sinks, numbers): (&[NamedSink], &[SinkNumber]),
    messages: &BTreeMap<String, Vec<u8>>,
    heard: &Arc<Heard>,
    clock: fn() -> Instant,
) -> Result<Vec<Outcome>, BadScript> {
    let machine = script.machine().map_err(|failure| BadScript(failure.text))?;
    let (lua, meter) = (machine.vm.lua.clone(), Rc::clone(&machine.vm.meter));
    let world = Arc::clone(&script.world);
    let scripted = Scripted::new(machine, world, clock);
    let bench = Rc::new(Bench {
        scripted: RefCell::new(scripted),
        played: RefCell::new(None),
        sinks: sinks.iter().map(|sink| sink.name.clone()).zip(numbers.iter().copied()).collect(),
        listeners: script.world.listeners.iter().map(|(name, _)| name.clone()).collect(),
        heard: Arc::clone(heard),
        now: script.now,
        next: RefCell::new(0),
        words: RefCell::default(),
    });
    install(&lua, &bench, messages).map_err(|error| BadScript(error.to_string()))?;
    let mut tests = BTreeMap::new();
    for pair in lua.globals().pairs::<Value, Value>().flatten() {
        if let (Value::String(name), Value::Function(test)) = pair {
            let name = name.to_string_lossy();
            if name.starts_with("test_") {
                tests.insert(name, test);
            }
        }
    }
    let ended = tests.into_iter().map(|(name, test): (String, Function)| {
        meter.begin();
        let failure = test.call::<Value>(()).err().map(|error| super::vm::described(&error));
        Outcome { name, failure }
    });
    Ok(ended.collect())
}

fn install(lua: &Lua, bench: &Rc<Bench>, messages: &BTreeMap<String, Vec<u8>>) -> mlua::Result<()> {
    let globals = lua.globals();
    let texts = lua.create_table()?;
    for (name, text) in messages {
        texts.raw_set(name.as_str(), lua.create_string(text)?)?;
    }
    globals.raw_set("messages", texts)?;
    let own = Rc::clone(bench);
    globals.raw_set(
        "play",
        lua.create_function(move |lua, (text, from): (LuaString, Option<String>)| {
            own.play(lua, &text.as_bytes(), from)
        })?,
    )?;
    let own = Rc::clone(bench);
    globals.raw_set(
        "fails",
        lua.create_function(move |lua, (code, reason): (u16, Option<String>)| own.fails(lua, code, reason))?,
    )?;
    let own = Rc::clone(bench);
    globals.raw_set(
        "replies",
        lua.create_function(move |lua, (code, reason): (u16, Option<String>)| own.replies(lua, code, reason))?,
    )?;
    let own = Rc::clone(bench);
    globals.raw_set(
        "responds",
        lua.create_function(move |lua, (code, reason): (u16, Option<String>)| own.responds(lua, code, reason))?,
    )?;
    let own = Rc::clone(bench);
    globals.raw_set("ends", lua.create_function(move |lua, fields: Option<Table>| own.ends(lua, fields))?)
}

/// A message with CR LF and a blank line at its end, however it was written.
fn wire(text: &[u8]) -> Vec<u8> {
    let text = text.trim_ascii_start();
    let has_blank = memchr::memmem::find(text, b"\r\n\r\n").is_some() || memchr::memmem::find(text, b"\n\n").is_some();
    let mut out = Vec::with_capacity(text.len() + 64);
    for octet in text {
        if *octet == b'\n' && out.last() != Some(&b'\r') {
            out.push(b'\r');
        }
        out.push(*octet);
    }
    if !has_blank {
        out = out.trim_ascii_end().to_vec();
        out.extend_from_slice(b"\r\n\r\n");
    }
    out
}

impl Bench {
    fn play(&self, lua: &Lua, text: &[u8], from: Option<String>) -> mlua::Result<Table> {
        let wrong = |what: String| super::vm::raise(lua, format!("play: {what}"));
        let from = from.unwrap_or_else(|| SOURCE.to_owned());
        let addr: SocketAddr = from.parse().map_err(|_| wrong(format!("`{from}` is no address with a port")))?;
        let message = Message::parse(wire(text)).map_err(|error| wrong(format!("no SIP request: {error}")))?;
        let peer = Peer { listener: ListenerId(0), addr };
        let call_id = message.call_id().to_vec();
        let word = self.words.borrow().get(&call_id).copied().unwrap_or_default();
        let view = RequestView { word, ..RequestView::of(Rc::new(message), peer, self.now) };
        *self.next.borrow_mut() += 1;
        self.heard.take();
        let decision = self.scripted.borrow_mut().request(self.asked(&view));
        if let (false, Treatment::Forward(plan)) = (view.in_dialog, &decision.treatment) {
            self.words.borrow_mut().insert(call_id, edits_of(plan).map_or(Word::NONE, |edits| edits.word));
        }
        let out = lua.create_table()?;
        let (name, plan) = match &decision.treatment {
            Treatment::Forward(plan) => ("relay", Some(plan)),
            Treatment::FollowRoute { .. } => ("relay", None),
            Treatment::Respond { code, reason, .. } => {
                out.raw_set("code", *code)?;
                out.raw_set("reason", if reason.is_empty() { usual_reason(*code) } else { reason })?;
                ("reply", None)
            }
            Treatment::Ignore => ("drop", None),
        };
        out.raw_set("decision", name)?;
        out.raw_set("route", decision.account.as_ref().map(|account| account.name.clone()))?;
        self.targets(lua, &out, plan)?;
        let own = match &decision.treatment {
            Treatment::FollowRoute { edits } => edits.as_deref(),
            _ => plan.and_then(edits_of),
        };
        self.edits(lua, &out, own)?;
        self.lines(&out)?;
        self.marks(&out, decision.marks)?;
        self.records(lua, &out, &decision.records)?;
        if let Some(values) = &decision.values {
            out.raw_set("table", values.table.as_deref())?;
        }
        *self.played.borrow_mut() = Some(view);
        Ok(out)
    }

    fn asked<'a>(&self, view: &'a RequestView) -> Asked<'a> {
        Asked { now: self.now, transaction: ServerId(*self.next.borrow()), view }
    }

    fn view(&self, lua: &Lua) -> mlua::Result<RequestView> {
        let played = self.played.borrow().clone();
        played.ok_or_else(|| super::vm::raise(lua, "nothing was played yet: call `play` first".to_owned()))
    }

    fn fails(&self, lua: &Lua, code: u16, reason: Option<String>) -> mlua::Result<Table> {
        let view = self.view(lua)?;
        let reason = Bytes::from(reason.unwrap_or_else(|| usual_reason(code).to_owned()));
        let uri = Bytes::copy_from_slice(view.request_uri());
        let attempt = FinalResponse { uri, hop: None, code, reason, message: None, stages: Stages::default() };
        let round = Round { attempts: vec![attempt], best: 0, more: false, redirected: false };
        self.heard.take();
        let next = self.scripted.borrow_mut().round_failed(self.asked(&view), &round);
        let out = lua.create_table()?;
        let (name, plan) = match &next.onward {
            Onward::To(plan) => ("relay", Some(plan)),
            Onward::Respond { code, reason } => {
                out.raw_set("code", *code)?;
                out.raw_set("reason", if reason.is_empty() { usual_reason(*code) } else { reason })?;
                ("reply", None)
            }
            Onward::AsPlanned | Onward::Nowhere => ("best", None),
        };
        out.raw_set("decision", name)?;
        self.targets(lua, &out, plan)?;
        self.edits(lua, &out, plan.and_then(edits_of))?;
        self.lines(&out)?;
        self.marks(&out, next.remarks.marks.unwrap_or_default())?;
        self.records(lua, &out, &next.remarks.records)?;
        Ok(out)
    }

    fn replies(&self, lua: &Lua, code: u16, reason: Option<String>) -> mlua::Result<Table> {
        let view = self.view(lua)?;
        let reason = reason.unwrap_or_else(|| usual_reason(code).to_owned());
        let request = &view.message;
        let mut text = format!("SIP/2.0 {code} {reason}\r\n").into_bytes();
        for (name, value) in request.header_lines() {
            if matches!(name.to_ascii_lowercase().as_slice(), b"via" | b"from" | b"to" | b"call-id" | b"cseq") {
                text.extend_from_slice(&[name, b": ", value, b"\r\n"].concat());
            }
        }
        text.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        let response = Message::parse(text)
            .map_err(|error| super::vm::raise(lua, format!("replies: no response can be made: {error}")))?;
        self.heard.take();
        let remarks = self.scripted.borrow_mut().reply(self.asked(&view), &response);
        self.remarks(lua, &remarks)
    }

    fn responds(&self, lua: &Lua, code: u16, reason: Option<String>) -> mlua::Result<Table> {
        if !(200..700).contains(&code) {
            return Err(super::vm::raise(lua, format!("responds: {code} is no code of a final response, 200 to 699")));
        }
        let view = self.view(lua)?;
        let reason = reason.unwrap_or_else(|| usual_reason(code).to_owned());
        self.heard.take();
        let made = Local::Response { code, reason: reason.as_bytes() };
        let remarks = self.scripted.borrow_mut().local(self.asked(&view), made);
        self.remarks(lua, &remarks)
    }

    /// The call of the request that was played last has ended; its record has these fields.
    fn ends(&self, lua: &Lua, fields: Option<Table>) -> mlua::Result<Table> {
        let view = self.view(lua)?;
        let mut stop = Record::of_no_call(Kind::Stop, self.now.wall, 1);
        stop.call_id = view.message.call_id().to_vec();
        stop.from_tag = view.message.from_tag().to_vec();
        for pair in fields.into_iter().flat_map(|fields| fields.pairs::<String, Value>().collect::<Vec<_>>()) {
            let (name, value) = pair?;
            let value = match value {
                Value::Integer(number) => record::Value::Number(number),
                Value::String(text) => record::Value::Text(text.as_bytes().to_vec()),
                _ => return Err(super::vm::raise(lua, format!("ends: `{name}` is neither text nor a whole number"))),
            };
            stop.fields.push((name, value));
        }
        self.heard.take();
        self.scripted.borrow_mut().call_ended(self.now, &stop);
        let out = lua.create_table()?;
        self.lines(&out)?;
        Ok(out)
    }

    fn remarks(&self, lua: &Lua, remarks: &Remarks) -> mlua::Result<Table> {
        let out = lua.create_table()?;
        self.lines(&out)?;
        self.marks(&out, remarks.marks.unwrap_or_default())?;
        self.records(lua, &out, &remarks.records)?;
        Ok(out)
    }

    /// What is changed in the request before it leaves.
    fn edits(&self, lua: &Lua, out: &Table, edits: Option<&Edits>) -> mlua::Result<()> {
        let (added, removed) = (lua.create_table()?, lua.create_table()?);
        for (name, value) in edits.into_iter().flat_map(|edits| &edits.added) {
            added.push(lua.create_string([name.as_bytes(), b": ", value].concat())?)?;
        }
        for name in edits.into_iter().flat_map(|edits| &edits.removed) {
            removed.push(lua.create_string(name)?)?;
        }
        out.raw_set("added", added)?;
        out.raw_set("removed", removed)?;
        out.raw_set("record_route", !edits.is_some_and(|edits| edits.off_route))?;
        let socket = edits.and_then(|edits| self.listeners.get(usize::from(edits.listener?.0)));
        out.raw_set("socket", socket.map(String::as_str))
    }

    /// What was logged since something was played.
    fn lines(&self, out: &Table) -> mlua::Result<()> {
        out.raw_set("lines", self.heard.take())
    }

    fn targets(&self, lua: &Lua, out: &Table, plan: Option<&Plan>) -> mlua::Result<()> {
        let list = lua.create_table()?;
        for target in plan.into_iter().flat_map(|plan| plan.groups.iter().flatten()) {
            let view = self.played.borrow();
            let received = view.as_ref().map(RequestView::request_uri).unwrap_or_default();
            list.push(lua.create_string(if target.uri.is_empty() { received } else { &target.uri })?)?;
        }
        out.raw_set("targets", list)
    }

    /// Names of sinks, in the order of their settings, with blanks between.
    fn names(&self, sinks: SinkMask) -> String {
        let names = self.sinks.iter().filter(|(_, number)| sinks.has(*number)).map(|(name, _)| name.as_str());
        names.collect::<Vec<_>>().join(" ")
    }

    fn marks(&self, out: &Table, marks: Marks) -> mlua::Result<()> {
        out.raw_set("accounting", self.names(marks.accounting))?;
        out.raw_set("missed", self.names(marks.missed))?;
        out.raw_set("failed", self.names(marks.failed))
    }

    fn records(&self, lua: &Lua, out: &Table, records: &[Manual]) -> mlua::Result<()> {
        let list = lua.create_table()?;
        for record in records {
            let entry = lua.create_table()?;
            entry.raw_set("code", record.code)?;
            entry.raw_set("reason", lua.create_string(&record.reason)?)?;
            entry.raw_set("table", record.table.as_deref())?;
            entry.raw_set("sinks", self.names(record.sinks))?;
            list.push(entry)?;
        }
        out.raw_set("records", list)
    }
}

/// What is changed in a request for its targets; tests of a branch route see that of the first one.
fn edits_of(plan: &Plan) -> Option<&Edits> {
    plan.groups.iter().flatten().find_map(|target| target.edits.as_deref())
}
