//! The whole logic of one shard, without sockets: SIP machine, policy and accounting, and the promise that ties them
//! together: a final response leaves only after its record is committed.
//!
//! The driver feeds [`Input`]s, calls [`Shard::flush`] when it has no more at hand, and performs the [`Output`]s. All
//! records of one turn make one [`Commit`]; the responses that depend on it are released by its receipt, or, when the
//! receipt is late, by the limit [`Settings::commit_wait_max`]. One that is later than [`Settings::refuse_after`] raises the
//! alarm: from then until none is so late any more, new calls are refused or served as [`OnTrouble`] says.

pub mod adopting;
mod asking;
mod held;
pub mod ladder;
mod settings;
#[cfg(test)]
mod tests;
pub mod trace;
mod watch;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::accounting::{self, CallView, Closing, Engine, Notice, Outcome};
use crate::clock::{Instant, Now};
use crate::ids::CallHash;
use crate::policy::{Asked, Decision, Policy, Recipe, Remarks};
use crate::record::{Commit, Kind};
use crate::sip::dialog::RouteKeys;
use crate::sip::message::{Malformed, Message, Method};
use crate::sip::stack::{
    self, Condition, Destination, Event, Ignored, Outage, Peer, QueryId, RequestView, ResponseId, ServerId, Stack,
    Treatment, Ways,
};

use adopting::{Adopting, Said};
use held::Held;
use ladder::{Ladder, Ladders, Traced};
use watch::Requests;

pub use settings::{OnTrouble, Settings, Tuning};

/// Names the records of one turn until their receipt; rises by one.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ticket(pub u64);

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A message came in.
    Received {
        /// From where, and through which listener.
        peer: Peer,
        /// The message, or why it is none.
        message: Result<Message, Malformed>,
    },
    /// Everything up to this ticket is on disk.
    Committed(Ticket),
    /// The queue did not take all of what this ticket carries, and has counted that as lost. Every earlier ticket has had
    /// its response.
    Refused(Ticket),
    /// What the resolver found for an [`Output::Resolve`].
    Resolved {
        /// The question.
        query: QueryId,
        /// Best first; none when the name leads nowhere.
        destinations: Vec<Destination>,
    },
    /// A peer cannot be reached.
    Unreachable(Peer),
    /// The queue says whether it is in trouble (full, slow, no disk).
    Queue(Health),
    /// Whether the process may take more memory.
    Memory(Health),
    /// Another policy from here on.
    Policy(Arc<dyn Recipe>),
    /// New settings from here on.
    Tuning(Arc<Tuning>),
    /// Other keys for signing from here on.
    Keys(RouteKeys),
    /// An accounting server wants interim records of a session so often; zero: none.
    Interim {
        /// The session.
        key: accounting::Key,
        /// Time between two records.
        every: Duration,
    },
    /// The cluster has found something out about a call.
    Said(Said),
    /// Take no new calls from here on.
    Drain,
}

/// How the queue is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Health {
    /// It takes records.
    #[default]
    Well,
    /// It is at a limit or failing.
    Trouble,
    /// It takes nothing, and what waits for it in memory has come to its limit: only calls in progress are served.
    Full,
}

/// What to do.
#[derive(Debug)]
pub enum Output {
    /// Send these octets.
    Send {
        /// To whom.
        peer: Peer,
        /// One message.
        bytes: Bytes,
        /// The name that the receiver's certificate must be valid for, if it is sent by TLS to a name.
        authority: Option<Arc<str>>,
    },
    /// Commit these records and call states, then give [`Input::Committed`].
    Append {
        /// Name of the receipt.
        ticket: Ticket,
        /// What is to be on disk.
        commit: Commit,
    },
    /// Ask where a name leads.
    Resolve {
        /// Name of the question.
        query: QueryId,
        /// Host.
        host: String,
        /// Port, if given.
        port: Option<u16>,
        /// By which transports.
        ways: Ways,
    },
    /// Look for a call by the two names that it may have, then give [`Input::Said`] for each.
    Adopt {
        /// The names.
        names: [accounting::Key; 2],
    },
    /// A call of another gateway cannot be read: it stays where it is.
    Unreadable(accounting::RestoreError),
    /// A destination is down, or up again.
    Turned {
        /// Which.
        peer: Peer,
        /// How it is now.
        condition: Condition,
    },
    /// What an operator should hear of a call.
    Notice(Notice),
    /// For metrics.
    Count(Count),
}

