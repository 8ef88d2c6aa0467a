//! The forms of values, and that none breaks its line.

use super::line::{Column, Format, Layout, Legs};
use crate::record::{Kind, LegOrder, Record, Value};
use crate::sinks::mapping::{Round, Source};
use crate::sinks::tests::record;

fn column(name: &str, source: &str) -> Column {
    let source = (source != "escaped")
        .then(|| Source::named(source, &["src_ip", "odd"], &["src", "dst"]).expect("it is a source of the table"));
    Column { name: name.to_owned(), source }
}

fn layout(format: Format, columns: &[&str]) -> Layout {
    Layout { format, columns: columns.iter().map(|name| column(name, name)).collect(), ..Layout::default() }
}

fn text(lines: &[u8]) -> &str {
    std::str::from_utf8(lines).expect("lines are UTF-8, whatever the record holds")
}

fn legged(legs: &[[Option<&str>; 2]]) -> Record {
    let value = |value: Option<&str>| value.map_or(Value::Absent, |text| Value::Text(text.as_bytes().to_vec()));
    let leg = |[src, dst]: &[Option<&str>; 2]| vec![("src".to_owned(), value(*src)), ("dst".to_owned(), value(*dst))];
    Record { legs: legs.iter().map(leg).collect(), ..record(Kind::Stop) }
}

#[test]
fn every_kind_of_value_has_its_form() {
    let whole = Record { shortened: true, number: Some(1), ..record(Kind::Stop) };
    for (source, csv, json) in [
        ("record_id", "01HF7YAT00000000000000000001", ""),
        ("kind", "stop", "\"stop\""),
        ("method", "BYE", "\"BYE\""),
        ("code", "200", "200"),
        ("event", "2023-11-14T22:14:25.500000Z", "\"2023-11-14T22:14:25.500000Z\""),
        ("acknowledged", "", "null"),
        ("setup_s", "4.000", "4.000"),
        ("duration_s", "61.500", "61.500"),
        ("ended_by", "callee", "\"callee\""),
        ("shortened", "true", "true"),
        ("table", "", "null"),
        ("src_ip", "192.0.2.7", "\"192.0.2.7\""),
        ("odd", "", "null"),
        ("leg", "", "null"),
        ("leg.src", "", "null"),
        ("escaped", "", "[]"),
    ] {
        // Behind another column: a line with one empty cell is written in its own way.
        let lines = layout(Format::Csv, &["cseq", source]).lines(&whole);
        let json_lines = layout(Format::Json, &[source]).lines(&whole);
        if source == "record_id" {
            let id = whole.id.to_string();
            assert_eq!(text(&lines), format!("1,{id}\r\n"));
            assert_eq!(text(&json_lines), format!("{{\"record_id\":\"{id}\"}}\n"));
            continue;
        }
        assert_eq!(text(&lines), format!("1,{csv}\r\n"), "{source}");
        assert_eq!(text(&json_lines), format!("{{\"{source}\":{json}}}\n"), "{source}");
    }
}

#[test]
fn no_value_breaks_its_line() {
    for (name, value, csv, json, is_escaped) in [
        ("plain text stays", &b"sip:a@b"[..], "sip:a@b", "\"sip:a@b\"", [false, false]),
        ("empty text is not absent", b"", "\"\"", "\"\"", [false, false]),
        ("a comma is quoted", b"a, b", "\"a, b\"", "\"a, b\"", [false, false]),
        ("quotes are doubled", b"\"A\" <b>", "\"\"\"A\"\" <b>\"", "\"\\\"A\\\" <b>\"", [false, false]),
        ("line ends", b"a\r\nb", "a%0D%0Ab", "\"a\\r\\nb\"", [true, false]),
        ("NUL and tab", b"a\0b\tc", "a%00b%09c", "\"a\\u0000b\\tc\"", [true, false]),
        ("other scripts stay", "é\u{4e2d}😀".as_bytes(), "é\u{4e2d}😀", "\"é\u{4e2d}😀\"", [false, false]),
        ("a control character of two octets", "a\u{85}".as_bytes(), "a%C2%85", "\"a\u{85}\"", [true, false]),
        ("no UTF-8", b"caf\xe9, \xff", "\"caf%E9, %FF\"", "\"caf%E9, %FF\"", [true, true]),
        ("cut in a character", b"\xe4\xb8", "%E4%B8", "\"%E4%B8\"", [true, true]),
        ("per cent and backslash stay", b"50%20\\", "50%20\\", "\"50%20\\\\\"", [false, false]),
        ("a line separator", "\u{2028}".as_bytes(), "\u{2028}", "\"\u{2028}\"", [false, false]),
    ] {
        let mut own = record(Kind::Stop);
        own.fields.push(("odd".to_owned(), Value::Text(value.to_vec())));
        for (format, want, is_escaped) in [(Format::Csv, csv, is_escaped[0]), (Format::Json, json, is_escaped[1])] {
            let lines = layout(format, &["escaped", "odd"]).lines(&own);
            let want = match format {
                Format::Csv => format!("{},{want}\r\n", if is_escaped { "odd" } else { "" }),
                Format::Json => {
                    let names = if is_escaped { "[\"odd\"]" } else { "[]" };
                    format!("{{\"escaped\":{names},\"odd\":{want}}}\n")
                }
            };
            assert_eq!(text(&lines), want, "{name}");
        }
    }
}

