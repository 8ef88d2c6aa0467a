//! The policy of one shard: runs the handlers of its machine, and makes of what they leave what the shard is to do.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mlua::Function;

use super::handlers::{END_EVENT, NAMED, word_of};
use super::trace::{Facts, Outcome};
use super::turn::{Choice, Ended, Places, Reply, State, Terms, Turn};
use super::vm::Failure;
use super::world::World;
use super::{Machine, OnError, accounting, counting};
use crate::clock::{Instant, Now};
use crate::policy::routes::Rule;
use crate::policy::{Account, Asked, Decision, Local, Marks, Next, Policy, Remarks, Targets, Values, target};
use crate::record::{self, Fields, Record};
use crate::sip::message::{Message, Name};
use crate::sip::stack::{Edits, NextOn, Onward, Plan, Redirects, RequestView, Round, ServerId, Target, Treatment, Way};

/// The policy of one shard.
pub(super) struct Scripted {
    machine: Machine,
    /// What was set for those requests in progress that a handler may still be asked about.
    states: HashMap<ServerId, Box<State>, foldhash::fast::RandomState>,
    /// Requests that hold counts, by Call-ID and From tag.
    holders: HashMap<Vec<u8>, ServerId>,
    world: Arc<World>,
    /// What all requests have that the script alone has decided: with targets that are ways to one callee, and with
    /// targets that are one callee after the other.
    accounts: (Arc<Account>, Arc<Account>),
    /// Where its turns are kept.
    ring: usize,
    clock: fn() -> Instant,
}

impl Scripted {
    /// A policy that nothing has come to yet.
    pub(super) fn new(machine: Machine, world: Arc<World>, clock: fn() -> Instant) -> Self {
        let ring = world.outside.traces.take();
        let account = |targets| Arc::new(Account { name: SCRIPT.to_owned(), targets, ..Account::default() });
        let accounts = (account(Targets::Alternatives), account(Targets::Forward));
        Self { accounts, machine, states: HashMap::default(), holders: HashMap::new(), world, ring, clock }
    }

    /// Runs a handler; gives what it has left behind, and why it has ended early, if it has.
    fn run(&self, name: &'static str, handler: &Function, turn: Turn) -> (Turn, Option<Failure>) {
        let Machine { vm, shared, handlers } = &self.machine;
        let about = if turn.place == Places::END { &handlers.call } else { &handlers.req };
        let arguments = (about, turn.reply.as_ref().map(|_| &handlers.reply_object));
        let idle = shared.turn.replace(turn);
        shared.draft.borrow_mut().begin(self.world.trace_turns > 0);
        let begun = (self.clock)();
        let failure = vm.call(handler, arguments).err();
        let span = (self.clock)().since(begun);
        self.world.outside.witness.ran(name, span);
        if let Some(failure) = &failure {
            self.world.outside.witness.failed(name, &failure.text, failure.is_limit);
        }
        let mut turn = shared.turn.replace(idle);
        turn.span = span;
        (turn, failure)
    }

