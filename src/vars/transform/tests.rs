//! Tables of transformations: what they give, and what is wrong with them.

use std::borrow::Cow;

use super::apply::Made;
use super::*;

/// Applies a chain such as `{s.trim}{s.len}`.
fn chain(steps: &str, value: &[u8]) -> Option<String> {
    let texts = steps.strip_prefix('{').and_then(|steps| steps.strip_suffix('}')).expect("braces");
    let steps: Vec<_> =
        texts.split("}{").map(|text| parse(text).unwrap_or_else(|(what, _)| panic!("{text}: {what}"))).collect();
    let made = apply(&steps, Made::Text(Cow::Borrowed(value)))?;
    Some(match made {
        Made::Text(text) => String::from_utf8_lossy(&text).into_owned(),
        Made::Number(number) => format!("#{number}"),
    })
}

fn hold(rows: &[(&str, &str, Option<&str>)]) {
    for (steps, value, want) in rows {
        assert_eq!(chain(steps, value.as_bytes()).as_deref(), *want, "{steps} of `{value}`");
    }
}

#[test]
fn texts() {
    hold(&[
        ("{s.len}", "abc", Some("#3")),
        ("{s.len}", "\u{20ac}", Some("#3")),
        ("{s.int}", " 42 ", Some("#42")),
        ("{s.int}", "-7", Some("#-7")),
        ("{s.int}", "7a", None),
        ("{s.substr,1,2}", "abcd", Some("bc")),
        ("{s.substr,1,0}", "abcd", Some("bcd")),
        ("{s.substr,-3,2}", "abcd", Some("bc")),
        ("{s.substr,2,99}", "abcd", Some("cd")),
        ("{s.substr,4,1}", "abcd", None),
        ("{s.substr,-5,1}", "abcd", None),
        ("{s.select,0,,}", "a,b,c", Some("a")),
        ("{s.select,-1,;}", "a;b;c", Some("c")),
        ("{s.select,1,::}", "a::b", Some("b")),
        ("{s.select,3,,}", "a,b,c", None),
        ("{s.select,1,,}", "a,,c", None),
        ("{s.index,lo}", "hello", Some("#3")),
        ("{s.index,x}", "hello", Some("#-1")),
        ("{s.tolower}", "AbC", Some("abc")),
        ("{s.toupper}", "AbC", Some("ABC")),
        ("{s.trim}", " \ta b\r\n", Some("a b")),
        ("{s.trim}", "  ", None),
        ("{s.width,5}", "abc", Some("abc  ")),
        ("{s.width,2}", "abc", Some("ab")),
        ("{s.fill.left,0,5}", "42", Some("00042")),
        ("{s.fill.left,xy,5}", "42", Some("xyx42")),
        ("{s.fill.left,,,4}", "42", Some(",,42")),
        ("{s.fill.right, ,4}", "42", Some("42  ")),
        ("{s.fill.left,0,1}", "42", Some("42")),
        ("{s.date2unix}", "Sat, 13 Nov 2010 23:29:00 GMT", Some("#1289690940")),
        ("{s.date2unix}", "yesterday", None),
    ]);
}

#[test]
fn writings_of_octets() {
    hold(&[
        ("{s.escape.common}", "it's \"x\" \\ \0", Some("it\\'s \\\"x\\\" \\\\ \\0")),
        ("{s.unescape.common}", "it\\'s \\\"x\\\" \\\\ \\0", Some("it's \"x\" \\ \0")),
        ("{s.escape.user}", "a b@c?d", Some("a%20b%40c?d")),
        ("{s.unescape.user}", "a%20b%40c", Some("a b@c")),
        ("{s.unescape.user}", "a%2", None),
        ("{s.unescape.user}", "a%zz", None),
        ("{s.escape.param}", "a;b=c?", Some("a%3Bb%3Dc%3F")),
        ("{s.unescape.param}", "a%3Bb", Some("a;b")),
        ("{s.encode.hexa}", "Az\n", Some("417a0a")),
        ("{s.decode.hexa}", "417A", Some("Az")),
        ("{s.decode.hexa}", "417", None),
        ("{s.b64encode}", "ab", Some("YWI=")),
        ("{s.b64decode}", "YWI=", Some("ab")),
        ("{s.b64decode}", "YWI", Some("ab")),
        ("{s.b64decode}", "!", None),
        ("{s.md5}", "abc", Some("900150983cd24fb0d6963f7d28e17f72")),
        ("{s.sha1}", "abc", Some("a9993e364706816aba3e25717850c26c9cd0d89d")),
        ("{s.sha224}", "abc", Some("23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7")),
        ("{s.sha256}", "abc", Some("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")),
    ]);
    for (name, digits) in [("sha384", 96), ("sha512", 128)] {
        assert_eq!(chain(&format!("{{s.{name}}}{{s.len}}"), b"abc"), Some(format!("#{digits}")), "{name}");
    }
}

