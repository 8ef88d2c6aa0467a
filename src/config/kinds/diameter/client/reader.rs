//! The keywords of one file, turned into settings, with everything that is wrong on the way.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::lines::Lines;
use super::{DiameterClient, peers};
use crate::config::error::{Mistake, Mistakes, Place, suggestion};
use crate::config::keyword_file::{Entry, KeywordFile};
use crate::diameter::peer::Security;
use crate::names::is_host;
use crate::net::tls::NameCheck;
use crate::sinks::diameter::acr::{Application, CdrRecord, Legs, RealmFrom, Trigger};
use crate::sinks::diameter::settings::{PeerSettings, Realtime, Settings, VendorApplication};

/// What a switch that says nothing is neither of.
const NEITHER: &str = "`yes` nor `no`";

pub(super) fn read(path: &Path, text: &[u8]) -> Result<DiameterClient, Mistakes> {
    let mut reader = Reader { file: KeywordFile::read(&Lines, path, text) };
    reader.file.twice(|name, _, place| Mistake::error(format!("`{name}` stands twice"), place));
    let (settings, dictionaries) = reader.settings();
    let keywords = reader.file.keywords(|value| value);
    let found = reader.file.found;
    let has_error = found.has_error();
    let warnings = found.sorted();
    if has_error {
        return Err(Mistakes(warnings));
    }
    Ok(DiameterClient { path: path.to_owned(), settings, dictionaries, keywords, warnings })
}

/// One file being read.
struct Reader<'a> {
    file: KeywordFile<'a>,
}

impl<'a> Reader<'a> {
    fn settings(&mut self) -> (Settings, Vec<PathBuf>) {
        let identity = self.required_name("identity", "the full name of this host");
        // Without a realm the name says it: what stands behind its first label.
        let own_realm = identity.split_once('.').map_or("", |(_, realm)| realm);
        let realm = match self.name("realm") {
            Some(realm) => realm,
            None if own_realm.is_empty() && !identity.is_empty() => {
                let mistake = Mistake::error("`realm` is missing", self.file.whole());
                self.file.found.push(mistake.hint("`identity` has no domain to take it from"));
                String::new()
            }
            None => own_realm.to_owned(),
        };
        let destination = self.name("destination-realm").unwrap_or_else(|| realm.clone());
        let mut settings = Settings::new(&identity, &realm, &destination);
        self.node(&mut settings);
        settings.transport = self
            .choice("serv-type", &[Security::Plain, Security::Tls, Security::Inband].map(|one| (one.name(), one)))
            .unwrap_or_default();
        settings.peers = self.peers(settings.transport);
        self.peer_realms(&mut settings.peers);
        self.tls(&mut settings);
        self.timers(&mut settings);
        self.accounting(&mut settings);
        if settings.accounting.application == Application::Rf {
            self.rf(&mut settings);
        } else {
            self.unused(&["service-context-id", "role-of-node", "node-functionality"], "`application rf`");
        }
        (settings, self.file.all("dictionary").into_iter().map(|(_, word)| self.file.beside(word)).collect())
    }

    fn node(&mut self, settings: &mut Settings) {
        let node = &mut settings.node;
        if let Some(product) = self.file.text("product-name") {
            node.product = product.to_owned();
        }
        node.vendor_id = self.file.number("vendor-id").unwrap_or(node.vendor_id);
        node.firmware = self.file.number("firmware-revision");
        node.origin_state = self.file.number("origin-state-id");
        settings.accounting.origin_state = node.origin_state;
        if self.switch("advertise-vendor-application") == Some(true) {
            settings.node.vendor_application = VendorApplication::Advertise;
        }
        if self.switch("honour-realtime") == Some(true) {
            settings.realtime = Realtime::Honour;
        }
        settings.redirect_hosts = self.redirect_hosts();
        if let Some((entry, text)) = self.entry("bindaddr") {
            match text.parse() {
                Ok(address) => settings.bind = Some(address),
                Err(_) if text == "*" => {}
                Err(_) => self.file.error(&entry, "`bindaddr` takes an IPv4 or IPv6 address, or `*`"),
            }
        }
    }

