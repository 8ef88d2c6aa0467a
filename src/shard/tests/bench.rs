//! Plays a flow written as sentences against a shard, in virtual time, and watches the promise all the while.
//!
//! alice and dave call, bob and carol are called, by the users of [`rules`]. Lines:
//! `alice sends INVITE to bob` (`INVITE again`, `BYE`, `ACK`, `ACK hop`, `CANCEL`, `CANCEL elsewhere`, `INFO`, inside the dialog, `with carol`
//! the one with that callee), `bob sends 200` (`to INVITE`, `for dave`, `tag T`), `alice repeats INVITE`, `bob gets INVITE`
//! (`containing TEXT`, `without TEXT`), `bob gets nothing` (a 100 is not looked at), `bob forgets`, `after 200 ms`, `disk writes` (`one`,
//! `unseen` without a receipt), `disk refuses`, `memory trouble`, `recorded TEXT`, `forget records` that are not on disk,
//! `alarm on`, `queue trouble`, `rules NAME`, `turn begins`, `turn ends`, `drain`, `restart`, `counted WHAT 1`,
//! `commits 1`, `calls 1`, `idle`, `busy`, `an answered call`; `another gateway` with an empty disk, that of the first lies in
//! the cluster, `asked for the call` (`nobody`), `cluster gives the call`, `cluster has none`, `cluster had the call`,
//! `cluster takes the call`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::disk::{Disk, tag_of};
use super::facts::{check_facts, line};
use crate::accounting::{self, Absence, Engine, Key};
use crate::clock::{Instant, Now, Timestamp};
use crate::ids::{RecordId, SinkMask, SinkNumber};
use crate::policy::pattern::{Case, Pattern};
use crate::policy::routes::{Action, Condition};
use crate::policy::target::{Destination, Terms};
use crate::policy::{Marks, Recipe, Route, Routes, Targets};
use crate::record::Record;
use crate::shard::adopting::Said;
use crate::shard::{self, Health, Input, Output, Shard};
use crate::sip::message::Message;
use crate::sip::stack::tests::script::{address, header, headers, response, settings};
use crate::sip::stack::{self, ListenerId, Peer, Redirects, Sizes, Stack};
use crate::vars::Template;

/// What a shard is set to.
#[derive(Clone, Default)]
pub struct Setup {
    pub shard: shard::Settings,
    pub engine: accounting::Settings,
    /// `None`: the rules named `usual`.
    pub recipe: Option<Arc<dyn Recipe>>,
}

impl Setup {
    /// Legs by the Request-URI of their branch, and a boot that its calls are known by; no BYE of the gateway's own.
    pub fn new() -> Self {
        let engine = accounting::Settings {
            leg_fields: vec![("to".into(), Template::parse("$ru").expect("a template"))],
            boot_id: "boot".into(),
            lifetime_max: Some(Duration::from_secs(600)),
            // Most flows say nothing of the ACK, or of who hears of the end.
            ack_wait: Duration::from_secs(1_000_000),
            hang_up: Vec::new(),
            ..accounting::Settings::default()
        };
        Self { engine, ..Self::default() }
    }

    /// A shard with the calls that are on disk. `life` differs for each.
    pub fn shard(&self, now: Now, disk: &Disk, life: u64) -> Shard {
        let mut engine = Engine::new(self.engine.clone(), u128::from(life) << 64 | 0x5eed);
        for (key, value) in disk.notes.iter().chain(&disk.calls) {
            engine.restore(now, key, value).expect("a call of ours can be restored");
        }
        let stack = stack::Settings { incarnation: u128::from(life).to_le_bytes(), ..settings() };
        let recipe = self.recipe.clone().unwrap_or_else(|| rules("usual"));
        Shard::new(self.shard.clone(), Stack::new(stack), engine, recipe)
    }
}

pub const ACCOUNTED: SinkMask = SinkMask::NONE.with(SinkNumber(0));
/// Marks of everything that is accounted.
const MARKS: Marks = Marks { accounting: ACCOUNTED, missed: ACCOUNTED, failed: ACCOUNTED };

