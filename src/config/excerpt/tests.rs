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
fn of_toml_options_are_shown_and_what_may_be_a_secret_is_not() {
    for (name, text, want) in [
        ("an option", "listen = [\"udp:192.0.2.1:5060\"]", "listen = [\"udp:192.0.2.1:5060\"]"),
        ("an option with one mistake", "lisen = [\"udp:192.0.2.1\"]", "lisen = [\"udp:192.0.2.1\"]"),
        ("a name nobody knows", "magic = \"planted\"", "magic = \"***\""),
        ("the same without quotes", "magic = planted", "magic = ***"),
        ("a name that says it", "password = \"planted\"", "password = \"***\""),
        ("one that says it with a mistake", "pasword = 'planted'", "pasword = '***'"),
        ("a number may be one", "pasword = 271828", "pasword = ***"),
        ("an option that is the file of one", "password_file = \"planted\"", "password_file = \"***\""),
        ("the same with one mistake", "pasword_file = \"planted\"", "pasword_file = \"***\""),
        (
            "in a table of a line",
            "acc = { url = \"x\", secret = \"planted\", batch_max = 3 }",
            "acc = { url = \"x\", secret = \"***\", batch_max = 3 }",
        ),
        ("in a list", "tokens = [\"planted\", \"planted\"]", "tokens = [\"***\", \"***\"]"),
        ("in a list of tables", "listen = [{ token = \"planted\" }]", "listen = [{ token = \"***\" }]"),
        ("a dotted name", "sql.acc.password = \"planted\"", "sql.acc.password = \"***\""),
        ("a quoted name", "\"pass\" = \"planted\"", "\"pass\" = \"***\""),
        ("a password in a URL", "url = \"mysql://gw:planted@h/acc\"", "url = \"mysql://***@h/acc\""),
        ("one with signs", "url = \"mysql://gw:pl@nt/ed pla:nted@h/acc\"", "url = \"mysql://***@h/acc\""),
        ("a token in a URL", "servers = [\"nats://planted@h\"]", "servers = [\"nats://***@h\"]"),
        (
            "a parameter of a URL",
            "url = \"postgres://h/a?user=u&password=planted\"",
            "url = \"postgres://h/a?user=u&password=***\"",
        ),
        ("without a scheme", "brokers = [\"gw:planted@h:9092\"]", "brokers = [\"gw:***@h:9092\"]"),
        ("a SIP URI has no secret", "to = \"sip:alice@192.0.2.9\"", "to = \"sip:alice@192.0.2.9\""),
        ("but where it has a password", "to = \"sip:alice:planted@192.0.2.9\"", "to = \"sip:alice:***@192.0.2.9\""),
        ("a comment", "t1_ms = 500 # not planted", "t1_ms = 500"),
        ("a field is the operator's", "[accounting.fields]\nowner = \"$fU\"", "owner = \"$fU\""),
        ("but not one that says it", "[accounting.fields]\npassword = \"planted\"", "password = \"***\""),
        ("a field in a line", "fields = { owner = \"$fU\" }", "fields = { owner = \"$fU\" }"),
        (
            "a field behind one, without a comma",
            "fields = { a = \"$fU\" b = \"$tU\" }",
            "fields = { a = \"$fU\" b = \"$tU\" }",
        ),
        ("a secret behind one", "fields = { a = \"$fU\" pw = \"planted\" }", "fields = { a = \"$fU\" pw = \"***\" }"),
        ("one without its table", "t1_ms = 5 token = planted", "t1_ms = 5 token ***"),
        ("without `=`", "password \"planted\"", "***"),
        ("an option without `=`", "listen udp:192.0.2.1", "listen ***"),
        ("behind a head", "[admin] magic = \"planted\"", "[admin] magic = \"***\""),
        ("behind a value", "listen = 5 magic = \"planted\"", "listen = 5 magic ***"),
        ("a text without its end", "magic = \"planted", "magic = ***"),
        ("the line below it", "password = \"plan\nted\"", "***"),
        ("in a text of several lines", "password = \"\"\"\nplanted\nplanted", "***"),
        ("in a list of several lines", "tokens = [\n  \"planted\",", "  \"***\","),
        ("below a list without its end", "listen = [\"udp:a\"\npassword = \"planted\"", "password = \"***\""),
        ("a table below such a list", "listen = [\"udp:a\"\n[admin]\nmagic = \"planted\"", "magic = \"***\""),
        ("below a table without its end", "fields = { a = \"b\"\nmagic = \"planted\"", "magic = \"***\""),
        ("a name in a list", "listen = [magic = \"planted\"]", "listen = [magic = ***]"),
        (
            "too deep",
            &("listen = ".to_owned() + &"[".repeat(99) + "\"planted\""),
            &("listen = ".to_owned() + &"[".repeat(65) + "***"),
        ),
    ] {
        let shown = last(Form::Toml, text);
        assert_eq!(shown, want, "{name}");
        assert!(!shown.contains("planted") && !shown.contains("ted\""), "{name}");
    }
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
    for (name, form, line, column, want) in [
        ("a name", Form::Toml, "timout_ms = 5", 1, "timout_ms"),
        ("a part of a name", Form::Toml, "sip.shard = 5", 5, "shard"),
        ("a head", Form::Toml, "[sinks.radios.a]", 8, "radios"),
        ("a text", Form::Toml, "fork = \"serail\"  # odd", 8, "\"serail\""),
        ("a part of a text", Form::Toml, "to = \"$fU $xx\"", 11, "$xx"),
        ("a number", Form::Toml, "t1_ms = 5.5", 9, "5.5"),
        ("a list", Form::Toml, "on = [\"a\", [\"]\"]] # odd", 6, "[\"a\", [\"]\"]]"),
        ("a list that goes on", Form::Toml, "on = [\"a\",", 6, "[\"a\","),
        ("what is hidden", Form::Toml, "magic = \"planted\" ", 9, "\"***\""),
        ("what is not behind what is hidden", Form::Toml, "a = { pw = \"planted\", shard = 5 }", 23, "shard"),
        ("other letters", Form::Toml, "\"ü\" = { shard = 5 }", 9, "shard"),
        ("a word", Form::Keywords(KEYS), "mapfile a,b", 9, "a"),
        ("what a dictionary's mistake quotes", Form::Dictionary, "ATTRIBUTE Foo 300 txt", 1, "txt"),
        ("the line of a script", Form::Lua, "  x = = 1 ", 3, "x = = 1"),
    ] {
        let excerpt = Excerpt::of(form, line, 0..line.len(), column, "no type `txt`").expect("there is such a line");
        assert_eq!(&excerpt.text[excerpt.place], want, "{name}");
    }
    let end = Excerpt::of(Form::Toml, "a = [", 0..5, 6, "unclosed").expect("there is such a line");
    assert_eq!(end.place, 5..6, "what is missing is behind the end");
}

