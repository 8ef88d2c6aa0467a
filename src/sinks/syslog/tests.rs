//! Headers, frames and the entries of journald.

use std::path::PathBuf;

use super::line_tests::{layout, profile};
use super::*;
use crate::record::{Kind, Value};
use crate::sinks::tests::record;

fn settings(receiver: Receiver, format: Format, host: &str) -> Settings {
    let header = Header { priority: 29, identity: "kamailio".to_owned(), host: host.to_owned() };
    Settings { receiver, format, header, layout: layout(profile("kamailio"), &[], &[]), octets_max: OCTETS_MAX }
}

#[test]
fn headers_are_those_of_the_formats() {
    let own = record(Kind::Stop);
    let (process, id, zone) = (std::process::id(), own.id, TimeZone::UTC);
    let body = "NOTICE: acc [acc.c:287]: acc_log_request(): ACC: transaction answered: timestamp=1700000065;method=BYE;\
                from_tag=alice-tag;to_tag=bob-tag;call_id=call-1@192.0.2.7;code=200;reason=OK";
    let local = Receiver::Local(PathBuf::from("/dev/log"));
    for (name, receiver, format, host, want) in [
        ("local", local.clone(), Format::Rfc3164, "", format!("<29>Nov 14 22:14:25 kamailio[{process}]: {body}")),
        (
            "over a network",
            Receiver::Udp("h".into(), 514),
            Format::Rfc3164,
            "gw1",
            format!("<29>Nov 14 22:14:25 gw1 kamailio[{process}]: {body}"),
        ),
        (
            "RFC 5424",
            Receiver::Udp("h".into(), 514),
            Format::Rfc5424,
            "gw1",
            format!(
                "<29>1 2023-11-14T22:14:25.500000Z gw1 kamailio {process} stop [tollgate@32473 id=\"{id}\"] {body}"
            ),
        ),
    ] {
        let lines = settings(receiver, format, host).lines(&own, &zone);
        assert_eq!(String::from_utf8_lossy(&lines[0]), want, "{name}");
        assert_eq!(lines.len(), 1);
        let framed = settings(Receiver::Tcp("h".into(), 514), format, host).lines(&own, &zone);
        assert_eq!(String::from_utf8_lossy(&framed[0]), format!("{} {want}", want.len()), "{name}, counted");
    }
}

#[test]
fn journald_gets_fields() {
    let mut own = record(Kind::Stop);
    own.fields.push(("two lines".to_owned(), Value::Text(b"a\nb".to_vec())));
    let datagram = &settings(Receiver::Journal(PathBuf::new()), Format::Rfc3164, "").lines(&own, &TimeZone::UTC)[0];
    let text = String::from_utf8_lossy(datagram).into_owned();
    for want in [
        "MESSAGE=NOTICE: acc [acc.c:287]: acc_log_request(): ACC: transaction answered: timestamp=",
        "\nPRIORITY=5\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=kamailio\n",
        &format!("\nTOLLGATE_RECORD_ID={}\n", own.id),
        "\nSIP_CALL_ID=call-1@192.0.2.7\n",
        "\nF_SRC_IP=192.0.2.7\n",
        "\nF_TWO_LINES\n\u{3}\0\0\0\0\0\0\0a\nb\n",
    ] {
        assert!(text.contains(want), "{want:?} in {text:?}");
    }
}
