//! Lines and values.

use super::*;

#[test]
fn lines_are_read_as_the_libraries_read_them_or_better() {
    for (name, text, want) in [
        ("blanks and tabs separate", "nas-identifier \t gw one", Some("gw one")),
        ("a comment needs the first place", "# nas-identifier gw", None),
        ("a comment may be indented", "\t # nas-identifier gw", None),
        ("a keyword may be indented", "  nas-identifier gw", Some("gw")),
        ("a line of blanks is nothing", " \t \nnas-identifier gw", Some("gw")),
        ("trailing blanks go", "nas-identifier gw \t ", Some("gw")),
        ("CR of CRLF goes", "nas-identifier gw\r", Some("gw")),
        ("a keyword without value is empty", "nas-identifier", None),
        ("quotes are kept", "nas-identifier \"gw\"", Some("\"gw\"")),
        ("a backslash is kept", "nas-identifier gw\\", Some("gw\\")),
        ("`#` without a blank before it is kept", "nas-identifier gw#1", Some("gw#1")),
        ("octets beyond ASCII are kept", "nas-identifier gwé", Some("gwé")),
    ] {
        let result = line(text);
        assert_finding(name, &result, "");
        assert_eq!(result.unwrap().nas_identifier.as_deref(), want, "{name}");
    }
}

#[test]
fn what_the_libraries_do_silently_is_a_warning() {
    for (name, text, identifier, want) in [
        ("an equals sign", "nas-identifier = gw", "= gw", "starts with `=`"),
        ("a comment after text", "nas-identifier gw # x", "gw # x", "`#` inside the value of `nas-identifier`"),
        ("another case of a keyword", "NAS-Identifier gw", "gw", "`NAS-Identifier` is taken for `nas-identifier`"),
        ("the same twice", "nas-identifier gw\nnas-identifier gw", "gw", "stands twice with the same value"),
    ] {
        let result = line(text);
        assert_finding(name, &result, want);
        assert_eq!(result.unwrap().nas_identifier.as_deref(), Some(identifier), "{name}");
    }
}

#[test]
fn the_last_line_needs_no_newline_and_the_first_may_have_a_mark() {
    let client = loaded(format!("\u{feff}{SERVER}{REST}nas-identifier gateway")).unwrap();
    assert_eq!(client.nas_identifier.as_deref(), Some("gateway"));
    assert_eq!(client.acct_servers.len(), 1);
}

#[test]
fn long_lines_are_read_up_to_the_cap() {
    let secret = "s".repeat(1_000);
    let client = loaded(format!("acctserver a.example:1:{secret}, b.example:1:{secret}{REST}")).unwrap();
    assert_eq!(client.acct_servers[1].secret.octets(), secret.as_bytes());
    assert_finding(
        "over the cap",
        &line(&format!("x{}", " ".repeat(LINE_OCTETS_MAX))),
        "line longer than 65536 octets",
    );
}

#[test]
fn mistakes_are_errors_with_a_place_and_a_hint() {
    for (name, text, want) in [
        (
            "unknown keyword",
            "nas-identifer gw",
            "unknown keyword `nas-identifer`\n  --> /etc/t/radiusclient.conf:2:1\nhint: did you mean `nas-identifier`?",
        ),
        (
            "different values",
            "nas-ip 192.0.2.1\nnas-ip 192.0.2.2",
            "`nas-ip` stands twice with different values\n  --> /etc/t/radiusclient.conf:3:8\n  --> /etc/t/radiusclient.conf:2:8",
        ),
        ("no number", "radius_deadtime ten", "`radius_deadtime` takes a whole number from 0 to 2147483647, not `ten`"),
        ("a number with more", "radius_deadtime 10x", "not `10x`"),
        ("a number with `=`", "radius_deadtime = 10", "hint: this format has no `=`"),
        ("a negative number", "radius_deadtime -1", "not `-1`"),
        ("a number without value", "radius_deadtime", "not ``"),
        ("a number beyond int", "radius_deadtime 2147483648", "not `2147483648`"),
        ("a name as nas-ip", "nas-ip gw.example", "`nas-ip` takes an IPv4 or IPv6 address"),
        ("a name nobody knows as bindaddr", "bindaddr nowhere.example", "`bindaddr` is neither an address nor a name"),
        ("DTLS", "serv-type dtls", "DTLS is not supported"),
        ("a path of a namespace", "namespace ../mgmt", "`namespace` takes the name of a network namespace"),
        ("another transport", "serv-type sctp", "`serv-type` is one of `udp`, `tcp`, `tls`"),
        ("a switch that is neither", "tls-verify-hostname perhaps", "`tls-verify-hostname` is neither on"),
        ("a long identifier", &format!("nas-identifier {}", "x".repeat(254)), "longer than 253 octets"),
        ("a keyword glued to its value", "acctserver:192.0.2.1", "unknown keyword `acctserver:192.0.2.1`"),
        ("`=` glued to a keyword", "radius_deadtime=5", "unknown keyword `radius_deadtime=5`"),
    ] {
        let result = line(text);
        assert!(result.is_err(), "{name}");
        assert_finding(name, &result, want);
    }
    assert_finding(
        "octets that are not UTF-8",
        &loaded([SERVER.as_bytes(), REST.as_bytes(), b"x \xff"].concat()),
        "not UTF-8",
    );
    assert_finding("in a comment they are fine", &loaded([SERVER.as_bytes(), REST.as_bytes(), b"# \xff"].concat()), "");
}

