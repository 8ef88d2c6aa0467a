//! Checks of `[[route]]`: conditions, targets, answers.

use std::borrow::Cow;

use super::sinks::Names;
use super::{Check, accounting, dns};
use crate::config::decode::{At, OneOrMany};
use crate::config::error::{Mistake, nearest};
use crate::config::plan::SipPlan;
use crate::config::schema::{
    AccountingTable, AnswerTable, Fork, MatchTable, RedirectsOption, RouteTable, SipTable, Switch, TargetsOption,
};
use crate::config::tree::PlaceId;
use crate::front::dns::{Asked, Outcome, Settings};
use crate::policy::pattern::{Case, Pattern};
use crate::policy::routes::{Action, Condition, ROUTES_MAX};
use crate::policy::target::{Destination, Terms};
use crate::policy::{Avp, Route, Targets};
use crate::record::codec::LEGS_MAX;
use crate::sip::stack::{Hop, Listener, NextOn, Redirects, Transport, by_q};

/// Methods with a meaning of their own; others are allowed, but a slip in one of these is found.
const METHODS: [&str; 14] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "REGISTER",
    "UPDATE",
    "INFO",
    "PRACK",
    "SUBSCRIBE",
    "NOTIFY",
    "REFER",
    "MESSAGE",
    "PUBLISH",
];

/// Most hosts whose names are resolved at start, all at the same time.
const NAMES_MAX: usize = 256;

/// The routes in their order.
pub(super) fn check(
    tables: &[At<RouteTable>],
    (sip, plan): (&SipTable, &SipPlan),
    global: &AccountingTable,
    names: &Names,
    check: &mut Check<'_>,
) -> Vec<Route> {
    if tables.len() > ROUTES_MAX {
        check.error(tables[ROUTES_MAX].place, format_args!("more than {ROUTES_MAX} routes"));
    }
    // What is wrong with these is told elsewhere.
    let common = accounting::good_fields(&global.fields);
    let mut hosts = Hosts::default();
    let mut routes = Vec::new();
    let mut catch_all: Option<&At<RouteTable>> = None;
    for (number, table) in tables.iter().enumerate() {
        if let Some(first) = catch_all.take() {
            let mistake = Mistake::warning("this `[[route]]` is never reached", check.place(table.place));
            check.findings.push(mistake.also_at(check.place(first.place)).hint("the one before it matches everything"));
        }
        let condition = condition(&table.r#match, check);
        let action = action(table, (sip, plan), &mut hosts, check);
        let avps = avps(table, check);
        let fields = accounting::route_fields(table, &common, check);
        let marks = accounting::route_marks(&table.account, global, names, check);
        if condition.is_empty() && matches_all(&table.r#match) {
            catch_all = Some(table);
        }
        let Some(action) = action else { continue };
        unsaid_targets(table, &action, check);
        let name = table.name.clone().unwrap_or_else(|| format!("route {}", number + 1));
        let forwarding_legs = table.account.forwarding_legs.map(Switch::is_on);
        let targets = targets(table);
        let script = table.named().map(|name| name.value.clone().into());
        routes.push(Route { name, condition, script, action, targets, marks, fields, avps, forwarding_legs });
    }
    hosts.resolve(&plan.dns, check);
    routes
}

fn matches_all(table: &MatchTable) -> bool {
    let MatchTable { prefix, user, domain, method, source, header } = table;
    [prefix, user, domain, method, source].iter().all(|list| list.is_none()) && header.is_none()
}

/// The values of a list that may be one alone.
pub(super) fn list(values: Option<&OneOrMany<At<String>>>) -> &[At<String>] {
    values.map_or(&[], |values| &values.0)
}

fn condition(table: &MatchTable, check: &mut Check<'_>) -> Condition {
    Condition {
        prefixes: check.each(list(table.prefix.as_ref()), prefix),
        users: check.each(list(table.user.as_ref()), pattern(Case::Matters)),
        domains: check.each(list(table.domain.as_ref()), pattern(Case::Ignored)),
        methods: methods(list(table.method.as_ref()), check),
        sources: check.each(list(table.source.as_ref()), super::sip::network),
        header: table.header.as_ref().and_then(|header| {
            if !is_token(&header.name) {
                check.error(header.place, format_args!("`{}` is no header name", header.name));
                return None;
            }
            let value = header.value.value.as_ref().map(|value| Pattern::new(value, Case::Matters));
            Some((header.name.clone(), value))
        }),
    }
}

/// Reads patterns.
pub(super) fn pattern(case: Case) -> impl Fn(&str) -> Result<Pattern, &'static str> {
    move |text| not_empty(text).map(|text| Pattern::new(text, case))
}

