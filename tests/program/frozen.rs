//! What others rely on stays as it is: the octets of 10 000 made-up records in the queue, in JSON, to RADIUS and to
//! Diameter servers, under every profile and way of legs; and the names at `/metrics` and in every `--json`.
//!
//! `tests/frozen/names.txt` holds the names, and more may join them. `tests/frozen/octets.tsv` holds a CRC-32C for every 1 000 records. Who changes an octet on purpose runs the test with
//! `TOLLGATE_FREEZE=1`, which writes the files anew, and says in the commit what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::mem;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crc32c::crc32c_append;
use serde_json::Value as Json;
use tollgate::clock::Timestamp;
use tollgate::dictionary::{Builder, Dictionary, builtin};
use tollgate::ids::RecordId;
use tollgate::record::{Cause, End, Facts, Fields, Kind, Party, Record, Times, Value, codec};
use tollgate::sinks::diameter::acr as diameter;
use tollgate::sinks::profile::Profile;
use tollgate::sinks::radius;

use crate::support::{Agent, Gateway, free_ports, try_wait_for, wait_for};

/// Records, and how many of them share a sum.
const RECORDS: u64 = 10_000;
const CHUNK: u64 = 1_000;

/// SplitMix64: the same numbers on every machine and in every year.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }

    /// Mostly what a header holds; now and then something long, odd or empty.
    fn text(&mut self) -> Vec<u8> {
        match self.below(12) {
            0 => Vec::new(),
            1 => (0..self.below(400)).map(|_| self.of(b"abcdefgh ;=@")).collect(),
            2 => (0..self.below(60)).map(|_| self.next().to_le_bytes()[0]).collect(),
            3 => "sip:zo\u{eb}@b\u{fc}cher.example \u{4e2d}".into(),
            4 => b"192.0.2.17".to_vec(),
            5 => b"2001:db8::7".to_vec(),
            6 => self.below(100_000).to_string().into_bytes(),
            _ => format!("sip:user{}@host{}.example.net", self.below(9_999), self.below(99)).into_bytes(),
        }
    }

    fn value(&mut self) -> Value {
        match self.below(8) {
            0 => Value::Absent,
            1 => Value::Number(self.next().cast_signed() >> self.below(64)),
            2 => Value::List((0..self.below(4)).map(|_| self.text()).collect()),
            _ => Value::Text(self.text()),
        }
    }

    fn fields(&mut self, names: &[&str]) -> Fields {
        let mut fields = Vec::new();
        for name in names {
            if !self.one_in(5) {
                fields.push(((*name).to_owned(), self.value()));
            }
        }
        fields
    }

    fn digits(&mut self) -> String {
        format!("{:016x}{:016x}", self.next(), self.next())
    }

    fn instant(&mut self) -> Timestamp {
        Timestamp(1_700_000_000_000_000 + i64::try_from(self.below(400_000_000_000_000)).unwrap())
    }

    fn sometimes<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (!self.one_in(3)).then(|| make(self))
    }

    fn record(&mut self) -> Record {
        let span = |dice: &mut Self| Duration::from_micros(dice.below(90_000_000_000));
        Record {
            id: RecordId(u128::from(self.next()) << 64 | u128::from(self.next())),
            kind: self.of(&Kind::ALL),
            method: self.of(&["INVITE", "BYE", "ACK", "CANCEL", "UPDATE", "MESSAGE", "REFER", "X-OWN"]).into(),
            from_tag: self.text(),
            to_tag: self.text(),
            call_id: self.text(),
            cseq: self.next() as u32 >> 1,
            code: self.of(&[0, 100, 180, 183, 200, 202, 302, 401, 404, 407, 408, 481, 486, 487, 500, 503, 603, 699]),
            reason: self.text(),
            in_dialog: self.one_in(2),
            session: self.digits(),
            multi_session: self.digits(),
            times: Times {
                event: self.instant(),
                created: self.instant(),
                answered: self.sometimes(Self::instant),
                acknowledged: self.sometimes(Self::instant),
                ended: self.sometimes(Self::instant),
                setup: self.sometimes(span),
                duration: self.sometimes(span),
            },
            end: self.sometimes(|dice| End { by: dice.of(&PARTIES), cause: dice.of(&CAUSES) }),
            fields: self.fields(&FIELDS),
            legs: (0..self.below(4).saturating_sub(1)).map(|_| self.fields(&LEG_FIELDS)).collect(),
            table: self.one_in(9).then(|| "cdr".to_owned()),
            number: self.sometimes(|dice| dice.below(50) as u32),
            shortened: self.one_in(20),
            facts: Facts::new(),
        }
    }
}

