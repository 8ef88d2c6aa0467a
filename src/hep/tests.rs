//! Packets by hand, as Kamailio and sngrep order them, and any octets.

use data_encoding::HEXLOWER_PERMISSIVE;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};

use super::*;

/// A packet of these chunks of vendor 0.
pub(crate) fn packet(chunks: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in chunks {
        let length = u16::try_from(value.len() + CHUNK_OCTETS).expect("a test's chunk is short");
        body.extend([&[0, 0][..], &kind.to_be_bytes(), &length.to_be_bytes(), value].concat());
    }
    let length = u16::try_from(body.len() + HEAD_OCTETS).expect("a test's packet is short");
    [MAGIC, &length.to_be_bytes(), &body].concat()
}

const FROM: (u16, &[u8]) = (3, &[10, 0, 0, 1]);
const TO: (u16, &[u8]) = (4, &[10, 0, 0, 2]);
const FROM_6: (u16, &[u8]) = (5, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
const TO_6: (u16, &[u8]) = (6, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
const PORTS: [(u16, &[u8]); 2] = [(7, &[0x13, 0xc4]), (8, &[0x13, 0xc5])];
const UDP_SIP: [(u16, &[u8]); 2] = [(2, &[17]), (11, &[SIP])];
const TIME: [(u16, &[u8]); 2] = [(9, &[0, 0, 0, 2]), (10, &[0, 0, 0, 3])];
const PAYLOAD: (u16, &[u8]) = (15, b"OPTIONS");

/// `from > to carrier protocol @micros #agent key/correlation payload`, or why it is none.
fn shown(octets: &[u8]) -> String {
    match decode(octets) {
        Err(why) => why.to_string(),
        Ok(own) => format!(
            "{} > {} {} {} @{} #{} {}/{} {}",
            own.from,
            own.to,
            own.carrier,
            own.protocol,
            own.at.map_or(-1, |at| at.0),
            own.agent,
            String::from_utf8_lossy(own.key),
            String::from_utf8_lossy(own.correlation),
            String::from_utf8_lossy(own.payload),
        ),
    }
}

#[test]
fn packets_are_read_in_any_order_of_their_chunks() {
    let v4 = [&UDP_SIP[..], &[(1, &[2]), FROM, TO], &PORTS, &TIME, &[(12, &[0, 0, 0, 7]), PAYLOAD]].concat();
    let backwards: Vec<_> = v4.iter().rev().copied().collect();
    let all = "10.0.0.1:5060 > 10.0.0.2:5061 17 1 @2000003 #7 / OPTIONS";
    let mut foreign = packet(&v4);
    foreign.extend([0x12, 0x34, 0, 15, 0, 8, b'x', b'x']);
    foreign[5] += 8;
    for (name, octets, want) in [
        ("as Kamailio writes it", packet(&v4), all),
        ("backwards", packet(&backwards), all),
        ("with a chunk of another vendor", foreign, all),
        ("with a chunk of an unknown type", packet(&[&v4[..], &[(999, b"?")]].concat()), all),
        (
            "IPv6",
            packet(&[&UDP_SIP[..], &[(1, &[10]), FROM_6, TO_6, PAYLOAD], &PORTS].concat()),
            "[2001:db8::1]:5060 > [2001:db8::2]:5061 17 1 @-1 #0 / OPTIONS",
        ),
        (
            "both families: the one that is said",
            packet(&[&[(1, &[10][..]), FROM, TO, FROM_6, TO_6, PAYLOAD][..], &PORTS].concat()),
            "[2001:db8::1]:5060 > [2001:db8::2]:5061 0 0 @-1 #0 / OPTIONS",
        ),
        (
            "a key and a correlation id",
            packet(&[FROM, TO, (14, b"secret"), (17, b"c@x"), (15, b"")]),
            "10.0.0.1:0 > 10.0.0.2:0 0 0 @-1 #0 secret/c@x ",
        ),
        (
            "a chunk twice: the later one",
            packet(&[FROM, TO, (15, b"a"), (15, b"b")]),
            "10.0.0.1:0 > 10.0.0.2:0 0 0 @-1 #0 / b",
        ),
    ] {
        assert_eq!(shown(&octets), want, "{name}");
    }
}

#[test]
fn what_is_no_packet_says_why() {
    let with = |chunk: (u16, &'static [u8])| packet(&[FROM, TO, PAYLOAD, chunk]);
    for (name, octets, want) in [
        ("nothing", Vec::new(), "it says 6 octets and has 0"),
        ("another version", b"\x02\x10\x02\x11abcdefgh".to_vec(), "it does not begin with HEP3"),
        ("SIP without a wrapping", b"OPTIONS sip:x SIP/2.0\r\n\r\n".to_vec(), "it does not begin with HEP3"),
        ("a head alone", b"HEP3".to_vec(), "it says 6 octets and has 4"),
        ("a length that ends in the head", b"HEP3\0\x05".to_vec(), "it says 0 octets and has 6"),
        ("no chunks", packet(&[]), "it has no addresses of one family"),
        ("cut", packet(&[FROM, TO, PAYLOAD])[..30].to_vec(), "it says 39 octets and has 30"),
        ("more behind it", [packet(&[FROM, TO, PAYLOAD]), vec![0]].concat(), "it says 39 octets and has 40"),
        ("half an address", with((3, &[10, 0])), "chunk 3 has a value of 2 octets"),
        ("a port of one octet", with((7, &[1])), "chunk 7 has a value of 1 octets"),
        ("a time of eight", with((9, &[0; 8])), "chunk 9 has a value of 8 octets"),
        ("no destination", packet(&[FROM, PAYLOAD]), "it has no addresses of one family"),
        ("a source of each family", packet(&[FROM, TO_6, PAYLOAD]), "it has no addresses of one family"),
        ("no payload", packet(&[FROM, TO]), "it has no payload"),
        (
            "a compressed one",
            packet(&[FROM, TO, (16, &[0x1f, 0x8b])]),
            "its payload is compressed; switch compression off at the sender",
        ),
        (
            "a chunk longer than the packet",
            b"HEP3\0\x0d\0\0\0\x0f\xff\xff?".to_vec(),
            "chunk 15 says 65535 octets, 7 are left",
        ),
        (
            "a chunk shorter than its head",
            b"HEP3\0\x0d\0\0\0\x0f\0\x05?".to_vec(),
            "chunk 15 says 5 octets, 7 are left",
        ),
        ("a head of a chunk cut", b"HEP3\0\x09\0\0\0".to_vec(), "chunk 0 says 6 octets, 3 are left"),
    ] {
        assert_eq!(shown(&octets), want, "{name}");
    }
}

/// As sngrep 1.6.0 orders chunks: times before addresses, and an id whose octets it has in an order of its own.
#[test]
fn a_packet_in_the_order_of_sngrep_is_read() {
    let hex = "48455033 0065 0000 0001 0007 02 0000 0002 0007 11 0000 0007 0008 13c4 0000 0008 0008 13c4 \
               0000 0009 000a 5e0be100 0000 000a 000a 0000000a 0000 000b 0007 01 0000 000c 000a 07d20000 \
               0000 0003 000a c0a80001 0000 0004 000a c0a80002 0000 000f 0008 6869";
    let hex: String = hex.split_whitespace().collect();
    let octets = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).expect("hex");
    assert_eq!(shown(&octets), "192.168.0.1:5060 > 192.168.0.2:5060 17 1 @1577836800000010 #131203072 / hi");
}

#[test]
fn a_stream_is_cut_into_packets_or_lost() {
    let one = packet(&[FROM, TO, PAYLOAD]);
    let length = one.len();
    for (name, octets, want) in [
        ("nothing yet", Vec::new(), Frame::Unknown),
        ("a part of the first word", b"HE".to_vec(), Frame::Unknown),
        ("the length has not come", one[..5].to_vec(), Frame::Unknown),
        ("a packet that is not whole", one[..7].to_vec(), Frame::Packet(length)),
        ("two packets", one.repeat(2), Frame::Packet(length)),
        ("another word", b"HEQ".to_vec(), Frame::Lost),
        ("a length too short for anything", b"HEP3\0\0".to_vec(), Frame::Lost),
    ] {
        assert_eq!(frame(&octets), want, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_octets_are_a_packet_or_are_not(octets in vec(any::<u8>(), 0..300)) {
        let _whatever = decode(&octets);
        let behind = [MAGIC, &u16::try_from(octets.len() + 6).expect("short").to_be_bytes(), &octets].concat();
        if let Ok(packet) = decode(&behind) {
            prop_assert!(packet.payload.len() <= octets.len());
        }
    }

    #[test]
    fn a_packet_with_some_octets_changed_is_read_or_is_not(
        changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<proptest::sample::Index>(),
    ) {
        let chunks = [&UDP_SIP[..], &[(1, &[2]), FROM, TO], &PORTS, &TIME, &[PAYLOAD]].concat();
        let mut octets = packet(&chunks);
        for (at, octet) in changes {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        octets.truncate(cut.index(octets.len()) + 1);
        let is_packet = decode(&octets).is_ok();
        prop_assert!(!is_packet || frame(&octets) == Frame::Packet(octets.len()));
    }
}
