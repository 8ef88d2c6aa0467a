//! Settings of a RADIUS sink.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use serde::Deserialize;

use crate::dictionary::Dictionary;
use crate::net::socket::SourceAddress;
use crate::net::tls::ClientTls;
use crate::radius::attribute::{Oversize, Priority};
use crate::radius::client;
use crate::record::Cause;
use crate::sinks::mapping::{Style, Unmapped};
use crate::sinks::profile::Profile;

/// What `Acct-Session-Id` holds.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum SessionId {
    /// The record's short session name: 32 hexadecimal digits.
    #[default]
    Short,
    /// The Call-ID, as the proxies send it. The legs of a forked call share it.
    CallId,
    /// The Call-ID, `;`, and the To tag.
    CallIdAndTag,
}

/// How a record becomes an `Acct-Status-Type`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum StatusMapping {
    /// OpenSIPS from 1.5, Kamailio: a re-INVITE is Interim-Update.
    #[default]
    Newest,
    /// SER, OpenSER, OpenSIPS 1.4: a re-INVITE is Start, everything else but BYE and CANCEL Failed.
    Openser,
    /// SER 2: as OpenSER, but an answered other method is Interim-Update.
    Ser,
}

/// How a record with several legs travels.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Legs {
    /// In one request if it has room for them, else apart.
    #[default]
    Auto,
    /// In one request; legs it has no room for are left out, which is marked.
    Together,
    /// In a request for each leg.
    Apart,
}

/// Widths of the columns in the server's database.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Columns {
    /// Only what the protocol allows counts.
    #[default]
    Any,
    /// Those of the `radacct` table that FreeRADIUS 3 ships for MySQL and others; see [`FREERADIUS_SQL`].
    FreeradiusSql,
}

impl Columns {
    /// The width of the column for the standard attribute of this number.
    #[must_use]
    pub fn width(self, number: u32) -> Option<usize> {
        match self {
            Self::Any => None,
            Self::FreeradiusSql => FREERADIUS_SQL.iter().find(|(known, _)| *known == number).map(|(_, width)| *width),
        }
    }
}

/// Standard attributes and the widths of their columns in FreeRADIUS 3's stock `radacct`. A wider value makes the query
/// fail in strict mode: the server then never answers, and the record can never be delivered.
pub const FREERADIUS_SQL: [(u32, usize); 7] = [
    (1, 64),   // User-Name
    (25, 64),  // Class
    (30, 50),  // Called-Station-Id
    (31, 50),  // Calling-Station-Id
    (44, 64),  // Acct-Session-Id
    (77, 128), // Connect-Info
    (87, 32),  // NAS-Port-Id
];

/// A server given by name: its address is looked up again while the gateway runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamedServer {
    /// Its place in [`client::Settings::servers`].
    pub place: u16,
    /// The name that is looked up, without brackets or port.
    pub host: String,
}

/// What carries packets to the servers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Carrier {
    /// Datagrams: the client repeats them and limits what is under way (RFC 2866).
    #[default]
    Udp,
    /// TCP: nothing is repeated as long as a connection stands (RFC 6613).
    Tcp,
    /// As TCP, inside TLS (RFC 6614).
    Tls(TlsSettings),
}

/// How TLS is spoken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsSettings {
    /// Trust anchors, our certificate, whether names are checked. Files that were read anew are other files: what they hold
    /// is not compared.
    pub config: ClientTls,
    /// What each server has to prove, in the order of the servers; a missing one stands for its address.
    pub names: Vec<ServerName<'static>>,
}

/// One field and the attribute that carries it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FieldMapping {
    /// Name of the field.
    pub field: String,
    /// Name of the attribute.
    pub attribute: String,
    /// What happens to a value that is too long. Default: cut.
    pub oversize: Oversize,
    /// Octets of a value at most, below what the attribute takes, for narrow columns of the server's database; with
    /// [`Columns::FreeradiusSql`] counted after escaping, in place of that table's width.
    pub max_octets: Option<usize>,
    /// Attribute that carries the whole of a value that is too long, beside what `attribute` takes of it: one of the
    /// long-extended space (RFC 6929 §2.2). Default: none.
    pub long: Option<String>,
    /// When the packet is too full, a lower one is dropped earlier. Default 128, in legs 64.
    pub priority: Priority,
}

impl FieldMapping {
    /// The mapping with default policies.
    #[must_use]
    pub fn new(field: &str, attribute: &str) -> Self {
        Self {
            field: field.to_owned(),
            attribute: attribute.to_owned(),
            oversize: Oversize::default(),
            max_octets: None,
            long: None,
            priority: Priority::FIELD,
        }
    }
}

