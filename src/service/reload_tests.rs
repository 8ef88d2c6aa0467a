//! Every option that is declared live changes what a reload hands to the running threads, and nothing that they keep;
//! every other one is named.

use std::path::Path;

use super::reload::{Fixed, tuning};
use crate::accounting;
use crate::config::plan::{Plan, SipPlan};
use crate::config::reload::{Effect, effect};
use crate::config::sample_tests::{sample as manual, sinks};
use crate::config::{error::Mistakes, kinds, parse, walk};
use crate::shard::Tuning;
use crate::sinks::jetstream::Login;
use crate::sinks::secret::Secret;
use crate::sip::stack;

fn plan(text: &str) -> Result<Plan, Mistakes> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/tollgate.toml");
    parse(&path, text, Default::default())
}

/// Lines that give an option another value, where that is no number, switch or word of a list: the path of the option,
/// the header of the section, and the line. Those of sinks stand with the table of their kind.
const OTHERS: &[(&str, &str, &str)] = &[
    ("route.account.forwarding_legs", "[[route]]", "account = { forwarding_legs = true }"),
    ("sip.listen", "[sip]", "listen = [\"udp:127.0.0.1:5070\"]"),
    ("sip.advertise", "[sip]", "advertise = \"192.0.2.1\""),
    ("sip.names", "[sip]", "names = [\"gw.example\"]"),
    ("sip.allow", "[sip]", "allow = [\"10.0.0.0/8\"]"),
    ("sip.allow_on", "[sip]", "allow_on = { \"udp:127.0.0.1:5060\" = \"10.0.0.0/8\" }"),
    ("sip.supported", "[sip]", "supported = [\"foo\"]"),
    ("sip.dns.servers", "[sip.dns]", "servers = [\"127.0.0.1:9\"]"),
    ("sip.watch.lost_max", "[sip.watch]", "ping_s = 60\nlost_max = 7"),
    ("route.name", "[[route]]", "name = \"other\""),
    ("route.to", "[[route]]", "to = [\"sip:127.0.0.1:5071\"]"),
    ("route.next_on", "[[route]]", "next_on = [\"408\"]"),
    ("route.match.prefix", "[[route]]", "match = { prefix = \"+40\" }"),
    ("route.match.user", "[[route]]", "match = { user = \"7??\" }"),
    ("route.match.domain", "[[route]]", "match = { domain = \"example.org\" }"),
    ("route.match.method", "[[route]]", "match = { method = \"MESSAGE\" }"),
    ("route.match.source", "[[route]]", "match = { source = \"10.1.0.0/16\" }"),
    ("route.match.header.name", "[[route]]", "match = { header = { name = \"X-Trunk\" } }"),
    ("route.match.header.value", "[[route]]", "match = { header = { name = \"X-Trunk\", value = \"gold\" } }"),
    ("route.answer.code", "[[route]]", "to ANSWER = { code = 404 }"),
    ("route.answer.reason", "[[route]]", "to ANSWER = { code = 404, reason = \"Gone\" }"),
    ("route.answer.retry_after_s", "[[route]]", "to ANSWER = { code = 503, retry_after_s = 6 }"),
    ("route.answer.contacts", "[[route]]", "to ANSWER = { code = 302, contacts = [\"sip:127.0.0.3\"] }"),
    ("route.account.on", "[[route]]", "account = { on = [] }"),
    ("route.account.flags", "[[route]]", "account = { flags = [] }"),
    ("route.fields", "[[route]]", "fields = { trunk = \"gold\" }"),
    ("route.avps", "[[route]]", "avps = { src = \"$fu\" }"),
    ("mirror.name", "[[mirror]]", "name = \"east\""),
    ("mirror.listen", "[[mirror]]", "listen = \"tcp:127.0.0.1:9061\""),
    ("mirror.allow", "[[mirror]]", "allow = [\"192.0.2.0/24\"]"),
    ("mirror.proxy", "[[mirror]]", "proxy = [\"192.0.2.5\"]"),
    ("mirror.on", "[[mirror]]", "on = []"),
    ("mirror.flags", "[[mirror]]", "flags = [\"missed\"]"),
    ("ledger.path", "[ledger]", "path = \"other\""),
    ("accounting.on", "[accounting]", "on = [\"radius\", \"diameter\"]"),
    ("accounting.flags", "[accounting]", "flags = [\"missed\"]"),
    ("accounting.failed_filter", "[accounting]", "failed_filter = [401]"),
    ("accounting.methods", "[accounting]", "methods = [\"MESSAGE\"]"),
    ("accounting.fields", "[accounting.fields]", "from = \"$fu\""),
    ("accounting.in_dialog_fields", "[accounting]", "in_dialog_fields = \"call\""),
    ("accounting.leg_fields", "[accounting.leg_fields]", "from = \"$fu\""),
    ("accounting.bye_fields", "[accounting]", "bye_fields = { agent_bye = \"$ua\" }"),
    ("accounting.bye_leg_fields", "[accounting]", "bye_leg_fields = { src = \"$fu\" }"),
    ("sip.trusted_proxies", "[sip]", "trusted_proxies = [\"192.0.2.0/24\"]"),
    ("queue.path", "[queue]", "path = \"other\""),
    ("cluster.nats", "[cluster]", "nats = [\"nats://127.0.0.1:4223\"]"),
    ("cluster.name", "[cluster]", "name = \"gw9\""),
    ("cluster.stream", "[cluster]", "stream = \"OTHER\""),
    ("cluster.prefix", "[cluster]", "prefix = \"other\""),
    ("deliver.directory", "[deliver]", "directory = \"other\""),
    ("deliver.socket", "[deliver]", "socket = \"other.sock\""),
    ("deliver.listen", "[deliver]", "listen = \"127.0.0.1:8081\""),
    ("admin.listen", "[admin]", "listen = \"127.0.0.1:8080\""),
    ("admin.hosts", "[admin]", "hosts = [\"gw.example\"]"),
    ("admin.status_socket", "[admin]", "status_socket = \"status.sock\""),
    ("admin.socket", "[admin]", "socket = \"other.sock\""),
    ("trace.user", "[trace]", "user = \"+4930*\""),
    ("trace.from", "[trace]", "from = \"+4930*\""),
    ("trace.to", "[trace]", "to = \"+4930*\""),
    ("trace.source", "[trace]", "source = \"192.0.2.0/24\""),
    ("trace.call_id", "[trace]", "call_id = \"*@gw.example\""),
    ("telemetry.endpoint", "[telemetry]", "endpoint = \"http://127.0.0.1:4318/v1/traces\""),
    ("telemetry.one_in", "[telemetry]", "endpoint = \"http://127.0.0.1:4318/v1/traces\"\none_in = 3"),
    ("telemetry.instance", "[telemetry]", "endpoint = \"http://127.0.0.1:4318/v1/traces\"\ninstance = \"gw1\""),
    ("log.level", "[log]", "level = \"debug\""),
];

