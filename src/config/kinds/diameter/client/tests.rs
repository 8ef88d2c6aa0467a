//! diameterclient.conf: the sample, every keyword, every mistake.

use std::path::Path;
use std::time::Duration;

use config::{Config, File};

use super::*;
use crate::diameter::peer::Security as Transport;
use crate::net::tls::NameCheck;
use crate::sinks::diameter::acr::{Application, CdrRecord, Legs, RealmFrom, Trigger};
use crate::sinks::diameter::settings::{Realtime, VendorApplication};

const SAMPLE: &str = include_str!("../../../../../etc/diameterclient.conf");

fn read(text: &str) -> Result<DiameterClient, Mistakes> {
    parse(Path::new("/etc/tollgate/diameterclient.conf"), text.as_bytes())
}

fn settings(text: &str) -> Settings {
    read(text).unwrap_or_else(|mistakes| panic!("{mistakes}")).settings
}

fn with(line: &str) -> String {
    format!("identity gw.example.net\nacctserver cdf.example.net\n{line}\n")
}

#[test]
fn the_sample_loads_and_its_defaults_are_the_code_s() {
    let client = read(SAMPLE).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert!(client.warnings.is_empty(), "{:?}", client.warnings);
    let plain = settings("identity sip-gw.example.net\nacctserver localhost\n");
    assert_eq!(format!("{:?}", client.settings.node), format!("{:?}", plain.node));
    // Lines that only show an example change something; the others show the default.
    let examples = [
        "acctserver",
        "peer-realms",
        "destination-host",
        "session-identity",
        "dictionary",
        "mandatory",
        "optional",
        "service-type",
        "firmware-revision",
        "origin-state-id",
        "redirect-hosts",
        "tls-ca-file",
        "tls-cert-file",
        "tls-key-file",
    ];
    for line in SAMPLE.lines().filter_map(|line| line.strip_prefix('#')).filter(|line| line.contains('\t')) {
        let key = line.split('\t').next().expect("a line has a first word");
        let text = format!("identity sip-gw.example.net\nacctserver localhost\n{line}\n");
        let peers = match key {
            "acctserver" => "",
            "peer-realms" => "acctserver cdf1.example.net, cdf2.example.net\n",
            _ => "acctserver localhost\n",
        };
        let text = text.replace("acctserver localhost\n", peers);
        let shown = settings(&text);
        let strip =
            |settings: &Settings| format!("{settings:?}").replace(&format!("{:?}", settings.accounting.dictionary), "");
        let is_default = strip(&shown) == strip(&plain);
        let is_file = ["dictionary", "service-context-id"].contains(&key);
        assert!(is_file || is_default != examples.contains(&key) || key.starts_with("tls-"), "{line}");
    }
}

#[test]
fn the_sample_names_every_keyword() {
    for key in keys::ALL {
        let is_shown = SAMPLE.lines().any(|line| {
            line.trim_start_matches('#').split('\t').next().is_some_and(|word| word == key.name) && line.contains('\t')
        });
        assert!(is_shown, "`{}` is not in etc/diameterclient.conf", key.name);
    }
}