/// `usual`: who is called leads to bob, `fork` to bob and carol, `hunt` to bob, who
/// forwards to carol, `trunks` to bob or else carol, `moved` to bob, and where he
/// redirects to, `closed` to a 480, `away` to a 302, `free` to bob without any record. `marked`: all goes to carol, with records.
pub fn rules(name: &str) -> Arc<dyn Recipe> {
    let target = |who: &str| Destination::parse(&format!("sip:{who}@{}", address(who))).expect("a target");
    let follow = Redirects::Follow { ring_timeout: Some(Duration::from_secs(20)) };
    let targets = |user: &str| if user == "hunt" { Targets::Forward } else { Targets::Alternatives };
    let route = |user: &str, groups: &[&[&str]], marks: Marks| Route {
        name: user.to_owned(),
        condition: Condition { users: vec![Pattern::new(user, Case::Matters)], ..Condition::default() },
        script: None,
        action: Action::Forward {
            groups: groups.iter().map(|group| group.iter().map(|who| target(who)).collect()).collect(),
            terms: Terms { ring_timeout: Some(Duration::from_secs(20)), next_on: targets(user).next_on() },
            redirects: if user == "moved" { follow } else { Redirects::Pass },
        },
        targets: targets(user),
        marks,
        fields: None,
        avps: Vec::new(),
        forwarding_legs: None,
    };
    let closed = Action::Answer { code: 480, reason: "".into(), retry_after_s: None, contacts: Vec::new() };
    let contacts = vec![target("carol"), Destination::parse("<sip:192.0.2.30>;q=0.5").expect("a target")];
    let away = Action::Answer { code: 302, reason: "".into(), retry_after_s: None, contacts };
    let routes = match name {
        "marked" => vec![route("*", &[&["carol"]], MARKS)],
        _ => vec![
            route("bob", &[&["bob"]], MARKS),
            route("fork", &[&["bob", "carol"]], MARKS),
            route("hunt", &[&["bob"], &["carol"]], MARKS),
            route("trunks", &[&["bob"], &["carol"]], MARKS),
            route("moved", &[&["bob"]], MARKS),
            Route { action: closed, ..route("closed", &[], MARKS) },
            Route { action: away, ..route("away", &[], MARKS) },
            route("free", &[&["bob"]], Marks::NONE),
        ],
    };
    Arc::new(Routes::new(routes, Marks { accounting: ACCOUNTED, ..Marks::NONE }))
}

fn health_of(word: &str) -> Health {
    match word {
        "trouble" => Health::Trouble,
        "full" => Health::Full,
        _ => Health::Well,
    }
}

/// One dialog as an actor sees it.
#[derive(Clone)]
struct Dialog {
    call: String,
    own: String,
    other: String,
    target: String,
    routes: String,
    invite: u32,
}

#[derive(Default)]
struct Actor {
    inbox: VecDeque<String>,
    requests: Vec<String>,
    sent: HashMap<String, String>,
    refusal: String,
    dialogs: Vec<Dialog>,
    number: u32,
}

/// A flow being played.
pub struct Bench {
    pub shard: Shard,
    pub now: Now,
    pub disk: Disk,
    /// Everything handed to the queue.
    pub recorded: Vec<Record>,
    /// The sinks that get them.
    pub sinks: HashMap<RecordId, SinkMask>,
    setup: Setup,
    name: String,
    actors: HashMap<&'static str, Actor>,
    counts: HashMap<String, u64>,
    looked_at: usize,
    commits: u64,
    lives: u64,
    is_turning: bool,
    /// What the disks of other gateways have of calls.
    elsewhere: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The names of calls that the shard has asked for.
    asked: Vec<Key>,
}

impl Bench {
    pub fn new(name: &str, setup: Setup) -> Self {
        let now = Now { mono: Instant(1_000_000), wall: Timestamp(1_700_000_000_000_000) };
        let disk = Disk::default();
        Self {
            shard: setup.shard(now, &disk, 0),
            now,
            disk,
            recorded: Vec::new(),
            sinks: HashMap::new(),
            setup,
            name: name.to_owned(),
            actors: ["alice", "bob", "carol", "dave"].map(|name| (name, Actor::default())).into(),
            counts: HashMap::new(),
            looked_at: 0,
            commits: 0,
            lives: 0,
            is_turning: false,
            elsewhere: BTreeMap::new(),
            asked: Vec::new(),
        }
    }

