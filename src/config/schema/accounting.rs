//! `[accounting]`: what is recorded.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, IntoDeserializer as _, MapAccess, SeqAccess, Visitor};

use super::super::decode::{At, Ordered};
use crate::accounting::{BilledTo, FieldSource, Revival};
use crate::policy::script::{self, FlagDoes};
use crate::record::LegOrder;
use crate::units::{Count, Secs};

/// `[accounting]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountingTable {
    /// Sinks, by name or kind, that account every route without an `account.on` of its own.
    pub on: Option<Vec<At<String>>>,
    /// What is recorded beside answered calls.
    pub flags: Option<Flags>,
    /// Fields of every record: name to template.
    pub fields: Ordered<At<String>>,
    /// Fields of every leg: name to template.
    pub leg_fields: Ordered<At<String>>,
    /// Fields that are read from the BYE: name to template.
    pub bye_fields: Ordered<At<String>>,
    /// Fields of the leg that a BYE adds: name to template.
    pub bye_leg_fields: Ordered<At<String>>,
    /// Whether a call that came to nothing makes a Cdr.
    pub cdr_on_failed: Option<Switch>,
    /// Whether provisional responses with a body are recorded.
    pub early_media: Option<Switch>,
    /// Whether the ACK to a 2xx is recorded.
    pub report_ack: Option<Switch>,
    /// Whether a CANCEL is recorded.
    pub report_cancels: Option<Switch>,
    /// Final codes that make no Failed record.
    pub failed_filter: Option<Vec<Count<300, 699>>>,
    /// Other methods that make an Event record.
    pub methods: Option<Vec<At<String>>>,
    /// Whether From and To are exchanged for requests of the callee.
    pub detect_direction: Option<Switch>,
    /// Whether each branch of a failed round makes a Missed record.
    pub missed_branches: Option<Switch>,
    /// Whether a call answered elsewhere counts as missed.
    pub missed_elsewhere: Option<Switch>,
    /// Whether those who forwarded a call before it came here are legs of it.
    pub forwarding_legs: Option<Switch>,
    /// `[accounting.identity]`
    pub identity: IdentityTable,
    /// Order of the legs.
    pub leg_order: Option<LegOrder>,
    /// Where the fields of Interim and Stop come from.
    pub in_dialog_fields: Option<FieldSources>,
    /// Whether a call ends in the records when its session timer has run out.
    pub session_timers: Option<Switch>,
    /// Time between two Interim records of a call; 0: none.
    pub interim_s: Option<At<Secs<0, 86_400>>>,
    /// Longest call; then it is ended in the records; 0: no limit.
    pub lifetime_s: Option<Secs<0, 31_536_000>>,
    /// What happens to a call that has reached it.
    pub at_lifetime: Option<At<AtEnd>>,
    /// What happens to a call whose session timer has run out.
    pub at_session_timer: Option<At<AtEnd>>,
    /// What happens to a call whose 2xx nobody has acknowledged.
    pub at_no_ack: Option<At<AtEnd>>,
    /// What happens to a call of which an end does not answer, or does not know it.
    pub at_unreachable: Option<At<AtEnd>>,
    /// Until when a call lasts that has ended without a BYE.
    pub billed_to: Option<BilledTo>,
    /// What is done about a call that goes on after its Stop.
    pub revive: Option<Revival>,
}

/// `[accounting.identity]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdentityTable {
    /// Authorities whose certificates may sign a PASSporT.
    pub anchors: Option<At<PathBuf>>,
    /// Certificates that are used: x5u to file.
    pub certificates: Ordered<At<PathBuf>>,
    /// How far `iat` may be away from the arrival.
    pub max_age_s: Option<Secs<1, 86_400>>,
}

/// What happens to a call when it ends in the records without a BYE.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum AtEnd {
    /// Both ends get a BYE.
    Bye,
    /// Nothing: it ends in the records alone.
    Record,
}

/// A switch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Switch {
    /// `true`
    On,
    /// `false`
    Off,
}

