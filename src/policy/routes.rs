//! Targets from the `[[route]]` tables: the first route that matches decides, or names the function of a script that is
//! asked before it.
//!
//! * A request inside a dialog follows its Route; no table is asked.
//! * A request that no route matches gets 404; an OPTIONS without a user part, which asks for the gateway itself, gets
//!   200 (RFC 3261 §11).

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use super::pattern::Pattern;
use super::target::{Destination, Terms};
use super::{Account, Asked, Avp, Decision, Marks, Policy, Recipe, RouteFields, Targets};
use crate::sip::message::{Message, Uri};
use crate::sip::stack::{Network, Plan, Redirects, RequestView, Treatment, Way};

/// A `[[route]]` of the configuration, checked: the first one whose condition holds decides.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its name in the log and in metrics, as configured; never sent to anybody.
    pub name: String,
    /// Which requests it decides; without any condition all that come this far.
    pub condition: Condition,
    /// The function of the script that is asked about them first; see [`super::script`].
    pub script: Option<Box<str>>,
    /// What becomes of these requests.
    pub action: Action,
    /// What its targets are to each other.
    pub targets: Targets,
    /// Which sinks get which records of these requests.
    pub marks: Marks,
    /// Fields of its records; `None`: those of the settings.
    pub fields: Option<RouteFields>,
    /// Values for `$avp(name)`.
    pub avps: Vec<Avp>,
    /// Whether those who forwarded a call are legs of it; `None`: as the settings say.
    pub forwarding_legs: Option<bool>,
}

/// Conditions, all of which must hold; an empty list always holds, of a filled one a single element is enough.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    /// Beginnings of the user part of the Request-URI.
    pub prefixes: Vec<Box<[u8]>>,
    /// The whole user part of the Request-URI.
    pub users: Vec<Pattern>,
    /// The host of the Request-URI.
    pub domains: Vec<Pattern>,
    /// Methods of the request line, compared with their case (RFC 3261 §7.1).
    pub methods: Vec<Vec<u8>>,
    /// Where the request came from.
    pub sources: Vec<Network>,
    /// A header, and a pattern of its body; without a pattern it is enough that the header is there.
    pub header: Option<(String, Option<Pattern>)>,
}

/// What a route does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Sends the request on: serial groups of parallel targets.
    Forward {
        /// Tried one after the other; the targets of one group at the same time.
        groups: Vec<Vec<Destination>>,
        /// How each target is tried that says nothing else.
        terms: Terms,
        /// What becomes of a redirection.
        redirects: Redirects,
    },
    /// Responds to it here, as `answer` of the route says.
    Answer {
        /// Final status code, 200 to 699.
        code: u16,
        /// Reason phrase; empty takes the usual one.
        reason: Cow<'static, str>,
        /// `Retry-After` in seconds.
        retry_after_s: Option<u32>,
        /// Contacts, rewritten as targets are.
        contacts: Vec<Destination>,
    },
    /// Nothing of its own: what its script leaves gets 404.
    Script,
}

/// A route as it decides.
#[derive(Debug)]
pub(super) struct Rule {
    condition: Condition,
    script: Option<Box<str>>,
    action: Action,
    marks: Marks,
    account: Arc<Account>,
}

impl From<Route> for Rule {
    fn from(route: Route) -> Self {
        let Route { name, condition, script, action, targets, marks, fields, avps, forwarding_legs } = route;
        Self {
            condition,
            script,
            action,
            marks,
            account: Arc::new(Account { name, targets, fields, avps, forwarding_legs, table: None }),
        }
    }
}

impl Rule {
    /// The function of the script that is asked first.
    pub(super) fn script(&self) -> Option<&str> {
        self.script.as_deref()
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.account.name
    }

    /// Whether it can decide by itself.
    pub(super) const fn decides(&self) -> bool {
        !matches!(self.action, Action::Script)
    }

    /// What is recorded of its requests.
    pub(super) const fn marks(&self) -> Marks {
        self.marks
    }

