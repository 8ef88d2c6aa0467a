//! What a record holds, through the real binary: a call that was forwarded to the gateway, forked there, refused by one target
//! and answered by the other, with the headers that say so; read back as JSON and as columns of SQLite.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use data_encoding::BASE64URL_NOPAD;
use rcgen::{BasicConstraints, CertificateParams, CustomExtension, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tollgate::sinks::sql::{Dialect, Profile};

use crate::support::sql::Database;
use crate::support::start::Start as _;
use crate::support::{Agent, Gateway, Side, Wire, free_ports, peer, try_wait_for, wait_for};

/// PASSporT of RFC 8588 with the signature left away that nobody looks at.
const IDENTITY: &str = "eyJhbGciOiJFUzI1NiIsInBwdCI6InNoYWtlbiJ9.\
    eyJhdHRlc3QiOiJBIiwiZGVzdCI6eyJ0biI6WyI0OTMwMSJdfSwiaWF0IjoxNDQzMjA4MzQ1LCJvcmlnIjp7InRuIjoiNDkzMDIifSwib3JpZ2lkIjoiMTIzZTQ1NjcifQ.\
    c2ln;info=<https://cert.example/p.pem>;alg=ES256;ppt=\"shaken\"";

#[test]
fn a_forwarded_forked_refused_and_answered_call_is_told_whole() {
    let dir = tempfile::tempdir().unwrap();
    let Some(database) = Database::start(dir.path(), Dialect::Sqlite) else { return };
    database.make(&database.settings(Profile::Own));
    let agent = || Agent::bind(SocketAddr::from(([127, 0, 0, 1], 0)));
    let (mut caller, mut one, mut two) = (agent(), agent(), agent());
    let [port] = free_ports();
    let folder = dir.path().join("gateway");
    fs::create_dir_all(&folder).unwrap();
    // Nobody answers at the RADIUS server: its records stay to be looked at.
    let toml = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\n\
         [[route]]\nto = [\"sip:+49301@{}\", \"sip:77@{}\"]\nfork = \"parallel\"\n\
         [accounting]\non = [\"sql\", \"radius\"]\nforwarding_legs = true\nleg_fields = {{ src = \"$leg(src)\", dst = \"$leg(dst)\" }}\n\
         [queue]\npath = \"{dir}/queue\"\nfree_min_mib = 0\n[admin]\nsocket = \"{dir}/admin.sock\"\n\
         [sinks.sql.acc]\nurl = \"{}\"\n[sinks.radius.test]\nconfig = \"{dir}/radiusclient.conf\"\n",
        one.address,
        two.address,
        database.url(),
        dir = folder.display(),
    );
    let gateway = Gateway::start_on(&folder, port, &toml, 9);
    let here = caller.address;
    let invite = format!(
        "INVITE sip:49301@example.net SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK1;rport\r\nMax-Forwards: 70\r\n\
         From: <sip:49302;verstat=TN-Validation-Passed@example.net>;tag=a1\r\nTo: <sip:49300@example.net>\r\nCall-ID: whole\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:a@{here}>\r\nDiversion: <sip:49300@example.net>;reason=user-busy\r\n\
         P-Charge-Info: <sip:49309@example.net>\r\nSession-ID: ab30317f1a784dc48ff824d0d3715d86\r\n\
         P-Charging-Vector: icid-value=\"i-7\"\r\nIdentity: {IDENTITY}\r\nContent-Length: 0\r\n\r\n"
    );
    let invite = Wire::read(invite.as_bytes());
    caller.send(&invite.octets(), gateway.address());
    let gets =
        |agent: &mut Agent, method: &str| wait_for(method, || agent.take().filter(|wire| wire.method() == method));
    let answer = |agent: &Agent, request: &Wire, status: &str, more: &str| {
        let mut lines = vec![format!("Contact: <sip:t@{}>", agent.address).into_bytes()];
        lines.extend((!more.is_empty()).then(|| more.as_bytes().to_vec()));
        let answer = request.answer(status.as_bytes(), "t", &lines, b"");
        agent.send(&answer.octets(), gateway.address());
    };
    let (first, second) = (gets(&mut one, "INVITE"), gets(&mut two, "INVITE"));
    answer(&one, &first, "180 Ringing", "");
    answer(&one, &first, "486 Busy Here", "Reason: Q.850;cause=17");
    gets(&mut one, "ACK");
    answer(&two, &second, "200 OK", "Session-ID: 47755a9de7794ba387653f2099600ef2");
    let answered = wait_for("the 200", || caller.take().filter(|wire| wire.code() == 200));
    let side = Side::caller(&invite, &answered);
    let via = |what: &str| format!("SIP/2.0/UDP {here};branch=z9hG4bK{what};rport");
    caller.send(&side.request("ACK", 1, &via("a")).octets(), gateway.address());
    gets(&mut two, "ACK");
    let bye = side.request("BYE", 2, &via("b")).text();
    let bye = bye.replacen(
        "\r\nCSeq",
        "\r\nReason: Q.850;cause=31;text=\"a, b\", SIP;cause=480\r\nP-RTP-Stat: PS=9,PL=4,JI=7\r\nCSeq",
        1,
    );
    caller.send(bye.as_bytes(), gateway.address());
    let bye = gets(&mut two, "BYE");
    answer(&two, &bye, "200 OK", "");
    wait_for("the 200 to the BYE", || caller.take().filter(|wire| wire.code() == 200));

    let records = try_wait_for(|| {
        let text = gateway.command(&["queue", "export"]);
        let items: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let records = items.into_iter().map(|item| item.get("record").unwrap_or(&item).clone());
        let records: Vec<_> = records.filter(|record| record["call_id"] == "whole").collect();
        (records.len() >= 2).then_some(records)
    });
    let records = records.expect("a Start and a Stop");
    let stop = records.iter().find(|record| record["kind"] == "stop").expect("a Stop");
    let start = records.iter().find(|record| record["kind"] == "start").expect("a Start");
    let caller_address = here.to_string();
    for (name, key, want) in [
        ("who ended it", "ended_by", json!("caller")),
        ("from where", "ended_from", json!(caller_address)),
        ("each reason", "reasons", json!(["Q.850;cause=31;text=\"a, b\"", "SIP;cause=480"])),
        ("the cause value that it names", "q850", json!(31)),
        ("the code that it names", "sip_cause", json!(480)),
        ("what the caller dialled", "dialled", json!("49300")),
        ("who was asked first", "called", json!("+49301")),
        ("who answered", "sent", json!("77")),
        ("the target that answered", "target", json!(format!("sip:77@{}", two.address))),
        ("where it is", "target_address", json!(two.address.to_string())),
        ("how many were tried", "attempt_count", json!(2)),
        ("who sent the call on", "redirecting", json!("49300")),
        ("and why", "forward_reason", json!("user-busy")),
        ("who pays", "billed", json!("49309")),
        (
            "its name at both ends",
            "session_id",
            json!("ab30317f1a784dc48ff824d0d3715d86;remote=47755a9de7794ba387653f2099600ef2"),
        ),
        ("its name at the network", "icid", json!("i-7")),
        ("what was lost of the media", "rtp_lost", json!(4)),
        ("how sure the caller's network says to be", "claimed_attest", json!("A")),
        ("who it says calls", "claimed_orig", json!("49302")),
        ("whom it says is called", "claimed_dest", json!(["49301"])),
        ("when it said so", "claimed_iat", json!("2015-09-25T19:12:25.000000Z")),
        ("what somebody says to have found", "claimed_verstat", json!("TN-Validation-Passed")),
    ] {
        assert_eq!(stop[key], want, "{name}: {stop:#}");
        let is_of_end = matches!(key, "ended_by" | "ended_from" | "reasons" | "q850" | "sip_cause" | "rtp_lost");
        assert_eq!(start[key], if is_of_end { Value::Null } else { want }, "{name}, in the Start: {start:#}");
    }
    let busy = &stop["attempts"][0];
    assert_eq!(
        (&busy["cause"], &busy["code"], &busy["address"]),
        (&json!("busy"), &json!(486), &json!(one.address.to_string()))
    );
    assert!(busy["ring_s"].is_number() && stop["pdd_s"].is_number() && stop["ring_s"].is_number(), "{stop:#}");
    let legs: Vec<_> = stop["legs"].as_array().expect("legs").iter().map(|leg| leg["dst"].as_str().unwrap()).collect();
    assert_eq!(legs, ["sip:49300@example.net", &format!("sip:77@{}", two.address)]);

    let columns = "ended_from, reasons, q850, sip_cause, dialled, called, sent, attempt_count, redirecting, billed, icid, \
                   rtp_lost, claimed_attest, claimed_dest, claimed_iat, claimed_verstat";
    let query = format!("SELECT {columns} FROM acc WHERE kind = 'stop'");
    let rows = wait_for("its row", || Some(database.rows(&query)).filter(|rows| !rows.is_empty()));
    let want = format!(
        "{caller_address}\tQ.850;cause=31;text=\"a, b\", SIP;cause=480\t31\t480\t49300\t+49301\t77\t2\t49300\t49309\ti-7\t4\tA\t\
         49301\t2015-09-25 19:12:25.000\tTN-Validation-Passed"
    );
    assert_eq!(rows, [want]);
}

/// Calls with claims that OpenSSL has signed: one whose signature holds, and the same claims with the one of others.
#[test]
fn a_caller_that_openssl_has_signed_for_is_verified() {
    let Some(openssl) = peer("openssl") else { return };
    let dir = tempfile::tempdir().unwrap();
    let [port] = free_ports();
    let folder = dir.path().join("gateway");
    fs::create_dir_all(&folder).unwrap();
    certificates(&folder);
    let mut callee = Agent::bind(SocketAddr::from(([127, 0, 0, 1], 0)));
    let mut caller = Agent::bind(SocketAddr::from(([127, 0, 0, 1], 0)));
    let toml = format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\n[[route]]\nto = \"sip:{}\"\n\
         [accounting]\non = [\"radius\"]\nflags = [\"failed\"]\n\
         [accounting.identity]\nanchors = \"{dir}/ca.pem\"\ncertificates = {{ \"https://c.example/own.pem\" = \"{dir}/own.pem\" }}\n\
         [queue]\npath = \"{dir}/queue\"\nfree_min_mib = 0\n[admin]\nsocket = \"{dir}/admin.sock\"\n\
         [sinks.radius.test]\nconfig = \"{dir}/radiusclient.conf\"\n",
        callee.address,
        dir = folder.display(),
    );
    let gateway = Gateway::start_on(&folder, port, &toml, 9);
    let part = |json: Value| BASE64URL_NOPAD.encode(json.to_string().as_bytes());
    let signed = |origin: &str| {
        let iat = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let head = json!({ "alg": "ES256", "ppt": "shaken", "typ": "passport", "x5u": "https://c.example/own.pem" });
        let claims = json!({
            "attest": "B", "dest": { "tn": ["49301"] }, "iat": iat, "orig": { "tn": "49302" }, "origid": origin
        });
        format!("{}.{}", part(head), part(claims))
    };
    let (one, other) = (signed("1"), signed("2"));
    let signature = BASE64URL_NOPAD.encode(&es256(&openssl, &folder, &one));
    for (call, token) in [("sound", &one), ("forged", &other)] {
        let here = caller.address;
        let invite = format!(
            "INVITE sip:+49301@example.net SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{call};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:+49302@example.net>;tag=a1\r\nTo: <sip:+49301@example.net>\r\nCall-ID: {call}\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:a@{here}>\r\n\
             Identity: {token}.{signature};info=<https://c.example/own.pem>;alg=ES256;ppt=\"shaken\"\r\nContent-Length: 0\r\n\r\n"
        );
        caller.send(invite.as_bytes(), gateway.address());
        let request = wait_for("INVITE", || callee.take().filter(|wire| wire.method() == "INVITE"));
        callee.send(&request.answer(b"603 Decline", "t", &[], b"").octets(), gateway.address());
        wait_for("the 603", || caller.take().filter(|wire| wire.code() == 603));
    }
    let records = try_wait_for(|| {
        let text = gateway.command(&["queue", "export"]);
        let items: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        (items.len() >= 2).then_some(items)
    });
    let records = records.expect("a record of each call");
    for (call, want) in
        [("sound", json!(["verified", "B", "49302", "B"])), ("forged", json!(["bad-signature", null, null, "B"]))]
    {
        let records = records.iter().map(|item| item.get("record").unwrap_or(item));
        let record = records.into_iter().find(|record| record["call_id"] == call).expect("its record");
        let keys = ["identity_verdict", "verified_attest", "verified_orig", "claimed_attest"];
        assert_eq!(json!(keys.map(|key| record[key].clone())), want, "{call}: {record:#}");
    }
}