    fn tls(&mut self, settings: &mut Settings) {
        let tls = self.file.tls(NEITHER);
        if settings.transport == Security::Plain {
            let names = ["tls-ca-file", "tls-cert-file", "tls-key-file", "tls-verify-hostname"];
            self.unused(&names, "`serv-type tls`");
        } else {
            if tls.ca_file.is_none() {
                let what = format!("`serv-type {}` needs `tls-ca-file`", settings.transport.name());
                let place = self.entry("serv-type").map(|(entry, _)| self.file.place(&entry));
                let mistake = Mistake::error(what, place.unwrap_or(self.file.whole()));
                self.file.found.push(mistake.hint("the certificates of the authorities that sign the peers' ones"));
            }
            for (has, lacks, name) in
                [(&tls.cert_file, &tls.key_file, "tls-cert-file"), (&tls.key_file, &tls.cert_file, "tls-key-file")]
            {
                if let (true, None, Some((entry, _))) = (has.is_some(), lacks, self.entry(name)) {
                    self.file.error(&entry, format!("`{name}` alone is of no use: certificate and key go together"));
                }
            }
            if let (NameCheck::Off, Some((entry, _))) = (tls.name_check, self.entry("tls-verify-hostname")) {
                let what = "the name in the peer's certificate is not checked";
                self.file.found.push(Mistake::warning(what, self.file.place(&entry)));
            }
        }
        settings.tls = tls;
    }

    fn timers(&mut self, settings: &mut Settings) {
        let timers = &mut settings.timers;
        for (name, place) in [
            ("watchdog", &mut timers.watchdog),
            ("connect-timeout", &mut timers.connect),
            ("capabilities-timeout", &mut timers.capabilities),
            ("request-timeout", &mut timers.request),
            ("drain-timeout", &mut timers.drain),
            ("failback-hold", &mut timers.failback),
        ] {
            if let Some(secs) = self.file.number(name) {
                *place = Duration::from_secs(secs.into());
            }
        }
        if let Some(window) = self.file.number("window") {
            settings.window = usize::try_from(window).unwrap_or(usize::MAX);
        }
        if let Some(octets) = self.file.number("message-size") {
            settings.message_octets_max = usize::try_from(octets).unwrap_or(usize::MAX);
            settings.accounting.message_octets_max = settings.message_octets_max;
        }
    }

    fn accounting(&mut self, settings: &mut Settings) {
        let destination_host = self.name("destination-host");
        let session_identity = self.name("session-identity");
        let accounting = &mut settings.accounting;
        accounting.destination_host = destination_host;
        accounting.session_identity = session_identity;
        accounting.realm_from = self
            .choice("realm-from", &[("configuration", RealmFrom::Configuration), ("user", RealmFrom::User)])
            .unwrap_or_default();
        accounting.application =
            self.choice("application", &[("base", Application::Base), ("rf", Application::Rf)]).unwrap_or_default();
        accounting.legs = self
            .choice("legs", &[("flat", Legs::Flat), ("grouped", Legs::Grouped), ("sub-sessions", Legs::SubSessions)])
            .unwrap_or_default();
        accounting.cdr_record = self
            .choice(
                "cdr-record",
                &[("event", CdrRecord::Event), ("stop", CdrRecord::Stop), ("start-stop", CdrRecord::StartStop)],
            )
            .unwrap_or_default();
        if let Some(label) = self.file.text("leg-group") {
            label.clone_into(&mut accounting.leg_group);
        }
        if let Some(label) = self.file.text("leg-number") {
            accounting.leg_number = if label == "none" { String::new() } else { label.to_owned() };
        }
        if accounting.legs != Legs::Grouped {
            self.unused(&["leg-group", "leg-number"], "`legs grouped`");
        }
        if let (Application::Rf, Legs::SubSessions, Some((entry, _))) =
            (accounting.application, accounting.legs, self.entry("legs"))
        {
            self.file
                .error(&entry, "`legs sub-sessions` does not go with `application rf`: TS 32.299 has no sub-sessions");
        }
        let labels = |words: Vec<(Place, &str)>| words.into_iter().map(|(_, word)| word.to_owned()).collect();
        accounting.mandatory = labels(self.file.all("mandatory"));
        accounting.optional = labels(self.file.all("optional"));
        accounting.service_type = self.enumerated("service-type", "Service-Type", &accounting.dictionary.clone());
        let without = self.file.all("without");
        if without.is_empty() && settings.accounting.application == Application::Rf {
            // A call that fails is one unsuccessful session to a charging function, however many branches it had.
            settings.accounting.without.push(Trigger::Missed);
        }
        let is_none = matches!(without[..], [(_, "none")]);
        for (place, word) in without.into_iter().filter(|_| !is_none) {
            match Trigger::ALL.into_iter().find(|trigger| trigger.name() == word) {
                Some(trigger) => settings.accounting.without.push(trigger),
                None => {
                    let hint = suggestion(word, Trigger::ALL.map(Trigger::name));
                    let hint = hint.or_else(|| Some(format!("one of {}", listed(&Trigger::ALL.map(Trigger::name)))));
                    self.file
                        .found
                        .push(Mistake::error(format!("`without`: unknown event `{word}`"), place).maybe_hint(hint));
                }
            }
        }
    }