    /// How its requests are recorded whose targets are this to each other.
    pub(super) fn account(&self, targets: Targets) -> Arc<Account> {
        if self.account.targets == targets {
            return Arc::clone(&self.account);
        }
        Arc::new(Account { targets, ..(*self.account).clone() })
    }
}

/// All routes, in order.
#[derive(Debug)]
pub struct Routes {
    rules: Vec<Rule>,
    /// For each first octet of a user part the routes that can match; the last list is for requests without one.
    candidates: Vec<Vec<u16>>,
    in_dialog: Marks,
}

/// They have no state: all shards share them.
impl Recipe for Routes {
    fn build(self: Arc<Self>) -> Box<dyn Policy> {
        Box::new(self)
    }
}

impl Policy for Arc<Routes> {
    fn request(&mut self, asked: Asked<'_>) -> Decision {
        self.decide(asked.view)
    }
}

/// Most routes a configuration has.
pub const ROUTES_MAX: usize = 65_535;

impl Routes {
    /// Routes in the order of the file, [`ROUTES_MAX`] at most, further ones are left out; `in_dialog` is for requests
    /// inside a dialog.
    #[must_use]
    pub fn new(mut routes: Vec<Route>, in_dialog: Marks) -> Self {
        routes.truncate(ROUTES_MAX);
        let mut candidates = vec![Vec::new(); NO_USER + 1];
        for (number, route) in (0_u16..).zip(&routes) {
            match route.condition.first_octets() {
                None => candidates.iter_mut().for_each(|list| list.push(number)),
                Some(octets) => {
                    for octet in octets {
                        let list = &mut candidates[usize::from(octet)];
                        if list.last() != Some(&number) {
                            list.push(number);
                        }
                    }
                }
            }
        }
        Self { rules: routes.into_iter().map(Rule::from).collect(), candidates, in_dialog }
    }

    /// The marks of all routes.
    #[cfg(test)]
    pub(crate) fn marks(&self) -> Vec<Marks> {
        self.rules.iter().map(|rule| rule.marks).collect()
    }

    /// What becomes of a request, and what is recorded of it.
    #[must_use]
    pub fn decide(&self, view: &RequestView) -> Decision {
        self.decide_by(self.rule(view), view)
    }

    /// The route that a request takes; none inside a dialog.
    pub(super) fn rule(&self, view: &RequestView) -> Option<&Rule> {
        if view.in_dialog {
            return None;
        }
        self.find(&Subject::new(&view.message, view.request_uri(), view.peer.addr.ip()))
    }

    /// What becomes of a request that takes this route.
    pub(super) fn decide_by(&self, rule: Option<&Rule>, view: &RequestView) -> Decision {
        let unmatched =
            |treatment| Decision { treatment, marks: self.in_dialog, account: None, values: None, records: Vec::new() };
        if view.in_dialog {
            return unmatched(Treatment::FollowRoute { edits: None });
        }
        // A trusted proxy has routed it; what is recorded of it the table says all the same.
        let is_routed = view.way != Way::Table;
        let Some(rule) = rule else {
            return unmatched(if is_routed { Treatment::FollowRoute { edits: None } } else { respond_unmatched(view) });
        };
        let treatment =
            if is_routed { Treatment::FollowRoute { edits: None } } else { rule.action.treatment(view.request_uri()) };
        let account = Some(Arc::clone(&rule.account));
        Decision { treatment, marks: rule.marks, account, values: None, records: Vec::new() }
    }

    fn find(&self, request: &Subject<'_>) -> Option<&Rule> {
        let list = match request.user.as_deref() {
            Some([first, ..]) => usize::from(*first),
            _ => NO_USER,
        };
        let mut rules = self.candidates[list].iter().map(|number| &self.rules[usize::from(*number)]);
        rules.find(|rule| rule.condition.holds(request))
    }
}

/// Where the list of routes for requests without a user part stands.
const NO_USER: usize = 256;

fn respond_unmatched(view: &RequestView) -> Treatment {
    let request = Subject::new(&view.message, view.request_uri(), view.peer.addr.ip());
    let is_for_gateway = request.method == b"OPTIONS" && request.user.is_none();
    respond(if is_for_gateway { 200 } else { 404 })
}

