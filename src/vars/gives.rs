//! What kind of value a template gives, as far as that can be told before any call.

use super::catalogue::{AddrPart, AuthPart, Symbol, UriPart};
use super::template::{Index, Part, Reference, Template};
use super::transform::Step;

/// The kind of a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Gives {
    /// Always a whole number.
    Number,
    /// An IP address, or the name of a host.
    Host,
    /// An instant.
    Instant,
    /// The user of a URI or of credentials: a number or a name.
    User,
    /// Text that is never a number nor an address, such as a URI.
    Text,
    /// Whatever the message or the policy has there.
    Any,
}

impl Template {
    /// The kind of its value.
    #[must_use]
    pub fn gives(&self) -> Gives {
        if let [Part::Variable(reference)] = &self.parts[..] {
            return reference.gives();
        }
        let is_number = |part: &Part| match part {
            Part::Text(text) => text.bytes().all(|octet| octet.is_ascii_digit() || octet == b'+'),
            Part::Variable(reference) => !matches!(reference.gives(), Gives::Text | Gives::Host | Gives::Instant),
        };
        // Digits in front of a number are a number again, but all else makes text of it.
        if self.parts.iter().all(is_number) { Gives::Any } else { Gives::Text }
    }

    /// Its text when no variable is in it.
    #[must_use]
    pub fn constant(&self) -> Option<&str> {
        match &self.parts[..] {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }
}

impl Reference {
    fn gives(&self) -> Gives {
        let last = self.steps.iter().rev().find(|step| !step.keeps_kind());
        match last.map(Step::gives) {
            Some(kind) => kind,
            // Several values are joined.
            None if self.index == Index::All => Gives::Any,
            None => self.variable.symbol.gives(&self.argument),
        }
    }
}

impl Symbol {
    fn gives(self, argument: &str) -> Gives {
        match self {
            Self::SentUri(part) | Self::ReceivedUri(part) => part.gives(),
            Self::From(part) | Self::To(part) | Self::Addr(_, part) => part.gives(),
            Self::Auth(AuthPart::User | AuthPart::Username | AuthPart::AccountUser) => Gives::User,
            Self::Auth(AuthPart::Domain | AuthPart::Realm) => Gives::Host,
            Self::Auth(AuthPart::Account) => Gives::Text,
            Self::CseqNumber | Self::SourcePort | Self::LocalPort | Self::BodyBytes | Self::MessageBytes => {
                Gives::Number
            }
            Self::Code | Self::NowSecs | Self::NowMicros => Gives::Number,
            Self::Leg | Self::Attempt if argument == "code" => Gives::Number,
            Self::NowText => Gives::Instant,
            Self::SourceIp | Self::LocalIp => Gives::Host,
            Self::Method | Self::Contact | Self::Transport | Self::UserAgent | Self::Reason => Gives::Text,
            Self::Body | Self::Message | Self::Leg | Self::Attempt => Gives::Text,
            // Tags and Call-IDs are anything, and others make numbers of them.
            Self::FromTag | Self::ToTag | Self::CallId | Self::Line(_) | Self::Header | Self::Avp => Gives::Any,
        }
    }
}

impl UriPart {
    fn gives(self) -> Gives {
        match self {
            Self::Whole | Self::Protocol => Gives::Text,
            Self::User => Gives::User,
            Self::Host => Gives::Host,
            Self::Port => Gives::Number,
        }
    }
}

impl AddrPart {
    fn gives(self) -> Gives {
        match self {
            Self::Uri | Self::Display => Gives::Text,
            Self::User => Gives::User,
            Self::Host => Gives::Host,
            Self::Param(_) => Gives::Any,
        }
    }
}