    /// Plays all lines; then the disk writes, an hour passes, and nothing may be left.
    pub fn run(mut self, script: &str) {
        self.play(script);
        let left = self.recorded.len() - self.looked_at;
        assert_eq!(left, 0, "{}: recorded more: {}", self.name, self.lines());
        for (name, actor) in &self.actors {
            assert!(actor.inbox.is_empty(), "{}: {name} got more: {:?}", self.name, actor.inbox);
        }
        for _ in 0..60 {
            self.write(usize::MAX);
            self.pass(Duration::from_secs(60));
        }
        assert_eq!(self.shard.sizes(), Sizes::default(), "{}: something is left", self.name);
        assert!(self.shard.held.is_empty() && self.shard.is_idle(), "{}: an answer is left", self.name);
        assert_eq!(self.shard.alarm(), Health::Well, "{}", self.name);
        assert_eq!(self.shard.calls(), 0, "{}: a call is left", self.name);
        check_facts(&self.recorded).unwrap_or_else(|problem| panic!("{}: {problem}", self.name));
    }

    /// The newest record, which is looked at now.
    pub fn last_record(&mut self) -> Record {
        self.looked_at = self.recorded.len();
        self.recorded.last().cloned().unwrap_or_else(|| panic!("{}: no record", self.name))
    }

