//! Mistakes of form: each row is a TOML text and exactly what the operator reads.

use std::path::Path;

use super::decode::decode;
use super::error::{Findings, Mistake, Place};
use super::schema::FileTable;
use super::tree::read;

/// The findings of a text, in the order of their places.
fn mistakes(text: &str, environment: &[(&str, &str)]) -> String {
    let variables = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let findings = match read(Path::new("t.toml"), text, variables) {
        Err(syntax) => syntax,
        Ok((mut root, places)) => {
            let mut findings = Findings::default();
            assert!(decode::<FileTable>(&mut root, &places, &mut findings).is_some(), "{text}");
            findings.sorted()
        }
    };
    findings.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_mistake_of_form_is_named_with_its_place_and_a_hint() {
    for (name, text, want) in [
        (
            "a mistyped field suggests the nearest one",
            "[queue]\n  gather_max_mss = 1\n",
            "error: unknown field `gather_max_mss` in `queue`\n  --> t.toml:2:3\nhint: did you mean `gather_max_ms`?",
        ),
        (
            "a mistyped section suggests the nearest one",
            "[ques]\n",
            "error: unknown section `ques`\n  --> t.toml:1:2\nhint: did you mean `queue`?",
        ),
        (
            "a mistyped choice suggests the nearest one",
            "[[route]]\nto = \"sip:a\"\nfork = \"serail\"",
            "error: unknown value `serail` for `route.fork`\n  --> t.toml:3:8\nhint: did you mean `serial`?",
        ),
        (
            "a choice far from all lists them",
            "[queue]\non_trouble = \"panic\"",
            "error: unknown value `panic` for `queue.on_trouble`\n  --> t.toml:2:14\nhint: known are `refuse`, `serve`",
        ),
        (
            "a number out of range shows the range and its unit",
            "[sip]\nt1_ms = 20",
            "error: `sip.t1_ms`: 20 is outside 100 to 2000 ms\n  --> t.toml:2:9",
        ),
        (
            "a negative number shows the range",
            "[sip]\nshards = -1",
            "error: `sip.shards`: -1 is negative, allowed is 0 to 64\n  --> t.toml:2:10",
        ),
        (
            "a string is no number",
            "[sip]\nt1_ms = \"500\"",
            "error: `sip.t1_ms` is a string, expected milliseconds from 100 to 2000\n  --> t.toml:2:9",
        ),
        (
            "a number that needs more than 64 bits is no whole number",
            "[queue]\nrecords_max = 99999999999999999999",
            "error: `queue.records_max` is a fractional number, expected a whole number from 1000 to 10000000000\n  --> t.toml:2:15",
        ),
        (
            "a size out of range shows the range and its unit",
            "[queue]\ncache_mib = 0",
            "error: `queue.cache_mib`: 0 is outside 1 to 16384 MiB\n  --> t.toml:2:13",
        ),
    ] {
        assert_eq!(mistakes(text, &[]), want, "{name}");
    }
}

#[test]
fn every_mistake_of_structure_is_named_with_its_place() {
    for (name, text, want) in [
        (
            "an element of a list is found where it stands",
            "[sip]\nlisten = [\n  \"udp:127.0.0.1:5060\",\n  5060,\n]",
            "error: `sip.listen` is a whole number, expected a string\n  --> t.toml:4:3",
        ),
        (
            "a required field is missed at its table",
            "[[route]]\nto = \"sip:a\"\nmatch.header = { value = \"x\" }",
            "error: `route.match.header` lacks the field `name`\n  --> t.toml:3:7",
        ),
        (
            "a required field that is wrong is not missed too",
            "[[route]]\nanswer = { code = 99 }",
            "error: `route.answer.code`: 99 is outside 200 to 699\n  --> t.toml:2:19",
        ),
        (
            "a table where a value belongs",
            "[log.target]\nx = 1",
            "error: `log.target` is a table, expected `stderr` or `journald`\n  --> t.toml:1:6",
        ),
        (
            "a value where a table belongs",
            "sip = 1",
            "error: `sip` is a whole number, expected a table\n  --> t.toml:1:7",
        ),
        (
            "text that is no TOML",
            "[sip]\nlisten = = 1\n[queue\n",
            "error: extra `=`, expected nothing\n  --> t.toml:2:10\nerror: unclosed table, expected `]`\n  --> t.toml:3:7",
        ),
        (
            "the column counts characters",
            "[sip]\nadvertise = [\"üü\", 5]",
            "error: `sip.advertise` is a whole number, expected a string\n  --> t.toml:2:20",
        ),
    ] {
        assert_eq!(mistakes(text, &[]), want, "{name}");
    }
}

#[test]
fn all_mistakes_of_all_tables_come_at_once() {
    let text = "[sip]\nshard = 1\nt1_ms = 1\n[queue]\npaht = 1\ncache_mib = 1.5\n[admin]\nlisten = true\n[[route]]\nfork = 1\n";
    let got = mistakes(text, &[]);
    let places: Vec<_> = got.lines().filter(|line| line.starts_with("  --> ")).collect();
    assert_eq!(
        places,
        [
            "  --> t.toml:2:1",
            "  --> t.toml:3:9",
            "  --> t.toml:5:1",
            "  --> t.toml:6:13",
            "  --> t.toml:8:10",
            "  --> t.toml:10:8"
        ],
        "{got}"
    );
}

#[test]
fn the_environment_stands_above_the_file() {
    let text = "[sip]\nallow = [\"10.0.0.0/8\"]\nshards = 1\n[queue]\npath = \"/a\"\n";
    let variables = [
        ("TOLLGATE_QUEUE__PATH", "/b"),
        ("TOLLGATE_SIP__SHARDS", "3"),
        ("TOLLGATE_SIP__ALLOW", "192.0.2.0/24, 198.51.100.0/24"),
        ("TOLLGATE_SIP__T1_MS", " 600 "),
        ("TOLLGATE_ACCOUNTING__REPORT_ACK", "true"),
        ("TOLLGATE_QUEUE__CACHE_MIB", "48"),
        ("TOLLGATE_PEERS", "required"),
        ("HOME", "/root"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let (mut root, places) = read(Path::new("t.toml"), text, variables.into_iter().collect()).expect("good TOML");
    let mut findings = Findings::default();
    let file: FileTable = decode(&mut root, &places, &mut findings).expect("good options");
    assert_eq!(findings.sorted(), []);
    assert_eq!(file.queue.path.map(|path| path.value), Some("/b".into()));
    assert_eq!(file.sip.shards.map(crate::units::Count::get), Some(3));
    assert_eq!(file.sip.t1_ms.map(|t1| t1.duration().as_millis()), Some(600));
    assert_eq!(file.queue.cache_mib.map(crate::units::Mib::octets), Some(48 << 20));
    let allow: Vec<_> = file.sip.allow.expect("set").into_iter().map(|block| block.value).collect();
    assert_eq!(allow, ["192.0.2.0/24", "198.51.100.0/24"]);
}

#[test]
fn a_mistake_in_the_environment_names_the_variable() {
    for (variable, value, want) in [
        (
            "TOLLGATE_QUEUE__PAHT",
            "/b",
            "error: unknown field `paht` in `queue`\n  --> environment variable `TOLLGATE_QUEUE__PAHT`\nhint: did you mean `path`?",
        ),
        (
            "TOLLGATE_SIP__SHARDS",
            "many",
            "error: `sip.shards` is a string, expected a whole number from 0 to 64\n  --> environment variable `TOLLGATE_SIP__SHARDS`",
        ),
        (
            "TOLLGATE_LOG__TARGET",
            "stdout",
            "error: unknown value `stdout` for `log.target`\n  --> environment variable `TOLLGATE_LOG__TARGET`\nhint: did you mean `stderr`?",
        ),
    ] {
        assert_eq!(mistakes("", &[(variable, value)]), want);
    }
}

#[test]
fn fields_keep_the_order_of_the_file() {
    let text = "[accounting.fields]\nzeta = \"$ua\"\nalpha = \"$si\"\nmiddle = \"$ct\"\n";
    let (mut root, places) = read(Path::new("t.toml"), text, Default::default()).expect("good TOML");
    let file: FileTable = decode(&mut root, &places, &mut Findings::default()).expect("good options");
    let names: Vec<_> = file.accounting.fields.0.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["zeta", "alpha", "middle"]);
}

#[test]
fn of_mistakes_of_syntax_those_are_told_that_do_not_follow_from_another() {
    let comma = "missing comma between array elements, expected `,`";
    for (name, text, want) in [
        (
            "a list without its end",
            "[sip]\nlisten = [\"a\"\nallow = [\"b\"]\n[queue]\npath = \"c\n",
            vec![(3, comma, "or is the `]` of the list missing before it?")],
        ),
        (
            "a text without its end, and one without a beginning",
            "[queue]\npath = \"c\n[log]\nlevel = info\n",
            vec![
                (
                    2,
                    "invalid basic string, expected `\"`",
                    "a text ends on its line: is the quotation mark missing behind it?",
                ),
                (4, "invalid float, expected `inf`", "a text stands in quotation marks"),
            ],
        ),
    ] {
        let found = read(Path::new("t.toml"), text, Default::default()).expect_err("no TOML");
        let told = found.iter().map(|own| match own.places[..] {
            [Place::File { line, .. }] => (line, own.what.as_str(), own.hint.as_deref().unwrap_or_default()),
            _ => panic!("{name}: {own}"),
        });
        assert_eq!(told.collect::<Vec<_>>(), want, "{name}");
    }
}