fn not_empty(text: &str) -> Result<&str, &'static str> {
    if text.is_empty() { Err("an empty pattern matches nothing") } else { Ok(text) }
}

fn prefix(text: &str) -> Result<Box<[u8]>, String> {
    if text.is_empty() {
        return Err("an empty prefix matches everything; leave it out".to_owned());
    }
    if text.contains(['*', '?']) {
        return Err(format!("`{text}` is a pattern; `prefix` is plain text, `user` takes patterns"));
    }
    Ok(text.as_bytes().into())
}

fn is_token(text: &str) -> bool {
    let mark = |octet: u8| b"-.!%*_+`'~".contains(&octet);
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || mark(octet))
}

/// Methods; they are case-sensitive (RFC 3261 §7.1), so that `invite` would never match.
pub(super) fn methods(list: &[At<String>], check: &mut Check<'_>) -> Vec<Vec<u8>> {
    let mut methods = Vec::new();
    for method in list {
        if !is_token(method) {
            check.error(method.place, format_args!("`{}` is no method", method.value));
        } else if let Some(near) = nearest(method, METHODS).filter(|near| *near != method.value) {
            let hint = format!("did you mean `{near}`?");
            check.error_hint(method.place, format_args!("unknown method `{}`", method.value), Some(hint));
        }
        methods.push(method.value.clone().into_bytes());
    }
    methods
}

fn action(
    table: &At<RouteTable>,
    sip: (&SipTable, &SipPlan),
    hosts: &mut Hosts,
    check: &mut Check<'_>,
) -> Option<Action> {
    match (&table.to, &table.answer) {
        (Some(to), None) => forward(table, &to.0, sip, hosts, check),
        (None, Some(answer)) => {
            useless(table, (answer.place, "a `[[route]]` with `answer`"), check);
            Some(answer_action(answer, check))
        }
        (Some(_), Some(answer)) => {
            check.error(answer.place, "a `[[route]]` has `to` or `answer`, not both");
            None
        }
        (None, None) => {
            if let Some(script) = table.named() {
                useless(table, (script.place, "a `[[route]]` with `script` and without `to`"), check);
                return Some(Action::Script);
            }
            let hint = Some("add `to = [\"sip:192.0.2.1\"]` or `answer = { code = 404 }`".to_owned());
            check.error_hint(table.place, "this `[[route]]` has neither `to` nor `answer`", hint);
            None
        }
    }
}

/// Options that say how targets are tried where there are none.
fn useless(table: &RouteTable, (place, whose): (PlaceId, &str), check: &mut Check<'_>) {
    let options = [
        ("fork", table.fork.is_some()),
        ("targets", table.targets.is_some()),
        ("next_on", table.next_on.is_some()),
        ("ring_timeout_s", table.ring_timeout_s.is_some()),
        ("redirects", table.redirects.is_some()),
    ];
    for (name, _) in options.into_iter().filter(|(_, is_given)| *is_given) {
        check.error(place, format_args!("{whose} has no use for `{name}`"));
    }
}

fn answer_action(answer: &At<AnswerTable>, check: &mut Check<'_>) -> Action {
    let code = u16::try_from(answer.code.get()).unwrap_or(500);
    let contacts = contacts(answer, code, check);
    Action::Answer {
        code,
        reason: Cow::Owned(answer.reason.clone().unwrap_or_default()),
        retry_after_s: answer.retry_after_s.and_then(|secs| u32::try_from(secs.duration().as_secs()).ok()),
        contacts,
    }
}

/// Contacts belong into a redirection (RFC 3261 §21.3) and into 485, and a redirection is of no use without them.
fn contacts(answer: &At<AnswerTable>, code: u16, check: &mut Check<'_>) -> Vec<Destination> {
    let list = list(answer.contacts.as_ref());
    if matches!(code, 300..=302 | 305) && list.is_empty() {
        let hint = Some("add `contacts = [\"sip:192.0.2.1\"]`".to_owned());
        check.warning(answer.place, format_args!("a {code} without `contacts` leads nowhere"), hint);
    }
    if let Some(first) = list.first().filter(|_| !matches!(code, 300..=399 | 485)) {
        check.error(first.place, format_args!("a {code} has no `contacts`; answers from 300 to 399 and 485 have"));
    }
    let mut contacts = Vec::new();
    for text in list {
        match Destination::parse(text) {
            Ok(contact) if contact.is_hop_only() => {
                check.error(text.place, format_args!("`{}` is a next hop (`lr`), which is no contact", text.value));
            }
            Ok(contact) => contacts.push(contact),
            Err(error) => check.error(text.place, error),
        }
    }
    contacts
}

