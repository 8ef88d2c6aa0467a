//! Records as Accounting-Requests (RFC 6733 §9.7, 3GPP TS 32.299 for the Rf profile).

mod settings;

pub use settings::{
    Application, CdrRecord, FieldMapping, LegOrder, Legs, Profile, RealmFrom, Rf, Round, Settings, Trigger, Unmapped,
};