const fn respond(code: u16) -> Treatment {
    Treatment::Respond { code, reason: Cow::Borrowed(""), retry_after_s: None, contacts: Vec::new() }
}

impl Action {
    fn treatment(&self, request_uri: &[u8]) -> Treatment {
        match self {
            Self::Forward { groups, terms, redirects } => {
                let targets = |group: &Vec<Destination>| {
                    group.iter().map(|destination| destination.target(request_uri, *terms)).collect()
                };
                Treatment::Forward(Plan { groups: groups.iter().map(targets).collect(), redirects: *redirects })
            }
            Self::Answer { code, reason, retry_after_s, contacts } => {
                let contacts = contacts.iter().map(|own| own.contact(request_uri)).collect();
                Treatment::Respond { code: *code, reason: reason.clone(), retry_after_s: *retry_after_s, contacts }
            }
            Self::Script => respond(404),
        }
    }
}

/// The parts of a request that conditions look at.
struct Subject<'a> {
    message: &'a Message,
    method: &'a [u8],
    user: Option<Cow<'a, [u8]>>,
    host: &'a [u8],
    source: IpAddr,
}

impl<'a> Subject<'a> {
    fn new(message: &'a Message, request_uri: &'a [u8], source: IpAddr) -> Self {
        let uri = Uri::parse(request_uri);
        Self {
            message,
            method: message.method_text(),
            user: uri.and_then(|uri| uri.user).map(unescaped),
            host: uri.map_or(b"", |uri| uri.host),
            source: source.to_canonical(),
        }
    }
}

/// A user part with its `%xx` undone (RFC 3261 §19.1.4: both forms are the same user).
pub(crate) fn unescaped(user: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'%', user).is_none() {
        return Cow::Borrowed(user);
    }
    let digit = |octet: Option<&u8>| octet.and_then(|octet| char::from(*octet).to_digit(16));
    let mut out = Vec::with_capacity(user.len());
    let mut rest = user;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        let escape = if *first == b'%' { digit(tail.first()).zip(digit(tail.get(1))) } else { None };
        match escape {
            Some((high, low)) => {
                out.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits are below 256"));
                rest = &tail[2..];
            }
            None => out.push(*first),
        }
    }
    Cow::Owned(out)
}

impl Condition {
    /// Whether it holds for every request.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { prefixes, users, domains, methods, sources, header } = self;
        let texts = prefixes.is_empty() && users.is_empty() && domains.is_empty() && methods.is_empty();
        texts && sources.is_empty() && header.is_none()
    }

    fn holds(&self, request: &Subject<'_>) -> bool {
        let user = request.user.as_deref();
        let fits = |patterns: &[Pattern], text: &[u8]| patterns.is_empty() || patterns.iter().any(|p| p.fits(text));
        (self.prefixes.is_empty() || user.is_some_and(|user| self.prefixes.iter().any(|p| user.starts_with(p))))
            && (self.methods.is_empty() || self.methods.iter().any(|method| method == request.method))
            && (self.users.is_empty() || user.is_some_and(|user| fits(&self.users, user)))
            && fits(&self.domains, request.host)
            && (self.sources.is_empty() || self.sources.iter().any(|block| block.contains(request.source)))
            && self.header.as_ref().is_none_or(|(name, pattern)| {
                let mut bodies = request.message.headers_named(name.as_bytes());
                match pattern {
                    Some(pattern) => bodies.any(|body| pattern.fits(body)),
                    None => bodies.next().is_some(),
                }
            })
    }

    /// First octets a user part can have; `None` when it can be any, or there can be none.
    fn first_octets(&self) -> Option<Vec<u8>> {
        let prefixes: Option<Vec<u8>> = self.prefixes.iter().map(|prefix| prefix.first().copied()).collect();
        let users: Option<Vec<u8>> = self.users.iter().map(Pattern::first).collect();
        prefixes.filter(|octets| !octets.is_empty()).or_else(|| users.filter(|octets| !octets.is_empty()))
    }
}
