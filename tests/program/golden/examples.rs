//! The configurations and scripts of `etc/examples`: each plays its call, and the lines and rows are those that the original
//! wrote; those with a script take calls of sipp too.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::compare::Play;
use super::ends::Stage;
use super::list::List;
use super::seen::Receivers;
use super::setup::{By, Places, Plan, Systems};
use super::store::Servers;
use super::{Exchange, delivered, flows, folder, read, text};
use crate::support::{Gateway, free_ports, sipp, wait_for};

/// An example, whose flow of which system it is.
const EXAMPLES: [(&str, &str, &str); 8] = [
    ("openser-calls-and-missed-calls", "07-", "opensips-1.4"),
    ("openser-failed-call", "08-", "opensips-1.4"),
    ("opensips-do-accounting", "28-", "opensips-2.2"),
    ("script-flags", "04-", "opensips-1.4"),
    ("script-serial-forking", "07-", "kamailio"),
    ("script-legs", "22-", "opensips-2.2"),
    ("script-do-accounting", "28-", "opensips-2.2"),
    ("script-least-cost", "35-", "kamailio"),
];

/// The flow whose number is this, its exchange and the plan of a system.
fn planned(flow: &str, system: &str) -> (PathBuf, Exchange, Plan) {
    let systems = Systems::read(&read(&folder().join("systems.toml"))).without_events();
    let mut exchanges: BTreeMap<String, Exchange> = toml::from_str(&read(&folder().join("plays.toml"))).unwrap();
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let path = flows().into_iter().find(|path| name(path).starts_with(flow)).unwrap();
    let exchange = exchanges.remove(&name(&path)).unwrap();
    let plan = systems.plan(system, &read(&path.join("flow.md")), &exchange, By::Routes).unwrap();
    (path, exchange, plan)
}

/// Puts an example into a folder and starts it: addresses of the place it runs at, all else as it is shipped.
fn start(file: &str, dir: &Path, places: &Places<'_>, port: u16, addresses: &[(&str, String)]) -> Gateway {
    let examples = folder().join("../../etc/examples");
    let here = |name: &str| {
        let text = read(&examples.join(name));
        addresses.iter().fold(text, |text, (from, to)| text.replace(from, to))
    };
    for other in fs::read_dir(&examples).unwrap().flatten() {
        let name = other.file_name().to_string_lossy().into_owned();
        if name.starts_with(file) && !name.ends_with(".toml") {
            fs::write(dir.join(&name), here(&name)).unwrap();
        }
    }
    let mut whole = here(&format!("{file}.toml"));
    let database =
        whole.split("url = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a database").to_owned();
    let queue = dir.join("queue").display().to_string();
    for (from, to) in [
        ("/dev/log", &*places.syslog.display().to_string()),
        (&database, places.sql),
        ("/var/lib/tollgate/queue\"", &format!("{queue}\"\nfree_min_mib = 0")),
    ] {
        assert!(whole.contains(from), "{file} has no {from}");
        whole = whole.replace(from, to);
    }
    whole.push_str(&format!("\n[admin]\nsocket = \"{}\"\n", dir.join("admin.sock").display()));
    Gateway::start_on(dir, port, &whole, 9)
}

#[test]
fn the_examples_write_what_the_originals_wrote() {
    let (servers, list) = (Servers::start(), List::read(&read(&folder().join("differences.toml"))));
    for (file, flow, system) in EXAMPLES {
        let dir = tempfile::tempdir().unwrap();
        let (path, exchange, plan) = planned(flow, system);
        let mut receivers = Receivers::start(&plan, dir.path(), &servers, None);
        let mut stage = Stage::set(&flow[..2], exchange.headers.clone());
        let host = stage.host();
        let mut addresses = vec![
            ("192.0.2.11", format!("{host}:24201")),
            ("192.0.2.12", format!("{host}:24202")),
            ("127.0.0.1:5060", format!("{host}:24060")),
        ];
        if file == "script-legs" {
            // In the flow Bob's phone itself answers for Carol.
            addresses[1].1 = format!("{host}:24201");
        }
        let start_s = tollgate::clock::wall().secs();
        let gateway = start(file, dir.path(), &receivers.places(), 24_060, &addresses);
        stage.play(&exchange.exchange).unwrap_or_else(|error| panic!("{file}: {error}\n{}", gateway.log()));
        delivered(&gateway, file);
        let seconds = start_s - 1..=tollgate::clock::wall().secs() + 1;
        let play = Play { host, seconds, proxy_tags: stage.proxy_tags };
        let golden = text::golden(&read(&path.join(format!("{system}.txt"))));
        let items = play.normal(receivers.items());
        for part in ["syslog", "sql"] {
            assert!(
                items.iter().any(|item| item.part.starts_with(part)),
                "{file} writes nothing to {part}: {items:?} {}",
                gateway.log()
            );
        }
        let name = path.file_name().unwrap().to_string_lossy();
        // Fields that the flow had not.
        let more: &[&str] = if file == "script-least-cost" { &["carrier", "price", "x1", "x2"] } else { &[] };
        let is_ours = |text: &&String| {
            (text.starts_with("syslog") || text.starts_with("sql"))
                && !list.has(&name, system, text)
                && !more.iter().any(|name| text.ends_with(&format!(" {name}: is more")))
        };
        let found = play.differences(&golden, &items, |_| true);
        assert_eq!(found.iter().filter(is_ours).collect::<Vec<_>>(), Vec::<&String>::new(), "{file}");
    }
}