    /// Keeps what the handler that ran last has decided, for whoever asks.
    fn keep(
        &self,
        handler: (&'static str, &str),
        turn: &Turn,
        failure: Option<&Failure>,
        (outcome, route): (Outcome, &str),
    ) {
        if self.world.trace_turns == 0 {
            return;
        }
        let message = turn.view.as_ref().map(|view| &*view.message);
        let ended = turn.ended.as_ref().and_then(|ended| ended.texts.get("call_id")?.text());
        let received = turn.view.as_ref().filter(|_| turn.place == Places::REQUEST);
        let facts = Facts {
            at: turn.now.wall,
            loaded: self.world.loaded,
            handler,
            call_id: message.map(Message::call_id).or(ended.as_deref()).unwrap_or_default(),
            method: message.map(Message::method_text).unwrap_or_default(),
            from: received.and_then(|view| view.message.header(Name::From)).unwrap_or_default(),
            uri: match turn.place {
                Places::BRANCH => turn.uri(),
                _ => received.map(RequestView::request_uri).unwrap_or_default(),
            },
            in_dialog: turn.view.as_ref().is_some_and(|view| view.in_dialog),
            code: turn.reply.as_ref().map_or(0, |reply| reply.code),
            outcome,
            route,
            error: failure.map_or("", |failure| &failure.text),
        };
        let mut draft = self.machine.shared.draft.borrow_mut();
        self.world.outside.traces.file(self.ring, self.world.trace_turns, draft.end(&facts, turn.span));
    }

    /// Nobody holds the counts of a request any more.
    fn release(&self, state: &State) {
        if state.is_holding {
            state.counted.iter().for_each(|key| self.world.outside.counters.remove(key));
        }
    }

    fn turn(asked: Asked<'_>, place: Places, state: Box<State>) -> Turn {
        Turn { view: Some(asked.view.clone()), ..Turn::new(place, asked.now, state) }
    }

    fn marks(&self, state: &State) -> Marks {
        accounting::marks(&self.world, &self.machine.shared, state)
    }

    /// What the records of the request are made with, where the handler has changed that.
    fn remarks(&self, turn: &mut Turn) -> Remarks {
        let records = std::mem::take(&mut turn.records);
        let has_news = turn.is_changed;
        let values = (has_news || !records.is_empty()).then(|| turn.state.values()).flatten();
        // What was deleted is gone from the records too.
        let values = values.or_else(|| has_news.then(Values::default)).map(Rc::new);
        Remarks { marks: has_news.then(|| self.marks(&turn.state)), values, records }
    }

    /// The plan of a choice of targets, each as its branch route leaves it.
    fn plan(&self, turn: &mut Turn, groups: &[Vec<Bytes>], terms: &Terms) -> Plan {
        let targets = terms.targets.unwrap_or(turn.state.targets);
        let usual = terms.next_on.as_ref().and_then(|codes| NextOn::parse(codes.iter().map(String::as_str)).ok());
        let ring_timeout = terms.ring_timeout_s.map(Duration::from_secs);
        let own = target::Terms { ring_timeout, next_on: usual.unwrap_or(targets.next_on()) };
        let branch_route = turn.state.on_branch.clone();
        let handler = branch_route.and_then(|name| self.machine.handlers.branch.raw_get::<Function>(&*name).ok());
        let mut made = Vec::new();
        for group in groups {
            let targets = group.iter().filter_map(|text| {
                let destination = self.machine.shared.destination(text).ok()?;
                let mut target = destination.target(turn.uri(), own);
                // The next hop alone is given: the request leaves with the URI that was set for it.
                if target.uri.is_empty()
                    && let Some(uri) = &turn.state.uri
                {
                    target.uri = uri.clone();
                }
                self.branch(turn, handler.as_ref(), target)
            });
            made.push(targets.collect());
        }
        let redirects = if terms.follows_redirects { Redirects::Follow { ring_timeout } } else { Redirects::Pass };
        Plan { groups: made, redirects }
    }

    /// A target as the branch route leaves it; `None`: it is not to be tried.
    fn branch(&self, turn: &mut Turn, handler: Option<&Function>, mut target: Target) -> Option<Target> {
        let mut edits = turn.state.edits.clone();
        if let Some(handler) = handler {
            let received = turn.view.as_ref().map(|view| Bytes::copy_from_slice(view.request_uri()));
            let uri = if target.uri.is_empty() { received.unwrap_or_default() } else { target.uri.clone() };
            let state = Box::new(State { uri: Some(uri.clone()), ..(*turn.state).clone() });
            let own = Turn { view: turn.view.clone(), ..Turn::new(Places::BRANCH, turn.now, state) };
            let (mut own, failure) = self.run("branch_route", handler, own);
            let outcome = if own.is_dropped { Outcome::Drop } else { Outcome::Nothing };
            let name = turn.state.on_branch.as_deref().unwrap_or_default();
            self.keep(("branch_route", name), &own, failure.as_ref(), (outcome, ""));
            turn.records.append(&mut own.records);
            turn.is_changed |= own.is_changed;
            if own.is_dropped {
                return None;
            }
            edits = std::mem::take(&mut own.state.edits);
            if own.state.uri.as_ref() != Some(&uri) {
                target.uri = own.state.uri.clone().unwrap_or_default();
            }
            // What belongs to the branch alone does not stay.
            let (uri, edits) = (turn.state.uri.take(), std::mem::take(&mut turn.state.edits));
            turn.state = own.state;
            (turn.state.uri, turn.state.edits) = (uri, edits);
        }
        target.edits = (edits != Edits::default()).then(|| Arc::new(edits));
        Some(target)
    }

    /// The targets of a request that is relayed to where it is meant for.
    fn own_target(&self, turn: &Turn) -> Option<Vec<Vec<Bytes>>> {
        let uri = crate::sip::message::Uri::parse(turn.uri())?;
        let is_own = self.world.is_own(&uri);
        (!is_own).then(|| vec![vec![Bytes::copy_from_slice(turn.uri())]])
    }

    /// How a request is treated that a handler has decided about.
    fn treatment(&self, turn: &mut Turn, choice: Choice) -> Treatment {
        let respond = |code, reason: Cow<'static, str>, contacts| Treatment::Respond {
            code,
            reason,
            retry_after_s: None,
            contacts,
        };
        match choice {
            Choice::Drop => Treatment::Ignore,
            Choice::Reply { code, reason, contacts } => respond(code, phrase(&reason), contacts),
            Choice::Relay { groups, .. } if groups.is_empty() && self.follows(turn) => {
                let edits = (turn.state.edits != Edits::default()).then(|| Arc::new(turn.state.edits.clone()));
                Treatment::FollowRoute { edits }
            }
            Choice::Relay { groups, terms } => {
                let groups = if groups.is_empty() { self.own_target(turn) } else { Some(groups) };
                match groups {
                    Some(groups) => Treatment::Forward(self.plan(turn, &groups, &terms)),
                    // It is meant for the gateway, which has no user: to relay it would be a loop.
                    None => respond(404, Cow::Borrowed(""), Vec::new()),
                }
            }
        }
    }

