//! Tables of templates: what they give, and what is wrong with them.

use std::net::SocketAddr;

use super::*;
use crate::record::{Cause, Value};

const INVITE: &str = "INVITE sip:+4021@gw.example:5070;transport=tcp SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bKa\r\n\
    v: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKb\r\n\
    Max-Forwards: 70\r\n\
    f: \"Alice \\\"A\\\" Smith\" <sip:alice@atlanta.example:5062;user=phone>;tag=from1\r\n\
    To: Bob <tel:+4021>\r\n\
    Call-ID: call1@atlanta.example\r\n\
    CSeq: 314 INVITE\r\n\
    Contact: <sip:alice@192.0.2.1>;q=0.5, <sip:alice@192.0.2.2>\r\n\
    m: <sip:alice@192.0.2.3>\r\n\
    User-Agent: Desk\r\n phone\r\n\
    Proxy-Authorization: Digest username=\"alice@ims.example\", realm=\"atlanta, \\\"x\\\"\", nonce=\"1\"\r\n\
    P-Asserted-Identity: <sip:+4020@atlanta.example>, <tel:+4020>\r\n\
    Remote-Party-ID: \"A\" <sip:a@rpid.example>;party=calling\r\n\
    Diversion: <sip:div@x.example>;reason=user-busy;privacy=\"full\"\r\n\
    X-Empty:\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 4\r\n\r\nv=0\n";

const ANSWER: &str = "SIP/2.0 200 Alright\r\n\
    Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bKa\r\n\
    From: \"Alice\" <sip:alice@atlanta.example>;tag=from1\r\n\
    To: Bob <tel:+4021>;tag=to1\r\n\
    Call-ID: call1@atlanta.example\r\n\
    CSeq: 314 INVITE\r\n\
    Contact: <sip:bob@198.51.100.7>\r\n\
    Server: Box 1\r\n\
    Content-Length: 0\r\n\r\n";

fn message(text: &str) -> Message {
    Message::parse(text.as_bytes().to_vec()).expect("the test's message is well-formed")
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("the test's address is one")
}

fn text(text: &str) -> Value {
    Value::Text(text.as_bytes().to_vec())
}

fn list(items: &[&str]) -> Value {
    Value::List(items.iter().map(|item| item.as_bytes().to_vec()).collect())
}

/// Evaluates in a context with everything in it.
fn eval(template: &str, parties: Parties, leg: Option<Leg<'_>>) -> Value {
    let (request, reply) = (message(INVITE), message(ANSWER));
    let mut avps = Avps::new();
    for (name, value) in [("account", "first"), ("account", "second"), ("dst", "set by the policy")] {
        avps.add(name, value.as_bytes());
    }
    let context = Context {
        arrival: Some(Arrival {
            source: addr("[::ffff:192.0.2.1]:5062"),
            local: Some(addr("[2001:db8::1]:5060")),
            transport: Some(Transport::Udp),
        }),
        sent_uri: Some(b"sips:bob@10.0.0.5"),
        reply: Some(&reply),
        reply_arrival: Some(Arrival { source: addr("198.51.100.7:5080"), local: None, transport: None }),
        code: 200,
        reason: b"Alright",
        leg,
        parties,
        ..Context::new(&request, &avps, Timestamp(1_700_000_000_250_000))
    };
    Template::parse(template).unwrap_or_else(|error| panic!("{template}: {error}")).eval(&context)
}

