//! Checks of `[sinks.radius.NAME]`: radiusclient.conf, dictionaries, attributes.

pub mod client;
mod mapping;
pub mod table;
mod transport;

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use self::client::{Host, RadiusClient};
use self::mapping::{Of, attribute_named, mappings};
use self::table::{AccountingOn, RadiusTable};
use super::client_file::{client_file, profile};
use super::dictionary::dictionary;
use super::{Needs, Site, Table, style};
use crate::accounting::SinkMode;
use crate::config::check::Check;
use crate::config::check::sections::{choose, set};
use crate::config::error::{Mistake, Place};
use crate::config::schema::Switch;
use crate::config::tree::PlaceId;
use crate::dictionary::Type;
use crate::radius::client::{self as machine, MessageAuthenticator, ServerSettings};
use crate::radius::packet::VALUE_OCTETS_MAX;
use crate::sinks::kind::Kind;
use crate::sinks::profile::Profile;
use crate::sinks::radius::{NamedServer, SessionId, Settings};
use crate::units::{Count, Millis, Secs};

impl Table for RadiusTable {
    fn records(&self) -> SinkMode {
        self.records.unwrap_or_default()
    }

    fn check(&self, site: &Site<'_>, check: &mut Check<'_>) -> Option<(Arc<dyn Kind>, Needs)> {
        let settings = settings(self, site, check)?;
        let by_tag = settings.session_id == SessionId::CallIdAndTag;
        if by_tag && site.accounting.detect_direction.is_some_and(|switch| !switch.is_on()) {
            let what = "`session_id = \"call-id-and-tag\"` without `accounting.detect_direction`: a call that the callee \
                        ends gets another Acct-Session-Id in its Stop";
            check.warning(site.place, what, None);
        }
        let attributes = settings.profile.system().attributes.iter();
        let rows = attributes.flat_map(|attributes| attributes.needed.iter().chain(attributes.known));
        let needs = Needs {
            request_fields: rows.flat_map(|(_, value, _)| value.fields()).collect(),
            frozen: mapping::identity(&self.fields, &settings.dictionary),
            is_collapsing: self.records() == SinkMode::Sessions && self.collapse_interims.is_none_or(Switch::is_on),
            is_announced: self.accounting_on != Some(AccountingOn::Never),
            log: if settings.debug { DEBUG } else { "" },
            ..Needs::default()
        };
        Some((Arc::new(settings), needs))
    }
}

/// What `clientdebug` of a client file adds to the levels of the log.
const DEBUG: &str = ",tollgate::radius=debug,tollgate::sinks::radius=debug";

/// Settings of one sink; `None` when too much is missing to say more.
fn settings(table: &RadiusTable, site: &Site<'_>, check: &mut Check<'_>) -> Option<Settings> {
    let Site { base, fields, .. } = *site;
    let profile = profile(table.profile.as_ref(), profiles(), Profile::name, check);
    let unknown = table.unknown_keywords.unwrap_or_default();
    let load = |path: &Path| client::load(path, unknown, &mut client::System);
    let client = client_file("radius", site, table.config.as_ref(), load, check);
    check.findings.extend(client.iter().flat_map(|client| client.warnings.iter().cloned()));
    let named = |client: &RadiusClient| Some((client.dictionary.clone()?, client.keywords.place("dictionary")));
    let named = client.iter().filter_map(named).collect();
    let dictionary = dictionary(builtin(profile.unwrap_or_default()), named, table.dictionary.as_ref(), base, check)?;
    let mut settings = Settings::of_profile(profile?, Arc::new(dictionary));
    settings.fields = mappings(Of::Record, &table.fields, &fields.record, &settings.dictionary, check);
    settings.leg_fields = mappings(Of::Leg, &table.leg_fields, &fields.leg, &settings.dictionary, check);
    attributes(table, &mut settings, check);
    choices(table, &mut settings);
    on_user_name(table, &mut settings, check);
    method(site.place, &settings, check);
    let client = client?;
    let can_be_carried = transport::check(&client, &mut settings, check);
    transport::offload(table.segmentation_offload.as_ref(), &client, &mut settings, check);
    settings.nas_identifier.clone_from(&client.nas_identifier);
    settings.nas_address = client.nas_ip;
    settings.default_realm.clone_from(&client.default_realm);
    settings.ignored_keywords.clone_from(&client.ignored);
    settings.names = names(&client);
    settings.debug = client.debug > 0;
    settings.client = client_settings(table, &client, check);
    can_be_carried.then_some(settings)
}