fn forward(
    table: &RouteTable,
    to: &[At<String>],
    (sip, plan): (&SipTable, &SipPlan),
    hosts: &mut Hosts,
    check: &mut Check<'_>,
) -> Option<Action> {
    let mut destinations = Vec::new();
    for target in to {
        match Destination::parse(target) {
            Ok(destination) => {
                reachable(&destination, target, (sip, plan), check);
                hosts.note(&destination, target.place);
                destinations.push(destination);
            }
            Err(error) => check.error(target.place, error),
        }
    }
    let most = sip.branches_max.map_or(crate::sip::stack::Settings::default().branches_max, crate::units::Count::len);
    if let Some(extra) = to.get(most) {
        check.error(extra.place, format_args!("more targets than `sip.branches_max`, which is {most}"));
    }
    if to.is_empty() {
        return None;
    }
    let groups = match table.fork.unwrap_or(Fork::Serial) {
        Fork::Serial => destinations.into_iter().map(|destination| vec![destination]).collect(),
        Fork::Parallel => vec![destinations],
        Fork::ByQ => by_q(destinations.into_iter().map(|destination| (destination.q(), destination)).collect()),
    };
    let ring_timeout = table.ring_timeout_s.or(sip.ring_timeout_s).and_then(crate::units::Secs::duration_unless_zero);
    let redirects = match table.redirects {
        Some(RedirectsOption::Follow) => Redirects::Follow { ring_timeout },
        Some(RedirectsOption::Pass) | None => Redirects::Pass,
    };
    Some(Action::Forward { groups, terms: Terms { ring_timeout, next_on: next_on(table, check) }, redirects })
}

/// Warns of a route that may have been written for an earlier release, when several targets were always a forwarding.
fn unsaid_targets(table: &At<RouteTable>, action: &Action, check: &mut Check<'_>) {
    let Action::Forward { groups, .. } = action else { return };
    if table.targets.is_some() || groups.len() < 2 {
        return;
    }
    let next = if table.next_on.is_none() { ", and a busy callee is not called again through the next" } else { "" };
    let what = format!(
        "several targets without `targets`: they are alternatives, whose failure is no leg and no missed call{next}"
    );
    let hint = "earlier releases forwarded the call from one to the next, which is `targets = \"forward\"` now; \
                `targets = \"alternatives\"` says that alternatives are meant";
    let place = table.to.as_ref().and_then(|to| to.0.first()).map_or(table.place, |first| first.place);
    check.warning(place, what, Some(hint.to_owned()));
}

const fn targets(table: &RouteTable) -> Targets {
    match table.targets {
        Some(TargetsOption::Forward) => Targets::Forward,
        Some(TargetsOption::Alternatives) | None => Targets::Alternatives,
    }
}

/// The answers that lead to the next target.
fn next_on(table: &RouteTable, check: &mut Check<'_>) -> NextOn {
    let Some(OneOrMany(list)) = &table.next_on else { return targets(table).next_on() };
    for text in list {
        if let Err(error) = NextOn::parse([text.as_str()]) {
            check.error(text.place, error);
        }
    }
    NextOn::parse(list.iter().map(|text| text.as_str())).unwrap_or_default()
}

