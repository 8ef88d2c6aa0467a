//! The list of variables: what `tollgate vars` prints and the template reader knows.

use crate::sip::message::Name;

/// What stands in parentheses after a variable's name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Argument {
    /// Nothing.
    None,
    /// The name of a header, compact or long, in any case.
    Header,
    /// The name of a value the policy has set.
    Name,
    /// `src`, `dst`, `code` or `cause`.
    Leg,
    /// `uri`, `code` or `cause`.
    Attempt,
}

/// One variable.
#[derive(Debug, Eq, PartialEq)]
pub struct Variable {
    /// Name without `$`.
    pub name: &'static str,
    /// What stands in parentheses.
    pub argument: Argument,
    /// What it is in the request.
    pub meaning: &'static str,
    /// What it is with `/reply`.
    pub reply: &'static str,
    /// Whether it may have several values, chosen by `[i]`, `[-1]` or `[*]`.
    pub has_index: bool,
    pub(super) symbol: Symbol,
}

/// All variables, grouped by what they read.
#[must_use]
pub fn catalogue() -> &'static [Variable] {
    VARIABLES
}

/// The parts of a URI that variables name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum UriPart {
    Whole,
    User,
    Host,
    Port,
    Protocol,
}

/// The parts of a name-addr value that variables name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum AddrPart {
    Uri,
    User,
    Host,
    Display,
    Param(&'static str),
}

/// The parts of a credentials header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum AuthPart {
    User,
    Username,
    Realm,
    Domain,
    /// `user@realm`, else the From URI's `user@host`.
    Account,
    /// The user alone, else the From URI's user.
    AccountUser,
}

/// What a variable reads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Symbol {
    Method,
    SentUri(UriPart),
    ReceivedUri(UriPart),
    From(AddrPart),
    FromTag,
    To(AddrPart),
    ToTag,
    CallId,
    CseqNumber,
    Contact,
    SourceIp,
    SourcePort,
    LocalIp,
    LocalPort,
    Transport,
    /// First line of a header.
    Line(Name),
    Header,
    /// First value of a name-addr header.
    Addr(Name, AddrPart),
    UserAgent,
    Auth(AuthPart),
    BodyBytes,
    Body,
    MessageBytes,
    Message,
    Code,
    Reason,
    NowSecs,
    NowMicros,
    NowText,
    Avp,
    Leg,
    Attempt,
}

const fn plain(name: &'static str, symbol: Symbol, meaning: &'static str, reply: &'static str) -> Variable {
    Variable { name, argument: Argument::None, meaning, reply, has_index: false, symbol }
}

const NOTHING: &str = "nothing";
const SAME: &str = "the same header of the response";
const ALWAYS: &str = "the same";

use AddrPart::{Display, Host as AddrHost, Param, Uri as AddrUri, User as AddrUser};
use Symbol::{Addr, Auth, From, Line, ReceivedUri, SentUri, To};
use UriPart::{Host, Port, Protocol, User, Whole};