/// The profiles of systems that have a RADIUS backend.
fn profiles() -> impl Iterator<Item = Profile> + Clone {
    Profile::ALL.iter().copied().filter(|profile| profile.system().attributes.is_some())
}

/// The dictionary that comes with a profile.
fn builtin(profile: Profile) -> &'static str {
    profile.system().attributes.as_ref().map_or("", |attributes| attributes.dictionary)
}

/// The User-Name of Accounting-On and Accounting-Off, without which radsecproxy passes neither on.
fn on_user_name(table: &RadiusTable, settings: &mut Settings, check: &mut Check<'_>) {
    let Some(name) = table.accounting_on_user.as_ref().filter(|name| !name.is_empty()) else { return };
    if name.len() > VALUE_OCTETS_MAX || name.contains(char::is_control) {
        let what =
            format_args!("`accounting_on_user` takes {VALUE_OCTETS_MAX} octets at most, without control characters");
        check.error(name.place, what);
    } else if table.accounting_on == Some(AccountingOn::Never) {
        check.warning(name.place, "`accounting_on_user` has no effect with `accounting_on = \"never\"`", None);
    }
    settings.on_user_name = Some(name.value.clone());
}

fn attributes(table: &RadiusTable, settings: &mut Settings, check: &mut Check<'_>) {
    let dictionary = Arc::clone(&settings.dictionary);
    for (given, place) in [
        (&table.record_id_attribute, &mut settings.record_id_attribute),
        (&table.shortened_attribute, &mut settings.shortened_attribute),
    ] {
        if let Some(name) = given {
            place.clone_from(name);
            if !name.is_empty() {
                attribute_named(name, &dictionary, check);
            }
        }
    }
    let Some(service_type) = &table.service_type else { return };
    settings.service_type = None;
    if service_type.is_empty() {
        return;
    }
    let named = || dictionary.attribute("Service-Type").and_then(|attribute| attribute.value(service_type));
    let number = service_type.parse::<u32>().ok().or_else(|| named().and_then(|number| u32::try_from(number).ok()));
    if number.is_none() {
        let hint = "`tollgate dict Service-Type` lists the names; a number is fine too".to_owned();
        let what = format_args!("unknown value `{}` of Service-Type", service_type.value);
        check.error_hint(service_type.place, what, Some(hint));
    }
    settings.service_type = number;
}

/// A method travels as its VALUE, so that the dictionary should have some.
fn method(place: PlaceId, settings: &Settings, check: &mut Check<'_>) {
    let Some(attribute) = settings.dictionary.attribute("Sip-Method").filter(|_| settings.profile.is_classic()) else {
        return;
    };
    let has = |name| attribute.value(name).is_some();
    let is_text = matches!(attribute.kind(), Type::String | Type::Octets(_));
    let has_values = has("Other") || (has("Invite") && has("Bye"));
    if !is_text && !has_values {
        let what =
            "`Sip-Method` has no VALUE for INVITE and BYE, nor `Other`: it is left out of the records that need them";
        check.warning(place, what, Some("add `VALUE Sip-Method Invite 1` to the dictionary".to_owned()));
    }
}