/// What is counted.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Count {
    /// A message led to nothing.
    Ignored(Ignored),
    /// A new call was refused with 503.
    CallRefused(Limit),
    /// An INVITE outside of a dialog got a final response: its code, and the time since the INVITE came in.
    CallAnswered {
        /// Of the response.
        code: u16,
        /// When it came, or was made.
        after: Duration,
        /// When the target that it is from began to ring.
        rang: Option<Duration>,
    },
    /// A response has waited so long for its record, and leaves.
    AnswerWaited(Duration),
    /// The INVITE of a call that is recorded as answered came again after a restart, and was absorbed.
    InviteResent,
    /// A response left whose record was not on disk: too late, or refused by the queue.
    AnswerUnsafe,
    /// A request matched no route.
    NoRoute,
    /// A request was held until it was known whether another gateway has its call.
    RequestHeld(adopting::Held),
}

/// One shard.
pub struct Shard {
    stack: Stack,
    engine: Engine,
    policy: Box<dyn Policy>,
    settings: Settings,
    held: Held,
    /// What the next flush commits.
    pending: Outcome,
    queue: Health,
    memory: Health,
    draining: bool,
    /// Our own requests to the ends of calls.
    requests: Requests,
    /// Requests whose calls another gateway may have.
    adopting: Adopting,
    /// The messages of the last calls.
    ladders: Ladders,
    /// Reused from turn to turn.
    stack_outputs: Vec<stack::Output>,
    /// Reused likewise, for what follows from an output.
    spare_outputs: Vec<stack::Output>,
}

impl Shard {
    /// A shard over its parts; `engine` already holds the restored calls.
    #[must_use]
    pub fn new(settings: Settings, stack: Stack, engine: Engine, recipe: Arc<dyn Recipe>) -> Self {
        let mut policy = recipe.build();
        engine.fields_of_calls().for_each(|fields| policy.call_restored(&fields));
        let mut ladders = Ladders::default();
        ladders.keep(&settings.trace);
        Self {
            stack,
            engine,
            policy,
            settings,
            held: Held::default(),
            pending: Outcome::default(),
            queue: Health::Well,
            memory: Health::Well,
            draining: false,
            requests: Requests::default(),
            adopting: Adopting::default(),
            ladders,
            stack_outputs: Vec::new(),
            spare_outputs: Vec::new(),
        }
    }