/// A target needs a listener of its transport and family, for the answers come to it, and must not be the gateway itself.
fn reachable(
    destination: &Destination,
    target: &At<String>,
    (sip, plan): (&SipTable, &SipPlan),
    check: &mut Check<'_>,
) {
    let text = &target.value;
    // A file without `listen` has not been set up yet.
    if sip.listen.is_some() && leads_home(destination, plan) {
        let hint = Some("each call would come back, and end with 482 (Loop Detected)".to_owned());
        check.warning(target.place, format_args!("`{text}` is this gateway itself"), hint);
    }
    let by = |transport| plan.stack.listeners.iter().any(|own| own.transport == transport);
    if let Some(transport) = destination.transport() {
        let name = transport.via_token().to_ascii_lowercase();
        let is_listed = |own: &At<String>| own.split_once(':').is_some_and(|(own, _)| own == name);
        if !sip.listen.as_ref().map_or(name == "udp", |listen| listen.iter().any(is_listed)) {
            let what = format!("`{text}` needs a `{name}` listener, and `sip.listen` has none");
            check.error_hint(target.place, what, Some(format!("add \"{name}:ADDRESS:PORT\" to `sip.listen`")));
            return;
        }
    } else if !plan.stack.listeners.is_empty() && !by(Transport::Udp) && !by(Transport::Tcp) {
        let hint = Some("add \";transport=tls\" to it, or such a listener to `sip.listen`".to_owned());
        check.warning(
            target.place,
            format_args!("`{text}` needs a `udp` or `tcp` listener, and `sip.listen` has none"),
            hint,
        );
        return;
    }
    let Hop::Addr(addr) = destination.hop() else { return };
    let is_ipv4 = addr.ip().to_canonical().is_ipv4();
    let fits = |own: &Listener| {
        own.local.is_ipv4() == is_ipv4
            && match destination.transport() {
                Some(transport) => own.transport == transport,
                None => own.transport != Transport::Tls,
            }
    };
    if !plan.stack.listeners.is_empty() && !plan.stack.listeners.iter().any(fits) {
        let (family, example) = if is_ipv4 { ("an IPv4", "192.0.2.1") } else { ("an IPv6", "[2001:db8::1]") };
        let hint = Some(format!("add one such as \"udp:{example}:5060\" to `sip.listen`"));
        check.warning(target.place, format_args!("`{text}` needs {family} listener, and `sip.listen` has none"), hint);
    }
}

/// Whether a target leads to a listener of the gateway: its own address, the one it is reached by, or one of its names.
fn leads_home(destination: &Destination, plan: &SipPlan) -> bool {
    let listeners = || plan.stack.listeners.iter().map(|own| own.local).chain(plan.binds.iter().copied());
    match destination.hop() {
        Hop::Addr(addr) => listeners().any(|own| {
            let is_any = own.ip().is_unspecified() && addr.ip().is_loopback() && own.is_ipv4() == addr.is_ipv4();
            own.port() == addr.port() && (own.ip() == addr.ip() || is_any)
        }),
        Hop::Name { host, port } => {
            plan.stack.names.iter().any(|name| name.eq_ignore_ascii_case(host))
                && port.is_none_or(|port| listeners().any(|own| own.port() == port))
        }
    }
}

fn avps(table: &RouteTable, check: &mut Check<'_>) -> Vec<Avp> {
    let mut avps = Vec::new();
    for (name, OneOrMany(texts)) in &table.avps.0 {
        if let Some(extra) = texts.get(LEGS_MAX) {
            check.error(extra.place, format_args!("more than {LEGS_MAX} values: a record has no more legs"));
        }
        if texts.is_empty() {
            check.error(name.place, format_args!("`{}` has no value", name.value));
        }
        // In a list an empty text leaves the leg its own.
        let is_list = texts.len() > 1;
        let of_text = |text: &At<String>| match text.as_str() {
            "" if is_list => None,
            _ => accounting::template(text, check),
        };
        let values = texts.iter().map(of_text).collect();
        avps.push(Avp { name: name.value.clone(), values });
    }
    avps
}

/// Host names of targets, with the first place each stands at.
#[derive(Default)]
struct Hosts(Vec<(Asked, PlaceId)>);

impl Hosts {
    fn note(&mut self, destination: &Destination, place: PlaceId) {
        if let Hop::Name { host, port } = destination.hop() {
            let asked = Asked { host: host.clone(), port: *port, ways: destination.ways() };
            if !self.0.iter().any(|(own, _)| *own == asked) {
                self.0.push((asked, place));
            }
        }
    }

    /// Looks all names up at once: a name that leads nowhere now is most likely a slip.
    fn resolve(self, settings: &Settings, check: &mut Check<'_>) {
        let (asked, places): (Vec<_>, Vec<_>) = self.0.into_iter().take(NAMES_MAX).unzip();
        if asked.is_empty() {
            return;
        }
        let answers = dns::look_up(settings, asked.clone());
        for ((asked, place), answer) in asked.iter().zip(places).zip(answers) {
            match dns::complaint(&asked.host, answer.as_ref()) {
                None => {}
                Some((what, Outcome::Answered)) => check.error(place, what),
                // Nobody can tell: the gateway starts, and asks again for each call.
                Some((what, Outcome::Failed)) => check.warning(place, what, None),
            }
        }
    }
}