#[test]
fn every_variable_of_the_request_has_its_value() {
    for (template, want) in [
        ("$rm", text("INVITE")),
        ("$ru", text("sips:bob@10.0.0.5")),
        ("$ruri", text("sips:bob@10.0.0.5")),
        ("$rU", text("bob")),
        ("$rd", text("10.0.0.5")),
        ("$rp", Value::Number(5061)),
        ("$rP", text("tls")),
        ("$ou", text("sip:+4021@gw.example:5070;transport=tcp")),
        ("$oU", text("+4021")),
        ("$od", text("gw.example")),
        ("$op", Value::Number(5070)),
        ("$oP", text("tcp")),
        ("$fu", text("sip:alice@atlanta.example:5062;user=phone")),
        ("$from", text("sip:alice@atlanta.example:5062;user=phone")),
        ("$fU", text("alice")),
        ("$fd", text("atlanta.example")),
        ("$fn", text("Alice \"A\" Smith")),
        ("$ft", text("from1")),
        ("$tu", text("tel:+4021")),
        ("$to", text("tel:+4021")),
        ("$tU", text("+4021")),
        ("$td", Value::Absent),
        ("$tn", text("Bob")),
        ("$tt", Value::Absent),
        ("$ci", text("call1@atlanta.example")),
        ("$cs", Value::Number(314)),
        ("$ct", text("<sip:alice@192.0.2.1>;q=0.5")),
        ("$(ct[1])", text("<sip:alice@192.0.2.2>")),
        ("$(ct[-1])", text("<sip:alice@192.0.2.3>")),
        ("$(ct[3])", Value::Absent),
        ("$(ct[-4])", Value::Absent),
        ("$(ct[*])", list(&["<sip:alice@192.0.2.1>;q=0.5", "<sip:alice@192.0.2.2>", "<sip:alice@192.0.2.3>"])),
        ("$si", text("192.0.2.1")),
        ("$sp", Value::Number(5062)),
        ("$Ri", text("2001:db8::1")),
        ("$Rp", Value::Number(5060)),
        ("$proto", text("udp")),
        ("$ua", text("Desk phone")),
        ("$hdr(user-agent)", text("Desk phone")),
        ("$hdr(Via)", text("SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bKa")),
        ("$(hdr(Via)[-1])", text("SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKb")),
        ("$(hdr(v)[1])", text("SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKb")),
        ("$(hdr(X-None)[*])", Value::Absent),
        ("$hdr(X-Empty)", Value::Absent),
        ("$rs", Value::Number(200)),
        ("$T_reply_code", Value::Number(200)),
        ("$rr", text("Alright")),
        ("$avp(account)", text("second")),
        ("$(avp(account)[1])", text("first")),
        ("$(avp(account)[-1])", text("first")),
        ("$(avp(account)[*])", list(&["second", "first"])),
        ("$avp(none)", Value::Absent),
        ("$leg(src)", Value::Absent),
        ("$au", text("alice")),
        ("$aU", text("alice@ims.example")),
        ("$ad", text("ims.example")),
        ("$ar", text("atlanta, \"x\"")),
        ("$Au", text("alice@atlanta, \"x\"")),
        ("$AU", text("alice")),
        ("$ai", text("sip:+4020@atlanta.example")),
        ("$(ai[1])", text("tel:+4020")),
        ("$(ai[*])", list(&["sip:+4020@atlanta.example", "tel:+4020"])),
        ("$(ai[*]{uri.schema})", list(&["sip", "tel"])),
        ("$(ai{uri.schema}[*])", list(&["sip", "tel"])),
        ("$(ai[*]{uri.host})", list(&["atlanta.example"])),
        ("$(ct{nameaddr.uri}{uri.host})", text("192.0.2.1")),
        ("$(hdr(Diversion){nameaddr.param,reason})", text("user-busy")),
        ("$(hdr(Via)[-1]{via.host})", text("192.0.2.9")),
        ("$(cs{s.fill.left,0,6})", text("000314")),
        ("$(hdr(X-None){s.len})", Value::Absent),
        ("$fU{x}", text("alice{x}")),
        ("$pu", Value::Absent),
        ("$re", text("sip:a@rpid.example")),
        ("$di", text("sip:div@x.example")),
        ("$dip", text("full")),
        ("$dir", text("user-busy")),
        ("$rt", Value::Absent),
        ("$cT", text("application/sdp")),
        ("$cl", Value::Number(4)),
        ("$rb", text("v=0\n")),
        ("$ml", Value::Number(i64::try_from(INVITE.len()).expect("small"))),
        ("$Ts", Value::Number(1_700_000_000)),
        ("$Tsm", Value::Number(250_000)),
        ("$Tf", text("2023-11-14T22:13:20.250000Z")),
    ] {
        assert_eq!(eval(template, Parties::AsWritten, None), want, "{template}");
    }
}

