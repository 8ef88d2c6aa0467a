//! What is shown of lines, and what is not.

use super::*;
use crate::config::keyword_file::{Kind, key};

const KEYS: &[crate::config::keyword_file::Key] =
    &[key("acctserver", Kind::Servers), key("dictionary", Kind::Text), key("mapfile", Kind::Ignored)];

/// The last line of a text, as it is shown.
fn last(form: Form, text: &str) -> String {
    let start = text.rfind('\n').map_or(0, |at| at + 1);
    Excerpt::without(&text[start..], hide::hidden(form, text, start..text.len()), 0..1).text
}

#[test]
fn of_other_files_too() {
    let keywords = Form::Keywords(KEYS);
    for (name, form, line, want) in [
        ("a keyword", keywords, "dictionary /etc/dictionary", "dictionary /etc/dictionary"),
        ("one nobody knows", keywords, "accountserver 10.0.0.1:1813:planted", "accountserver ***"),
        ("one with a mistake", keywords, "dictoinary /etc/dictionary", "dictoinary /etc/dictionary"),
        ("servers with one", keywords, "acctsever 10.0.0.1:1813:planted", "acctsever 10.0.0.1:1813:***"),
        ("a server", keywords, "acctserver\t10.0.0.1:1813:planted", "acctserver\t10.0.0.1:1813:***"),
        ("without a port", keywords, "acctserver h::planted", "acctserver h::***"),
        ("a secret for the port", keywords, "acctserver h:planted", "acctserver h:***"),
        ("one of digits", keywords, "acctserver h:2718281828", "acctserver h:***"),
        ("of IPv6", keywords, "acctserver [::1]:1813:planted", "acctserver [::1]:1813:***"),
        ("several", keywords, "acctserver  a.b:1:planted, c.d:2:planted", "acctserver  a.b:1:***, c.d:2:***"),
        ("behind a blank", keywords, "acctserver 10.0.0.1 planted", "acctserver 10.0.0.1 ***"),
        ("a server and its secret", Form::Secrets, "10.0.0.1 planted planted", "10.0.0.1 ***"),
        ("a dictionary", Form::Dictionary, "ATTRIBUTE Foo 300 text # odd", "ATTRIBUTE Foo 300 text"),
        ("a file of secrets as dictionary", Form::Dictionary, "10.0.0.1 planted", "10.0.0.1 ***"),
        ("a script", Form::Lua, "req.to = pick(\"sip:192.0.2.9\")", "req.to = pick(\"sip:192.0.2.9\")"),
        ("that speaks of a secret", Form::Lua, "local api_key = 'planted'", "local api_key = '***'"),
        ("that has a URL", Form::Lua, "local db = \"http://a:planted@h\"", "local db = \"http://***@h\""),
        ("another program's", Form::Foreign, "modparam(\"acc\", \"db_url\", \"mysql://a:planted@h\")", "***"),
    ] {
        assert_eq!(last(form, line), want, "{name}");
    }
}

#[test]
fn a_message_says_no_password() {
    for (what, want) in [
        ("`gw:planted@h:9092` is no broker", "`gw:***@h:9092` is no broker"),
        ("`amqps://gw:planted@h` and `u:planted@h?pw=planted`", "`amqps://***@h` and `u:***@h?pw=***`"),
        ("`$fU@$fd` lacks: `a@b`", "`$fU@$fd` lacks: `a@b`"),
    ] {
        assert_eq!(discreet(what), want);
    }
}

#[test]
fn the_caret_is_under_what_is_wrong() {
    let excerpt = Excerpt::of(Form::Toml, "timout_ms = 5", 0..13, 1, "").expect("there is such a line");
    assert_eq!((&excerpt.text[excerpt.place], excerpt.text.as_str()), ("timout_ms", "timout_ms ***"));
}