    fn follows(&self, turn: &Turn) -> bool {
        turn.view.as_ref().is_some_and(|view| view.in_dialog || view.way != Way::Table)
    }

    /// What a handler has chosen for a request; `None`: it leaves that to the tables.
    fn choice(&self, asked: Asked<'_>, turn: &mut Turn, has_failed: bool) -> Option<Choice> {
        let choice = turn.choice.take();
        match has_failed {
            false => choice,
            true if self.world.on_error == OnError::Refuse && !asked.view.in_dialog => Some(Choice::failed()),
            true => None,
        }
    }

    /// Asks the function that the route of a request names, or that the INVITE of its dialog was decided by. `left` is what
    /// `request_route` has left behind.
    fn ask_named(&mut self, asked: Asked<'_>, name: &str, left: Option<Turn>, rule: Option<&Rule>) -> Decision {
        let mut turn = left.unwrap_or_else(|| Self::turn(asked, Places::REQUEST, Box::default()));
        if !asked.view.in_dialog {
            turn.state.edits.word = word_of(name);
        }
        let (mut turn, failure) = match self.machine.handlers.named.get(name).cloned() {
            Some(handler) => self.run("route", &handler, turn),
            None => {
                // It was there when the file was checked: its own lines have chance in them.
                let text = format!("there is no function {NAMED}.{name}");
                self.machine.shared.draft.borrow_mut().begin(true);
                self.world.outside.witness.failed("route", &text, false);
                (turn, Some(Failure { text, is_limit: false }))
            }
        };
        let choice = self.choice(asked, &mut turn, failure.is_some());
        let has_no_other = failure.is_some() && rule.is_some_and(|rule| !rule.decides());
        let choice = choice.or_else(|| has_no_other.then(Choice::failed));
        let outcome = choice.as_ref().map_or(Outcome::Tables, Choice::outcome);
        self.keep((NAMED, name), &turn, failure.as_ref(), (outcome, rule.map_or("", Rule::name)));
        match choice {
            Some(choice) => self.decided(asked, turn, choice, rule),
            None => self.by_tables(asked, turn, rule),
        }
    }