const VARIABLES: &[Variable] = &[
    plain("rm", Symbol::Method, "method", "method of the response's CSeq"),
    plain("ru", SentUri(Whole), "Request-URI as sent on", NOTHING),
    plain("rU", SentUri(User), "user of the Request-URI as sent on", NOTHING),
    plain("rd", SentUri(Host), "host of the Request-URI as sent on", NOTHING),
    plain("rp", SentUri(Port), "port of the Request-URI as sent on, 5060 (sips: 5061) when not written", NOTHING),
    plain(
        "rP",
        SentUri(Protocol),
        "transport of the Request-URI as sent on, udp (sips: tls) when not written",
        NOTHING,
    ),
    plain("ruri", SentUri(Whole), "older name of $ru", NOTHING),
    plain("ou", ReceivedUri(Whole), "Request-URI as received", NOTHING),
    plain("oU", ReceivedUri(User), "user of the Request-URI as received", NOTHING),
    plain("od", ReceivedUri(Host), "host of the Request-URI as received", NOTHING),
    plain("op", ReceivedUri(Port), "port of the Request-URI as received, as $rp", NOTHING),
    plain("oP", ReceivedUri(Protocol), "transport of the Request-URI as received, as $rP", NOTHING),
    plain("fu", From(AddrUri), "URI of From", SAME),
    plain("fU", From(AddrUser), "user of the From URI", SAME),
    plain("fd", From(AddrHost), "host of the From URI", SAME),
    plain("fn", From(Display), "display name of From, without quotes", SAME),
    plain("ft", Symbol::FromTag, "tag of From", SAME),
    plain("from", From(AddrUri), "older name of $fu", SAME),
    plain("tu", To(AddrUri), "URI of To", SAME),
    plain("tU", To(AddrUser), "user of the To URI", SAME),
    plain("td", To(AddrHost), "host of the To URI", SAME),
    plain("tn", To(Display), "display name of To, without quotes", SAME),
    plain("tt", Symbol::ToTag, "tag of To", SAME),
    plain("to", To(AddrUri), "older name of $tu", SAME),
    plain("ci", Symbol::CallId, "Call-ID", SAME),
    plain("cs", Symbol::CseqNumber, "number of CSeq", SAME),
    Variable {
        name: "ct",
        argument: Argument::None,
        meaning: "Contact: the first value; [i] another one, [*] all",
        reply: "Contact of the response",
        has_index: true,
        symbol: Symbol::Contact,
    },
    plain("si", Symbol::SourceIp, "address the request came from", "address the response came from, when known"),
    plain("sp", Symbol::SourcePort, "port the request came from", "port the response came from, when known"),
    plain("Ri", Symbol::LocalIp, "our address it came in on", "our address the response came in on, when known"),
    plain("Rp", Symbol::LocalPort, "our port it came in on", "our port the response came in on, when known"),
    plain("proto", Symbol::Transport, "transport it came by: udp, tcp, tls", "transport of the response, when known"),
    plain("ua", Symbol::UserAgent, "User-Agent", "User-Agent of the response, else its Server"),
    Variable {
        name: "hdr",
        argument: Argument::Header,
        meaning: "body of the first header line of that name; [i] another one, [*] all",
        reply: "header of the response",
        has_index: true,
        symbol: Symbol::Header,
    },
    plain("rs", Symbol::Code, "code of the response", ALWAYS),
    plain("rr", Symbol::Reason, "reason phrase of the response", ALWAYS),
    plain("T_reply_code", Symbol::Code, "final code of the transaction", ALWAYS),
    Variable {
        name: "avp",
        argument: Argument::Name,
        meaning: "value set by the policy: the last one; [i] an earlier one, [*] all; in leg fields src and dst are \
                  those of $leg unless the policy has set them",
        reply: ALWAYS,
        has_index: true,
        symbol: Symbol::Avp,
    },
    Variable {
        name: "leg",
        argument: Argument::Leg,
        meaning: "of a leg, in leg fields only: src (caller, or the target before that sent the call on), dst (target), \
                  code (its final response), cause (why it came to nothing)",
        reply: ALWAYS,
        has_index: false,
        symbol: Symbol::Leg,
    },
    Variable {
        name: "attempt",
        argument: Argument::Attempt,
        meaning: "of the targets tried in vain so far: uri, code, cause; the first one, [-1] the last, [*] all",
        reply: ALWAYS,
        has_index: true,
        symbol: Symbol::Attempt,
    },
    plain("au", Auth(AuthPart::User), "user part of the digest username, as claimed", NOTHING),
    plain("aU", Auth(AuthPart::Username), "digest username, as claimed", NOTHING),
    plain("ar", Auth(AuthPart::Realm), "digest realm, as claimed", NOTHING),
    plain("ad", Auth(AuthPart::Domain), "domain part of the digest username, as claimed", NOTHING),
    plain("Au", Auth(AuthPart::Account), "digest user@realm, else user@host of the From URI", NOTHING),
    plain("AU", Auth(AuthPart::AccountUser), "digest user, else user of the From URI", NOTHING),
    Variable {
        name: "ai",
        argument: Argument::None,
        meaning: "URI of P-Asserted-Identity: the first one; [i] another one, [*] all",
        reply: SAME,
        has_index: true,
        symbol: Addr(Name::PAssertedIdentity, AddrUri),
    },
    plain("pu", Addr(Name::PPreferredIdentity, AddrUri), "URI of P-Preferred-Identity", SAME),
    plain("pU", Addr(Name::PPreferredIdentity, AddrUser), "user of the P-Preferred-Identity URI", SAME),
    plain("pd", Addr(Name::PPreferredIdentity, AddrHost), "host of the P-Preferred-Identity URI", SAME),
    plain("pn", Addr(Name::PPreferredIdentity, Display), "display name of P-Preferred-Identity", SAME),
    plain("re", Addr(Name::RemotePartyId, AddrUri), "URI of Remote-Party-ID", SAME),
    plain("di", Addr(Name::Diversion, AddrUri), "URI of the newest Diversion", SAME),
    plain("dip", Addr(Name::Diversion, Param("privacy")), "privacy of the newest Diversion", SAME),
    plain("dir", Addr(Name::Diversion, Param("reason")), "reason of the newest Diversion", SAME),
    plain("rt", Addr(Name::ReferTo, AddrUri), "URI of Refer-To", SAME),
    plain("cT", Line(Name::ContentType), "Content-Type", SAME),
    plain("cl", Symbol::BodyBytes, "octets of the body", "octets of the response's body"),
    plain("rb", Symbol::Body, "body", "body of the response"),
    plain("mb", Symbol::Message, "the whole message", "the whole response"),
    plain("ml", Symbol::MessageBytes, "octets of the message", "octets of the response"),
    plain("Ts", Symbol::NowSecs, "seconds since 1970 (UTC) at the instant of the record", ALWAYS),
    plain("Tsm", Symbol::NowMicros, "microseconds within that second", ALWAYS),
    plain("Tf", Symbol::NowText, "that instant as RFC 3339 text in UTC", ALWAYS),
];
