//! Evaluates a template in a context.

use std::borrow::Cow;
use std::net::IpAddr;

use super::catalogue::{AddrPart, AuthPart, Symbol, UriPart};
use super::template::{Index, Part, Reference, Side, Template};
use super::transform::{self, Made};
use super::{Arrival, Context, Parties};
use crate::record::Value;
use crate::sip::message::{Credentials, Message, Name, NameAddr, Scheme, Uri, unfold, unquote};

impl Template {
    /// The value of the template.
    ///
    /// A single variable keeps its kind: number, list or text. Text mixed with variables is text, in which a variable
    /// without value is empty; if no variable has a value, the whole is absent. Nothing is decoded or escaped, only
    /// folded header lines are joined. No value is longer than the messages it is taken from, times the variables.
    #[must_use]
    pub fn eval(&self, context: &Context<'_>) -> Value {
        if let [Part::Variable(reference)] = &*self.parts {
            return reference.eval(context).into_value();
        }
        let mut text = Vec::new();
        let (mut variables, mut values) = (0, 0);
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.extend_from_slice(plain.as_bytes()),
                Part::Variable(reference) => {
                    variables += 1;
                    values += usize::from(reference.eval(context).append_to(&mut text));
                }
            }
        }
        if variables > 0 && values == 0 { Value::Absent } else { Value::Text(text) }
    }
}

/// A value that still borrows from the message.
enum Found<'a> {
    Absent,
    Text(Cow<'a, [u8]>),
    List(Vec<Cow<'a, [u8]>>),
    Number(i64),
}

impl<'a> Found<'a> {
    /// Text; empty text is no value.
    fn text(text: impl Into<Cow<'a, [u8]>>) -> Self {
        let text = text.into();
        if text.is_empty() { Self::Absent } else { Self::Text(text) }
    }

    fn maybe(text: Option<impl Into<Cow<'a, [u8]>>>) -> Self {
        text.map_or(Self::Absent, Self::text)
    }

    fn ip(ip: Option<IpAddr>) -> Self {
        Self::maybe(ip.map(|ip| ip.to_canonical().to_string().into_bytes()))
    }

    fn number(number: Option<impl Into<i64>>) -> Self {
        number.map_or(Self::Absent, |number| Self::Number(number.into()))
    }

    /// The chosen of several values.
    fn pick(values: impl Iterator<Item = Cow<'a, [u8]>>, index: Index) -> Self {
        match index {
            Index::All => {
                let all: Vec<_> = values.collect();
                if all.is_empty() { Self::Absent } else { Self::List(all) }
            }
            Index::One(index @ 0..) => {
                Self::maybe(values.into_iter().nth(usize::try_from(index).unwrap_or(usize::MAX)))
            }
            Index::One(index) => {
                let mut all: Vec<_> = values.collect();
                let back = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
                Self::maybe(all.len().checked_sub(back).map(|at| all.swap_remove(at)))
            }
        }
    }

    fn into_value(self) -> Value {
        match self {
            Self::Absent => Value::Absent,
            Self::Text(text) => Value::Text(text.into_owned()),
            Self::List(list) => Value::List(list.into_iter().map(Cow::into_owned).collect()),
            Self::Number(number) => Value::Number(number),
        }
    }

    /// Appends it as text; whether there was a value.
    fn append_to(self, text: &mut Vec<u8>) -> bool {
        match self {
            Self::Absent => return false,
            Self::Text(value) => text.extend_from_slice(&value),
            Self::List(list) => text.extend_from_slice(&list.join(&b", "[..])),
            Self::Number(number) => text.extend_from_slice(number.to_string().as_bytes()),
        }
        true
    }
}

impl<'a> From<Option<Made<'a>>> for Found<'a> {
    fn from(made: Option<Made<'a>>) -> Self {
        match made {
            None => Self::Absent,
            Some(Made::Text(text)) => Self::text(text),
            Some(Made::Number(number)) => Self::Number(number),
        }
    }
}