    /// The decision about a request that the script has made; `rule` has named its function, if it was not `request_route`.
    fn decided(&mut self, asked: Asked<'_>, mut turn: Turn, choice: Choice, rule: Option<&Rule>) -> Decision {
        if let Choice::Relay { terms, .. } = &choice {
            let by_failure = if turn.state.on_failure.is_some() { Targets::Forward } else { Targets::Alternatives };
            turn.state.targets = terms.targets.unwrap_or(by_failure);
        }
        let treatment = self.treatment(&mut turn, choice);
        let targets = turn.state.targets;
        let account = (!asked.view.in_dialog).then(|| match rule {
            Some(rule) => rule.account(targets),
            None => Arc::clone(match (targets, &self.accounts) {
                (Targets::Alternatives, (own, _)) | (Targets::Forward, (_, own)) => own,
            }),
        });
        let marks = rule.map_or(Marks::NONE, Rule::marks);
        self.finished(asked, turn, Decision { treatment, marks, account, values: None, records: Vec::new() })
    }

    /// The decision about a request that the script leaves to the tables, of which it takes this route.
    fn by_tables(&mut self, asked: Asked<'_>, mut turn: Turn, rule: Option<&Rule>) -> Decision {
        let mut decision = self.world.routes.decide_by(rule, asked.view);
        let changed = (turn.state.edits != Edits::default()).then(|| Arc::new(turn.state.edits.clone()));
        match &mut decision.treatment {
            Treatment::Forward(plan) if changed.is_some() => {
                plan.groups.iter_mut().flatten().for_each(|target| target.edits.clone_from(&changed));
            }
            Treatment::FollowRoute { edits } => *edits = changed,
            Treatment::Forward(_) | Treatment::Respond { .. } | Treatment::Ignore => {}
        }
        turn.state.targets = decision.account.as_deref().map_or(Targets::Alternatives, |own| own.targets);
        self.finished(asked, turn, decision)
    }

    /// The decision with what the script has set, which is kept for what comes of the request.
    fn finished(&mut self, asked: Asked<'_>, mut turn: Turn, mut decision: Decision) -> Decision {
        decision.marks = decision.marks.or(self.marks(&turn.state));
        // What the tables have marked stays when the script marks more.
        turn.state.marks = turn.state.marks.or(decision.marks);
        decision.records = std::mem::take(&mut turn.records);
        if turn.state.is_holding {
            let message = &asked.view.message;
            self.holders.insert(name_of_call(message.call_id(), message.from_tag()), asked.transaction);
        }
        let values = if self.is_needed(&turn.state) {
            let values = turn.state.values();
            self.states.insert(asked.transaction, turn.state);
            values
        } else {
            turn.state.into_values()
        };
        Decision { values: values.map(Rc::new), ..decision }
    }

    /// Whether a handler may still be asked about a request of which this was set, or a call begin that takes its counts
    /// over. Of most requests there is nothing more to come, and they stay for as long as a retransmission may.
    fn is_needed(&self, state: &State) -> bool {
        let has_handler =
            state.on_reply.is_some() || state.on_failure.is_some() || self.machine.handlers.local.is_some();
        has_handler || state.is_holding || state.targets == Targets::Forward
    }