#[test]
fn every_mistake_is_reported_at_once() {
    let result =
        loaded("acctserver a.example:99999\nnas-ip x\nfoo bar\nradius_timeout 0\nradius_retries 0\nserv-type x\n");
    let lines: Vec<u32> = result
        .unwrap_err()
        .0
        .iter()
        .filter_map(|mistake| match mistake.places[0] {
            Place::File { line, .. } => Some(line),
            _ => None,
        })
        .collect();
    assert_eq!(lines, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_lenient_switch_lets_unknown_keywords_pass() {
    let mut table = Table::default().with("/c", format!("{SERVER}foo bar{REST}"));
    let client = load(Path::new("/c"), Unknown::Warn, &mut table).unwrap();
    assert!(client.warnings[0].to_string().starts_with("warning: unknown keyword `foo`"));
}

#[test]
fn values_get_their_type() {
    let text = "radius_deadtime 7 # seconds\nbindaddr gw.example\nnas-identifier gw\nnas-ip 2001:db8::1\nserv-type TLS\n\
                tls-ca-file ca.pem\ntls-cert-file /c.pem\ntls-key-file /k.pem\ntls-verify-hostname Yes\nnamespace mgmt\n\
                use-public-addr TRUE\nclientdebug 1\ndefault_realm example.com\ndictionary dict/all\n";
    let client = line(text).unwrap();
    assert_eq!(client.warnings, []);
    assert_eq!(client.timeout, Duration::from_secs(5));
    assert_eq!(client.retries, 2);
    assert_eq!(client.deadtime, Duration::from_secs(7));
    assert_eq!(client.bindaddr, Some("192.0.2.9".parse().unwrap()));
    assert_eq!(client.nas_ip, Some("2001:db8::1".parse().unwrap()));
    assert_eq!(client.transport, Transport::Tls);
    assert_eq!(client.tls.ca_file.as_deref(), Some(Path::new("/etc/t/ca.pem")));
    assert_eq!(client.tls.cert_file.as_deref(), Some(Path::new("/c.pem")));
    assert_eq!(client.tls.name_check, NameCheck::On);
    assert_eq!(client.namespace.as_deref(), Some("mgmt"));
    assert_eq!(client.source, SourceAddress::Public);
    assert_eq!(client.debug, 1);
    assert_eq!(client.default_realm.as_deref(), Some("example.com"));
    assert_eq!(client.dictionary.as_deref(), Some(Path::new("/etc/t/dict/all")));
}

#[test]
fn words_of_switches_and_transports_in_any_case() {
    for (text, want) in [
        ("yes", NameCheck::On),
        ("TRUE", NameCheck::On),
        ("on", NameCheck::On),
        ("1", NameCheck::On),
        ("no", NameCheck::Off),
        ("False", NameCheck::Off),
        ("off", NameCheck::Off),
        ("0", NameCheck::Off),
    ] {
        assert_eq!(line(&format!("tls-verify-hostname {text}")).unwrap().tls.name_check, want, "{text}");
    }
    for (text, want) in [
        ("serv-type udp", Transport::Udp),
        ("serv-type TCP", Transport::Tcp),
        ("serv-auth-type tls", Transport::Tls),
        ("serv-auth-type tls\nserv-type tcp", Transport::Tcp),
        ("", Transport::Udp),
    ] {
        assert_eq!(line(text).unwrap().transport, want, "{text}");
    }
}

#[test]
fn any_address_is_a_star_and_whatever_follows() {
    for (text, want) in
        [("*", None), ("*:5", None), ("127.0.0.1", Some("127.0.0.1")), ("[::1]", Some("::1")), ("::1", Some("::1"))]
    {
        let want = want.map(|address| address.parse::<IpAddr>().unwrap());
        assert_eq!(line(&format!("bindaddr {text}")).unwrap().bindaddr, want, "{text}");
    }
}

#[test]
fn unusual_numbers_and_missing_ones_are_warned_of() {
    for (name, text, want) in [
        ("a long deadtime", format!("{SERVER}radius_deadtime 90000{REST}"), "more than 86400 is unusual"),
        ("no timeout", format!("{SERVER}radius_retries 2"), "`radius_timeout` is missing, 10 is taken"),
        ("no retries", format!("{SERVER}radius_timeout 2"), "`radius_retries` is missing, 3 is taken"),
        ("a certificate without key", format!("{SERVER}tls-cert-file c{REST}"), "certificate and key go together"),
        ("no name check", format!("{SERVER}serv-type tls\ntls-verify-hostname no{REST}"), "is not checked"),
    ] {
        let result = loaded(text);
        assert!(result.is_ok(), "{name}");
        assert_finding(name, &result, want);
    }
    let client = loaded(SERVER).unwrap();
    assert_eq!((client.timeout, client.retries), (Duration::from_secs(10), 3));
}

#[test]
fn keywords_of_login_programs_have_no_effect() {
    let text = "auth_order radius,local\nlogin_tries 4\nlogin_timeout 60\nnologin /etc/nologin\nissue /x\nlogin_radius /x\n\
                login_local /x\nmapfile /x\nseqfile /var/run/radius.seq\nconfig_file x\nrequire-message-authenticator no\n\
                authserver h:abc\nmapfile /y\n";
    let mut table = Table::default().with("/c", format!("{SERVER}{text}{REST}"));
    let client = load(Path::new("/c"), Unknown::Refuse, &mut table).unwrap();
    assert_eq!(table.opened, [PathBuf::from("/c")], "no file of theirs is opened");
    assert_eq!(client.ignored.len(), 11);
    assert_eq!(client.ignored[8], "seqfile");
    assert_eq!(client.warnings.len(), 1, "the unused list of servers is only warned of: {:?}", client.warnings);
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let result = load(Path::new("/none"), Unknown::Refuse, &mut Table::default());
    assert_finding("missing", &result, "cannot read");
    let folder = tempfile::tempdir().unwrap();
    let result = load(folder.path(), Unknown::Refuse, &mut System);
    assert_finding("a folder", &result, "not a regular file");
}

#[test]
fn the_samples_that_are_shipped_load() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/radiusclient.conf");
    let client = load(&root, Unknown::Refuse, &mut System).unwrap();
    assert_eq!(client.acct_servers[0].to_string(), "localhost:1813");
    for warning in &client.warnings {
        let text = warning.to_string();
        assert!(text.contains("well-known sample") || text.contains("every user may read"), "{text}");
    }
    // Every keyword that has an effect is explained there.
    let text = std::fs::read_to_string(&root).unwrap();
    for key in keys::OURS {
        assert!(text.contains(key.name) || key.name == "serv-auth-type", "{} is not in the sample", key.name);
    }
}

#[test]
fn the_config_crate_reads_it_too() {
    let text = "acctserver a.example:1:hidden-secret,[::1]\nacctserver b.example\nradius_timeout 5 # s\nnas-identifier gw\nmapfile x\n";
    let built =
        ::config::Config::builder().add_source(::config::File::from_str(text, RadiusClientFormat)).build().unwrap();
    assert_eq!(built.get_int("radius_timeout").unwrap(), 5);
    assert_eq!(built.get_string("nas-identifier").unwrap(), "gw");
    let servers: Vec<String> = built.get("acctserver").unwrap();
    assert_eq!(servers, ["a.example:1", "[::1]", "b.example"]);
    assert!(!format!("{built:?}").contains("hidden-secret"));
    let wrong = ::config::Config::builder().add_source(::config::File::from_str("foo bar", RadiusClientFormat)).build();
    assert!(wrong.unwrap_err().to_string().contains("unknown keyword `foo`"));
}