#[test]
fn reply_reads_the_answer() {
    for (template, want) in [
        ("$ct/reply", text("<sip:bob@198.51.100.7>")),
        ("$ct /reply", text("<sip:bob@198.51.100.7>")),
        ("$ct /REPLY ", text("<sip:bob@198.51.100.7>")),
        ("$(<reply>ct)", text("<sip:bob@198.51.100.7>")),
        ("$(<request>ua)", text("Desk phone")),
        ("$(hdr(Contact)[*])/reply", list(&["<sip:bob@198.51.100.7>"])),
        ("$tt/reply", text("to1")),
        ("$rm/reply", text("INVITE")),
        ("$ua/reply", text("Box 1")),
        ("$(ua{s.tolower})/reply", text("box 1")),
        ("$ru/reply", Value::Absent),
        ("$aU/reply", Value::Absent),
        ("$si/reply", text("198.51.100.7")),
        ("$sp/reply", Value::Number(5080)),
        ("$Ri/reply", Value::Absent),
        ("$proto/reply", Value::Absent),
        ("$cT/reply", Value::Absent),
        ("$rs/reply", Value::Number(200)),
        ("$tt/reply of $fU", text("to1 of alice")),
    ] {
        assert_eq!(eval(template, Parties::AsWritten, None), want, "{template}");
    }
    let request = message(INVITE);
    let alone = Context::new(&request, &Avps::new(), Timestamp(0)).code;
    assert_eq!(alone, 0);
    for template in ["$ct/reply", "$tt/reply", "$rs", "$rr", "$si", "$si/reply"] {
        let avps = Avps::new();
        let context = Context::new(&request, &avps, Timestamp(0));
        let value = Template::parse(template).expect("the template is one").eval(&context);
        assert_eq!(value, Value::Absent, "{template} without an answer");
    }
}

#[test]
fn text_and_variables_mix() {
    for (template, want) in [
        ("plain", text("plain")),
        ("$$5", text("$5")),
        ("$fU@$fd", text("alice@atlanta.example")),
        ("$(fU)x", text("alicex")),
        ("code=$rs;", text("code=200;")),
        ("all: $(ct[*])", text("all: <sip:alice@192.0.2.1>;q=0.5, <sip:alice@192.0.2.2>, <sip:alice@192.0.2.3>")),
        ("[$tt]", Value::Absent),
        ("$tt$fU", text("alice")),
        ("$fU(x)", text("alice(x)")),
        ("$fU/replying", text("alice/replying")),
        ("\u{20ac} $fU", text("\u{20ac} alice")),
    ] {
        assert_eq!(eval(template, Parties::AsWritten, None), want, "{template}");
    }
}

#[test]
fn exchanged_parties_swap_every_from_and_to() {
    for (template, want) in [
        ("$fu", text("tel:+4021")),
        ("$fn", text("Bob")),
        ("$tu", text("sip:alice@atlanta.example:5062;user=phone")),
        ("$tU", text("alice")),
        ("$tt", text("from1")),
        ("$ft", Value::Absent),
        ("$hdr(f)", text("Bob <tel:+4021>")),
        ("$hdr(From)", text("Bob <tel:+4021>")),
        ("$ft/reply", text("to1")),
        ("$ci", text("call1@atlanta.example")),
    ] {
        assert_eq!(eval(template, Parties::Exchanged, None), want, "{template}");
    }
}

#[test]
fn legs_have_variables_of_their_own() {
    let leg = Leg { src: b"sip:a", dst: b"sip:b", code: 486, cause: Some(Cause::Refused) };
    for (template, want) in [
        ("$leg(src)", text("sip:a")),
        ("$leg(dst)", text("sip:b")),
        ("$leg(code)", Value::Number(486)),
        ("$avp(src)", text("sip:a")),
        ("$avp(dst)", text("set by the policy")),
        ("$avp(account)", text("second")),
    ] {
        assert_eq!(eval(template, Parties::AsWritten, Some(leg)), want, "{template}");
    }
}