    /// Runs a handler that only remarks on a request.
    fn remark(
        &mut self,
        asked: Asked<'_>,
        (kind, name, place): (&'static str, &str, Places),
        handler: &Function,
        reply: Option<Reply>,
    ) -> Remarks {
        let known = self.states.remove(&asked.transaction);
        // Another policy has decided about it, before a reload: what that has set is not known here, and stays.
        let is_strange = known.is_none() && reply.is_some();
        let turn = Turn { reply, ..Self::turn(asked, place, known.unwrap_or_default()) };
        let (mut turn, failure) = self.run(kind, handler, turn);
        self.keep((kind, name), &turn, failure.as_ref(), (Outcome::Nothing, ""));
        turn.is_changed &= !is_strange;
        let remarks = self.remarks(&mut turn);
        if !is_strange {
            self.states.insert(asked.transaction, turn.state);
        }
        remarks
    }
}

/// Calls that are being set up while a reload takes the script count again when they are answered.
impl Drop for Scripted {
    fn drop(&mut self) {
        self.states.values().for_each(|state| self.release(state));
    }
}

fn name_of_call(call_id: &[u8], from_tag: &[u8]) -> Vec<u8> {
    [call_id, b"\0", from_tag].concat()
}

/// Name of the route in the log and in metrics, where the script itself has decided.
const SCRIPT: &str = "script";

fn phrase(reason: &[u8]) -> Cow<'static, str> {
    Cow::Owned(String::from_utf8_lossy(reason).into_owned())
}

impl Policy for Scripted {
    fn request(&mut self, asked: Asked<'_>) -> Decision {
        let first = self.machine.handlers.request.as_ref().map(|handler| {
            let turn = Self::turn(asked, Places::REQUEST, Box::default());
            self.run("request_route", handler, turn)
        });
        let left = match first {
            None => None,
            Some((mut turn, failure)) => match self.choice(asked, &mut turn, failure.is_some()) {
                Some(choice) => {
                    self.keep(("request_route", ""), &turn, failure.as_ref(), (choice.outcome(), ""));
                    return self.decided(asked, turn, choice, None);
                }
                None => Some((turn, failure)),
            },
        };
        let routes = Arc::clone(&self.world.routes);
        let rule = routes.rule(asked.view);
        let left = left.map(|(turn, failure)| {
            let outcome = (Outcome::Tables, rule.map_or("", Rule::name));
            self.keep(("request_route", ""), &turn, failure.as_ref(), outcome);
            turn
        });
        let name = match rule {
            Some(rule) => rule.script().map(Box::from),
            None => self.machine.handlers.words.get(&asked.view.word).filter(|_| asked.view.in_dialog).cloned(),
        };
        match (name, left) {
            (Some(name), left) => self.ask_named(asked, &name, left, rule),
            (None, Some(turn)) => self.by_tables(asked, turn, rule),
            (None, None) => routes.decide_by(rule, asked.view),
        }
    }

    fn round_failed(&mut self, asked: Asked<'_>, round: &Round) -> Next {
        let Some(state) = self.states.get_mut(&asked.transaction) else { return Next::default() };
        let is_reported = state.targets == Targets::Forward;
        if is_reported {
            accounting::reset_missed(&self.world, &self.machine.shared, state);
        }
        let name = state.on_failure.take();
        let handler = name.as_deref().and_then(|name| self.machine.handlers.failure.raw_get::<Function>(name).ok());
        let state = state.clone();
        let Some(handler) = handler else {
            let marks = is_reported.then(|| self.marks(&state));
            return Next { remarks: Remarks { marks, ..Remarks::default() }, ..Next::default() };
        };
        let best = round.attempts.get(round.best);
        let reply = best.map(|best| Reply {
            code: best.code,
            reason: best.reason.to_vec(),
            message: best.message.as_deref().cloned(),
        });
        let turn = Turn { reply, ..Self::turn(asked, Places::FAILURE, state) };
        let (mut turn, failure) = self.run("failure_route", &handler, turn);
        turn.is_changed |= is_reported;
        let choice = turn.choice.take().filter(|choice| failure.is_none() && *choice != Choice::Drop);
        let outcome = choice.as_ref().map_or(Outcome::AsPlanned, Choice::outcome);
        let name = name.as_deref().unwrap_or_default();
        self.keep(("failure_route", name), &turn, failure.as_ref(), (outcome, ""));
        let onward = match choice {
            None | Some(Choice::Drop) => Onward::AsPlanned,
            Some(Choice::Reply { code, reason, .. }) => Onward::Respond { code, reason: phrase(&reason) },
            Some(Choice::Relay { groups, terms }) => {
                let groups = if groups.is_empty() { self.own_target(&turn) } else { Some(groups) };
                groups.map_or(Onward::AsPlanned, |groups| Onward::To(self.plan(&mut turn, &groups, &terms)))
            }
        };
        let remarks = self.remarks(&mut turn);
        self.states.insert(asked.transaction, turn.state);
        Next { onward, remarks }
    }

