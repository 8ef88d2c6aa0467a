//! One AVP of a dictionary, ready to encode.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::types::Type;
use crate::dictionary::attribute::Values;
use crate::dictionary::types::Origin;

/// One AVP of a finished dictionary.
#[derive(Debug, Eq, PartialEq)]
pub struct Definition {
    pub(super) name: Box<str>,
    pub(super) code: u32,
    pub(super) vendor: u32,
    pub(super) kind: Type,
    pub(super) is_mandatory: bool,
    pub(super) values: Arc<Values>,
    pub(super) members: Vec<Box<str>>,
    pub(super) origin: Origin,
}

/// A definition resolved once, at start: cheap to clone, needs no look-up per record.
#[derive(Clone, Debug)]
pub struct Handle(pub(super) Arc<Definition>);

impl Deref for Handle {
    type Target = Definition;

    fn deref(&self) -> &Definition {
        &self.0
    }
}

impl Handle {
    /// An AVP no dictionary has: text, without the flag M.
    pub(super) fn unknown(vendor: u32, code: u32) -> Self {
        let name = if vendor == 0 { format!("AVP-{code}") } else { format!("AVP-{vendor}:{code}") };
        Self(Arc::new(Definition {
            name: name.into(),
            code,
            vendor,
            kind: Type::Utf8String,
            is_mandatory: false,
            values: Arc::default(),
            members: Vec::new(),
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
    /// Name as its last definition spells it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// AVP code.
    #[must_use]
    pub fn code(&self) -> u32 {
        self.code
    }

    /// Vendor number; 0 for none.
    #[must_use]
    pub fn vendor(&self) -> u32 {
        self.vendor
    }

    /// Data type.
    #[must_use]
    pub fn kind(&self) -> Type {
        self.kind
    }

    /// Whether the flag M is set when it is sent.
    #[must_use]
    pub fn is_mandatory(&self) -> bool {
        self.is_mandatory
    }

    /// The flags it is sent with, V left to the writer.
    #[must_use]
    pub fn flags(&self) -> u8 {
        if self.is_mandatory { 0x40 } else { 0 }
    }

    /// Its VALUE names.
    #[must_use]
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Names of the members its group lists, in their order.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| &**member)
    }

    /// Where it was defined last.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Why no value of a call may be sent in this AVP; `None` when it may.
    #[must_use]
    pub fn refusal(&self) -> Option<&'static str> {
        if self.kind == Type::Grouped {
            return Some("it is a group and has no value of its own");
        }
        if self.vendor != 0 {
            return None;
        }
        if WRITTEN.contains(&self.code) {
            return Some("Tollgate writes it itself");
        }
        REFUSED.iter().find(|(code, _)| *code == self.code).map(|(_, why)| *why)
    }
}

impl fmt::Display for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