/// An authority in `ca.pem`, a certificate of a provider in `own.pem`, its key in `own.key`.
fn certificates(folder: &Path) {
    let (key, issuer_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(folder.join("ca.pem"), params.self_signed(&issuer_key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, issuer_key);
    let mut params = CertificateParams::default();
    let provider = b"\x30\x08\xA0\x06\x16\x041234".to_vec();
    params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 26], provider)];
    fs::write(folder.join("own.pem"), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
    fs::write(folder.join("own.key"), key.serialize_pem()).unwrap();
}

/// A signature as RFC 7518 §3.4 has it: OpenSSL's is DER, two numbers without leading zeros.
fn es256(openssl: &Path, folder: &Path, text: &str) -> Vec<u8> {
    let (data, out) = (folder.join("data"), folder.join("signature"));
    fs::write(&data, text).unwrap();
    let mut command = Command::new(openssl);
    command.args(["dgst", "-sha256", "-sign"]).arg(folder.join("own.key")).arg("-out").arg(&out).arg(&data);
    assert!(command.finish().unwrap().status.success());
    let der = fs::read(out).unwrap();
    let (first, rest) = der[4..].split_at(der[3].into());
    let number = |octets: &[u8]| {
        let octets = &octets[octets.iter().take_while(|octet| **octet == 0).count()..];
        [&vec![0; 32 - octets.len()], octets].concat()
    };
    [number(first), number(&rest[2..])].concat()
}