const PARTIES: [Party; 3] = [Party::Caller, Party::Callee, Party::Gateway];
const CAUSES: [Cause; 12] = [
    Cause::Bye,
    Cause::FailedBye,
    Cause::SessionTimer,
    Cause::Lifetime,
    Cause::Administrator,
    Cause::Restart,
    Cause::Cancelled,
    Cause::Timeout,
    Cause::Refused,
    Cause::Unreachable,
    Cause::Elsewhere,
    Cause::NoAck,
];
/// What the mappings below name, one that nobody maps, and one of Tollgate's own.
const FIELDS: [&str; 5] = ["user", "caller", "callee", "other", "ims.icid"];
const LEG_FIELDS: [&str; 3] = ["src", "dst", "note"];

/// The sums over everything one renderer makes of the records, by its name: the one in the making, and those done.
#[derive(Default)]
struct Sums(BTreeMap<String, (u32, Vec<String>)>);

impl Sums {
    fn add(&mut self, name: &str, octets: &[u8]) {
        if !self.0.contains_key(name) {
            self.0.insert(name.to_owned(), Default::default());
        }
        let (sum, _) = self.0.get_mut(name).unwrap();
        *sum = crc32c_append(*sum, &(octets.len() as u64).to_be_bytes());
        *sum = crc32c_append(*sum, octets);
    }

    fn end_of_chunk(&mut self) {
        for (sum, done) in self.0.values_mut() {
            done.push(format!("{:08x}", mem::take(sum)));
        }
    }

    fn lines(&self) -> String {
        self.0.iter().fold(String::new(), |mut lines, (name, (_, done))| {
            writeln!(lines, "{name}\t{}", done.join(" ")).unwrap();
            lines
        })
    }
}

fn dictionary(profile: &str) -> Arc<Dictionary> {
    let mut builder = Builder::with_builtin();
    if let Some(text) = builtin::profile(profile) {
        builder.text(profile, text.as_bytes());
    }
    Arc::new(builder.finish().unwrap())
}

/// None in the first way of legs, then two of three.
fn leg_fields<T>(way: usize, new: impl Fn(&str, &str) -> T) -> Vec<T> {
    let fields = [("src", "Tollgate-Leg-Src"), ("dst", "Tollgate-Leg-Dst")].map(|(field, target)| new(field, target));
    fields.into_iter().take(way * 2).collect()
}

/// Every profile with every way of legs; the other settings vary along.
fn radius_renderers() -> Vec<(String, radius::Renderer)> {
    use radius::{FieldMapping, LegOrder, Legs, Round, SessionId, StatusMapping, Style, Unmapped};
    let mut renderers = Vec::new();
    for profile in Profile::ALL.iter().copied() {
        let Some(attributes) = &profile.system().attributes else { continue };
        for (number, legs) in [Legs::Auto, Legs::Together, Legs::Apart].into_iter().enumerate() {
            let settings = radius::Settings {
                profile,
                legs,
                style: Style {
                    leg_order: [LegOrder::OldestFirst, LegOrder::NewestFirst][number % 2],
                    round: [Round::HalfUp, Round::Truncate, Round::Up][number],
                    unmapped: [Unmapped::Own, Unmapped::Own, Unmapped::Omit][number],
                },
                session_id: [SessionId::Short, SessionId::CallId, SessionId::CallIdAndTag][number],
                status_mapping: [StatusMapping::Newest, StatusMapping::Openser, StatusMapping::Ser][number],
                fields: [("user", "User-Name"), ("caller", "Calling-Station-Id"), ("callee", "Called-Station-Id")]
                    .map(|(field, attribute)| FieldMapping::new(field, attribute))
                    .to_vec(),
                leg_fields: leg_fields(number, FieldMapping::new),
                ..radius::Settings::of_profile(profile, dictionary(attributes.dictionary))
            };
            let name = format!("radius {} {legs:?}", profile.name());
            renderers.push((name, radius::Renderer::new(&settings, [192, 0, 2, 1].into()).unwrap()));
        }
    }
    renderers
}