    fn rf(&mut self, settings: &mut Settings) {
        let dictionary = settings.accounting.dictionary.clone();
        let rf = &mut settings.accounting.rf;
        if let Some((entry, text)) = self.entry("service-context-id") {
            if !text.ends_with("32260@3gpp.org") {
                let mistake =
                    Mistake::warning("a Service-Context-Id for SIP ends in `32260@3gpp.org`", self.file.place(&entry));
                self.file.found.push(mistake.hint("see TS 32.260 section 6.1.1"));
            }
            text.clone_into(&mut rf.service_context_id);
        }
        if let Some(number) = self.enumerated("role-of-node", "Role-Of-Node", &dictionary) {
            rf.role_of_node = number;
        }
        if let Some(number) = self.enumerated("node-functionality", "Node-Functionality", &dictionary) {
            rf.node_functionality = number;
        }
    }

    fn peers(&mut self, transport: Security) -> Vec<PeerSettings> {
        let mut peers: Vec<PeerSettings> = Vec::new();
        for (place, word) in self.file.all("acctserver") {
            let peer = match peers::peer(word, transport, peers.len()) {
                Ok(peer) => peer,
                Err((what, hint)) => {
                    self.file.found.push(Mistake::error(what, place).maybe_hint(hint.map(str::to_owned)));
                    continue;
                }
            };
            let is_twice = peers.iter().any(|other| {
                (&other.host, other.port) == (&peer.host, peer.port)
                    || other.identity.is_some() && other.identity == peer.identity
            });
            if is_twice {
                let mistake = Mistake::error(format!("`{word}` is listed twice"), place);
                self.file.found.push(mistake.hint("a peer takes one connection of an identity (RFC 6733 section 2.1)"));
            } else if peers.len() == peers::PEERS_MAX {
                self.file.found.push(Mistake::error(format!("more than {} peers", peers::PEERS_MAX), place));
            } else {
                if transport != Security::Plain && peer.identity.is_none() {
                    let mistake = Mistake::error(format!("`{word}` has no name to verify its certificate"), place);
                    self.file.found.push(mistake.hint(format!("write `IDENTITY={word}`")));
                }
                peers.push(peer);
            }
        }
        if peers.is_empty() && !self.file.entries.iter().any(|entry| entry.key.name == "acctserver") {
            let mistake = Mistake::error("`acctserver` is missing", self.file.whole());
            self.file.found.push(mistake.hint("`acctserver HOST[:PORT[:PRIORITY[:WEIGHT]]]`"));
        }
        peers
    }