#[test]
fn every_keyword_says_what_it_means() {
    let text = "identity gw1.voice.example\nrealm voice.example\ndestination-realm billing.example\n\
        destination-host cdf.billing.example\nrealm-from user\nsession-identity gw.voice.example\n\
        acctserver a.example, b.example:3900:5:10\nacctserver c.example=[2001:db8::1]::5\n\
        peer-realms A.example=one.example, [2001:db8::1]=one.example\npeer-realms c.example=Two.example\n\
        serv-type TLS\ntls-ca-file ca.pem\ntls-cert-file /abs/cert.pem\ntls-key-file key.pem\n\
        tls-verify-hostname no\nbindaddr 192.0.2.1\napplication rf\ndictionary one two\ndictionary three\n\
        mandatory A,B\noptional C\nlegs grouped\nleg-group G\nleg-number none\ncdr-record start-stop\n\
        without missed, cancel\nservice-type Sip-Session\nservice-context-id ext.01.262.8.32260@3gpp.org\n\
        role-of-node TERMINATING_ROLE\nnode-functionality 7\nvendor-id 9999\nproduct-name Our Gateway # comment\n\
        firmware-revision 3\norigin-state-id 4\nadvertise-vendor-application yes\nwatchdog 6\nconnect-timeout 1\n\
        capabilities-timeout 2\nrequest-timeout 3\ndrain-timeout 4\nfailback-hold 0\nwindow 16\nmessage-size 8192\n\
        redirect-hosts x.example *.Y.example\nhonour-realtime on\n";
    let client = read(text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let (s, a) = (&client.settings, &client.settings.accounting);
    assert_eq!((s.node.identity.as_str(), s.node.realm.as_str()), ("gw1.voice.example", "voice.example"));
    assert_eq!((a.destination_realm.as_str(), a.realm_from), ("billing.example", RealmFrom::User));
    assert_eq!(a.destination_host.as_deref(), Some("cdf.billing.example"));
    assert_eq!(a.session_identity.as_deref(), Some("gw.voice.example"));
    let peers: Vec<_> = s
        .peers
        .iter()
        .map(|peer| (peer.host.as_str(), peer.port, peer.identity.as_deref(), peer.priority, peer.weight))
        .collect();
    assert_eq!(
        peers,
        [
            ("a.example", 5658, Some("a.example"), 0, 1),
            ("b.example", 3900, Some("b.example"), 5, 10),
            ("2001:db8::1", 5658, Some("c.example"), 5, 1),
        ]
    );
    let realms: Vec<_> = s.peers.iter().map(|peer| peer.realms.join(" ")).collect();
    assert_eq!(realms, ["one.example", "", "one.example two.example"]);
    assert_eq!((s.transport, s.tls.name_check), (Transport::Tls, NameCheck::Off));
    assert_eq!(s.tls.ca_file.as_deref(), Some(Path::new("/etc/tollgate/ca.pem")));
    assert_eq!(s.tls.cert_file.as_deref(), Some(Path::new("/abs/cert.pem")));
    assert_eq!(s.bind, Some("192.0.2.1".parse().expect("an address")));
    assert_eq!((a.application, a.legs, a.cdr_record), (Application::Rf, Legs::Grouped, CdrRecord::StartStop));
    assert_eq!(client.dictionaries, ["one", "two", "three"].map(|name| Path::new("/etc/tollgate").join(name)));
    assert_eq!(
        (a.mandatory.as_slice(), a.optional.as_slice()),
        (&["A".to_owned(), "B".to_owned()][..], &["C".to_owned()][..])
    );
    assert_eq!((a.leg_group.as_str(), a.leg_number.as_str()), ("G", ""));
    assert_eq!((a.without.as_slice(), a.service_type), (&[Trigger::Missed, Trigger::Cancel][..], Some(15)));
    assert_eq!((a.rf.role_of_node, a.rf.node_functionality), (1, 7));
    assert_eq!(a.rf.service_context_id, "ext.01.262.8.32260@3gpp.org");
    assert_eq!((s.node.vendor_id, s.node.product.as_str()), (9999, "Our Gateway"));
    assert_eq!((s.node.firmware, s.node.origin_state, a.origin_state), (Some(3), Some(4), Some(4)));
    assert_eq!(s.node.vendor_application, VendorApplication::Advertise);
    let timers = [s.timers.watchdog, s.timers.connect, s.timers.capabilities, s.timers.request, s.timers.drain];
    assert_eq!(timers, [6, 1, 2, 3, 4].map(Duration::from_secs));
    assert_eq!((s.timers.failback, s.window), (Duration::ZERO, 16));
    assert_eq!((s.message_octets_max, a.message_octets_max), (8192, 8192));
    assert_eq!(s.redirect_hosts, ["x.example", "*.y.example"]);
    assert_eq!(s.realtime, Realtime::Honour);
}

#[test]
fn what_is_left_out_follows_from_the_rest() {
    let s = settings("identity gw.example.net\nacctserver 192.0.2.1\nacctserver cdf.example.net\n");
    assert_eq!(s.node.realm, "example.net");
    assert_eq!(s.accounting.destination_realm, "example.net");
    assert_eq!((s.peers[0].identity.as_deref(), s.peers[0].port), (None, 3868));
    assert_eq!((s.peers[1].identity.as_deref(), s.peers[1].priority), (Some("cdf.example.net"), 1));
}

#[test]
fn every_mistake_has_its_line_and_a_hint_where_one_helps() {
    for (name, text, want) in [
        ("no identity", "acctserver a.example\n".to_owned(), "`identity` is missing"),
        ("no peer", "identity gw.example\n".to_owned(), "`acctserver` is missing"),
        ("no realm", "identity gw\nacctserver a.example\n".to_owned(), "`realm` is missing"),
        ("a wrong identity", "identity gw@example\nacctserver a.example\n".to_owned(), "takes a domain name"),
        ("an unknown keyword", with("watchdg 30"), "did you mean `watchdog`?"),
        ("an underscore", with("destination_realm x.example"), "did you mean `destination-realm`?"),
        ("an equals sign", with("watchdog = 30"), "this format has no `=`"),
        ("no value", with("watchdog"), "`watchdog` has no value"),
        ("a comment for a value", with("watchdog # 30"), "`watchdog` has no value"),
        ("a number too small", with("watchdog 5"), "from 6 to 3600, not `5`"),
        ("a number with a unit", with("watchdog 30s"), "not `30s`"),
        ("a wrong transport", with("serv-type sctp"), "`tcp`, `tls`, `tls-inband`"),
        ("TLS without trust anchors", with("serv-type tls"), "needs `tls-ca-file`"),
        ("a key without certificate", with("serv-type tls\ntls-ca-file c\ntls-key-file k"), "go together"),
        (
            "TLS to an address without name",
            "identity gw.example.net\nacctserver 192.0.2.1\nserv-type tls\ntls-ca-file c\n".to_owned(),
            "write `IDENTITY=192.0.2.1`",
        ),
        ("a switch", with("honour-realtime maybe"), "neither `yes` nor `no`"),
        ("an address", with("bindaddr host.example"), "IPv4 or IPv6 address"),
        ("an event", with("without mised"), "did you mean `missed`?"),
        ("none and an event", with("without none missed"), "unknown event `none`"),
        ("a value name", with("service-type Sip-Sesion"), "did you mean `Sip-Session`?"),
        ("sub-sessions with Rf", with("application rf\nlegs sub-sessions"), "does not go with `application rf`"),
        (
            "a realm of an unknown peer",
            with("peer-realms cfd.example.net=x.example"),
            "did you mean `cdf.example.net`?",
        ),
        ("a realm without a peer", with("peer-realms x.example"), "`PEER=REALM`"),
        ("a peer without a realm", with("peer-realms cdf.example.net="), "`PEER=REALM`"),
        ("a redirect host", with("redirect-hosts *"), "`*.` and a domain"),
        ("a keyword twice", with("watchdog 30\nwatchdog 31"), "stands twice"),
        ("a peer twice", with("acctserver cdf.example.net:3868"), "is listed twice"),
        ("a port too large", with("acctserver b.example:70000"), "port `70000` of `b.example` is outside 1 to 65535"),
        ("a priority that is none", with("acctserver b.example:1:x"), "priority `x` of `b.example` is no number"),
        ("a weight of 0", with("acctserver b.example:::0"), "weight `0` of `b.example` is outside 1 to 1000"),
        ("too many parts", with("acctserver b.example:1:2:3:4"), "too many parts"),
        ("IPv6 without brackets", with("acctserver 2001:db8::1"), "needs brackets"),
        ("a bracket that stays open", with("acctserver [2001:db8::1"), "no closing bracket"),
        ("rubbish behind a bracket", with("acctserver [2001:db8::1]x"), "behind the host"),
        ("a host that is none", with("acctserver b_!.example"), "neither a name nor an address"),
        ("an identity that is none", with("acctserver b@c=d.example"), "no DiameterIdentity"),
    ] {
        let mistakes = read(&text).expect_err(name).to_string();
        assert!(mistakes.contains(want), "{name}: {mistakes}");
        assert!(mistakes.contains("/etc/tollgate/diameterclient.conf"), "{name}: {mistakes}");
    }
}

#[test]
fn all_mistakes_come_at_once() {
    let mistakes = read("watchdg 1\nwatchdog 1\nserv-type x\n").expect_err("mistakes").0;
    assert_eq!(mistakes.len(), 5, "{mistakes:?}");
}

#[test]
fn what_has_no_effect_is_warned_of() {
    for (line, want) in [
        ("tls-ca-file ca.pem", "`tls-ca-file` has no effect without `serv-type tls`"),
        ("node-functionality AS", "`node-functionality` has no effect without `application rf`"),
        ("leg-group Tollgate-Leg-Info", "`leg-group` has no effect without `legs grouped`"),
    ] {
        let client = read(&with(line)).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert_eq!(client.warnings.len(), 1, "{line}");
        assert_eq!(client.warnings[0].what, want);
    }
}

#[test]
fn octets_of_any_kind_give_mistakes_not_panics() {
    for text in [&b"\xff\xfe"[..], b"identity \xff\n", b"\xef\xbb\xbfidentity gw.example\n", b"# \xff\nidentity", b""] {
        assert!(parse(Path::new("x"), text).is_err(), "{text:?}");
    }
}

#[test]
fn a_blank_of_several_octets_parts_words_as_any_other() {
    let mandatory = settings(&with("mandatory A\u{a0}\u{e9} \u{2003}B")).accounting.mandatory;
    assert_eq!(mandatory, ["A", "\u{e9}", "B"]);
    let mistakes = read(&with("peer-realms \u{a0}x")).expect_err("no realm").to_string();
    assert!(mistakes.contains("diameterclient.conf:3:14"), "{mistakes}");
}

#[test]
fn the_config_crate_reads_it() {
    let config = Config::builder().add_source(File::from_str(SAMPLE, DiameterClientFormat)).build().expect("it loads");
    assert_eq!(config.get_string("identity").expect("there"), "sip-gw.example.net");
    let peers = config.get_array("acctserver").expect("there");
    assert_eq!(peers.len(), 1);
    let wrong = Config::builder().add_source(File::from_str("watchdg 1\n", DiameterClientFormat)).build();
    assert!(wrong.expect_err("a mistake").to_string().contains("watchdg"));
}

/// A charging function counts a call that fails once.
#[test]
fn rf_sends_no_missed_branches_unless_it_is_told_to() {
    for (more, want) in [
        ("", &[][..]),
        ("application rf", &[Trigger::Missed]),
        ("application rf\nwithout none", &[]),
        ("application rf\nwithout cancel", &[Trigger::Cancel]),
        ("without none", &[]),
    ] {
        let text = format!("identity gw.example.net\nrealm example.net\nacctserver cdf.example.net\n{more}\n");
        let client = read(&text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert_eq!(client.settings.accounting.without, want, "{more}");
    }
}