/// Both applications with every profile and way of legs, but for sub-sessions on Rf (TS 32.299); the other settings vary
/// along.
fn diameter_renderers() -> Vec<(String, diameter::Renderer)> {
    use diameter::{Application, CdrRecord, FieldMapping, LegOrder, Legs, Profile, Round, Unmapped};
    let mut renderers = Vec::new();
    for application in [Application::Base, Application::Rf] {
        // On Rf the profile changes nothing.
        let profiles = if application == Application::Rf { &Profile::ALL[..1] } else { &Profile::ALL[..] };
        for &profile in profiles {
            for (number, legs) in [Legs::Flat, Legs::Grouped, Legs::SubSessions].into_iter().enumerate() {
                let mut settings = diameter::Settings::new("gw.example.net", "example.net", "billing.example.net");
                settings.application = application;
                if let Some(text) = builtin::profile(profile.name()) {
                    let mut builder = tollgate::dictionary::diameter::Builder::with_builtin();
                    builder.text(profile.name(), text.as_bytes());
                    settings.dictionary = Arc::new(builder.finish().unwrap());
                }
                settings.profile = profile;
                settings.legs = legs;
                settings.style.leg_order = [LegOrder::OldestFirst, LegOrder::NewestFirst][number % 2];
                settings.style.round = [Round::HalfUp, Round::Truncate, Round::Up][number % 3];
                settings.style.unmapped = [Unmapped::Own, Unmapped::Omit][number % 2];
                settings.cdr_record = [CdrRecord::Event, CdrRecord::Stop][number % 2];
                settings.fields = vec![FieldMapping::new("user", "User-Name")];
                settings.leg_fields = leg_fields(number, FieldMapping::new);
                let name = format!("diameter {application:?} {} {legs:?}", profile.name());
                match diameter::Renderer::new(&settings) {
                    Ok(renderer) => renderers.push((name, renderer)),
                    Err(_) => assert_eq!((application, legs), (Application::Rf, Legs::SubSessions), "{name}"),
                }
            }
        }
    }
    renderers
}

