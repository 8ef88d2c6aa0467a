//! Golden octets of Accounting-Requests: START, STOP and EVENT of each profile, and the ways of legs.
//!
//! `tests/vectors/diameter/NAME.txt` holds the octets and, as comments, what they say; `tollgate decode` reads it. tshark
//! is the second opinion.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tollgate::clock::Timestamp;
use tollgate::diameter::avp::Avps;
use tollgate::diameter::{header, print};
use tollgate::dictionary::builtin;
use tollgate::dictionary::diameter::{Builder, Dictionary};
use tollgate::ids::RecordId;
use tollgate::record::{Cause, End, Fields, Kind, Party, Record, Times, Value};
use tollgate::sinks::diameter::acr::{Application, Echo, FieldMapping, Legs, Profile, Renderer, Settings, Unmapped};

use crate::support::start::Start as _;
use crate::support::{diameter, peer};

fn text(text: &str) -> Value {
    Value::Text(text.as_bytes().to_vec())
}

fn leg(src: &str, dst: &str) -> Fields {
    let dst = if dst.is_empty() { Value::Absent } else { text(dst) };
    vec![("src".to_owned(), text(src)), ("dst".to_owned(), dst)]
}

fn record(kind: Kind) -> Record {
    let at = |millis: i64| Timestamp(1_700_000_000_250_000 + millis * 1000);
    let is_stop = kind == Kind::Stop;
    let is_failed = kind == Kind::Failed;
    Record {
        id: RecordId(0x018b_cfe5_6800_0000_0000_0000_0000_0001),
        kind,
        method: if is_stop { b"BYE".to_vec() } else { b"INVITE".to_vec() },
        from_tag: b"a73kszlfl".to_vec(),
        to_tag: if is_failed { b"8321234356".to_vec() } else { b"1928301774".to_vec() },
        call_id: b"f81d4fae-7dec-11d0@192.0.2.4".to_vec(),
        cseq: if is_stop { 2 } else { 1 },
        code: if is_failed { 486 } else { 200 },
        reason: if is_failed { b"Busy Here".to_vec() } else { b"OK".to_vec() },
        in_dialog: is_stop,
        session: "0123456789abcdef0123456789abcdef".to_owned(),
        multi_session: "fedcba9876543210fedcba9876543210".to_owned(),
        times: Times {
            event: if is_stop { at(65_510) } else { at(4_000) },
            created: at(0),
            answered: (!is_failed).then(|| at(4_000)),
            acknowledged: is_stop.then(|| at(4_100)),
            ended: is_stop.then(|| at(65_500)),
            setup: Some(Duration::from_millis(4_000)),
            duration: is_stop.then(|| Duration::from_millis(61_500)),
        },
        end: match kind {
            Kind::Stop => Some(End { by: Party::Callee, cause: Cause::Bye }),
            Kind::Failed => Some(End { by: Party::Callee, cause: Cause::Refused }),
            _ => None,
        },
        fields: vec![
            ("user".to_owned(), text("alice@atlanta.example")),
            ("caller".to_owned(), text("sip:alice@atlanta.example")),
            ("callee".to_owned(), text("sip:bob@biloxi.example")),
            ("src_ip".to_owned(), text("192.0.2.4")),
        ],
        legs: vec![leg("alice", "bob"), leg("bob", ""), leg("bob", "carol")],
        table: None,
        number: None,
        shortened: false,
        facts: tollgate::record::Facts::new(),
    }
}

fn mapped(pairs: &[(&str, &str)]) -> Vec<FieldMapping> {
    pairs.iter().map(|(field, avp)| FieldMapping::new(field, avp)).collect()
}

fn settings(name: &str) -> Settings {
    let mut settings = Settings::new("gw.example.net", "example.net", "billing.example.net");
    settings.fields =
        mapped(&[("user", "User-Name"), ("caller", "Calling-Station-Id"), ("callee", "Called-Station-Id")]);
    settings.leg_fields = mapped(&[("src", "Tollgate-Leg-Src"), ("dst", "Tollgate-Leg-Dst")]);
    let with_profile = |profile: &str| {
        let mut builder = Builder::with_builtin();
        builder.text(profile, builtin::profile(profile).unwrap().as_bytes());
        Arc::new(builder.finish().unwrap())
    };
    match name {
        "opensips" | "openser" => {
            settings.profile = if name == "openser" { Profile::Openser } else { Profile::Opensips };
            settings.dictionary = with_profile(name);
            settings.style.unmapped = Unmapped::Omit;
        }
        "rf" => {
            settings.application = Application::Rf;
            settings.fields = mapped(&[
                ("user", "User-Name"),
                ("user", "Subscription-Id"),
                ("caller", "Calling-Party-Address"),
                ("callee", "Called-Party-Address"),
                ("src_ip", "Served-Party-IP-Address"),
            ]);
            settings.leg_fields = mapped(&[("dst", "Requested-Party-Address")]);
            settings.style.unmapped = Unmapped::Omit;
        }
        "grouped" => settings.legs = Legs::Grouped,
        "sub-sessions" => settings.legs = Legs::SubSessions,
        _ => {}
    }
    settings
}

