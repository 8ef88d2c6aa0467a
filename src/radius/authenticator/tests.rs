//! Tests of authenticators with the examples of the RFCs.

use super::*;

fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// RFC 5997 §6.2: a Status-Server to an accounting port and its answer.
const PROBE: &str = "0cb30026925f6b66dd5fed571fcb1db7ad3882605012e8d6eabda910875cd91fdade26367858";
const PROBE_ANSWER: &str = "05b300140f6f92145f107e2f504e860a4860669c";
/// Computed with another program, secret `testing123`.
const REQUEST: &str = "04070029e4e8db8da71d1398f1b1c1a408086e762806000000012c09616263313233340406c0a80001";
const ANSWER: &str = "050700145a9391bb973a0428a2213b8b68623d06";
const REQUEST_WITH_MESSAGE: &str = "0408003bf4bf6a43db8515d637c2dfc4255f41a62806000000012c09616263313233340406c0a80001\
                                    501226363ee00d75f947c2676e0d994562f1";
/// Message-Authenticator over the request's authenticator, and over zero octets.
const ANSWERS_WITH_MESSAGE: [&str; 2] = [
    "05080026ae59ef00159cf6519fb52aa6f204afdb5012aeed7fa18502242eaf847ec2eb567eaa",
    "050800266afa78429d763f05c012b09d436875ee50128eb635f31e366202b58e032f3b41c121",
];

fn rfc() -> Secret {
    Secret::new("xyzzy5461")
}

fn ours() -> Secret {
    Secret::new("testing123")
}

#[test]
fn the_answers_of_the_rfcs_verify() {
    let access = "0200002686fe220e7624ba2a1005f6bf9b55e0b20606000000010f06000000000e06c0a80103";
    let access_request = octets("0f403f9473978057bd83d5cb98f4227a");
    let probe = octets(PROBE);
    for (name, answer, request) in [
        ("RFC 2865 section 7.1", octets(access), access_request.as_slice()),
        ("RFC 5997 section 6.2", octets(PROBE_ANSWER), &probe[4..20]),
    ] {
        let request: &[u8; 16] = request.try_into().unwrap();
        assert!(is_response_authentic(&Packet::parse(&answer).unwrap(), request, &rfc()), "{name}");
        let mut again = answer.clone();
        again[4..20].fill(0);
        sign_response(&mut again, request, &rfc());
        assert_eq!(again, answer, "{name} signed again");
    }
}

#[test]
fn a_status_server_of_the_rfc_is_built_again() {
    let probe = octets(PROBE);
    let packet = Packet::parse(&probe).unwrap();
    let own = packet.authenticator();
    assert_eq!(check_request_message(&packet, &own, &rfc()), MessageCheck::Good);
    let mut again = probe.clone();
    again[22..].fill(0);
    sign_message(&mut again, &own, &rfc());
    assert_eq!(again, probe);
}

#[test]
fn requests_and_answers_of_another_program_verify() {
    let (request, answer) = (octets(REQUEST), octets(ANSWER));
    let request = Packet::parse(&request).unwrap();
    assert!(is_request_authentic(&request, &ours()));
    assert!(!is_request_authentic(&request, &rfc()));
    assert!(is_response_authentic(&Packet::parse(&answer).unwrap(), &request.authenticator(), &ours()));
    assert_eq!(check_request_message(&request, &[0; 16], &ours()), MessageCheck::Absent);
}

#[test]
fn a_message_authenticator_of_an_answer_is_good_in_both_ways() {
    let request = octets(REQUEST_WITH_MESSAGE);
    let request = Packet::parse(&request).unwrap();
    assert!(is_request_authentic(&request, &ours()));
    assert_eq!(check_request_message(&request, &[0; 16], &ours()), MessageCheck::Good);
    for answer in ANSWERS_WITH_MESSAGE {
        let mut answer = octets(answer);
        let packet = Packet::parse(&answer).unwrap();
        assert!(is_response_authentic(&packet, &request.authenticator(), &ours()));
        assert_eq!(check_response_message(&packet, &request.authenticator(), &ours()), MessageCheck::Good);
        answer[37] ^= 1;
        let packet = Packet::parse(&answer).unwrap();
        assert_eq!(check_response_message(&packet, &request.authenticator(), &ours()), MessageCheck::Bad);
    }
}

#[test]
fn signing_a_request_with_a_message_gives_the_same_octets() {
    let want = octets(REQUEST_WITH_MESSAGE);
    let mut request = want.clone();
    request[4..20].fill(0xaa);
    request[43..].fill(0xaa);
    sign_message(&mut request, &[0; 16], &ours());
    assert_eq!(sign_request(&mut request, &ours()), want[4..20]);
    assert_eq!(request, want);
}

#[test]
fn any_changed_bit_fails() {
    for (hex, request) in [(REQUEST, None), (ANSWER, Some(octets(REQUEST)))] {
        let good = octets(hex);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let Ok(packet) = Packet::parse(&bad) else { continue };
            let is_good = match &request {
                None => is_request_authentic(&packet, &ours()),
                Some(request) => is_response_authentic(&packet, request[4..20].try_into().unwrap(), &ours()),
            };
            assert!(!is_good, "bit {bit}");
        }
    }
}

#[test]
fn a_message_authenticator_of_another_length_is_bad() {
    let mut octets = Vec::new();
    super::super::packet::begin(&mut octets, super::super::packet::Code::ACCOUNTING_RESPONSE, 1);
    super::super::packet::push(&mut octets, number::MESSAGE_AUTHENTICATOR, &[0; 15]);
    super::super::packet::finish(&mut octets).unwrap();
    let packet = Packet::parse(&octets).unwrap();
    assert_eq!(check_response_message(&packet, &[0; 16], &ours()), MessageCheck::Bad);
    let before = octets.clone();
    sign_message(&mut octets, &[0; 16], &ours());
    assert_eq!(octets, before, "nothing to fill");
}

#[test]
fn a_secret_does_not_show() {
    assert_eq!(format!("{:?}", ours()), "Secret(..)");
}