impl Reference {
    fn eval<'a>(&'a self, context: &'a Context<'_>) -> Found<'a> {
        let found = self.value(context);
        if self.steps.is_empty() {
            return found;
        }
        let transformed = |text: Cow<'a, [u8]>| transform::apply(&self.steps, Made::Text(text));
        match found {
            Found::Absent => Found::Absent,
            Found::Text(text) => transformed(text).into(),
            Found::Number(number) => transform::apply(&self.steps, Made::Number(number)).into(),
            Found::List(list) => {
                let all: Vec<_> = list.into_iter().filter_map(transformed).map(Made::into_text).collect();
                if all.is_empty() { Found::Absent } else { Found::List(all) }
            }
        }
    }

    /// Before its transformations.
    fn value<'a>(&'a self, context: &'a Context<'_>) -> Found<'a> {
        let symbol = self.variable.symbol;
        match symbol {
            Symbol::Code => Found::number((context.code != 0).then_some(context.code)),
            Symbol::Reason => Found::text(context.reason),
            Symbol::NowSecs => Found::Number(context.now.secs()),
            Symbol::NowMicros => Found::Number(context.now.0.rem_euclid(1_000_000)),
            Symbol::NowText => Found::text(context.now.to_string().into_bytes()),
            Symbol::Avp => self.avp(context),
            Symbol::Leg => leg(context, &self.argument),
            Symbol::Attempt => Found::pick(attempts(context, &self.argument), self.index),
            Symbol::SourceIp => Found::ip(self.arrival(context).map(|arrival| arrival.source.ip())),
            Symbol::SourcePort => Found::number(self.arrival(context).map(|arrival| arrival.source.port())),
            Symbol::LocalIp => Found::ip(self.local(context).map(|local| local.ip())),
            Symbol::LocalPort => Found::number(self.local(context).map(|local| local.port())),
            Symbol::Transport => {
                let transport = self.arrival(context).and_then(|arrival| arrival.transport);
                Found::maybe(transport.map(|transport| transport.via_token().to_ascii_lowercase().into_bytes()))
            }
            Symbol::SentUri(part) if self.side == Side::Request => {
                uri_part(context.sent_uri.unwrap_or_else(|| context.request.request_uri()), part)
            }
            Symbol::ReceivedUri(part) if self.side == Side::Request => uri_part(context.request.request_uri(), part),
            Symbol::SentUri(_) | Symbol::ReceivedUri(_) => Found::Absent,
            Symbol::Auth(part) if self.side == Side::Request => auth(context, part),
            Symbol::Auth(_) => Found::Absent,
            _ => match self.message(context) {
                Some(message) => self.of_message(message, context.parties),
                None => Found::Absent,
            },
        }
    }

    fn message<'a>(&self, context: &Context<'a>) -> Option<&'a Message> {
        match self.side {
            Side::Request => Some(context.request),
            Side::Reply => context.reply,
        }
    }

    fn arrival(&self, context: &Context<'_>) -> Option<Arrival> {
        match self.side {
            Side::Request => context.arrival,
            Side::Reply => context.reply_arrival,
        }
    }

    fn local(&self, context: &Context<'_>) -> Option<std::net::SocketAddr> {
        self.arrival(context)?.local
    }

    fn avp<'a>(&'a self, context: &'a Context<'_>) -> Found<'a> {
        let name = &*self.argument;
        if context.leg.is_some() && matches!(name, "src" | "dst") && !context.avps.has(name) {
            return leg(context, name);
        }
        Found::pick(context.avps.values(name).map(Cow::Borrowed), self.index)
    }

    fn of_message<'a>(&'a self, message: &'a Message, parties: Parties) -> Found<'a> {
        match self.variable.symbol {
            Symbol::Method => Found::text(message.method_text()),
            Symbol::From(part) => addr(message, party(Name::From, parties), part),
            Symbol::To(part) => addr(message, party(Name::To, parties), part),
            Symbol::FromTag if parties == Parties::Exchanged => Found::text(message.to_tag()),
            Symbol::ToTag if parties == Parties::Exchanged => Found::text(message.from_tag()),
            Symbol::FromTag => Found::text(message.from_tag()),
            Symbol::ToTag => Found::text(message.to_tag()),
            Symbol::CallId => Found::text(message.call_id()),
            Symbol::CseqNumber => Found::Number(message.cseq().0.into()),
            Symbol::Contact => Found::pick(message.values(Name::Contact).map(unfold), self.index),
            Symbol::Line(name) => Found::maybe(message.header(name).map(unfold)),
            Symbol::UserAgent => {
                let server = || message.header(Name::Server).filter(|_| self.side == Side::Reply);
                Found::maybe(message.header(Name::UserAgent).or_else(server).map(unfold))
            }
            Symbol::Header => {
                let name = match Name::of(self.argument.as_bytes()) {
                    name @ (Name::From | Name::To) => party(name, parties).text(),
                    _ => &*self.argument,
                };
                Found::pick(message.headers_named(name.as_bytes()).map(unfold), self.index)
            }
            Symbol::Addr(name, AddrPart::Uri) if self.variable.has_index => {
                let uri = |value| NameAddr::parse(value).map(|address| Cow::Borrowed(address.uri));
                Found::pick(message.values(name).filter_map(uri), self.index)
            }
            Symbol::Addr(name, part) => addr(message, name, part),
            Symbol::BodyBytes => Found::number(i64::try_from(message.body().len()).ok()),
            Symbol::Body => Found::text(message.body()),
            Symbol::MessageBytes => Found::number(i64::try_from(message.bytes().len()).ok()),
            Symbol::Message => Found::text(message.bytes()),
            _ => Found::Absent,
        }
    }
}

