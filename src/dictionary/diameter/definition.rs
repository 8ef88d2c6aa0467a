//! One AVP of a dictionary, ready to encode.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::build::Builder;
use super::types::Type;
use crate::dictionary::diameter::Dictionary;
use crate::dictionary::entry::{self, Entry, Protocol};
use crate::dictionary::types::Origin;
use crate::dictionary::{Files, LoadError};

/// Dictionaries of Diameter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Diameter {}

impl Protocol for Diameter {
    /// Vendor (0 for none) and code.
    type Number = (u32, u32);
    type Kind = Type;
    type Rules = Rules;
    /// One for each vendor that has it.
    type Named = Vec<usize>;
    type Vendor = Box<str>;
    /// Lower-case names that have no place in Diameter, and why.
    type Rest = HashMap<Box<str>, &'static str>;

    fn read(profile: Option<(&str, &str)>, files: &[PathBuf]) -> Result<Dictionary, LoadError> {
        let mut builder = Builder::with_builtin();
        if let Some((name, text)) = profile {
            builder.text(name, text.as_bytes());
        }
        files.iter().for_each(|path| builder.file(path, &mut Files));
        builder.finish()
    }
}

/// How an AVP stands on the wire.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Rules {
    pub(super) is_mandatory: bool,
    /// Names of the members of a group.
    pub(super) members: Vec<Box<str>>,
}

/// One AVP of a finished dictionary.
pub type Definition = Entry<Diameter>;

/// A definition resolved once, at start.
pub type Handle = entry::Handle<Diameter>;

impl Handle {
    /// An AVP no dictionary has: text, without the flag M.
    pub(super) fn unknown(vendor: u32, code: u32) -> Self {
        let name = if vendor == 0 { format!("AVP-{code}") } else { format!("AVP-{vendor}:{code}") };
        Self(Arc::new(Definition {
            name: name.into(),
            number: (vendor, code),
            kind: Type::Utf8String,
            rules: Rules::default(),
            values: Arc::default(),
            origin: Origin { file: "by number".into(), line: 0 },
        }))
    }
}

/// AVPs without vendor that Tollgate itself writes, so that a field would repeat them.
const WRITTEN: &[u32] =
    &[25, 44, 46, 50, 55, 85, 259, 260, 263, 264, 268, 278, 280, 282, 283, 284, 287, 293, 295, 296, 480, 483, 485];

/// RADIUS attributes that must not stand in Diameter accounting (RFC 4005 §9.4), and what carries their meaning.
const REFUSED: &[(u32, &str)] = &[
    (2, "passwords have no place in accounting"),
    (3, "CHAP-Password may not stand in a Diameter message"),
    (24, "State may not stand in an accounting message"),
    (26, "vendor AVPs have a vendor number of their own"),
    (29, "Termination-Action may not stand in a Diameter message"),
    (33, "Proxy-State is Diameter's Proxy-Info, which belongs to agents"),
    (40, "Accounting-Record-Type carries it"),
    (41, "Event-Timestamp replaces it"),
    (42, "Accounting-Input-Octets (363) carries it"),
    (43, "Accounting-Output-Octets (364) carries it"),
    (47, "Accounting-Input-Packets (365) carries it"),
    (48, "Accounting-Output-Packets (366) carries it"),
    (49, "Termination-Cause carries it"),
    (52, "Accounting-Input-Octets (363) has 64 bits"),
    (53, "Accounting-Output-Octets (364) has 64 bits"),
    (60, "CHAP-Challenge belongs to authentication"),
    (79, "EAP-Message belongs to authentication"),
    (80, "Message-Authenticator may not stand in a Diameter message"),
];

impl Definition {
    /// AVP code.
    #[must_use]
    pub fn code(&self) -> u32 {
        self.number.1
    }

    /// Vendor number; 0 for none.
    #[must_use]
    pub fn vendor(&self) -> u32 {
        self.number.0
    }

    /// Whether the flag M is set when it is sent.
    #[must_use]
    pub fn is_mandatory(&self) -> bool {
        self.rules.is_mandatory
    }

    /// The flags it is sent with, V left to the writer.
    #[must_use]
    pub fn flags(&self) -> u8 {
        if self.rules.is_mandatory { 0x40 } else { 0 }
    }

    /// Names of the members its group lists, in their order.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.rules.members.iter().map(|member| &**member)
    }

    /// Why no value of a call may be sent in this AVP; `None` when it may.
    #[must_use]
    pub fn refusal(&self) -> Option<&'static str> {
        if self.kind == Type::Grouped {
            return Some("it is a group and has no value of its own");
        }
        if self.number.0 != 0 {
            return None;
        }
        if WRITTEN.contains(&self.number.1) {
            return Some("Tollgate writes it itself");
        }
        REFUSED.iter().find(|(code, _)| *code == self.number.1).map(|(_, why)| *why)
    }
}