#[test]
fn no_text_stops_the_reader() {
    let many = format!("fields = {{ {}", "a = \"b\" ".repeat(100_000));
    assert!(Excerpt::of(Form::Toml, &many, 0..many.len(), 1, "").is_some());
    for text in [
        "", "=", "\n", "a = '''", "[", "]", "{", "a = {", "a = {b", "a = {b=", "\"", "a = \"\\", "a=[=", "=]}",
        "ü = ü", "[[ü",
    ] {
        for column in 1..8 {
            for form in [Form::Toml, Form::Keywords(KEYS), Form::Secrets, Form::Dictionary, Form::Lua] {
                let line = text.lines().next().unwrap_or_default();
                assert!(Excerpt::of(form, text, 0..line.len(), column, "").is_some());
            }
        }
    }
}

#[test]
fn a_mistake_is_shown_with_its_lines() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("t.toml");
    let text = format!("[sip]\n\tshard = 1\n\u{1b}[2J = 1\nnames = [\"{}\", \"x\"]\n", "a".repeat(400));
    std::fs::write(&path, &text).expect("written");
    let place = |line, column| Place::File { path: path.clone(), line, column, form: Form::Toml };
    let show =
        |mistake: &Mistake, look| Files::default().shown(mistake, look).replace(&path.display().to_string(), "t.toml");
    let shard =
        Mistake::error("unknown field `shard`", place(2, 2)).hint("did you mean `shards`?").also_at(place(1, 2));
    let want = "error: unknown field `shard`\n --> t.toml:2:2\n  |\n2 |     shard = 1\n  |     ^^^^^\n  |\n \
                ::: t.toml:1:2\n  |\n1 | [sip]\n  |  ---\n  |\n  = hint: did you mean `shards`?";
    assert_eq!(show(&shard, Look::Plain), want);
    std::fs::write(&path, "a = { pw = \"planted\", shard = 5 }\n").expect("written");
    let hidden = show(&Mistake::error("odd", place(1, 23)), Look::Plain);
    assert_eq!(
        hidden,
        "error: odd\n --> t.toml:1:23\n  |\n1 | a = { pw = \"***\", shard = 5 }\n  |                   ^^^^^"
    );
    std::fs::write(&path, text).expect("written");
    let coloured = show(&shard, Look::Coloured(80));
    assert!(coloured.contains("\u{1b}[") && coloured.contains("did you mean"), "{coloured}");
    for (name, line, column) in [("a line that acts on a terminal", 3, 1), ("a long line", 4, 412)] {
        let shown = show(&Mistake::warning("odd", place(line, column)), Look::Plain);
        assert!(!shown.contains('\u{1b}'), "{name}: {shown}");
        assert!(shown.contains('^') && shown.lines().all(|line| line.chars().count() < 160), "{name}: {shown}");
    }
    for (name, mistake, want) in [
        ("a line that is not there", Mistake::error("odd", place(9, 1)), "error: odd\n--> t.toml:9:1"),
        ("no place", Mistake::error("odd", Place::Nowhere), "error: odd"),
        ("a file as a whole", Mistake::error("odd", Place::Whole(path.clone())), "error: odd\n--> t.toml"),
        (
            "the environment",
            Mistake::error("odd", Place::Environment("TOLLGATE_A__B".to_owned())).hint("even"),
            "error: odd\n--> environment variable `TOLLGATE_A__B`\n = hint: even",
        ),
    ] {
        assert_eq!(show(&mistake, Look::Plain), want, "{name}");
    }
}