const fn party(name: Name, parties: Parties) -> Name {
    match (name, parties) {
        (Name::From, Parties::Exchanged) => Name::To,
        (Name::To, Parties::Exchanged) => Name::From,
        _ => name,
    }
}

fn leg<'a>(context: &'a Context<'_>, part: &str) -> Found<'a> {
    let Some(leg) = &context.leg else { return Found::Absent };
    match part {
        "src" => Found::text(leg.src),
        "dst" => Found::text(leg.dst),
        "cause" => Found::maybe(leg.cause.map(|cause| cause.name().as_bytes())),
        _ => Found::number((leg.code != 0).then_some(leg.code)),
    }
}

fn attempts<'a>(context: &Context<'a>, part: &str) -> impl Iterator<Item = Cow<'a, [u8]>> {
    context.attempts.iter().map(move |tried| match part {
        "uri" => Cow::Borrowed(&*tried.uri),
        "cause" => Cow::Borrowed(tried.cause.name().as_bytes()),
        _ => Cow::Owned(tried.code.to_string().into_bytes()),
    })
}

fn uri_part(text: &[u8], part: UriPart) -> Found<'_> {
    if part == UriPart::Whole {
        return Found::text(text);
    }
    let Some(uri) = Uri::parse(text) else { return Found::Absent };
    let is_sip = matches!(uri.scheme, Scheme::Sip | Scheme::Sips);
    match part {
        UriPart::Whole => Found::text(text),
        UriPart::User => Found::maybe(uri.user),
        UriPart::Host => Found::text(uri.host),
        UriPart::Port if is_sip => {
            let usual = if uri.scheme == Scheme::Sips { 5061 } else { 5060 };
            Found::Number(uri.port.unwrap_or(usual).into())
        }
        UriPart::Protocol if is_sip => {
            let usual: &[u8] = if uri.scheme == Scheme::Sips { b"tls" } else { b"udp" };
            Found::text(uri.param(b"transport").unwrap_or(usual).to_ascii_lowercase())
        }
        UriPart::Port | UriPart::Protocol => Found::Absent,
    }
}

fn addr(message: &Message, name: Name, part: AddrPart) -> Found<'_> {
    // Diversion, P-Asserted-Identity and others may hold several values: the first one counts.
    let Some(value) = message.values(name).next() else { return Found::Absent };
    let Some(address) = NameAddr::parse(value) else { return Found::Absent };
    match part {
        AddrPart::Uri => Found::text(address.uri),
        AddrPart::User => Found::maybe(address.parsed_uri().and_then(|uri| uri.user)),
        AddrPart::Host => Found::maybe(address.parsed_uri().map(|uri| uri.host)),
        AddrPart::Display => Found::text(address.display_text()),
        AddrPart::Param(name) => Found::maybe(address.param(name.as_bytes()).map(unquote)),
    }
}

/// The credentials of a request (RFC 3261 §22.3): Proxy-Authorization, else Authorization.
fn credentials(request: &Message) -> Option<Credentials<'_>> {
    let line = request.header(Name::ProxyAuthorization).or_else(|| request.header(Name::Authorization))?;
    Credentials::parse(line).filter(|found| !found.username.is_empty())
}

fn auth<'a>(context: &'a Context<'_>, part: AuthPart) -> Found<'a> {
    let from = party(Name::From, context.parties);
    match (part, credentials(context.request)) {
        (AuthPart::User | AuthPart::AccountUser, Some(found)) => Found::text(found.user().to_vec()),
        (AuthPart::Username, Some(found)) => Found::text(found.username),
        (AuthPart::Realm, Some(found)) => Found::text(found.realm),
        (AuthPart::Domain, Some(found)) => Found::text(found.domain().to_vec()),
        (AuthPart::Account, Some(found)) => Found::text([found.user(), b"@", &found.realm].concat()),
        (AuthPart::AccountUser, None) => addr(context.request, from, AddrPart::User),
        (AuthPart::Account, None) => {
            let value = context.request.header(from).and_then(NameAddr::parse);
            match value.and_then(|address| address.parsed_uri()) {
                Some(Uri { user: Some(user), host, .. }) => Found::text([user, b"@", host].concat()),
                Some(uri) => Found::text(uri.host),
                None => Found::Absent,
            }
        }
        (AuthPart::User | AuthPart::Username | AuthPart::Realm | AuthPart::Domain, None) => Found::Absent,
    }
}