/// Settings of a RADIUS sink.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Servers, schedule, window, health, back-off.
    pub client: client::Settings,
    /// Names of attributes and values; with the profile's file read into it.
    pub dictionary: Arc<Dictionary>,
    /// Local address of the sockets. Default: the kernel's choice.
    pub bind: Option<IpAddr>,
    /// File of the network namespace the sockets belong to. Default: that of the process.
    pub namespace: Option<PathBuf>,
    /// Choice of the source address. Default: the kernel's.
    pub source: SourceAddress,
    /// What carries packets; it decides [`client::Settings::transport`]. Default UDP.
    pub carrier: Carrier,
    /// Whether datagrams of about one length are padded to one, for the kernel or the network card to cut them out of one
    /// send; over UDP alone. Default: no.
    pub segmentation_offload: bool,
    /// NAS-Identifier of every packet (RFC 2865 §5.32). Default: none.
    pub nas_identifier: Option<String>,
    /// NAS-IP-Address or NAS-IPv6-Address, one of which is always sent. Default: the local address towards the first
    /// server at start.
    pub nas_address: Option<IpAddr>,
    /// NAS-Port, which the classic libraries send as 5060. Default: none; 5060 in the classic profiles.
    pub nas_port: Option<u32>,
    /// Service-Type. Default 15, Sip-Session in all SIP dictionaries.
    pub service_type: Option<u32>,
    /// Which attributes carry the core values. Default own.
    pub profile: Profile,
    /// Whether attributes, legs and lists are in the order of the proxy. Default by profile.
    pub is_exact: bool,
    /// How a record becomes an Acct-Status-Type. Default newest.
    pub status_mapping: StatusMapping,
    /// What Acct-Session-Id holds. Default short; the Call-ID in the classic profiles.
    pub session_id: SessionId,
    /// Rounding, order of legs, fields without a mapping. Those are left out in the classic profiles.
    pub style: Style,
    /// Attributes of fields; a field may have several. They are sent in the record's order of fields.
    pub fields: Vec<FieldMapping>,
    /// Attributes of fields of legs.
    pub leg_fields: Vec<FieldMapping>,
    /// How several legs travel. Default auto; together in the classic profiles, as the proxies send them.
    pub legs: Legs,
    /// Attribute of the record id; empty for none. Default `Tollgate-Record-Id`.
    pub record_id_attribute: String,
    /// Attribute that names what was shortened; empty for none. Default `Tollgate-Shortened`.
    pub shortened_attribute: String,
    /// `Acct-Terminate-Cause` of a cause, in place of the built-in number.
    pub terminate_causes: Vec<(Cause, u32)>,
    /// User-Name of Accounting-On and Accounting-Off: radsecproxy passes nothing on without one. Default: none.
    pub on_user_name: Option<String>,
    /// Realm of a User-Name without `@`. Default: none.
    pub default_realm: Option<String>,
    /// Widths that values must keep. Default: any.
    pub columns: Columns,
    /// Servers given by name. Default: none.
    pub names: Vec<NamedServer>,
    /// Time between two look-ups of their addresses. Default 60 s.
    pub lookup_interval: Duration,
    /// Whether the client file asks for debug output (`clientdebug`). Default: no.
    pub debug: bool,
    /// Keywords of the client file that have no effect, for the log. Default: none.
    pub ignored_keywords: Vec<&'static str>,
}

/// The default of [`Settings::lookup_interval`].
const LOOKUP_INTERVAL: Duration = Duration::from_secs(60);

impl Default for Settings {
    fn default() -> Self {
        Self::of_profile(Profile::Own, Arc::new(Dictionary::builtin()))
    }
}

impl Settings {
    /// The defaults of a profile. `dictionary` has to know the profile's attributes.
    #[must_use]
    pub fn of_profile(profile: Profile, dictionary: Arc<Dictionary>) -> Self {
        let classic = profile.is_classic();
        let is_exact = profile.system().attributes.as_ref().is_some_and(|attributes| attributes.is_exact);
        let style = Style { unmapped: if classic { Unmapped::Omit } else { Unmapped::Own }, ..Style::default() };
        let settings = Self {
            client: client::Settings::default(),
            dictionary,
            bind: None,
            namespace: None,
            source: SourceAddress::default(),
            carrier: Carrier::default(),
            segmentation_offload: false,
            nas_identifier: None,
            nas_address: None,
            nas_port: classic.then_some(5060),
            service_type: Some(15),
            profile,
            is_exact: false,
            status_mapping: StatusMapping::Newest,
            session_id: if classic { SessionId::CallId } else { SessionId::Short },
            style,
            fields: Vec::new(),
            leg_fields: Vec::new(),
            legs: if classic { Legs::Together } else { Legs::Auto },
            record_id_attribute: "Tollgate-Record-Id".to_owned(),
            shortened_attribute: "Tollgate-Shortened".to_owned(),
            terminate_causes: Vec::new(),
            on_user_name: None,
            default_realm: None,
            columns: Columns::Any,
            names: Vec::new(),
            lookup_interval: LOOKUP_INTERVAL,
            debug: false,
            ignored_keywords: Vec::new(),
        };
        if is_exact { settings.exact() } else { settings }
    }

    /// The same, as the system of the profile sends it.
    #[must_use]
    pub fn exact(mut self) -> Self {
        let system = self.profile.system();
        self.is_exact = true;
        self.style.leg_order = system.leg_order;
        self.status_mapping = system.attributes.as_ref().map_or(self.status_mapping, |attributes| attributes.status);
        self
    }
}
