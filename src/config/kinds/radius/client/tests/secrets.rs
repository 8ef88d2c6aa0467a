//! The servers file, and that no secret shows.

use super::*;

fn with_file(list: &str, file: &str) -> Result<RadiusClient, Mistakes> {
    let mut table = Table::default()
        .with("/etc/t/radiusclient.conf", format!("acctserver {list}\nservers servers{REST}"))
        .with("/etc/t/servers", file)
        .named("localhost", "127.0.0.1")
        .named("radius.example", "192.0.2.7");
    load(Path::new("/etc/t/radiusclient.conf"), Unknown::Refuse, &mut table)
}

#[test]
fn the_first_line_that_fits_gives_the_secret() {
    for (name, server, file, want) in [
        ("a name", "a.example", "a.example\tsecret-of-alpha\n", "secret-of-alpha"),
        ("a name in another case", "A.example", "a.EXAMPLE secret-of-alpha", "secret-of-alpha"),
        ("the first of two", "h", "h secret-number-1\nh secret-number-2", "secret-number-1"),
        ("not a name it starts", "rad1", "rad10 secret-number-10\nrad1 secret-number-01", "secret-number-01"),
        ("an address", "192.0.2.1", "192.0.2.1 secret-of-alpha", "secret-of-alpha"),
        ("an IPv6 address in another spelling", "[2001:db8::1]", "2001:db8:0::1 secret-of-alpha", "secret-of-alpha"),
        ("an IPv6 address in brackets", "[2001:db8::1]", "[2001:db8::1] secret-of-alpha", "secret-of-alpha"),
        ("the first half of a pair", "h", "h/me secret-of-alpha", "secret-of-alpha"),
        ("the second half of a pair", "h", "me/h secret-of-alpha", "secret-of-alpha"),
        ("the pair everybody has", "localhost", "localhost/localhost secret-of-alpha", "secret-of-alpha"),
        ("an address by its name", "127.0.0.1", "localhost/localhost secret-of-alpha", "secret-of-alpha"),
        ("a name by its address", "radius.example", "192.0.2.7 secret-of-alpha", "secret-of-alpha"),
        ("the port plays no part", "h:1645", "h secret-of-alpha", "secret-of-alpha"),
        ("a comment, CRLF, blanks before", "h", "# h x\r\n  h secret-of-alpha\r\n", "secret-of-alpha"),
        ("a hash in the secret", "h", "h #secret-of-alpha", "#secret-of-alpha"),
        ("no final newline", "h", "h secret-of-alpha", "secret-of-alpha"),
        ("no cut at 95 octets", "h", &format!("h {}", "s".repeat(200)), &"s".repeat(200)),
        ("its own before the file's", "h:1:secret-of-its-own", "h secret-of-alpha", "secret-of-its-own"),
    ] {
        let result = with_file(server, file);
        assert_finding(name, &result, "");
        assert_eq!(result.unwrap().acct_servers[0].secret.octets(), want.as_bytes(), "{name}");
    }
}

#[test]
fn what_is_odd_in_a_servers_file_is_told() {
    for (name, file, is_error, want) in [
        (
            "a line without secret",
            "x\nh secret-of-alpha",
            false,
            "no secret after `x`, line skipped\n  --> /etc/t/servers:1:1",
        ),
        ("a third word", "h secret-of-alpha more", false, "what follows the secret of `h` is not used"),
        ("a sample secret", "h testing123", false, "the secret of `h` is a well-known sample"),
        ("a short secret", "h abc", false, "shorter than 12 octets"),
        ("a long secret", &format!("x {}\nh secret-of-alpha", "s".repeat(1025)), true, "longer than 1024 octets"),
        ("no line for the server", "x secret-of-alpha", false, "no secret for `h`"),
        ("an empty file", "", false, "no secret for `h`: nothing is sent there until it has one"),
        ("a pre-shared key", "h psk:user:0123456789abcdef", true, "TLS pre-shared key, which is not supported"),
    ] {
        let result = with_file("h", file);
        assert_eq!(result.is_err(), is_error, "{name}");
        assert_finding(name, &result, want);
    }
}