/// Options whose other values need files or servers that other tests make: which these are.
const ELSEWHERE: &[(&str, &str)] = &[
    ("sip.tls", "tests/sip/streams.rs: a reload takes new certificates"),
    ("sip.tls_client", "tests/sip/streams.rs: part of the same credentials"),
    ("route.fork", "part of the route as its targets are"),
    ("route.script", "tests/program/script.rs: the function has to be there"),
    ("script", "tests/program/script.rs: the file has to be there, and a reload takes it over"),
    ("accounting.identity.anchors", "config/identity_tests.rs: the files have to be there"),
    ("accounting.identity.certificates", "config/identity_tests.rs: it is read again by every reload"),
    ("accounting.identity.max_age_s", "config/identity_tests.rs: with authorities alone"),
    ("sinks.radius.config", "tests/radius/reload.rs: a changed client file is taken over"),
    ("sinks.radius.unknown_keywords", "it decides whether a client file is refused"),
    ("sinks.radius.dictionary", "part of the sink's settings as its mapping is"),
    ("sinks.radius.watchdog_s", "part of the sink's settings, for servers over TCP and TLS only"),
    ("sinks.radius.keep_alive", "part of the sink's settings, for servers over TCP and TLS only"),
    ("sinks.diameter.config", "part of the sink's settings as its mapping is"),
    ("sinks.diameter.profile", "of base accounting; the manual shows Rf"),
    ("sinks.diameter.leg_fields", "of base accounting; the manual shows Rf"),
    ("sinks.diameter.dictionary", "part of the sink's settings as its mapping is"),
    ("sinks.amqp.user", "with its password, whose file has to be there"),
    ("mirror.key_file", "tests/program/mirror.rs: the file has to be there"),
    ("cluster.user", "config/cluster_tests.rs: with its password, whose file has to be there"),
    ("cluster.password_file", "the file has to be there"),
    ("cluster.token_file", "the file has to be there"),
    ("cluster.nkey_file", "the file has to be there"),
    ("cluster.credentials_file", "the file has to be there"),
    ("cluster.ca", "part of the way to the servers, with TLS only"),
    ("cluster.certificate", "part of the way to the servers, with TLS only"),
    ("cluster.key", "part of the way to the servers, with TLS only"),
    ("cluster.verify_host", "part of the way to the servers, with TLS only"),
    ("admin.token_file", "tests/program/admin.rs: the file has to be there"),
    ("admin.tls", "tests/program/https.rs: a reload takes new certificates"),
    ("sinks.amqp.password_file", "the file has to be there"),
    ("sinks.amqp.ca", "part of the sink's settings, with TLS only"),
    ("sinks.amqp.certificate", "part of the sink's settings, with TLS only"),
    ("sinks.amqp.key", "part of the sink's settings, with TLS only"),
    ("sinks.amqp.verify_host", "part of the sink's settings, with TLS only"),
    ("sinks.nats.user", "config/kinds/nats/tests.rs: with its password, whose file has to be there"),
    ("sinks.nats.password_file", "the file has to be there"),
    ("sinks.nats.token_file", "the file has to be there"),
    ("sinks.nats.nkey_file", "the file has to be there"),
    ("sinks.nats.credentials_file", "the file has to be there"),
    ("sinks.nats.ca", "part of the sink's settings, with TLS only"),
    ("sinks.nats.certificate", "part of the sink's settings, with TLS only"),
    ("sinks.nats.key", "part of the sink's settings, with TLS only"),
    ("sinks.nats.verify_host", "part of the sink's settings, with TLS only"),
    ("sinks.sql.password_file", "config/kinds/sql/tests.rs: the file has to be there"),
    ("sinks.syslog.ca", "tests/program/syslog.rs: part of the receiver, with TLS only"),
    ("sinks.syslog.certificate", "part of the receiver, with TLS only"),
    ("sinks.syslog.key", "part of the receiver, with TLS only"),
    ("sinks.syslog.verify_host", "part of the receiver, with TLS only"),
    ("sinks.redis.user", "config/kinds/redis/tests.rs: with its password, whose file has to be there"),
    ("sinks.redis.password_file", "the file has to be there"),
    ("sinks.redis.ca", "part of the sink's settings, with TLS only"),
    ("sinks.redis.certificate", "part of the sink's settings, with TLS only"),
    ("sinks.redis.key", "part of the sink's settings, with TLS only"),
    ("sinks.redis.verify_host", "part of the sink's settings, with TLS only"),
    ("sinks.kafka.user", "config/kinds/kafka/tests.rs: with its password, whose file has to be there"),
    ("sinks.kafka.password_file", "the file has to be there"),
    ("sinks.kafka.mechanism", "part of the login, with its password only"),
    ("sinks.kafka.ca", "part of the sink's settings, with TLS only"),
    ("sinks.kafka.certificate", "part of the sink's settings, with TLS only"),
    ("sinks.kafka.key", "part of the sink's settings, with TLS only"),
    ("sinks.kafka.verify_host", "part of the sink's settings, with TLS only"),
    ("sinks.webhook.user", "config/kinds/webhook/tests.rs: with its password, whose file has to be there"),
    ("sinks.webhook.password_file", "the file has to be there"),
    ("sinks.webhook.token_file", "the file has to be there"),
    ("sinks.webhook.signing_key_file", "the file has to be there"),
    ("sinks.webhook.batch_max", "config/kinds/webhook/tests.rs: with arrays only"),
    ("sinks.webhook.ca", "part of the sink's settings, with TLS only"),
    ("sinks.webhook.certificate", "part of the sink's settings, with TLS only"),
    ("sinks.webhook.key", "part of the sink's settings, with TLS only"),
    ("sinks.webhook.verify_host", "part of the sink's settings, with TLS only"),
];