fn choices(table: &RadiusTable, settings: &mut Settings) {
    match table.exact.map(Switch::is_on) {
        Some(true) => *settings = settings.clone().exact(),
        Some(false) => settings.is_exact = false,
        None => {}
    }
    style(&mut settings.style, table.unmapped, table.round, table.leg_order);
    choose(&mut settings.session_id, table.session_id);
    choose(&mut settings.status_mapping, table.status_mapping);
    choose(&mut settings.legs, table.legs);
    choose(&mut settings.columns, table.columns);
    set(&mut settings.nas_port, table.nas_port, |port| u32::try_from(port.get()).ok().filter(|port| *port != 0));
}

fn client_settings(table: &RadiusTable, file: &RadiusClient, check: &mut Check<'_>) -> machine::Settings {
    let mut settings = machine::Settings::default().with_radiusclient_schedule(file.timeout, file.retries);
    if !file.deadtime.is_zero() {
        settings.revival = file.deadtime;
    }
    let message_authenticator = match table.message_authenticator.map(Switch::is_on) {
        Some(true) => MessageAuthenticator::Send,
        _ => MessageAuthenticator::Omit,
    };
    for server in &file.acct_servers {
        if let Some(address) = address(&server.host, server.port, &server.place, check) {
            let secret = server.secret.clone();
            settings.servers.push(ServerSettings { address, secret, message_authenticator });
        }
    }
    choose(&mut settings.selection, table.selection);
    choose(&mut settings.probing, table.probing);
    choose(&mut settings.delay_time, table.acct_delay_time);
    set(&mut settings.watchdog, table.watchdog_s, Secs::duration);
    set(&mut settings.idle, table.keep_alive, |switch| match switch.is_on() {
        true => machine::Idle::KeptAlive,
        false => machine::Idle::MayClose,
    });
    set(&mut settings.window, table.window_max, Count::len);
    set(&mut settings.lanes_max, table.lanes_max, |lanes| u16::try_from(lanes.get()).unwrap_or(u16::MAX));
    set(&mut settings.response_window, table.response_window_ms, Millis::duration);
    set(&mut settings.zombie_period, table.zombie_period_s, Secs::duration);
    set(&mut settings.retry_first, table.retry_first_ms, Millis::duration);
    set(&mut settings.retry_max, table.retry_max_s, Secs::duration);
    set(&mut settings.attempts_max, table.attempts_max, |most| u32::try_from(most.get()).unwrap_or(u32::MAX));
    set(&mut settings.park_age_min, table.park_age_min_s, Secs::duration);
    settings
}

/// The servers given by name, whose addresses are looked up again while the gateway runs.
fn names(file: &RadiusClient) -> Vec<NamedServer> {
    let names = (0_u16..).zip(&file.acct_servers).filter_map(|(place, server)| match &server.host {
        Host::Name(host) => Some(NamedServer { place, host: host.clone() }),
        Host::Address(_) => None,
    });
    names.collect()
}

/// The address of a server. A name that has none is a warning: it is looked up again while the gateway runs, and the
/// server is not used until then; the unspecified address stands for that.
fn address(host: &Host, port: u16, place: &Place, check: &mut Check<'_>) -> Option<SocketAddr> {
    let name = match host {
        Host::Address(ip) if ip.is_unspecified() => {
            let what = format!("`{ip}` is no address of a server");
            check.findings.push(Mistake::error(what, place.clone()));
            return None;
        }
        Host::Address(ip) => return Some(SocketAddr::new(*ip, port)),
        Host::Name(name) => name,
    };
    let what = match (name.as_str(), port).to_socket_addrs().map(|mut found| found.next()) {
        Ok(Some(address)) => return Some(address),
        Ok(None) => format!("the host `{name}` has no address"),
        Err(error) => format!("the host `{name}` does not resolve: {error}"),
    };
    let hint = "it is looked up again while the gateway runs, and not used until it has an address";
    check.findings.push(Mistake::warning(what, place.clone()).hint(hint));
    Some(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
}