    fn reply(&mut self, asked: Asked<'_>, response: &Message) -> Remarks {
        let name = self.states.get(&asked.transaction).and_then(|state| state.on_reply.clone());
        let handler = name.as_deref().and_then(|name| self.machine.handlers.reply.raw_get::<Function>(name).ok());
        let Some(handler) = handler else { return Remarks::default() };
        let reply =
            Reply { code: response.code(), reason: response.reason().to_vec(), message: Some(response.clone()) };
        let name = name.as_deref().unwrap_or_default();
        self.remark(asked, ("reply_route", name, Places::REPLY), &handler, Some(reply))
    }

    fn local(&mut self, asked: Asked<'_>, made: Local<'_>) -> Remarks {
        let Some(handler) = self.machine.handlers.local.clone() else { return Remarks::default() };
        let reply = match made {
            Local::Request => None,
            Local::Response { code, reason } => Some(Reply { code, reason: reason.to_vec(), message: None }),
        };
        self.remark(asked, ("local_route", "", Places::LOCAL), &handler, reply)
    }

    fn rest(&mut self) {
        self.machine.vm.sweep();
    }

    fn ended(&mut self, transaction: ServerId) {
        if let Some(state) = self.states.remove(&transaction) {
            self.release(&state);
            if !state.counted.is_empty() {
                self.holders.retain(|_, holder| *holder != transaction);
            }
        }
    }

    fn call_restored(&mut self, fields: &Fields) {
        for key in counting::keys(fields) {
            self.world.outside.counters.put(key);
        }
    }

    fn call_started(&mut self, start: &Record) {
        let keys = counting::keys(&start.fields);
        if keys.is_empty() {
            return;
        }
        let holder = self.holders.remove(&name_of_call(&start.call_id, &start.from_tag));
        let held = holder.and_then(|holder| self.states.get_mut(&holder));
        // What the INVITE has held is the call's now; a further call of the same INVITE counts by itself.
        if !held.is_some_and(|state| std::mem::take(&mut state.is_holding)) {
            keys.into_iter().for_each(|key| self.world.outside.counters.put(key));
        }
    }

    fn call_ended(&mut self, now: Now, record: &Record) {
        for key in counting::keys(&record.fields) {
            self.world.outside.counters.remove(key);
        }
        let Some(handler) = self.machine.handlers.end.clone() else { return };
        let text = |octets: &[u8]| record::Value::Text(octets.to_vec());
        let mut texts = BTreeMap::from([
            ("call_id", text(&record.call_id)),
            ("from_tag", text(&record.from_tag)),
            ("to_tag", text(&record.to_tag)),
            ("session", text(record.session.as_bytes())),
            ("code", record::Value::Number(record.code.into())),
            ("reason", text(&record.reason)),
        ]);
        if let Some(duration) = record.times.duration {
            let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
            texts.insert("duration_ms", record::Value::Number(ms));
        }
        if let Some(end) = record.end {
            texts.insert("by", text(end.by.name().as_bytes()));
            texts.insert("cause", text(end.cause.name().as_bytes()));
        }
        let ended = Ended { texts, fields: record.fields.clone() };
        let turn = Turn { ended: Some(ended), ..Turn::new(Places::END, now, Box::default()) };
        let (turn, failure) = self.run("event_route", &handler, turn);
        self.keep(("event_route", END_EVENT), &turn, failure.as_ref(), (Outcome::Nothing, ""));
    }
}