/// Numbers of which at least one is in the range of an option and not its default.
const NUMBERS: &[u64] =
    &[1, 2, 3, 0, 7, 50, 64, 100, 200, 300, 600, 700, 1000, 1400, 2000, 5000, 16_000, 70_000, 1_000_000];

/// The header of an option's section in the manual.
fn header(section: &str) -> String {
    match section {
        "route" | "mirror" => format!("[[{section}]]"),
        other => format!("[{}]", shown(other)),
    }
}

/// The manual with this line in the section, instead of the one that sets the same option.
fn with(header: &str, line: &str) -> String {
    let (line, goes) = match line.strip_prefix("to ANSWER") {
        Some(rest) => (format!("answer{rest}"), "to".to_owned()),
        None => (line.to_owned(), line.split(' ').next().unwrap_or_default().to_owned()),
    };
    let mut text = String::new();
    let mut is_here = false;
    for own in manual().lines() {
        if own.starts_with('[') {
            is_here = own == header;
        }
        if !(is_here && own.split(' ').next() == Some(&goes)) {
            text.push_str(own);
            text.push('\n');
        }
        if own == header {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

/// What a reload hands to the running threads. A new part of the plan has to be put here or into [`Fixed`].
fn handed(plan: Plan, start: &Plan) -> String {
    let Tuning { shard, stack, accounting } = tuning(&plan, &Fixed::of(start), &start.accounting, &start.shard);
    let Plan {
        path: _, options: _, sip, route, marks, mirrors, sinks, ledger, log, service, admin, warnings: _, ..
    } = plan;
    let SipPlan { stack: _, binds: _, shards: _, memory_max, dns, streams, credentials, route_key_age } = sip;
    // What `Stack::configure` leaves as it is.
    let stack = stack::Settings { listeners: Vec::new(), ..stack };
    let accounting = accounting::Settings { listeners: Vec::new(), ..accounting };
    let handed = (
        shard,
        stack,
        accounting,
        route,
        (marks, mirrors.into_iter().map(|own| own.marks).collect::<Vec<_>>()),
        sinks,
        (ledger.days, ledger.on_trouble, admin.token),
        (log.level, service, memory_max, dns, streams, credentials, route_key_age),
    );
    // In an order that does not depend on hash tables.
    let mut lines: Vec<_> = format!("{handed:#?}").lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[test]
fn every_option_has_the_effect_it_declares() {
    let start = plan(&manual()).expect("the manual loads");
    let before = handed(plan(&manual()).expect("the manual loads"), &start);
    let fixed = Fixed::of(&start);
    let mut wrong = Vec::new();
    for option in walk::options() {
        let path = option.path.as_str();
        if ELSEWHERE.iter().any(|(own, _)| path.strip_prefix(own).is_some_and(|s| s.is_empty() || s.starts_with('.'))) {
            continue;
        }
        let Some((section, name)) = path.rsplit_once('.') else { continue };
        if kinds::is_not_built(section) {
            continue;
        }
        let lines = candidates(path, section, name, &option.words);
        let others = lines.iter().filter_map(|(header, line)| plan(&with(header, line)).ok());
        // The first value that is another one.
        let mut found = others.map(|other| {
            let new = Fixed::of(&other);
            (fixed.parts(&new), fixed.pending(&new), handed(other, &start) != before)
        });
        let Some((sections, pending, is_handed)) =
            found.find(|(sections, _, is_handed)| !sections.is_empty() || *is_handed)
        else {
            wrong.push(format!("{path}: no other value changes the plan; add a row to OTHERS in {}", file!()));
            continue;
        };
        let is_named = pending.iter().any(|own| own.what == format!("`{}`", shown(path)));
        match effect(path) {
            Some(Effect::Live) if !pending.is_empty() || !is_handed => {
                wrong.push(format!(
                    "{path} is declared live; handed over: {is_handed}, waits for a restart: {pending:?}"
                ));
            }
            Some(Effect::Restart) if !is_named => {
                wrong.push(format!("{path} is declared restart, but is not named: {sections:?} {pending:?}"));
            }
            Some(_) => {}
            None => wrong.push(format!("{path} is declared nowhere")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_follows_the_machine_is_named_by_its_option() {
    let start = plan(&manual()).expect("the manual loads");
    let fixed = Fixed::of(&start);
    let other = |change: fn(&mut Plan)| {
        let mut plan = plan(&manual()).expect("the manual loads");
        change(&mut plan);
        fixed.pending(&Fixed::of(&plan)).into_iter().map(|own| own.what).collect::<Vec<_>>()
    };
    for (what, change, want) in [
        ("nothing", (|_| {}) as fn(&mut Plan), None),
        ("more processors", |plan| plan.sip.shards += 1, Some("`sip.shards`")),
        ("another address of a host name", |plan| plan.sip.binds[0].set_port(9), Some("`sip.listen`")),
        (
            "a new key",
            |plan| plan.mirrors[0].key = Some(Secret::new("0123456789abcdef".to_owned())),
            Some("`mirror.key_file`"),
        ),
        (
            "a new token of a cluster",
            |plan| {
                let access = &mut plan.cluster.as_mut().expect("the manual has one").access;
                access.login = Login::Token(Secret::new("0123456789abcdef".to_owned()));
            },
            Some("`cluster.token_file`"),
        ),
        (
            "another name of the machine",
            |plan| plan.cluster.as_mut().expect("the manual has one").name.push('x'),
            Some("`cluster.name`"),
        ),
        ("a new token", |plan| plan.admin.token = Some(Secret::new("0123456789abcdef".to_owned())), None),
    ] {
        assert_eq!(other(change), want.map_or_else(Vec::new, |want| vec![want.to_owned()]), "{what}");
    }
}

/// Header and line of other values of an option.
fn candidates(path: &str, section: &str, name: &str, words: &[&str]) -> Vec<(String, String)> {
    let of_sinks = kinds::OTHERS.iter().filter(|(own, _)| *own == section).flat_map(|(_, lines)| *lines);
    let of_sinks = of_sinks.filter(|line| line.split(' ').next() == Some(name)).map(|line| (header(section), line));
    let others = OTHERS.iter().filter(|(own, ..)| *own == path).map(|(_, header, line)| ((*header).to_owned(), line));
    let given: Vec<_> = others.chain(of_sinks).map(|(header, line)| (header, (*line).to_owned())).collect();
    if !given.is_empty() {
        return given;
    }
    let default = default(&header(section), name);
    let words = words.iter().map(|word| format!("\"{word}\"")).filter(|word| *word != default);
    let others = match (default.as_str(), default.parse::<u64>()) {
        ("true", _) => vec!["false".to_owned()],
        ("false", _) => vec!["true".to_owned()],
        // Beside its default, then anything that its range may hold.
        (_, Ok(number)) => {
            let near = [number.saturating_add(1), number.saturating_sub(1)];
            near.iter().chain(NUMBERS).map(ToString::to_string).collect()
        }
        _ => Vec::new(),
    };
    words.chain(others).map(|value| (header(section), format!("{name} = {value}"))).collect()
}

/// The default of an option as the manual shows it.
fn default(header: &str, name: &str) -> String {
    let manual = manual();
    let lines = manual.lines().skip_while(|line| *line != header).skip(1).take_while(|line| !line.starts_with('['));
    let start = format!("#{name} = ");
    lines.filter_map(|line| line.strip_prefix(&start)).next().unwrap_or_default().to_owned()
}

/// The path of a section or an option as the manual shows it, with the name of the sink.
fn shown(path: &str) -> String {
    let manual = manual();
    let of_kind = |(kind, name): &(&str, &str)| {
        let rest = path.strip_prefix(&format!("sinks.{kind}")).filter(|rest| rest.is_empty() || rest.starts_with('.'));
        rest.map(|rest| format!("sinks.{kind}.{name}{rest}"))
    };
    sinks(&manual).iter().find_map(of_kind).unwrap_or_else(|| path.to_owned())
}