#[test]
fn the_servers_file_is_opened_only_when_needed() {
    let text = format!("acctserver h:1:secret-of-its-own\nservers /none{REST}");
    let mut table = Table::default().with("/c", text);
    assert!(load(Path::new("/c"), Unknown::Refuse, &mut table).is_ok());
    let result = loaded(format!("acctserver h\nservers /none{REST}"));
    assert_finding("missing file", &result, "cannot read `/none`");
    let result = loaded(format!("acctserver h{REST}"));
    assert_finding("no keyword", &result, "no secret for `h`");
}

#[test]
fn with_tls_the_servers_file_is_looked_at_for_pre_shared_keys_only() {
    let tls = |file: Option<&str>| {
        let mut table = Table::default().with("/c", format!("acctserver h\nserv-type tls\nservers /s{REST}"));
        if let Some(file) = file {
            table = table.with("/s", file);
        }
        load(Path::new("/c"), Unknown::Refuse, &mut table)
    };
    for (name, file, want) in [
        ("no file", None, ""),
        ("a secret, which TLS does not use", Some("h a-long-enough-secret"), ""),
        ("a key for another server", Some("g psk:user:0123"), ""),
        ("a key", Some("h psk:user:0123"), "TLS pre-shared key, which is not supported"),
        ("a key as in a list", Some("h psk@user@0123"), "TLS pre-shared key, which is not supported"),
    ] {
        let result = tls(file);
        assert_finding(name, &result, want);
        if let Ok(client) = result {
            assert_eq!(client.acct_servers[0].secret.octets(), b"radsec", "{name}");
        }
    }
}

#[test]
fn a_secret_that_only_begins_like_a_pre_shared_key_is_a_secret() {
    for secret in ["psk@home-is-a-secret", "psk:not-hex:ghij", "pskpskpskpsk", "psk:user:"] {
        let client = loaded(format!("acctserver h:1:{secret}{REST}")).unwrap();
        assert_eq!(client.acct_servers[0].secret.octets(), secret.as_bytes());
    }
}

#[test]
fn files_with_secrets_that_everybody_may_read_are_warned_of() {
    let mut table =
        Table::default().with("/s", "h secret-of-alpha").with("/c", format!("acctserver h\nservers /s{REST}"));
    table.files.get_mut(Path::new("/s")).unwrap().1 = true;
    let result = load(Path::new("/c"), Unknown::Refuse, &mut table);
    assert_finding("servers file", &result, "every user may read it\n  --> /s");
    let mut table = Table::default().with("/c", format!("{SERVER}{REST}"));
    table.files.get_mut(Path::new("/c")).unwrap().1 = true;
    let result = load(Path::new("/c"), Unknown::Refuse, &mut table);
    assert_finding("secret in the list", &result, "every user may read it\n  --> /c");
}

#[test]
fn no_secret_shows() {
    let client = with_file("h, g:1:hidden-inline-secret", "h hidden-file-secret").unwrap();
    let text = format!("{client:?} {}", client.acct_servers[1]);
    assert!(!text.contains("hidden"), "{text}");
}

#[test]
fn the_samples_of_the_libraries_load() {
    let radcli = "#nas-ip \t10.100.5.3\nauthserver \tlocalhost\nacctserver \tlocalhost\nservers\t\tservers\n\
                  dictionary \t/etc/radcli/dictionary\ndefault_realm\nradius_timeout\t10\nradius_retries\t3\nbindaddr\t*\n";
    let legacy = "auth_order\tradius,local\nlogin_tries\t4\nlogin_timeout\t60\nnologin /etc/nologin\nissue\t/etc/issue\n\
                  authserver \tlocalhost:1812\nacctserver \tlocalhost:1813\nservers\t\tservers\ndictionary \tdictionary\n\
                  login_radius\t/usr/sbin/login.radius\nseqfile\t\t/var/run/radius.seq\nmapfile\t\tport-id-map\ndefault_realm\n\
                  radius_timeout\t10\nradius_retries\t3\nradius_deadtime\t0\nbindaddr *\nlogin_local\t/bin/login\n";
    for (name, text) in [("radcli", radcli), ("freeradius-client and radiusclient-ng", legacy)] {
        let mut table =
            Table::default().with("/e/c", text).with("/e/servers", "localhost/localhost\tlong-enough-secret\n");
        let client = load(Path::new("/e/c"), Unknown::Refuse, &mut table).unwrap();
        assert_eq!(client.warnings, [], "{name}");
        assert_eq!(client.acct_servers[0].to_string(), "localhost:1813", "{name}");
        assert_eq!(client.default_realm, None, "{name}");
    }
}