#[test]
fn parts_of_sip_values() {
    let uri = "sips:bob:secret@b.example:5070;transport=tcp;user=phone?Subject=x";
    hold(&[
        ("{uri.user}", uri, Some("bob")),
        ("{uri.passwd}", uri, Some("secret")),
        ("{uri.host}", uri, Some("b.example")),
        ("{uri.port}", uri, Some("#5070")),
        ("{uri.port}", "sip:b.example", None),
        ("{uri.params}", uri, Some("transport=tcp;user=phone")),
        ("{uri.param,User}", uri, Some("phone")),
        ("{uri.param,ttl}", uri, None),
        ("{uri.headers}", uri, Some("Subject=x")),
        ("{uri.schema}", uri, Some("sips")),
        ("{uri.transport}", uri, Some("tcp")),
        ("{uri.uri}", " sip:a@b ", Some("sip:a@b")),
        ("{uri.user}", "tel:+4021;phone-context=x", Some("+4021")),
        ("{uri.user}", "no uri", None),
        ("{param.value,icid-value}", "icid-value=\"icid-77\";orig-ioi=a.example", Some("icid-77")),
        ("{param.value,ORIG-IOI}", "icid-value=\"a;orig-ioi=b\";orig-ioi=c", Some("c")),
        ("{param.value,lr}", ";lr;a=1", None),
        ("{param.valueat,1}", "a=1;b=2;c", Some("2")),
        ("{param.valueat,-2}", "a=1;b=2;c", Some("2")),
        ("{param.valueat,2}", "a=1;b=2;c", None),
        ("{param.name,-1}", "a=1;b=2;c", Some("c")),
        ("{param.count}", "a=1;;b=2;c", Some("#3")),
        ("{param.exist,c}", "a=1;b=2;c", Some("#1")),
        ("{param.exist,d}", "a=1;b=2;c", Some("#0")),
        ("{nameaddr.name}", "\"A \\\"B\\\"\" <sip:a@b>;tag=1", Some("A \"B\"")),
        ("{nameaddr.uri}", "\"A\" <sip:a@b;lr>;tag=1", Some("sip:a@b;lr")),
        ("{nameaddr.len}", "\"A\" <sip:a@b> ;tag=1", Some("#13")),
        ("{nameaddr.len}", "sip:a@b;tag=1", Some("#7")),
        ("{nameaddr.param,tag}", "<sip:a@b>;x;tag=\"1\"", Some("1")),
        ("{nameaddr.params}", "<sip:a@b>;x;tag=1", Some("x;tag=1")),
        ("{nameaddr.uri}", "<sip:a@b", None),
        ("{via.name}", "SIP / 2.0 / UDP h:5060;branch=z9hG4bKa", Some("SIP")),
        ("{via.version}", "SIP/2.0/UDP h:5060;branch=z9hG4bKa", Some("2.0")),
        ("{via.transport}", "SIP/2.0/UDP h:5060;branch=z9hG4bKa", Some("UDP")),
        ("{via.host}", "SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bKa", Some("[2001:db8::1]")),
        ("{via.port}", "SIP/2.0/UDP h:5060;branch=z9hG4bKa", Some("#5060")),
        ("{via.port}", "SIP/2.0/UDP h;branch=z9hG4bKa", None),
        ("{via.branch}", "SIP/2.0/UDP h:5060;branch=z9hG4bKa", Some("z9hG4bKa")),
        ("{via.received}", "SIP/2.0/UDP h;received=192.0.2.1;rport=5062", Some("192.0.2.1")),
        ("{via.rport}", "SIP/2.0/UDP h;received=192.0.2.1;rport=5062", Some("5062")),
        ("{via.rport}", "SIP/2.0/UDP h;rport", None),
        ("{via.params}", "SIP/2.0/UDP h;rport;a=b", Some("rport;a=b")),
        ("{via.param,a}", "SIP/2.0/UDP h;rport;a=b", Some("b")),
        ("{csv.count}", "a, \"b,c\", d", Some("#3")),
        ("{csv.value,1}", "a, \"b,c\", d", Some("b,c")),
        ("{csv.value,-1}", "a, \"b,c\", d", Some("d")),
        ("{csv.value,3}", "a, \"b,c\", d", None),
        ("{ip.pton}{s.encode.hexa}", "192.0.2.1", Some("c0000201")),
        ("{ip.pton}{s.len}", "[2001:db8::1]", Some("#16")),
        ("{ip.pton}{ip.ntop}", "2001:db8::1", Some("2001:db8::1")),
        ("{ip.ntop}", "abc", None),
        ("{ip.family}", "192.0.2.1", Some("INET")),
        ("{ip.pton}{ip.family}", "2001:db8::1", Some("INET6")),
        ("{ip.family}", "a host", None),
    ]);
}