/// A call of sipp: the caller's scenario, whom he calls, and the scenarios at both addresses of the example.
type Called = (&'static str, &'static str, [&'static str; 2]);

#[test]
fn the_scripts_of_the_examples_take_calls_of_sipp() {
    let servers = Servers::files();
    let answered: Called = ("uac.xml", "bob", ["uas.xml", "uas.xml"]);
    let busy: Called = ("uac_busy.xml", "bob", ["uas_busy.xml", "uas_busy.xml"]);
    let to = |user: &'static str, call: Called| (call.0, user, call.2);
    let rows: [(&str, Called, &[&str]); 11] = [
        ("script-flags", answered, &["answered INVITE 200", "answered BYE 200"]),
        ("script-flags", busy, &["missed INVITE 486"]),
        (
            "script-serial-forking",
            ("uac.xml", "bob", ["uas_busy.xml", "uas.xml"]),
            &["missed INVITE 486", "answered INVITE 200", "answered BYE 200"],
        ),
        ("script-serial-forking", busy, &["missed INVITE 486", "missed INVITE 486"]),
        (
            "script-legs",
            answered,
            &["answered INVITE 200 bob carol, alice bob", "answered BYE 200 bob carol, alice bob"],
        ),
        ("script-legs", to("dave", busy), &["missed INVITE 486 alice dave"]),
        ("script-do-accounting", answered, &["ended INVITE 200 n1"]),
        ("script-do-accounting", to("1234", answered), &[]),
        ("script-do-accounting", to("voicemail", busy), &[]),
        (
            "script-least-cost",
            ("uac.xml", "4312345", ["uas.xml", "uas_fails.xml"]),
            &["missed INVITE 503 south 0.008", "answered INVITE 200 north 0.010", "answered BYE 200 north 0.010"],
        ),
        ("script-least-cost", ("uac_refused.xml", "99123", ["uas.xml", "uas.xml"]), &["accounted INVITE 403"]),
    ];
    for (file, (caller, user, callees), want) in rows {
        let dir = tempfile::tempdir().unwrap();
        let [port, first, second, own] = free_ports();
        let (_, flow, system) = EXAMPLES.into_iter().find(|(name, ..)| *name == file).unwrap();
        let (_, _, plan) = planned(flow, system);
        let mut receivers = Receivers::start(&plan, dir.path(), &servers, None);
        let addresses = [
            ("192.0.2.11", format!("127.0.0.1:{first}")),
            ("192.0.2.12", format!("127.0.0.1:{second}")),
            ("127.0.0.1:5060", format!("127.0.0.1:{port}")),
        ];
        let gateway = start(file, dir.path(), &receivers.places(), port, &addresses);
        let Some(_one) = sipp(dir.path(), callees[0], first, &[]) else { return };
        let _other = sipp(dir.path(), callees[1], second, &[]).unwrap();
        let to = format!("127.0.0.1:{port}");
        let mut calls = sipp(dir.path(), caller, own, &[&to, "-m", "1", "-s", user]).unwrap();
        let what = format!("{file}: {caller} calls {user}");
        wait_for("the call ends", || {
            calls.child.try_wait().unwrap().map(|status| assert!(status.success(), "{what}: {}", gateway.log()))
        });
        delivered(&gateway, &what);
        let items = receivers.items();
        let told = |part: &str| {
            let of_part = items.iter().filter(|item| item.part.starts_with(part));
            let mut told: Vec<String> = of_part.map(|item| shown(&item.pairs)).collect();
            told.sort();
            told
        };
        let mut want: Vec<String> = want.iter().map(|text| (*text).to_owned()).collect();
        want.sort();
        assert_eq!(told("syslog"), want, "{what}: {items:#?}");
        // A row has neither what happened nor several legs.
        let rows = want.iter().flat_map(|text| {
            let (head, rest) = text.split_at(text.match_indices(' ').nth(2).map_or(text.len(), |(at, _)| at));
            let head = head.split_once(' ').unwrap().1;
            rest.split(", ").map(|leg| format!("{head} {}", leg.trim()).trim().to_owned()).collect::<Vec<_>>()
        });
        let mut rows: Vec<String> = rows.collect();
        rows.sort();
        assert_eq!(told("sql"), rows, "{what}: {items:#?}");
    }
}

/// What a line or a row says: what happened, method and code, then fields and legs.
fn shown(pairs: &[(String, String)]) -> String {
    let of = |names: &[&str]| {
        let own = pairs.iter().filter(|(name, value)| names.contains(&name.as_str()) && !value.is_empty());
        own.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    let head = of(&[text::HEAD]);
    let head = head.first().and_then(|head| head.trim_end_matches([':', ' ']).rsplit(' ').next()).unwrap_or_default();
    let legs: Vec<_> = of(&["src", "dst"]).chunks(2).map(|leg| leg.join(" ")).collect();
    let words = [vec![head], of(text::METHODS), of(text::CODES), of(&["note", "carrier", "price", "x1", "x2"])];
    let words: Vec<_> = words.concat().into_iter().map(|word| word.trim_matches('\'')).collect();
    format!("{} {}", words.join(" "), legs.join(", ")).trim().to_owned()
}