    pub fn play(&mut self, script: &str) {
        for (number, line) in script.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                self.line(line, &format!("{}, line {}: {line}", self.name, number + 1));
            }
        }
    }

    /// Plays `WHO sends CODE` with another Contact.
    pub fn play_with_contact(&mut self, line: &str, contact: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let text = self.compose(words[0], words[2], &[], line);
        let own = header(&text, "Contact").unwrap_or_default().to_owned();
        self.send(words[0], &text.replacen(&own, contact, 1));
    }

    fn line(&mut self, line: &str, place: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["an", "answered", "call"] => self.play(ANSWERED),
            ["after", number, unit] => {
                let number: u64 = number.parse().expect("a number");
                self.pass(if *unit == "s" { Duration::from_secs(number) } else { Duration::from_millis(number) });
            }
            ["disk", "writes"] => self.write(usize::MAX),
            ["disk", "writes", "one"] => self.write(1),
            ["disk", "writes", "unseen"] => while self.disk.write().is_some() {},
            ["disk", "refuses"] => {
                let ticket = self.disk.refuse().unwrap_or_else(|| panic!("{place}: no commit"));
                self.input(Input::Refused(ticket));
            }
            ["queue", health] => self.input(Input::Queue(health_of(health))),
            ["memory", health] => self.input(Input::Memory(health_of(health))),
            ["rules", name] => self.input(Input::Policy(rules(name))),
            ["forget", "records"] => self.recorded.truncate(self.disk.records.len()),
            [who, "forgets"] => self.actor(who).inbox.clear(),
            ["drain"] => self.input(Input::Drain),
            ["restart"] => {
                self.disk.crash();
                self.lives += 1;
                self.shard = self.setup.shard(self.now, &self.disk, self.lives);
            }
            ["restart", "in", "the", "cluster"] => {
                self.line("restart", place);
                let shard = std::mem::replace(&mut self.shard, self.setup.shard(self.now, &Disk::default(), 0));
                self.shard = shard.in_cluster();
            }
            ["another", "gateway"] => {
                self.disk.crash();
                self.elsewhere.append(&mut self.disk.calls);
                self.disk.notes.clear();
                self.lives += 1;
                self.shard = self.setup.shard(self.now, &self.disk, self.lives).in_cluster();
            }
            ["asked", "for", "the", "call"] => assert_eq!(self.asked.len(), 2, "{place}: asked for {:?}", self.asked),
            ["asked", "for", "nobody"] => assert!(self.asked.is_empty(), "{place}: asked for {:?}", self.asked),
            ["cluster", rest @ ..] => self.cluster_says(rest, place),
            ["turn", "begins"] => self.is_turning = true,
            ["turn", "ends"] => {
                self.is_turning = false;
                self.perform(Shard::flush);
            }
            [rest @ .., "astray"] => {
                self.disk.is_astray = true;
                self.line(&rest.join(" "), place);
            }
            [who, "sends", what, rest @ ..] => {
                let text = self.compose(who, what, rest, place);
                self.send(who, &text);
            }
            [who, "repeats", what] => {
                let text = self.actor(who).sent.get(*what).cloned();
                self.send(who, &text.unwrap_or_else(|| panic!("{place}: never sent")));
            }
            _ => self.expect(&words, place),
        }
    }

    /// Answers for both names that were asked for, or for the call that is here.
    fn cluster_says(&mut self, words: &[&str], place: &str) {
        if words == ["takes", "the", "call"] {
            let key = self.disk.calls.keys().next().and_then(|key| Key::from_bytes(key));
            return self.input(Input::Said(Said::Lost { key: key.unwrap_or_else(|| panic!("{place}: no call")) }));
        }
        for key in std::mem::take(&mut self.asked) {
            let value = self.elsewhere.get(&key.to_bytes()).cloned();
            let said = match (words, value) {
                (["gives", "the", "call"], Some(value)) => {
                    let sinks = vec![(SinkNumber(0), SinkNumber(0))];
                    Said::Adopted { key, value, sinks }
                }
                (["had", "the", "call"], Some(_)) => Said::NotAdopted { key, why: Absence::Ended },
                (["says", "nothing"], _) => Said::NotAdopted { key, why: Absence::Unsaid },
                _ => Said::NotAdopted { key, why: Absence::Unknown },
            };
            self.input(Input::Said(said));
        }
    }

    fn expect(&mut self, words: &[&str], place: &str) {
        match words {
            ["recorded", rest @ ..] => {
                let found = self.lines();
                self.looked_at = self.recorded.len();
                let wanted = rest.join(" ");
                assert_eq!(found, if wanted == "nothing" { "" } else { &wanted }, "{place}");
            }
            ["alarm", state] => {
                let found = if self.shard.alarm() == Health::Trouble { "on" } else { "off" };
                assert_eq!(found, *state, "{place}");
            }
            ["counted", what, number] => {
                assert_eq!(self.counts.get(*what).copied().unwrap_or(0).to_string(), *number, "{place}");
            }
            ["commits", number] => assert_eq!(self.commits.to_string(), *number, "{place}"),
            ["calls", number] => assert_eq!(self.shard.calls().to_string(), *number, "{place}"),
            ["idle"] => assert!(self.shard.is_idle(), "{place}"),
            ["busy"] => assert!(!self.shard.is_idle(), "{place}"),
            [who, "gets", "nothing"] => {
                let inbox = &self.actor(who).inbox;
                assert!(inbox.is_empty(), "{place}: but it has {inbox:?}");
            }
            [who, "gets", what, rest @ ..] => self.gets(who, what, &rest.join(" "), place),
            _ => panic!("{place}: no such sentence"),
        }
    }

    /// The records that nobody has looked at, as sentences; with their sinks, if it is not the first one alone.
    fn lines(&self) -> String {
        let line = |record: &Record| {
            let sinks = self.sinks[&record.id];
            let sinks: Vec<String> =
                sinks.iter().filter(|_| sinks != ACCOUNTED).map(|sink| sink.0.to_string()).collect();
            line(record) + if sinks.is_empty() { "" } else { " for " } + &sinks.join(" ")
        };
        self.recorded[self.looked_at..].iter().map(line).collect::<Vec<_>>().join("; ")
    }

    fn actor(&mut self, name: &str) -> &mut Actor {
        self.actors.get_mut(name).unwrap_or_else(|| panic!("no actor {name}"))
    }

    fn gets(&mut self, who: &str, what: &str, rest: &str, place: &str) {
        let actor = self.actor(who);
        let text = actor.inbox.pop_front().unwrap_or_else(|| panic!("{place}: got nothing"));
        let start = text.trim_start_matches("SIP/2.0 ").split(' ').next();
        assert_eq!(start, Some(what), "{place}: got\n{text}");
        if let Some(wanted) = rest.strip_prefix("containing ") {
            assert!(text.contains(wanted), "{place}: got\n{text}");
        }
        if let Some(unwanted) = rest.strip_prefix("without ") {
            assert!(!text.contains(unwanted), "{place}: got\n{text}");
        }
        let is_invite = header(&text, "CSeq").is_some_and(|cseq| cseq.ends_with("INVITE"));
        match text.strip_prefix("SIP/2.0 ") {
            None => actor.requests.push(text),
            Some(code) if is_invite && code.starts_with(['1', '2']) => {
                actor.dialogs.push(dialog(&text, "From", "To", &text));
            }
            Some(_) => actor.refusal = header(&text, "To").unwrap_or_default().to_owned(),
        }
    }

    fn send(&mut self, who: &str, text: &str) {
        let actor = self.actor(who);
        let start = text.trim_start_matches("SIP/2.0 ").split(' ').next().unwrap_or_default();
        actor.sent.insert(start.to_owned(), text.to_owned());
        let addr = address(who);
        let message = Message::parse(text.as_bytes().to_vec());
        let peer = Peer { listener: ListenerId(u16::from(addr.is_ipv6())), addr };
        self.input(Input::Received { peer, message });
    }

    /// The disk writes that many commits, one receipt for all.
    pub fn write(&mut self, most: usize) {
        let ticket = std::iter::from_fn(|| self.disk.write()).take(most).last();
        if let Some(ticket) = ticket {
            self.input(Input::Committed(ticket));
        }
    }

    /// Lets time pass, tick by tick.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now.mono + span;
        while let Some(due) = self.shard.deadline().filter(|due| *due <= end) {
            self.now = self.now.after(due.since(self.now.mono));
            self.perform(Shard::tick);
            self.perform(Shard::flush);
        }
        self.now = self.now.after(end.since(self.now.mono));
    }

    fn input(&mut self, input: Input) {
        self.perform(|shard, now, out| shard.handle(now, input, out));
        if !self.is_turning {
            self.perform(Shard::flush);
        }
    }

    fn perform(&mut self, act: impl FnOnce(&mut Shard, Now, &mut Vec<Output>)) {
        let mut out = Vec::new();
        act(&mut self.shard, self.now, &mut out);
        self.disk.begin();
        for output in out {
            match output {
                Output::Send { authority: Some(name), .. } => panic!("{}: named {name}", self.name),
                Output::Send { peer, bytes, .. } => {
                    let text = String::from_utf8(bytes.to_vec()).expect("flows are UTF-8");
                    self.disk.check(&text).unwrap_or_else(|problem| panic!("{}: {problem}", self.name));
                    if text.starts_with("SIP/2.0 100") {
                        continue;
                    }
                    let actor = self.actors.iter_mut().find(|(name, _)| address(name) == peer.addr);
                    actor.expect("an actor's address").1.inbox.push_back(text);
                }
                Output::Append { ticket, commit } => {
                    self.commits += 1;
                    self.sinks.extend(commit.entries.iter().map(|entry| (entry.id, entry.sinks)));
                    self.recorded.extend(self.disk.append(ticket, commit));
                }
                Output::Adopt { names } => self.asked.extend(names),
                Output::Unreadable(error) => panic!("{}: {error}", self.name),
                Output::Turned { peer, .. } => panic!("{}: {peer:?} is down", self.name),
                Output::Resolve { host, .. } => panic!("{}: asked for {host}", self.name),
                Output::Notice(notice) => *self.counts.entry(format!("{:?}", notice.what)).or_default() += 1,
                Output::Count(count) => {
                    if count == shard::Count::AnswerUnsafe {
                        self.disk.excuse();
                    }
                    let name = format!("{count:?}");
                    if let Some((bare, _)) = name.split_once(['(', ' ']) {
                        *self.counts.entry(bare.to_owned()).or_default() += 1;
                    }
                    *self.counts.entry(name).or_default() += 1;
                }
            }
        }
    }

    fn compose(&mut self, who: &str, what: &str, rest: &[&str], place: &str) -> String {
        let option = |name: &str| {
            rest.iter().position(|word| *word == name).and_then(|at| rest.get(at + 1)).map(|word| (*word).to_owned())
        };
        let actor = self.actor(who);
        if what.parse::<u16>().is_ok() {
            let (method, caller) = (option("to"), option("for").map(|caller| format!("-{caller}-")));
            let fits = |request: &&String| {
                method.as_ref().is_none_or(|method| request.starts_with(method))
                    && caller.as_ref().is_none_or(|caller| request.contains(caller))
                    && !request.starts_with("ACK")
            };
            let request = actor.requests.iter().rev().find(fits);
            let request = request.unwrap_or_else(|| panic!("{place}: nothing to answer"));
            let text = response(request, what, &option("tag").unwrap_or_else(|| who.to_owned()), who);
            if what.starts_with('2') && request.starts_with("INVITE") {
                let dialog = dialog(&text, "To", "From", request);
                actor.dialogs.push(dialog);
            }
            return text;
        }
        match what {
            "ACK" if rest == ["hop"] => of_invite(&actor.sent["INVITE"], "ACK", Some(&actor.refusal)),
            "CANCEL" if rest == ["elsewhere"] => {
                let cancel = of_invite(&actor.sent["INVITE"], "CANCEL", None);
                cancel.replacen("\r\n\r\n", "\r\nReason: Q.850;cause=16;text=\"a, b\", sip ;Cause=200\r\n\r\n", 1)
            }
            "CANCEL" => of_invite(&actor.sent["INVITE"], "CANCEL", None),
            "INVITE" | "OPTIONS" if rest.first() != Some(&"again") => {
                actor.number += 1;
                let user = option("to").unwrap_or_else(|| panic!("{place}: to whom?"));
                initial(what, who, &user, actor.number)
            }
            _ => {
                let with = option("with").unwrap_or_default();
                let find = |name: &str| actor.dialogs.iter().rposition(|dialog| tag_of(&dialog.other).contains(name));
                let place_of = |name: &str| find(name).unwrap_or_else(|| panic!("{place}: no dialog"));
                let at = place_of(&with);
                // Somebody who cheats sends it where another dialog goes.
                let target = option("at").or(option("to")).map(|name| actor.dialogs[place_of(&name)].target.clone());
                let routes = option("at").map(|name| actor.dialogs[place_of(&name)].routes.clone());
                actor.number += u32::from(what != "ACK");
                let dialog = &mut actor.dialogs[at];
                if what == "INVITE" {
                    dialog.invite = actor.number;
                }
                let mut own = dialog.clone();
                own.target = target.unwrap_or(own.target);
                own.routes = routes.unwrap_or(own.routes);
                inside(what, who, &own, actor.number)
            }
        }
    }
}

