//! Lists of servers.

use super::*;

/// Servers of the lines as `host:port secret`.
fn listed(lines: &str) -> Result<Vec<String>, Mistakes> {
    let client = loaded(format!("{lines}{REST}"))?;
    Ok(client
        .acct_servers
        .iter()
        .map(|server| format!("{server} {}", String::from_utf8_lossy(server.secret.octets())))
        .collect())
}

#[test]
fn servers_with_secrets_in_all_forms() {
    let s = "a-long-secret";
    for (name, text, want) in [
        ("host, port and secret", format!("acctserver h.example:2000:{s}"), vec![format!("h.example:2000 {s}")]),
        ("an empty port", format!("acctserver h.example::{s}"), vec![format!("h.example:1813 {s}")]),
        ("colons in the secret", format!("acctserver c:2000:{s}:e:c"), vec![format!("c:2000 {s}:e:c")]),
        ("a hash in the secret", format!("acctserver c:2000:#{s}#"), vec![format!("c:2000 #{s}#")]),
        ("an equals sign and quotes in the secret", format!("acctserver c:1:={s}\""), vec![format!("c:1 ={s}\"")]),
        ("an address", format!("acctserver 192.0.2.1:1:{s}"), vec![format!("192.0.2.1:1 {s}")]),
        ("IPv6 in brackets", format!("acctserver [2001:db8::1]:1:{s}"), vec![format!("[2001:db8::1]:1 {s}")]),
        ("IPv6 with an empty port", format!("acctserver [::2]::{s}"), vec![format!("[::2]:1813 {s}")]),
        ("IPv6 with a zone", format!("acctserver [fe80::1%eth0]:1:{s}"), vec![format!("[fe80::1]:1 {s}")]),
        ("commas", format!("acctserver a:1:{s},b:2:{s}"), vec![format!("a:1 {s}"), format!("b:2 {s}")]),
        (
            "commas, blanks and tabs",
            format!("acctserver a:1:{s} ,\tb:2:{s},,"),
            vec![format!("a:1 {s}"), format!("b:2 {s}")],
        ),
        (
            "several lines add up",
            format!("acctserver a:1:{s}\nacctserver b:2:{s}"),
            vec![format!("a:1 {s}"), format!("b:2 {s}")],
        ),
        (
            "one address twice with two secrets",
            format!("acctserver 127.0.0.1:1:{s}-one,127.0.0.1:2:{s}-two"),
            vec![format!("127.0.0.1:1 {s}-one"), format!("127.0.0.1:2 {s}-two")],
        ),
        ("a name with a final dot", format!("acctserver h.example.:1:{s}"), vec![format!("h.example.:1 {s}")]),
    ] {
        assert_eq!(listed(&text).unwrap(), want, "{name}");
        assert_finding(name, &loaded(format!("{text}{REST}")), "");
    }
}

#[test]
fn nine_servers_and_more_are_fine() {
    let list: Vec<String> = (1..=40).map(|number| format!("192.0.2.{number}:1813:secret-number-{number}")).collect();
    assert_eq!(listed(&format!("acctserver {}", list.join(","))).unwrap().len(), 40);
}

#[test]
fn bare_ipv6_is_understood_with_a_warning() {
    let mut table = Table::default()
        .with("/c", format!("acctserver 2001:db8::1\nservers /s{REST}"))
        .with("/s", "2001:db8::1 a-long-secret\n");
    let client = load(Path::new("/c"), Unknown::Refuse, &mut table).unwrap();
    assert_eq!(client.acct_servers[0].to_string(), "[2001:db8::1]:1813");
    assert!(client.warnings[0].to_string().contains("hint: write `[2001:db8::1]`"), "{:?}", client.warnings);
}

#[test]
fn malformed_entries_are_errors_that_show_no_secret() {
    for (name, entry, want) in [
        ("a port that is no number", "h:abc", "what follows `h:` is no port from 1 to 65535"),
        ("port 0", "h:0:hidden-word", "no port"),
        ("a port too large", "h:65536:hidden-word", "no port"),
        ("a signed port", "h:+1:hidden-word", "no port"),
        ("a secret in the port's place", "h:hidden-word", "`HOST::SECRET`"),
        ("no host", ":1813:hidden-word", "neither an address nor a host name"),
        ("an address out of range", "192.0.2.300", "`192.0.2.300` is neither an address nor a host name"),
        ("a name with a slash", "h/x", "neither an address nor a host name"),
        ("an open bracket", "[::1", "`[` without `]`"),
        ("no address in brackets", "[h]:1", "no IPv6 address inside"),
        ("text after a bracket", "[::1]1813", "only `:PORT` may follow `[::1]`"),
        ("an equals sign", "= 192.0.2.1:1:hidden-word-long", "this format has no `=`"),
        ("a secret that is too long", &format!("h:1:{}", "hidden-word".repeat(100)), "longer than 1024 octets"),
        ("a pre-shared key", "h:2083:psk@user@0123", "`h` has a TLS pre-shared key, which is not supported"),
        ("a pre-shared key as in a servers file", "h:2083:psk:user:0aF3", "`h` has a TLS pre-shared key"),
    ] {
        let result = listed(&format!("acctserver {entry}"));
        let text = result.unwrap_err().to_string();
        assert!(text.contains(want), "{name}: {text}");
        assert!(text.contains("radiusclient.conf:1:"), "{name}: {text}");
        assert!(!text.contains("hidden-word"), "{name}: {text}");
    }
}

#[test]
fn a_list_needs_a_server() {
    for (name, text, want) in [
        ("no line", "nas-identifier gw", "`acctserver` is missing"),
        ("an empty line", "acctserver", "`acctserver` without a server"),
        ("a line of commas", "acctserver ,", "`acctserver` without a server"),
        ("only for authentication", "authserver h:1:a-long-secret", "`acctserver` is missing"),
    ] {
        let result = loaded(format!("{text}{REST}"));
        assert!(result.is_err(), "{name}");
        assert_finding(name, &result, want);
    }
}

#[test]
fn an_entry_points_at_its_column() {
    let text = listed("acctserver a:1:a-long-secret, h:abc").unwrap_err().to_string();
    assert!(text.contains("radiusclient.conf:1:31"), "{text}");
}

#[test]
fn a_comment_after_a_list_is_left_out_with_a_warning() {
    let result = loaded(format!("acctserver h:1:a-long-secret # main, spare{REST}"));
    assert_finding("comment", &result, "take the comment after the value of `acctserver` for a part of it");
    assert_eq!(result.unwrap().acct_servers.len(), 1);
}

#[test]
fn the_same_server_twice_is_warned_of() {
    let result = loaded(format!("acctserver h:1:a-long-secret,h:1:another-secret{REST}"));
    assert_finding("twice", &result, "`h:1` is listed twice");
}

#[test]
fn tls_has_its_own_port_and_secret_and_may_use_the_other_list() {
    for (name, text, want) in [
        ("acctserver", "acctserver h", "h:2083 radsec"),
        ("a port", "acctserver h:1234", "h:1234 radsec"),
        ("acctserver before authserver", "acctserver h\nauthserver g", "h:2083 radsec"),
        ("authserver when it is the only one", "authserver g", "g:2083 radsec"),
    ] {
        assert_eq!(listed(&format!("serv-type tls\n{text}")).unwrap(), [want], "{name}");
    }
    assert_finding(
        "said so",
        &loaded(format!("serv-type tls\nauthserver g{REST}")),
        "`authserver` is used for accounting",
    );
}