    /// Which peers serve some realms only.
    fn peer_realms(&mut self, peers: &mut [PeerSettings]) {
        for (place, word) in self.file.all("peer-realms") {
            let Some((name, realm)) = word.split_once('=').filter(|(_, realm)| is_host(realm)) else {
                let mistake = Mistake::error(format!("`peer-realms`: `{word}` is no peer with a realm"), place);
                self.file.found.push(mistake.hint("`PEER=REALM`, with the identity or the host of a peer"));
                continue;
            };
            let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
            let is_it = |peer: &&mut PeerSettings| {
                peer.identity.as_deref().unwrap_or(&peer.host).eq_ignore_ascii_case(bare)
                    || peer.host.eq_ignore_ascii_case(bare)
            };
            // A host may stand with several ports.
            let mut is_known = false;
            for peer in peers.iter_mut().filter(is_it) {
                is_known = true;
                peer.realms.push(realm.to_ascii_lowercase());
            }
            if !is_known {
                let hint = suggestion(bare, peers.iter().map(|peer| peer.identity.as_deref().unwrap_or(&peer.host)));
                let what = format!("`peer-realms`: no `acctserver` is called `{name}`");
                self.file.found.push(Mistake::error(what, place).maybe_hint(hint));
            }
        }
    }

    fn redirect_hosts(&mut self) -> Vec<String> {
        let mut hosts = Vec::new();
        for (place, word) in self.file.all("redirect-hosts") {
            if is_host(word.strip_prefix("*.").unwrap_or(word)) {
                hosts.push(word.to_ascii_lowercase());
            } else {
                let mistake = Mistake::error(format!("`redirect-hosts`: `{word}` is no name"), place);
                self.file.found.push(mistake.hint("a full name, or `*.` and a domain"));
            }
        }
        hosts
    }

    /// Keywords that have no effect without another.
    fn unused(&mut self, names: &[&str], without: &str) {
        for (entry, _) in names.iter().filter_map(|name| self.entry(name)).collect::<Vec<_>>() {
            let what = format!("`{}` has no effect without {without}", entry.key.name);
            self.file.found.push(Mistake::warning(what, self.file.place(&entry)));
        }
    }

    fn entry(&self, name: &str) -> Option<(Entry<'a>, &'a str)> {
        self.file.last(name).map(|entry| (entry, entry.value))
    }

    fn switch(&mut self, name: &str) -> Option<bool> {
        self.file.switch(name, NEITHER)
    }

    fn name(&mut self, name: &str) -> Option<String> {
        let (entry, text) = self.entry(name)?;
        if !is_host(text) {
            self.file.error(&entry, format!("`{name}` takes a domain name: letters, digits, `-` and `.`"));
            return None;
        }
        Some(text.to_owned())
    }

    fn required_name(&mut self, name: &str, hint: &str) -> String {
        if self.entry(name).is_none() && !self.file.entries.iter().any(|entry| entry.key.name == name) {
            let mistake = Mistake::error(format!("`{name}` is missing"), self.file.whole());
            self.file.found.push(mistake.hint(hint));
        }
        self.name(name).unwrap_or_default()
    }

    fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let (entry, text) = self.entry(name)?;
        let found = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
        if found.is_none() {
            let names: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            let mistake = Mistake::error(format!("`{name}` is one of {}", listed(&names)), self.file.place(&entry));
            self.file.found.push(mistake.maybe_hint(suggestion(text, names)));
        }
        found.map(|(_, value)| *value)
    }

    /// A number, or a value name of an AVP.
    fn enumerated(
        &mut self,
        name: &str,
        avp: &str,
        dictionary: &crate::dictionary::diameter::Dictionary,
    ) -> Option<u32> {
        let (entry, text) = self.entry(name)?;
        let values = dictionary.find(avp).ok()?;
        let number = text.parse::<i64>().ok().or_else(|| values.values().number(text));
        let number = number.and_then(|number| u32::try_from(number).ok());
        if number.is_none() {
            let names: Vec<&str> = values.values().sorted().into_iter().map(|(name, _)| name).collect();
            let mistake = Mistake::error(format!("unknown value `{text}` of {avp}"), self.file.place(&entry));
            let hint =
                suggestion(text, names).unwrap_or_else(|| format!("`tollgate dict --diameter {avp}` lists them"));
            self.file.found.push(mistake.hint(hint));
        }
        number
    }
}

/// `a`, `b`, `c`.
fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