/// What a party knows of a dialog: its own side and the other's, and where the other one is.
fn dialog(text: &str, own: &str, other: &str, source: &str) -> Dialog {
    let part = |name| header(text, name).unwrap_or_default().to_owned();
    let mut routes: Vec<&str> = headers(text, "Record-Route").collect();
    if own == "From" {
        routes.reverse();
    }
    Dialog {
        call: part("Call-ID"),
        own: part(own),
        other: part(other),
        target: header(source, "Contact").unwrap_or_default().trim_matches(['<', '>']).to_owned(),
        routes: routes.into_iter().fold(String::new(), |lines, route| lines + &format!("Route: {route}\r\n")),
        invite: part("CSeq").split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0),
    }
}

/// A request that opens a call, named by who is called, who calls, and a number.
pub fn initial(method: &str, who: &str, user: &str, number: u32) -> String {
    let addr = address(who);
    format!(
        "{method} sip:{user}@gateway.example SIP/2.0\r\nVia: SIP/2.0/UDP {addr};branch=z9hG4bK-{user}-{who}-{number}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{who}@x>;tag={who}{number}\r\nTo: <sip:{user}@x>\r\n\
         Call-ID: {user}-{who}-{number}\r\nCSeq: {number} {method}\r\nContact: <sip:{who}@{addr}>\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

fn inside(method: &str, who: &str, dialog: &Dialog, number: u32) -> String {
    let addr = address(who);
    let Dialog { call, own, other, target, routes, invite } = dialog;
    let cseq = if method == "ACK" { *invite } else { number };
    format!(
        "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {addr};branch=z9hG4bK-{who}-{method}-{number}\r\n{routes}\
         Max-Forwards: 70\r\nFrom: {own}\r\nTo: {other}\r\nCall-ID: {call}\r\nCSeq: {cseq} {method}\r\n\
         Contact: <sip:{who}@{addr}>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// An ACK for a refusal, or a CANCEL: Via and CSeq number of the INVITE (RFC 3261 §9.1, §17.1.1.3).
pub fn of_invite(invite: &str, method: &str, to: Option<&str>) -> String {
    let text = invite.replacen("INVITE", method, 1).replacen(" INVITE\r\n", &format!(" {method}\r\n"), 1);
    match (to, header(invite, "To")) {
        (Some(to), Some(own)) => text.replacen(&format!("To: {own}\r\n"), &format!("To: {to}\r\n"), 1),
        _ => text,
    }
}

/// What `an answered call` stands for.
const ANSWERED: &str = "
    alice sends INVITE to bob
    bob gets INVITE
    bob sends 200
    disk writes
    alice gets 200
    alice sends ACK
    bob gets ACK
    recorded start 200 bob";