/// Name of the vector, settings, record.
pub(crate) fn cases() -> Vec<(String, Settings, Record)> {
    let kinds = [("start", Kind::Start), ("stop", Kind::Stop), ("event", Kind::Failed)];
    let mut cases = Vec::new();
    for profile in ["own", "opensips", "openser", "rf", "grouped", "sub-sessions"] {
        for (name, kind) in kinds {
            cases.push((format!("{profile}-{name}"), settings(profile), record(kind)));
        }
    }
    cases
}

pub(crate) fn rendered(settings: &Settings, record: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    let result = Renderer::new(settings).unwrap().render(record, Echo::default(), &mut out).unwrap();
    assert_eq!(result.misfits, 0);
    out
}

pub(crate) fn messages(octets: &[u8]) -> Vec<&[u8]> {
    let mut rest = octets;
    let mut all = Vec::new();
    while let Some(length) = header::frame(rest, usize::MAX).unwrap() {
        all.push(&rest[..length]);
        rest = &rest[length..];
    }
    assert!(rest.is_empty());
    all
}

/// The octets of a vector, and what its comments say.
fn vector(dictionary: &Dictionary, octets: &[u8]) -> String {
    let mut out = String::new();
    for message in messages(octets) {
        let (head, avps) = header::split(message).unwrap();
        for line in print::text(dictionary, &head, Avps::new(avps)).lines() {
            writeln!(out, "# {line}").unwrap();
        }
        for line in message.chunks(24) {
            let line: Vec<String> = line.iter().map(|octet| format!("{octet:02x}")).collect();
            writeln!(out, "{}", line.join(" ")).unwrap();
        }
    }
    out
}

#[test]
fn every_profile_sends_its_golden_octets() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/diameter");
    // What is sent now, for a look at a difference.
    let now = Path::new(env!("CARGO_TARGET_TMPDIR")).join("diameter");
    fs::create_dir_all(&now).unwrap();
    let mut wrong = Vec::new();
    for (name, settings, record) in cases() {
        let text = vector(&settings.dictionary, &rendered(&settings, &record));
        fs::write(now.join(format!("{name}.txt")), &text).unwrap();
        if fs::read_to_string(folder.join(format!("{name}.txt"))).ok() != Some(text) {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "other octets than in tests/vectors/diameter: {wrong:?}; see {}", now.display());
}

#[test]
fn no_vector_is_without_its_case() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/diameter");
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let mut known: Vec<std::ffi::OsString> =
        cases().into_iter().map(|(name, _, _)| format!("{name}.txt").into()).collect();
    known.sort();
    assert_eq!(names, known);
}

#[test]
fn the_command_reads_the_vectors() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/diameter/rf-start.txt");
    let decode = |words: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_tollgate")).arg("decode").arg(&file).args(words).finish().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let wanted = fs::read_to_string(&file).unwrap();
    let wanted: Vec<&str> = wanted.lines().filter_map(|line| line.strip_prefix("# ")).collect();
    assert_eq!(decode(&[]).lines().collect::<Vec<_>>(), wanted);
    let json: serde_json::Value = serde_json::from_str(&decode(&["--json"])).unwrap();
    assert_eq!((&json["command"], &json["avps"][0]["name"]), (&"ACR".into(), &"Session-Id".into()));
}

#[test]
fn commands_show_what_is_whole_and_say_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/diameter/rf-start.txt");
    let whole = fs::read_to_string(file).unwrap();
    let octets = whole.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    for (name, dump, shown, error) in [
        ("a rest that is none", format!("{octets}\n010000"), true, "a Diameter header has 20 octets, here are 3"),
        ("a message that is cut", octets.lines().next().unwrap().to_owned(), false, "no Diameter message at octet 0"),
    ] {
        let path = dir.path().join("dump");
        fs::write(&path, dump).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_tollgate")).arg("decode").arg(&path).finish().unwrap();
        let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(text.starts_with("ACR "), shown, "{name}: {text}");
        assert!(!output.status.success() && errors.contains(error), "{name}: {errors}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_tollgate")).args(["dict", "Session-Id"]).finish().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("add `--diameter`"), "an AVP is looked for among the attributes: {errors}");
}

#[test]
fn tshark_finds_no_fault_in_any_message() {
    let dir = tempfile::tempdir().unwrap();
    let octets: Vec<u8> = cases().iter().flat_map(|(_, settings, record)| rendered(settings, record)).collect();
    let all: Vec<Vec<u8>> = messages(&octets).into_iter().map(<[u8]>::to_vec).collect();
    let (Some(tshark), Some(file)) = (peer("tshark"), diameter::tshark_finds_no_fault(dir.path(), &all)) else {
        return;
    };
    let show = |filter: &str, field: &str| {
        let mut command = Command::new(&tshark);
        command.arg("-r").arg(&file).args(["-d", "tcp.port==3868,diameter", "-Y", filter, "-T", "fields", "-e", field]);
        String::from_utf8_lossy(&command.finish().unwrap().stdout).into_owned()
    };
    let types = show("diameter", "diameter.Accounting-Record-Type");
    assert!(types.lines().all(|text| ["1", "2", "4"].contains(&text)), "{types}");
    let rf = show("diameter.Node-Functionality", "diameter.Calling-Party-Address");
    assert_eq!(rf.lines().collect::<Vec<_>>(), ["sip:alice@atlanta.example"; 3], "it reads the Rf records too");
}
