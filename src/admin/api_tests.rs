//! `/api/v1` held against its document, and against those who must not use it.

use serde_json::{Value, json};

use super::api::DOCUMENT;
use super::doors::Door;
use super::remote::{Arrived, Rights};
use super::tests::Running;
use super::{Reloaded, reloaded_json};
use crate::ids::RecordId;

const TOKEN: &str = "0123456789abcdef";

/// The doors with their names in the document; an operation that names none is let in at each.
const DOORS: [(Door, &str); 4] = [
    (Door::Http, "http"),
    (Door::Commands, "socket"),
    (Door::Questions, "status_socket"),
    (Door::Cluster(Rights::Commands), "cluster"),
];

impl Running {
    fn v1(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, Value) {
        self.v1_at(Door::Http, (method, path), headers, body)
    }

    fn v1_at(&self, door: Door, (method, path): (&str, &str), headers: &str, body: &str) -> (u16, Value) {
        let length = body.len();
        let request = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        let (code, text) = self.ask_at(door, &request);
        (code, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{method} {path}: {error}: {text}")))
    }
}

fn with_token(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n")
}

/// Whether a value is as a schema of the document says.
fn fits(document: &Value, schema: &Value, value: &Value, what: &str) {
    let mut whole = schema.clone();
    whole["components"] = document["components"].clone();
    let validator = jsonschema::validator_for(&whole).unwrap_or_else(|error| panic!("{what}: {error}"));
    let wrong: Vec<_> =
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(wrong.is_empty(), "{what}: {wrong:?}\n{value}");
}

#[test]
fn every_answer_is_as_the_document_says() {
    let document: Value = serde_json::from_str(DOCUMENT).expect("JSON");
    let running = Running::start_as(3, true, Some(TOKEN));
    let (_, served) = running.v1("GET", "/openapi.json", &with_token(TOKEN), "");
    assert_eq!((&served["paths"], &served["info"]["version"]), (&document["paths"], &crate::names::VERSION.into()));
    let one = json!({ "record": RecordId(1).to_string(), "reason": "to be looked at" });
    let (_, whole) = running.v1("GET", "/records?record=2&whole=true", &with_token(TOKEN), "");
    let kept = json!({ "records": [{ "sinks": ["billing"], "body": whole["items"][0]["body"] }] });
    // Parked first: records of both states are seen.
    let paths = document["paths"].as_object().expect("paths");
    let mut order: Vec<_> = paths.keys().collect();
    order.sort_by_key(|path| *path != "/records/park");
    let mut asked = 0;
    for path in order {
        for (method, operation) in paths[path].as_object().expect("operations") {
            let body = match (method.as_str(), path.as_str()) {
                ("get", _) => String::new(),
                (_, "/records/park") => one.to_string(),
                (_, "/records/drop") => json!({ "record": RecordId(3).to_string() }).to_string(),
                (_, "/records/import") => kept.to_string(),
                (_, "/calls/end") => json!({ "call": "a@b" }).to_string(),
                _ => json!({ "all": true, "sink": "billing" }).to_string(),
            };
            let query = match path.as_str() {
                "/calls/ladder" | "/calls/story" => "?call=a@b",
                "/audit/records" => "?from_micros=0&to_micros=1",
                _ => "",
            };
            let asked_for = (&*method.to_uppercase(), &*format!("{path}{query}"));
            for (door, name) in DOORS {
                let headers = if door == Door::Http { with_token(TOKEN) } else { with_token("") };
                let (code, value) = running.v1_at(door, asked_for, &headers, &body);
                let doors = operation["x-doors"].as_array();
                let want = match path.as_str() {
                    _ if doors.is_some_and(|doors| !doors.contains(&name.into())) => 403,
                    // The gateway of these tests has no script.
                    "/script/trace" => 400,
                    _ => 200,
                };
                assert_eq!(code, want, "{path} at {door:?}: {value}");
                let mut response = &operation["responses"][want.to_string()];
                if let Some(name) = response["$ref"].as_str() {
                    response = document.pointer(&name[1..]).expect("a response of all");
                }
                fits(&document, &response["content"]["application/json"]["schema"], &value, path);
            }
            // Whoever has a token may not what the document keeps for the sockets, and needs it for the rest.
            assert!(
                method == "get"
                    || operation["security"][0] == json!({ "token": [] })
                    || operation["x-doors"] == json!(["socket"])
            );
            asked += 1;
            // What it does not know it does not pass over.
            if method == "get" && !operation["parameters"].is_null() {
                let (code, value) = running.v1("GET", &format!("{path}?mxa=1"), &with_token(TOKEN), "");
                assert!(
                    code == 400 && value["error"].as_str().is_some_and(|text| text.contains("mxa")),
                    "{path}: {value}"
                );
            }
        }
    }
    assert_eq!(asked, 19);
    let refused = Reloaded::Refused { mistakes: vec!["error".to_owned()] };
    fits(&document, &document["components"]["schemas"]["Reloaded"], &reloaded_json(&refused), "a refused reload");
}

#[test]
fn records_are_parked_and_tried_again_and_never_given_up() {
    let running = Running::start_as(3, true, Some(TOKEN));
    let post = |path: &str, body: Value| running.v1("POST", path, &with_token(TOKEN), &body.to_string());
    let parked = || running.v1("GET", "/records?state=parked", &with_token(TOKEN), "").1["items"].clone();
    let id = RecordId(2).to_string();
    assert_eq!(post("/records/park", json!({ "record": id, "reason": "wrong tariff" })).1["records"], 1);
    let item = &parked()[0];
    assert_eq!((&item["id"], &item["sinks"][0]["reason"]), (&json!(id), &json!("wrong tariff")));
    assert_eq!(post("/records/retry", json!({ "all": true, "state": "parked" })).1["records"], 1);
    assert_eq!(parked(), json!([]));
    for (what, path, body, want) in [
        ("all of them by mistake", "/records/park", json!({}), 400),
        ("one and all", "/records/park", json!({ "record": id, "all": true }), 400),
        ("an unknown sink", "/records/park", json!({ "all": true, "sink": "biling" }), 400),
        ("a reason for a retry", "/records/retry", json!({ "all": true, "reason": "x" }), 400),
        ("an unknown word", "/records/park", json!({ "al": true }), 400),
        ("no record of any kind", "/records/park", json!({ "record": "x" }), 400),
        ("giving up", "/records/drop", json!({ "all": true }), 403),
    ] {
        let (code, value) = post(path, body);
        assert!(code == want && value["error"].is_string(), "{what}: {code} {value}");
    }
    let (code, value) = running.v1("GET", "/records/park", &with_token(TOKEN), "");
    assert_eq!((code, value["error"].as_str()), (405, Some("not by GET; /api/v1/openapi.json says how")));
}

#[test]
fn who_has_no_token_and_pages_of_others_are_kept_out() {
    let (open, shut) = (Running::start_as(2, true, None), Running::start_as(2, true, Some(TOKEN)));
    let json = "Content-Type: application/json\r\n";
    let bearer = |token: &str| with_token(token);
    let all = "{\"all\": true}";
    for (what, running, method, path, headers, want) in [
        ("without a token configured it tells", &open, "GET", "/status", String::new(), 200),
        ("and does nothing", &open, "POST", "/records/park", json.to_owned(), 403),
        ("whatever is given", &open, "POST", "/records/park", bearer(TOKEN), 403),
        ("with one it tells nobody", &shut, "GET", "/status", String::new(), 401),
        ("nor its document", &shut, "GET", "/openapi.json", String::new(), 401),
        ("a wrong one", &shut, "GET", "/status", bearer("0123456789abcdeg"), 401),
        ("the beginning of it", &shut, "GET", "/status", bearer("0123456789"), 401),
        ("an empty one", &shut, "GET", "/status", bearer(""), 401),
        ("another scheme", &shut, "GET", "/status", format!("Authorization: Basic {TOKEN}\r\n"), 401),
        (
            "the right one, its scheme in any case",
            &shut,
            "GET",
            "/status",
            format!("Authorization: bEARER {TOKEN}\r\n"),
            200,
        ),
        ("a page of another site", &open, "GET", "/status", "Sec-Fetch-Site: cross-site\r\n".to_owned(), 403),
        (
            "with the token too",
            &shut,
            "GET",
            "/status",
            format!("Sec-Fetch-Site: cross-site\r\n{}", bearer(TOKEN)),
            403,
        ),
        ("its own page", &shut, "GET", "/status", format!("Sec-Fetch-Site: same-origin\r\n{}", bearer(TOKEN)), 200),
        (
            "a form",
            &shut,
            "POST",
            "/records/park",
            format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/x-www-form-urlencoded\r\n"),
            415,
        ),
        ("no kind of body", &shut, "POST", "/records/park", format!("Authorization: Bearer {TOKEN}\r\n"), 415),
        ("a method that is none", &shut, "DELETE", "/status", bearer(TOKEN), 405),
    ] {
        let body = if method == "POST" { all } else { "" };
        let (code, value) = running.v1(method, path, &headers, body);
        assert_eq!(code, want, "{what}: {value}");
        assert_eq!(value["error"].is_string(), want != 200, "{what}: {value}");
    }
    // The paths of before are kept by the same token.
    let (code, _) = shut.ask("GET /api/calls HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    assert_eq!(code, 401);
    // Health and metrics stay for whoever watches.
    assert_eq!(shut.ask("GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").0, 200);
}

#[test]
fn a_body_has_its_limit() {
    let running = Running::start_as(1, true, Some(TOKEN));
    let long = format!("{{\"all\": true, \"reason\": \"{}\"}}", "x".repeat(100 << 10));
    let mut stream = std::net::TcpStream::connect(running.http()).expect("connected");
    let head = format!(
        "POST /api/v1/records/park HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{}Content-Length: {}\r\n\r\n",
        with_token(TOKEN),
        long.len()
    );
    std::io::Write::write_all(&mut stream, head.as_bytes()).expect("written");
    // It may be refused before all of it is sent.
    let _cut = std::io::Write::write_all(&mut stream, long.as_bytes());
    let mut first = [0; 12];
    std::io::Read::read_exact(&mut stream, &mut first).expect("an answer");
    assert_eq!(&first, b"HTTP/1.1 413");
}

#[test]
fn by_the_cluster_questions_are_answered_and_commands_where_they_are_let_in() {
    let running = Running::start_as(3, true, Some(TOKEN));
    let all = json!({ "all": true, "state": "waiting" });
    let park = |rights| running.v1_at(Door::Cluster(rights), ("POST", "/records/park"), "", &all.to_string());
    for (rights, want) in [(Rights::Questions, "a subject of their own"), (Rights::NoCommands, "commands = true")] {
        let (code, value) = park(rights);
        assert!(code == 403 && value["error"].as_str().is_some_and(|text| text.contains(want)), "{value}");
        assert_eq!(running.v1_at(Door::Cluster(rights), ("GET", "/queue"), "", "").0, 200);
    }
    assert_eq!(park(Rights::Commands).1["records"], 3);
    for (what, method, path, body, want) in [
        ("giving up", "POST", "/records/drop", all.clone(), 403),
        ("a reload", "POST", "/reload", json!(null), 403),
        ("an end of calls", "POST", "/calls/end", json!({ "call": "a@b" }), 403),
        ("an unknown path", "GET", "/nothing", json!(null), 404),
        ("a body of another kind", "POST", "/records/park", json!([1]), 400),
        ("a method that is none", "GE T", "/queue", json!(null), 400),
        ("a target that is none", "GET", "/que\u{7f}ue", json!(null), 400),
    ] {
        let arrived = Arrived {
            by: "a\nb".repeat(100),
            rights: Rights::Commands,
            method: method.to_owned(),
            target: format!("/api/v1{path}"),
            body: (!body.is_null()).then_some(body),
        };
        let (code, value) = running.asked_by_message(arrived);
        assert!(code == want && value.contains("error"), "{what}: {code} {value}");
    }
    for target in ["/metrics", "/", "", "/api/status", "http://127.0.0.1/api/v1/queue"] {
        let (by, method) = ("bob".to_owned(), "GET".to_owned());
        let arrived = Arrived { by, rights: Rights::Commands, method, target: target.to_owned(), body: None };
        assert_eq!(running.asked_by_message(arrived).0, 400, "{target}");
    }
}