#[test]
fn the_octets_of_ten_thousand_records_are_those_of_the_last_release() {
    let (mut radius, mut diameter, mut sums) = (radius_renderers(), diameter_renderers(), Sums::default());
    let (mut dice, mut out) = (Dice(1), Vec::new());
    for number in 1..=RECORDS {
        let record = dice.record();
        sums.add("queue", &codec::encode(&record));
        sums.add("json", record.to_json().to_string().as_bytes());
        for (name, renderer) in &mut radius {
            if let Some((whole, _)) = renderer.render_whole(&record) {
                sums.add(name, whole);
                continue;
            }
            for step in 0..record.legs.len() {
                sums.add(name, renderer.render_leg(&record, step).0);
            }
        }
        let classes = [b"class".to_vec()];
        for (name, renderer) in &mut diameter {
            out.clear();
            let done = renderer.render(
                &record,
                diameter::Echo { classes: &classes[..usize::from(number % 2 == 0)] },
                &mut out,
            );
            sums.add(name, format!("{done:?}").as_bytes());
            sums.add(name, &out);
        }
        if number % CHUNK == 0 {
            sums.end_of_chunk();
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frozen/octets.tsv");
    if std::env::var_os("TOLLGATE_FREEZE").is_some() {
        fs::write(&path, sums.lines()).unwrap();
    }
    let want = fs::read_to_string(&path).unwrap();
    let now = sums.lines();
    let changed: Vec<_> = now.lines().zip(want.lines()).filter(|(now, want)| now != want).map(|(now, _)| now).collect();
    assert!(now == want, "other octets than those of tests/frozen/octets.tsv:\n{}", changed.join("\n"));
}

/// Series at `/metrics`, each by its type and the names of its labels.
fn metrics(port: u16, names: &mut BTreeSet<String>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let kinds: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    for line in text.lines().filter(|line| line.starts_with("tollgate_")) {
        let (name, labels) = line.split_once(['{', ' ']).unwrap();
        let labels: Vec<_> = labels.split("=\"").map(|part| part.rsplit(['"', ',']).next().unwrap()).collect();
        let labels = if line.contains('{') { labels[..labels.len() - 1].join(",") } else { String::new() };
        let kind = kinds.get(name).copied().unwrap_or("part of a summary or histogram");
        names.insert(format!("/metrics {name}{{{labels}}} {kind}"));
    }
}

/// Each place of a JSON text with its type; elements of an array share one place.
fn shape(place: &str, json: &Json, names: &mut BTreeSet<String>) {
    match json {
        Json::Object(map) => map.iter().for_each(|(key, value)| shape(&format!("{place}.{key}"), value, names)),
        Json::Array(items) => items.iter().for_each(|item| shape(&format!("{place}[]"), item, names)),
        // Which of these a place holds depends on what happened so far.
        Json::Null | Json::Number(_) | Json::Bool(_) | Json::String(_) => _ = names.insert(place.to_owned()),
    }
}

/// A gateway with a sink of each protocol whose servers are away, a script that decides nothing, one call up, and its Start
/// waiting.
fn gateway(dir: &Path) -> (Gateway, u16) {
    let [port, metrics, radius, diameter] = free_ports();
    let (mut caller, mut callee) = (agent(2), agent(3));
    let folder = dir.display();
    fs::write(dir.join("diameterclient.conf"), format!("identity gw.example.net\nacctserver 127.0.0.1:{diameter}\n"))
        .unwrap();
    fs::write(dir.join("route.lua"), "function request_route(req)\n  setflag(\"SEEN\")\nend\n").unwrap();
    let toml = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\nshards = 1\n\n\
         [script]\nfile = \"route.lua\"\n\n\
         [[route]]\nto = \"sip:{callee}\"\n\n[accounting]\non = [\"radius\", \"diameter\"]\n\n\
         [accounting.fields]\ncaller = \"$fU\"\n\n[queue]\npath = \"{folder}/queue\"\nfree_min_mib = 0\n\n\
         [sinks.radius.billing]\nconfig = \"{folder}/radiusclient.conf\"\n\n\
         [sinks.diameter.cdf]\nconfig = \"{folder}/diameterclient.conf\"\n\n\
         [admin]\nsocket = \"{folder}/admin.sock\"\nlisten = \"127.0.0.1:{metrics}\"\n\n\
         [trace]\ncalls = 10\n",
        callee = callee.address,
    );
    let gateway = Gateway::start_on(dir, port, &toml, radius);
    let here = caller.address;
    let invite = format!(
        "INVITE sip:bob@example.org SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bKa;rport\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@example.net>;tag=a\r\nTo: <sip:bob@example.org>\r\nCall-ID: one\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:alice@{here}>\r\nContent-Length: 0\r\n\r\n"
    );
    caller.send(invite.as_bytes(), gateway.address());
    let arrived = callee.wait("the INVITE");
    let contact = format!("Contact: <sip:bob@{}>", callee.address).into_bytes();
    callee.send(&arrived.answer(b"200 OK", "b", &[contact], b"").octets(), gateway.address());
    wait_for("the 200", || caller.take().filter(|wire| wire.code() == 200));
    (gateway, metrics)
}

fn agent(host: u8) -> Agent {
    Agent::bind(SocketAddr::from(([127, 0, 0, host], 0)))
}

/// Commands that have `--json`, on a gateway that runs.
const COMMANDS: [&[&str]; 11] = [
    &["status"],
    &["calls"],
    &["check"],
    &["reload"],
    &["queue", "status"],
    &["queue", "list"],
    &["queue", "show", "1"],
    &["dict", "User-Name"],
    &["vars"],
    &["script", "trace"],
    &["trace"],
];

#[test]
fn the_names_at_metrics_and_in_json_are_those_of_the_last_release() {
    let dir = tempfile::tempdir().unwrap();
    let (gateway, port) = gateway(dir.path());
    let seen = |names: &mut BTreeSet<String>| {
        metrics(port, names);
        for words in COMMANDS {
            let json = gateway.command(&[words, &["--json"]].concat());
            for line in serde_json::Deserializer::from_str(&json).into_iter::<Json>() {
                shape(&words.join(" "), &line.unwrap(), names);
            }
        }
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frozen/names.txt");
    let mut names = BTreeSet::new();
    if std::env::var_os("TOLLGATE_FREEZE").is_some() {
        seen(&mut names);
        fs::write(&path, names.iter().fold(String::new(), |text, name| text + name + "\n")).unwrap();
    }
    let want = fs::read_to_string(&path).unwrap();
    let mut missing = Vec::new();
    // Some come with the first look at a server or the first turn of a thread.
    let all = try_wait_for(|| {
        seen(&mut names);
        missing = want.lines().filter(|name| !names.contains(*name)).collect();
        missing.is_empty().then_some(())
    });
    assert!(all.is_some(), "these are there no more:\n{}", missing.join("\n"));
}