#[test]
fn a_mistake_names_its_column_and_what_to_write() {
    for (template, column, what, hint) in [
        ("", 1, "the template is empty", None),
        ("  ", 1, "the template is empty", None),
        ("cost $", 6, "`$` without the name of a variable", Some("write `$$` for a dollar sign")),
        ("$ fU", 1, "`$` without the name of a variable", Some("write `$$` for a dollar sign")),
        ("\u{20ac} $FU", 4, "unknown variable `$FU`", Some("did you mean `$fU`?")),
        ("$T_replycode", 2, "unknown variable `$T_replycode`", Some("did you mean `$T_reply_code`?")),
        ("$prot", 2, "unknown variable `$prot`", Some("did you mean `$proto`?")),
        (
            "$fU_and_more",
            2,
            "unknown variable `$fU_and_more`",
            Some("to put text right behind a variable write `$(fU)_and_more`"),
        ),
        ("$xyzzy_quux", 2, "unknown variable `$xyzzy_quux`", Some("`tollgate vars` lists them")),
        ("$hdr", 2, "`$hdr` needs the name of a header in parentheses", Some("write `$hdr(Subject)`")),
        ("$hdr()", 6, "`` is not the name of a header", Some("write `$hdr(Subject)`")),
        ("$hdr(a b)", 6, "`a b` is not the name of a header", Some("write `$hdr(Subject)`")),
        ("$hdr(Via", 5, "`(` is not closed by `)`", None),
        ("$hdr(Via[*])", 9, "an index stands behind the parentheses", Some("write `$(hdr(Via)[*])`")),
        (
            "$hdr(Via)[0]",
            10,
            "an index stands within parentheses",
            Some("write `$(hdr(Via)[0])`, `$(hdr(Via)[-1])` or `$(hdr(Via)[*])`"),
        ),
        ("$avp(s:email)", 6, "`s:email` is the old way to name an AVP", Some("write `$avp(email)`")),
        ("$avp(a/b)", 6, "`a/b` is not a name of letters, digits, `_`, `-`, `.`", Some("write `$avp(account)`")),
        ("$leg(mid)", 6, "`mid` is not `src`, `dst`, `code` or `cause`", Some("write `$leg(src)`")),
        ("$(fU[0])", 5, "`$fU` has one value and takes no index", None),
        (
            "$(ct[x])",
            6,
            "`x` is not an index",
            Some("an index is a whole number, negative from the end, or `*` for all"),
        ),
        (
            "$(ct[99999999999])",
            6,
            "`99999999999` is not an index",
            Some("an index is a whole number, negative from the end, or `*` for all"),
        ),
        ("$(ct[0)", 5, "`[` is not closed by `]`", None),
        ("$(fU", 2, "`(` is not closed by `)`", None),
        ("$(fU x)", 5, "expected `)`, found ` `", None),
        ("$(fU{s.lne})", 6, "unknown transformation `s.lne`", Some("did you mean `s.len`?")),
        ("$(fU{s.len)", 5, "`{` is not closed by `}`", None),
        ("$(fU{s.len,1})", 6, "`s.len` takes no arguments", Some("write `{s.len}`")),
        ("$fU{s.len}", 4, "a transformation stands within parentheses", Some("write `$(fU{s.len})`")),
        ("$(<branch>fU)", 3, "unknown context `branch`", Some("contexts are `<request>` and `<reply>`")),
        ("$(<reply fU)", 3, "`<` is not closed by `>`", None),
    ] {
        let hint = hint.map(str::to_owned);
        let want = Error { column, what: what.to_owned(), hint };
        assert_eq!(Template::parse(template).map(|_| ()), Err(want), "{template}");
    }
    let long = "x".repeat(TEMPLATE_BYTES_MAX + 1);
    assert!(Template::parse(&long).is_err_and(|error| error.what.contains("4097 octets")), "too long");
}

#[test]
fn the_catalogue_names_each_variable_once() {
    let mut names: Vec<_> = catalogue().iter().map(|variable| variable.name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(catalogue().iter().all(|variable| !variable.meaning.is_empty() && !variable.reply.is_empty()));
}

proptest::proptest! {
    #[test]
    fn any_template_is_read_or_refused_and_evaluated(template in "(\\$|\\(|\\)|\\[|\\]|\\*|\\{s\\.len\\}|\\{|\\}|/reply|hdr|fU|ct|avp|[a-z0-9 <>:-]){0,12}") {
        if let Ok(template) = Template::parse(&template) {
            let (request, avps) = (message(INVITE), Avps::new());
            let _ = template.eval(&Context::new(&request, &avps, Timestamp(0)));
        }
    }
}
