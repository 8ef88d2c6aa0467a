//! Settings of the rendering.

use std::sync::Arc;

use crate::dictionary::diameter::Dictionary;
use crate::sinks::mapping::Style;

/// What the records look like.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Application {
    /// Base accounting (RFC 6733 §9).
    #[default]
    Base,
    /// 3GPP Rf: base accounting with Service-Context-Id and Service-Information (TS 32.299).
    Rf,
}

/// Which AVPs carry the SIP values of a record in base accounting.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Profile {
    /// Tollgate's own vendor space.
    #[default]
    Own,
    /// The numbers of OpenSIPS: 204 to 207, 227 to 230.
    Opensips,
    /// The numbers of the old drafts, as in OpenSER and SER: 101 to 109. In Diameter these are the Digest AVPs.
    Openser,
    /// None: only what fields are mapped to.
    None,
}

impl Profile {
    /// In the order they are listed in for an operator.
    pub const ALL: [Self; 4] = [Self::Own, Self::Opensips, Self::Openser, Self::None];

    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Opensips => "opensips",
            Self::Openser => "openser",
            Self::None => "none",
        }
    }
}

/// How the legs of a call travel.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Legs {
    /// The leg's AVPs repeated, leg after leg; a missing value is an empty AVP, so that the order holds.
    #[default]
    Flat,
    /// One group for each leg.
    Grouped,
    /// One ACR for each leg, told apart by Accounting-Sub-Session-Id.
    SubSessions,
}

/// What the record of a whole call becomes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum CdrRecord {
    /// EVENT: the only record of the service.
    #[default]
    Event,
    /// STOP.
    Stop,
    /// START and STOP, for servers that insist.
    StartStop,
}

/// Where Destination-Realm comes from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RealmFrom {
    /// The configuration: every record goes to the same realm.
    #[default]
    Configuration,
    /// What stands behind the `@` of User-Name; the configured one where there is none.
    User,
}

/// Which SIP events make a record (TS 32.260 §5.2.1); each can be switched off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trigger {
    /// START and STOP of an answered call.
    Session,
    /// INTERIM: a re-INVITE, the interim timer.
    Interim,
    /// EVENT: a call that did not come about.
    Unsuccessful,
    /// EVENT: a branch that failed while the call went on.
    Missed,
    /// An EVENT for a call that its caller has cancelled.
    Cancel,
    /// EVENT: MESSAGE, REGISTER and other methods.
    Unrelated,
}

impl Trigger {
    /// In the order they are listed in for an operator.
    pub const ALL: [Self; 6] =
        [Self::Session, Self::Interim, Self::Unsuccessful, Self::Missed, Self::Cancel, Self::Unrelated];

    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Interim => "interim",
            Self::Unsuccessful => "unsuccessful",
            Self::Missed => "missed",
            Self::Cancel => "cancel",
            Self::Unrelated => "unrelated",
        }
    }
}

/// One field and the AVP that carries it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FieldMapping {
    /// Name of the field.
    pub field: String,
    /// Label of the AVP: a name, `vendor:name`, a number, or `vendor:number`.
    pub avp: String,
}

impl FieldMapping {
    /// The field `field` in the AVP labelled `avp`; whether the dictionary has it is checked later.
    #[must_use]
    pub fn new(field: &str, avp: &str) -> Self {
        Self { field: field.to_owned(), avp: avp.to_owned() }
    }
}

/// What only the Rf profile has (TS 32.299 §7.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rf {
    /// Service-Context-Id. Default `32260@3gpp.org`.
    pub service_context_id: String,
    /// Role-Of-Node: 0 originating, 1 terminating, 2 proxy. Default 2.
    pub role_of_node: u32,
    /// Node-Functionality. Default 6, an application server.
    pub node_functionality: u32,
}

impl Default for Rf {
    fn default() -> Self {
        Self { service_context_id: "32260@3gpp.org".to_owned(), role_of_node: 2, node_functionality: 6 }
    }
}

/// How records become ACRs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Origin-Host of every request; the peers must know it (RFC 6733 §6.3).
    pub identity: String,
    /// Origin-Realm of every request (RFC 6733 §6.4).
    pub realm: String,
    /// Destination-Realm, unless the record names another: see `realm_from` (RFC 6733 §6.6).
    pub destination_realm: String,
    /// Destination-Host; it defeats failover. Default none.
    pub destination_host: Option<String>,
    /// Where Destination-Realm comes from. Default: the configuration.
    pub realm_from: RealmFrom,
    /// Identity in Session-Ids, for nodes of one cluster. Default: `identity`.
    pub session_identity: Option<String>,
    /// Origin-State-Id. Default none.
    pub origin_state: Option<u32>,
    /// Base accounting or Rf. Default base.
    pub application: Application,
    /// Names of AVPs and values; with the profile's file read into it.
    pub dictionary: Arc<Dictionary>,
    /// Which AVPs carry the SIP values. Default own; in the Rf profile they have their places.
    pub profile: Profile,
    /// AVPs of fields; a field may have several.
    pub fields: Vec<FieldMapping>,
    /// AVPs of fields of legs.
    pub leg_fields: Vec<FieldMapping>,
    /// AVPs that get the flag M against their dictionary, by label.
    pub mandatory: Vec<String>,
    /// AVPs that lose the flag M against their dictionary, by label.
    pub optional: Vec<String>,
    /// How legs travel. Default flat.
    pub legs: Legs,
    /// The group of a leg. Default `Tollgate-Leg-Info`.
    pub leg_group: String,
    /// Number of a leg within its group, from 1; empty for none. Default `Tollgate-Leg-Number`.
    pub leg_number: String,
    /// Rounding, order of legs, fields without a mapping. Those are left out in other profiles than our own.
    pub style: Style,
    /// What a whole call becomes. Default EVENT.
    pub cdr_record: CdrRecord,
    /// Events that make no record.
    pub without: Vec<Trigger>,
    /// Service-Type. Default none.
    pub service_type: Option<u32>,
    /// AVP of the record id; empty for none. Default `Tollgate-Record-Id`.
    pub record_id: String,
    /// What only the Rf profile has.
    pub rf: Rf,
    /// Octets of a message at most. Default 65 535.
    pub message_octets_max: usize,
}

impl Settings {
    /// The defaults for a node and the realm its records go to.
    #[must_use]
    pub fn new(identity: &str, realm: &str, destination_realm: &str) -> Self {
        Self {
            identity: identity.to_owned(),
            realm: realm.to_owned(),
            destination_realm: destination_realm.to_owned(),
            destination_host: None,
            realm_from: RealmFrom::default(),
            session_identity: None,
            origin_state: None,
            application: Application::default(),
            dictionary: Arc::new(Dictionary::builtin()),
            profile: Profile::default(),
            fields: Vec::new(),
            leg_fields: Vec::new(),
            mandatory: Vec::new(),
            optional: Vec::new(),
            legs: Legs::default(),
            leg_group: "Tollgate-Leg-Info".to_owned(),
            leg_number: "Tollgate-Leg-Number".to_owned(),
            style: Style::default(),
            cdr_record: CdrRecord::default(),
            without: Vec::new(),
            service_type: None,
            record_id: "Tollgate-Record-Id".to_owned(),
            rf: Rf::default(),
            message_octets_max: super::super::settings::MESSAGE_OCTETS_MAX,
        }
    }
}