#[test]
fn substitution() {
    hold(&[
        ("{re.subst,/b/x/}", "abcb", Some("axcb")),
        ("{re.subst,/b/x/g}", "abcb", Some("axcx")),
        ("{re.subst,/B/x/gi}", "abcb", Some("axcx")),
        ("{re.subst,/^\\+?49(\\d+)$/0\\1/}", "+49301", Some("0301")),
        ("{re.subst,/(a)(b)/\\2\\1\\0/}", "ab", Some("baab")),
        ("{re.subst,#/#-#g}", "a/b/c", Some("a-b-c")),
        ("{re.subst,/a\\/b/x/}", "a/b", Some("x")),
        ("{re.subst,/a,b/x/}", "a,b", Some("x")),
        ("{re.subst,/none/x/}", "abc", Some("abc")),
        ("{re.subst,/.*//}", "abc", None),
        ("{re.subst,/a/\\$1$0/}", "a", Some("$1$0")),
    ]);
}

#[test]
fn they_chain_from_left_to_right() {
    hold(&[
        ("{nameaddr.uri}{uri.host}{s.toupper}", "<sip:a@b.example>;tag=1", Some("B.EXAMPLE")),
        ("{param.value,x}{s.len}{s.fill.left,0,4}", "x=abc", Some("0003")),
        ("{uri.host}{s.len}", "no uri", None),
    ]);
}

#[test]
fn mistakes_say_what_to_write() {
    for (text, want, hint) in [
        ("s.lne", "unknown transformation `s.lne`", "did you mean `s.len`?"),
        ("param.val,x", "unknown transformation `param.val`", "did you mean `param.value`?"),
        ("quux", "unknown transformation `quux`", "`tollgate vars` lists them"),
        ("", "unknown transformation ``", "`tollgate vars` lists them"),
        ("s.len,1", "`s.len` takes no arguments", "write `{s.len}`"),
        ("s.substr", "`s.substr` needs arguments", "write `{s.substr,OFFSET,LENGTH}`"),
        ("s.substr,1", "`s.substr`: it needs an offset and a length", "write `{s.substr,OFFSET,LENGTH}`"),
        ("s.substr,x,1", "`s.substr`: `x` is no whole number", "write `{s.substr,OFFSET,LENGTH}`"),
        ("s.substr,1,-1", "`s.substr`: `-1` is no length", "write `{s.substr,OFFSET,LENGTH}`"),
        ("s.width,5000", "`s.width`: a length is 4096 at most", "write `{s.width,LENGTH}`"),
        ("s.select,1,", "`s.select`: the separator is empty", "write `{s.select,INDEX,SEPARATOR}`"),
        ("s.fill.left,,3", "`s.fill.left`: the text is empty", "write `{s.fill.left,TEXT,LENGTH}`"),
        ("param.value, ", "`param.value`: `` is no name of a parameter", "write `{param.value,NAME}`"),
        ("param.value,a=b", "`param.value`: `a=b` is no name of a parameter", "write `{param.value,NAME}`"),
        ("re.subst,/a/b", "`re.subst`: it needs three `/`", "write `{re.subst,/REGEX/TEXT/FLAGS}`"),
        ("re.subst,/a/b/x", "`re.subst`: `x` is no flag", "write `{re.subst,/REGEX/TEXT/FLAGS}`"),
        (
            "re.subst,/a/\\1/",
            "`re.subst`: `\\1` is a group that the expression has not",
            "write `{re.subst,/REGEX/TEXT/FLAGS}`",
        ),
        ("re.subst,/(/b/", "`re.subst`: error: unclosed group", "write `{re.subst,/REGEX/TEXT/FLAGS}`"),
        (
            "re.subst,abc",
            "`re.subst`: it needs a mark such as `/` around the expression",
            "write `{re.subst,/REGEX/TEXT/FLAGS}`",
        ),
    ] {
        assert_eq!(parse(text), Err((want.to_owned(), Some(hint.to_owned()))), "{text}");
    }
}

#[test]
fn every_listed_one_is_known_and_listed_once() {
    let mut names = Vec::new();
    for listed in transformations() {
        let usage = listed.usage.replace("REGEX", "a").replace("FLAGS", "").replace("NAME", "x");
        let usage = usage.replace("INDEX", "0").replace("OFFSET", "0").replace("LENGTH", "1").replace("TEXT", "t");
        let usage = usage.replace("SEPARATOR", ";");
        assert!(parse(&usage).is_ok(), "{usage}: {:?}", parse(&usage));
        assert!(!listed.meaning.is_empty());
        names.push(listed.name());
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

proptest::proptest! {
    #[test]
    fn any_chain_of_any_value_ends_and_stays_short(
        value in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
        steps in proptest::collection::vec(0..TRANSFORMATIONS.len(), 0..TRANSFORMATIONS_MAX),
    ) {
        let chain: Vec<Step> = steps
            .into_iter()
            .filter_map(|at| {
                let usage = TRANSFORMATIONS[at].usage.replace("REGEX", ".").replace("FLAGS", "g");
                let usage = usage.replace("OFFSET", "-9").replace("LENGTH", "4096").replace("INDEX", "-1");
                parse(&usage.replace("TEXT", "ttt").replace("NAME", "x").replace("SEPARATOR", ";")).ok()
            })
            .collect();
        if let Some(Made::Text(text)) = apply(&chain, Made::Text(Cow::Borrowed(&value))) {
            proptest::prop_assert!(text.len() <= RESULT_BYTES_MAX.max(300));
        }
    }
}