impl Switch {
    /// Whether it is on.
    #[must_use]
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

impl From<bool> for Switch {
    fn from(on: bool) -> Self {
        if on { Self::On } else { Self::Off }
    }
}

impl<'de> Deserialize<'de> for Switch {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        bool::deserialize(input).map(Self::from)
    }
}

/// What is recorded beside answered calls.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Flag {
    /// A forking round that ended without success.
    Missed,
    /// A final response of 300 or more that the caller got.
    Failed,
}

/// What is recorded beside answered calls, and by which sinks.
#[derive(Clone, Debug, PartialEq)]
pub enum Flags {
    /// By all that account.
    All(Vec<At<Flag>>),
    /// Each flag by the sinks of its own list.
    Each(Box<FlagTable>),
}

/// The flags of a script, by the names of the parameters that the acc modules have for them.
macro_rules! flag_table {
    ($($field:ident: $does:ident $word:literal,)*) => {
        /// Sinks by flag, and in `[accounting]` flags of the script: what `setflag` marks.
        #[derive(Clone, Debug, Default, Deserialize, PartialEq)]
        #[serde(default, deny_unknown_fields)]
        pub struct FlagTable {
            /// Those that get missed calls, also such as account nothing else.
            pub missed: Option<At<Vec<At<String>>>>,
            /// Those that get failed calls, of those that account.
            pub failed: Option<At<Vec<At<String>>>>,
            $(
                #[doc = concat!("Number or name of the script's flag: ", stringify!($does), ", sinks of the kind `", $word, "`.")]
                pub $field: Option<At<FlagName>>,
            )*
        }

        impl FlagTable {
            /// The flags of the script, and what each does.
            pub fn of_script(&self) -> Vec<(&At<FlagName>, script::Flag)> {
                let mut flags = Vec::new();
                $(
                    if let Some(name) = &self.$field {
                        let flag = script::Flag { name: name.0.clone(), does: FlagDoes::$does, word: $word };
                        flags.push((name, flag));
                    }
                )*
                flags
            }
        }
    };
}

flag_table! {
    log_flag: Account "log",
    log_missed_flag: Missed "log",
    db_flag: Account "db",
    db_missed_flag: Missed "db",
    radius_flag: Account "rad",
    radius_missed_flag: Missed "rad",
    aaa_flag: Account "aaa",
    aaa_missed_flag: Missed "aaa",
    diameter_flag: Account "diam",
    diameter_missed_flag: Missed "diam",
    evi_flag: Account "evi",
    evi_missed_flag: Missed "evi",
    failed_transaction_flag: Failed "log",
    cdr_flag: Cdr "log",
}

/// A flag of a script: a number, or a name.
#[derive(Clone, Debug, PartialEq)]
pub struct FlagName(pub String);

impl<'de> Deserialize<'de> for FlagName {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = FlagName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a flag: a number from 0 to 63, or a name")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<FlagName, E> {
                Ok(FlagName(number.to_string()))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<FlagName, E> {
                Ok(FlagName(number.to_string()))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<FlagName, E> {
                Ok(FlagName(name.to_owned()))
            }
        }

        input.deserialize_any(Either)
    }
}

impl Default for Flags {
    fn default() -> Self {
        Self::All(Vec::new())
    }
}

impl<'de> Deserialize<'de> for Flags {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Flags;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of flags, or a table of flags and sinks")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Flags, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Flags::All)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Flags, A::Error> {
                FlagTable::deserialize(MapAccessDeserializer::new(map)).map(Box::new).map(Flags::Each)
            }
        }

        input.deserialize_seq(Either)
    }
}

/// Where they come from: all from one place, or each from its own.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldSources {
    /// All.
    All(FieldSource),
    /// Name to source; the others come from the request.
    Each(Ordered<At<FieldSource>>),
}

impl<'de> Deserialize<'de> for FieldSources {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = FieldSources;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`request`, `call`, or a table of fields")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<FieldSources, E> {
                FieldSource::deserialize(word.into_deserializer()).map(FieldSources::All)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FieldSources, A::Error> {
                Ordered::deserialize(MapAccessDeserializer::new(map)).map(FieldSources::Each)
            }
        }

        input.deserialize_any(Either)
    }
}