#[test]
fn a_line_is_never_empty_and_numbers_and_lists_keep_their_kinds() {
    let mut own = record(Kind::Stop);
    own.fields.push(("odd".to_owned(), Value::List(vec![b"a".to_vec(), b"b,c".to_vec()])));
    assert_eq!(text(&layout(Format::Csv, &["odd"]).lines(&own)), "\"a, b,c\"\r\n");
    assert_eq!(text(&layout(Format::Json, &["odd"]).lines(&own)), "{\"odd\":[\"a\",\"b,c\"]}\n");
    own.fields.pop();
    own.fields.push(("odd".to_owned(), Value::Number(-7)));
    assert_eq!(text(&layout(Format::Csv, &["odd"]).lines(&own)), "-7\r\n");
    assert_eq!(text(&layout(Format::Csv, &["table"]).lines(&own)), "\"\"\r\n", "a line of nothing would be no line");
    assert_eq!(text(&Layout { round: Some(Round::Up), ..layout(Format::Csv, &["duration_s"]) }.lines(&own)), "62\r\n");
}

#[test]
fn legs_are_together_or_rows_in_the_order_wanted() {
    let call = legged(&[[Some("a"), Some("b")], [None, Some("c")]]);
    let columns = ["code", "leg", "leg.src", "leg.dst"];
    for (name, legs, order, format, want) in [
        ("together", Legs::Together, LegOrder::OldestFirst, Format::Csv, "200,,\"a, \",\"b, c\"\r\n"),
        ("newest first", Legs::Together, LegOrder::NewestFirst, Format::Csv, "200,,\", a\",\"c, b\"\r\n"),
        ("rows", Legs::Rows, LegOrder::OldestFirst, Format::Csv, "200,1,a,b\r\n200,2,,c\r\n"),
        ("rows, newest first", Legs::Rows, LegOrder::NewestFirst, Format::Csv, "200,2,,c\r\n200,1,a,b\r\n"),
        (
            "an array says which leg has none",
            Legs::Together,
            LegOrder::OldestFirst,
            Format::Json,
            "{\"code\":200,\"leg\":null,\"leg.src\":[\"a\",null],\"leg.dst\":[\"b\",\"c\"]}\n",
        ),
        (
            "rows of JSON",
            Legs::Rows,
            LegOrder::OldestFirst,
            Format::Json,
            "{\"code\":200,\"leg\":1,\"leg.src\":\"a\",\"leg.dst\":\"b\"}\n{\"code\":200,\"leg\":2,\"leg.src\":null,\"leg.dst\":\"c\"}\n",
        ),
    ] {
        let own = Layout { legs, leg_order: order, ..layout(format, &columns) };
        assert_eq!(text(&own.lines(&call)), want, "{name}");
    }
    let rows = Layout { legs: Legs::Rows, ..layout(Format::Csv, &columns) };
    assert_eq!(text(&rows.lines(&record(Kind::Stop))), "200,,,\r\n", "without legs there is a line too");
}

#[test]
fn a_header_names_the_columns() {
    let own = Layout { columns: vec![column("a, b", "code"), column("escaped", "escaped")], ..Layout::default() };
    assert_eq!(text(&own.header()), "\"a, b\",escaped\r\n");
    assert!(Layout { format: Format::Json, ..own }.header().is_empty());
}

#[test]
fn columns_of_a_system_have_its_forms() {
    use crate::sinks::profile::Profile;
    let lines = |profile: Profile, record: &Record| {
        let rows = profile.system().columns.cdr.iter().copied().flatten();
        let column = |(name, value, form): &crate::sinks::profile::Row| Column {
            name: (*name).to_owned(),
            source: Some(Source::Value(*value, *form)),
        };
        let layout = Layout { columns: rows.map(column).collect(), ..Layout::default() };
        text(&layout.lines(record)).to_owned()
    };
    let call = record(Kind::Cdr);
    assert_eq!(
        lines(Profile::Opensips, &call),
        "INVITE,alice-tag,bob-tag,call-1@192.0.2.7,200,OK,2023-11-14T22:13:24.000000Z,4,2023-11-14T22:13:20.000000Z,62,61500\r\n"
    );
    assert_eq!(lines(Profile::Kamailio, &call), "2023-11-14T22:13:24.000000Z,2023-11-14T22:14:25.500000Z,61.500\r\n");
    let missed = Record { code: 486, reason: b"Busy Here".to_vec(), ..record(Kind::Missed) };
    assert!(lines(Profile::Ser, &missed).contains(",486 Busy Here,"), "{}", lines(Profile::Ser, &missed));
}