    /// Handles one input.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Received { peer, message } => self.received(now, peer, message, out),
            Input::Said(said) => self.said(now, said, out),
            Input::Committed(ticket) => self.settled(now, ticket, None, out),
            Input::Refused(ticket) => self.settled(now, ticket, Some(Count::AnswerUnsafe), out),
            Input::Resolved { query, destinations } => {
                self.step(now, stack::Input::Resolved { query, destinations }, out);
            }
            Input::Unreachable(peer) => self.step(now, stack::Input::Unreachable { peer }, out),
            Input::Queue(health) => self.queue = health,
            Input::Memory(health) => self.memory = health,
            Input::Policy(recipe) => self.policy = recipe.build(),
            Input::Tuning(tuning) => {
                let Tuning { shard, stack, accounting } = (*tuning).clone();
                self.ladders.keep(&shard.trace);
                self.settings = shard;
                self.stack.configure(stack);
                self.engine.configure(accounting);
            }
            Input::Keys(keys) => self.stack.renew_keys(keys),
            Input::Interim { key, every } => self.engine.interim_every(now, key, every),
            Input::Drain => self.draining = true,
        }
    }

    /// Lets time pass: retransmissions, expiries, interim records, overdue commits.
    pub fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        let mut outputs = std::mem::take(&mut self.stack_outputs);
        self.stack.tick(now, &mut outputs);
        self.work_off(now, outputs, out);
        let before = self.pending.records.len();
        self.engine.tick(now, &mut self.pending);
        self.mention_from(now, before);
        self.send_requests(now, out);
        self.release_late(now, out);
        self.held.judge(now.mono, self.settings.refuse_after);
        while let Some(overdue) = self.held.pop_overdue(now.mono, self.settings.commit_wait_max) {
            out.push(Output::Count(Count::AnswerUnsafe));
            out.push(Output::Count(Count::AnswerWaited(now.mono.since(overdue.since))));
            let (transaction, response) = (overdue.transaction, overdue.response);
            self.step(now, stack::Input::Release { transaction, response }, out);
        }
    }

    /// Ends a turn: what is to be recorded of it leaves as one commit.
    pub fn flush(&mut self, now: Now, out: &mut Vec<Output>) {
        self.send_requests(now, out);
        self.look_for_strays(out);
        out.extend(self.engine.take_notices().into_iter().map(Output::Notice));
        if self.pending.is_empty() {
            return;
        }
        let ticket = self.held.close(now.mono);
        let commit = std::mem::take(&mut self.pending).into_commit();
        out.push(Output::Append { ticket, commit });
    }

    /// What this turn has made has left: does what nobody waits for.
    pub fn rest(&mut self) {
        self.policy.rest();
    }

    /// When [`tick`](Self::tick) is due; `None`: never, as things stand.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let overdue = self.held.deadline(self.settings.commit_wait_max, self.settings.refuse_after);
        [self.stack.deadline(), self.engine.deadline(), self.adopting.deadline(), overdue].into_iter().flatten().min()
    }

    /// Whether nothing is in progress but established calls: a draining shard may end.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && self.adopting.is_empty() && self.pending.is_empty() && !self.stack.is_busy()
    }

    /// Calls in progress.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.engine.calls()
    }

    /// What the SIP machine runs with.
    #[must_use]
    pub fn settings_of_stack(&self) -> &stack::Settings {
        self.stack.settings()
    }

    /// How full the tables of the SIP machine are.
    #[must_use]
    pub fn sizes(&self) -> stack::Sizes {
        self.stack.sizes()
    }

    /// Whether records cannot be committed in time.
    #[must_use]
    pub fn alarm(&self) -> Health {
        match self.queue {
            Health::Well if self.held.is_late() => Health::Trouble,
            health => health,
        }
    }

    /// A receipt came: the responses it lets go leave, and each is counted if its record is lost.
    fn settled(&mut self, now: Now, ticket: Ticket, count: Option<Count>, out: &mut Vec<Output>) {
        self.held.settle(ticket, now.mono, self.settings.refuse_after);
        while let Some(held) = self.held.pop_settled() {
            out.extend(count.map(Output::Count));
            out.push(Output::Count(Count::AnswerWaited(now.mono.since(held.since))));
            let (transaction, response) = (held.transaction, held.response);
            self.step(now, stack::Input::Release { transaction, response }, out);
        }
    }

    fn step(&mut self, now: Now, input: stack::Input, out: &mut Vec<Output>) {
        let mut outputs = std::mem::take(&mut self.stack_outputs);
        self.stack.handle(now, input, &self.engine, &mut outputs);
        self.work_off(now, outputs, out);
    }

    /// Performs what the SIP machine asks, and what follows from that.
    fn work_off(&mut self, now: Now, mut outputs: Vec<stack::Output>, out: &mut Vec<Output>) {
        let mut more = std::mem::take(&mut self.spare_outputs);
        while !outputs.is_empty() {
            for output in outputs.drain(..) {
                self.perform(now, output, &mut more, out);
            }
            std::mem::swap(&mut outputs, &mut more);
        }
        self.stack_outputs = outputs;
        self.spare_outputs = more;
    }

    fn perform(&mut self, now: Now, output: stack::Output, more: &mut Vec<stack::Output>, out: &mut Vec<Output>) {
        use stack::Output as From;
        match output {
            From::Send { peer, bytes, authority } => {
                self.ladders.sent(now.wall, peer, &bytes);
                out.push(Output::Send { peer, bytes, authority });
            }
            From::Request { transaction } => self.decide(now, transaction, more, out),
            From::Resolve { query, host, port, ways } => out.push(Output::Resolve { query, host, port, ways }),
            From::Turned { peer, condition } => out.push(Output::Turned { peer, condition }),
            From::Ignored { why } => out.push(Output::Count(Count::Ignored(why))),
            From::Event { event, held } => {
                self.count_answer(&event, out);
                self.happened(now, &event, held, more);
            }
            From::Orphan { response } if self.engine.awaits(now, &response) => self.stack.pass_on(&response, more),
            From::Orphan { .. } => out.push(Output::Count(Count::Ignored(Ignored::AnswerStray))),
        }
    }

    /// Counts the final response to a new call.
    fn count_answer(&self, event: &Event, out: &mut Vec<Output>) {
        let Event::Final { transaction, response } = event else { return };
        if self.stack.request(*transaction).is_some_and(is_new_call) {
            let span = |ms: u32| Duration::from_millis(ms.into());
            let (after, rang) = (span(response.stages.ended_ms), response.stages.rang_ms.map(span));
            out.push(Output::Count(Count::CallAnswered { code: response.code, after, rang }));
        }
    }

    /// Something happened to a request; the response that waits for the record of that, if one does, is held until then.
    fn happened(
        &mut self,
        now: Now,
        event: &Event,
        held: Option<(ServerId, ResponseId)>,
        more: &mut Vec<stack::Output>,
    ) {
        self.show(now, event);
        let is_own = self.take_own(now, event);
        let call = held.filter(|_| !is_own).and_then(|_| self.call_of(event));
        if !is_own {
            self.tell(now, accounting::Input::Event(event));
        }
        if let Event::RoundFailed { transaction, round } = event {
            self.go_on(now, *transaction, round, more);
        }
        if let Some((transaction, response)) = held
            && !call.is_some_and(|call| self.held.hold(call, transaction, response, now.mono))
        {
            self.stack.handle(now, stack::Input::Release { transaction, response }, &self.engine, more);
        }
    }

    /// Tells the engine what happened.
    fn tell(&mut self, now: Now, fact: accounting::Input<'_>) {
        let before = self.pending.records.len();
        self.engine.handle(now, fact, &mut self.pending);
        self.mention_from(now, before);
        self.engine.take_kept().into_iter().for_each(|call| self.held.mention(call));
    }

    /// The calls of the records from there on have something to wait for.
    fn mention_from(&mut self, now: Now, start: usize) {
        for made in &self.pending.records[start..] {
            self.held.mention(made.call);
            match made.record.kind {
                Kind::Start => self.policy.call_started(&made.record),
                Kind::Stop => self.policy.call_ended(now, &made.record),
                _ => {}
            }
        }
    }

    /// The call of a response that waits: of the response itself, or of the request when the gateway makes it.
    fn call_of(&self, event: &Event) -> Option<CallHash> {
        let (transaction, response) = match event {
            Event::Final { transaction, response } => (*transaction, response.message.as_deref()),
            Event::Cancelled { transaction, .. } => (*transaction, None),
            Event::Provisional { .. }
            | Event::RoundFailed { .. }
            | Event::Lost { .. }
            | Event::Acknowledged { .. }
            | Event::Terminated { .. } => return None,
        };
        let request = || self.stack.request(transaction).map(|view| &*view.message);
        response.or_else(request).map(Message::call)
    }

    fn decide(&mut self, now: Now, transaction: ServerId, more: &mut Vec<stack::Output>, out: &mut Vec<Output>) {
        let Some(view) = self.stack.request(transaction) else { return };
        let refuses = if is_new_call(view) {
            self.limit_reached()
        } else {
            // What is recorded takes of the room that is left for the ends of calls.
            let is_recorded = !view.in_dialog && self.engine.records_method(view.message.method_text());
            is_recorded.then(|| self.limit_reached()).flatten().filter(|limit| *limit == Limit::Alarm)
        };
        let refusal = refuses.map(|_| Treatment::Respond {
            code: 503,
            reason: Cow::Borrowed("Service Unavailable"),
            retry_after_s: Some(self.settings.retry_after_s),
            contacts: Vec::new(),
        });
        let treatment = if is_new_call(view) && self.engine.was_answered(now, &view.message) {
            out.push(Output::Count(Count::InviteResent));
            Treatment::Ignore
        } else if let (Some(Limit::Alarm), Some(refusal)) = (refuses, &refusal) {
            // No record of it: there is nobody to take one.
            out.push(Output::Count(Count::CallRefused(Limit::Alarm)));
            refusal.clone()
        } else {
            let decision = self.policy.request(Asked { now, transaction, view });
            match refuses {
                Some(limit) => out.push(Output::Count(Count::CallRefused(limit))),
                None if decision.account.is_none() && !view.in_dialog => out.push(Output::Count(Count::NoRoute)),
                None => {}
            }
            let Decision { treatment, marks, account, values, records } = decision;
            let by_hand = values.clone().filter(|_| !records.is_empty());
            let fact = accounting::Input::Request { transaction, view, marks, account, values };
            self.engine.handle(now, fact, &mut self.pending);
            self.note(now, transaction, Remarks { values: by_hand, records, marks: None });
            refusal.unwrap_or(treatment)
        };
        self.stack.handle(now, stack::Input::Decide { transaction, treatment }, &self.engine, more);
    }

    /// The operator ends calls; gives those that it ended.
    pub fn close(&mut self, now: Now, closing: &Closing, out: &mut Vec<Output>) -> Vec<CallView> {
        let before = self.pending.records.len();
        let ended = self.engine.close(now, closing, &mut self.pending);
        self.mention_from(now, before);
        self.send_requests(now, out);
        ended
    }

    /// Up to `max` calls in progress, in no order.
    #[must_use]
    pub fn views(&self, max: usize) -> Vec<CallView> {
        self.engine.views().take(max).collect()
    }

    /// The messages of the call of this Call-ID, while they are kept.
    #[must_use]
    pub fn ladder(&self, call_id: &[u8]) -> Option<Ladder> {
        self.ladders.find(call_id, &self.stack.settings().listeners)
    }

    /// Up to `max` calls whose messages are kept, the newest first.
    #[must_use]
    pub fn traced(&self, max: usize) -> Vec<Traced> {
        self.ladders.newest(max)
    }

    /// The destinations that are down.
    pub fn outages(&self) -> impl Iterator<Item = Outage> {
        self.stack.outages()
    }

    /// Whether new calls get 503: draining, at a limit, or in the alarm state if that refuses.
    #[must_use]
    pub fn refuses_calls(&self) -> bool {
        self.limit_reached().is_some()
    }

    fn limit_reached(&self) -> Option<Limit> {
        match self.alarm() {
            Health::Full => Some(Limit::Alarm),
            Health::Trouble if self.settings.on_trouble == OnTrouble::Refuse => Some(Limit::Alarm),
            _ if self.engine.calls() >= self.settings.calls_max => Some(Limit::Calls),
            _ if self.memory != Health::Well => Some(Limit::Memory),
            Health::Trouble | Health::Well => self.draining.then_some(Limit::Draining),
        }
    }
}

/// Why a new call gets 503.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Limit {
    /// Records cannot be committed, that of the refusal neither. A refusal for another reason is recorded as any other.
    Alarm,
    /// Too many calls are in progress.
    Calls,
    /// The process has too little memory.
    Memory,
    /// The service ends.
    Draining,
}

/// An initial INVITE: what a limit may refuse. Everything inside a dialog passes.
fn is_new_call(view: &RequestView) -> bool {
    !view.in_dialog && view.message.method() == Method::Invite
}
