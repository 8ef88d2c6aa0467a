//! Captures that are made here, whole and damaged.

use std::time::Duration;

use etherparse::PacketBuilder;
use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;
use serde_json::{Value, json};

use super::capture::{Begins, Held, is_capture, read};
use super::listing::{Listing, Protocols};

/// A protocol whose messages are `M`, their length, and anything.
struct Toy;

impl Protocols for Toy {
    fn begins(&self, octets: &[u8]) -> Begins {
        match octets {
            [] | [b'M'] => Begins::Unknown,
            [b'M', length, ..] if *length >= 2 => Begins::Message(usize::from(*length)),
            _ => Begins::Nothing,
        }
    }

    fn show(&self, octets: &[u8]) -> Result<(String, Value), String> {
        let text = String::from_utf8_lossy(&octets[2..]).into_owned();
        if text == "bad" { Err("a bad one".to_owned()) } else { Ok((format!("{text}\n"), json!(text))) }
    }
}

fn message(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len() + 2).expect("a short text");
    [&[b'M', length], text.as_bytes()].concat()
}

fn ethernet() -> etherparse::PacketBuilderStep<etherparse::Ethernet2Header> {
    PacketBuilder::ethernet2([1; 6], [2; 6])
}

fn udp(octets: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = ethernet().ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(4_000, 1_813);
    builder.write(&mut frame, octets).expect("it fits");
    frame
}

fn tcp(sequence: u32, is_first: bool, octets: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = ethernet().ipv6([1; 16], [2; 16], 64).tcp(4_000, 3_868, sequence, 1_024);
    let builder = if is_first { builder.syn() } else { builder };
    builder.write(&mut frame, octets).expect("it fits");
    frame
}

/// A file of pcap, each frame with the octets that it had.
fn pcap(link: DataLink, frames: &[(Vec<u8>, usize)]) -> Vec<u8> {
    let header = PcapHeader { datalink: link, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(Vec::new(), header).expect("written");
    for (octets, length) in frames {
        let length = u32::try_from(*length).expect("short");
        let packet = PcapPacket::new(Duration::from_micros(1_700_000_000_500_000), length, octets.as_slice());
        writer.write_packet(&packet.expect("a packet")).expect("written");
    }
    writer.into_inner()
}

fn whole(frames: &[Vec<u8>]) -> Vec<u8> {
    let frames: Vec<_> = frames.iter().map(|own| (own.clone(), own.len())).collect();
    pcap(DataLink::ETHERNET, &frames)
}

fn listed(octets: &[u8]) -> (Listing<Toy>, Held) {
    let mut listing = Listing::new(Toy);
    let held = read(octets, &mut listing);
    (listing, held)
}

/// The messages, and what is to be said.
fn held(octets: &[u8]) -> (Vec<String>, Vec<String>) {
    let (listing, held) = listed(octets);
    let said = held.damage.into_iter().chain(listing.notes).collect();
    (listing.all.iter().filter_map(|own| own["message"].as_str()).map(str::to_owned).collect(), said)
}

#[test]
fn a_datagram_is_found_in_frames_of_all_kinds() {
    let octets = message("one");
    let mut vlan = Vec::new();
    let builder = ethernet().single_vlan(7.try_into().expect("an id")).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    builder.udp(4_000, 1_813).write(&mut vlan, &octets).expect("it fits");
    let mut six = Vec::new();
    PacketBuilder::ipv6([1; 16], [2; 16], 64).udp(4_000, 1_813).write(&mut six, &octets).expect("it fits");
    let ip = udp(&octets)[14..].to_vec();
    let behind = |head: &[u8]| [head, ip.as_slice()].concat();
    for (name, link, frame) in [
        ("Ethernet", DataLink::ETHERNET, udp(&octets)),
        ("with a VLAN", DataLink::ETHERNET, vlan),
        ("bare IPv4", DataLink::RAW, ip.clone()),
        ("bare IPv6", DataLink::IPV6, six),
        ("loopback of BSD", DataLink::NULL, behind(&[2, 0, 0, 0])),
        ("cooked", DataLink::LINUX_SLL, behind(&[0, 0, 0, 1, 0, 6, 1, 1, 1, 1, 1, 1, 0, 0, 8, 0])),
        ("cooked, second kind", 276.into(), behind(&[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 1, 1, 1, 1, 1, 1, 0, 0])),
    ] {
        let length = frame.len();
        let file = pcap(link, &[(frame, length)]);
        assert_eq!(held(&file), (vec!["one".to_owned()], Vec::new()), "{name}");
    }
    let mut writer = PcapNgWriter::new(Vec::new()).expect("written");
    writer.write_pcapng_block(InterfaceDescriptionBlock::new(DataLink::ETHERNET, 0)).expect("written");
    let frame = udp(&octets);
    let block = EnhancedPacketBlock {
        timestamp: Duration::from_micros(1_700_000_000_500_000),
        original_len: u32::try_from(frame.len()).expect("short"),
        data: frame.into(),
        ..Default::default()
    };
    writer.write_pcapng_block(block).expect("written");
    let (shown, _) = listed(&writer.into_inner());
    assert_eq!(shown.text, "frame 1 2023-11-14T22:13:20.5Z UDP 10.0.0.1:4000 > 10.0.0.2:1813\none\n\n");
    let want = json!({
        "frame": 1, "time": "2023-11-14T22:13:20.5Z", "transport": "UDP", "source": "10.0.0.1:4000",
        "destination": "10.0.0.2:1813", "message": "one",
    });
    assert_eq!(shown.all, [want]);
}

#[test]
fn a_stream_is_put_together() {
    let all = [message("one"), message("two"), message("three")].concat();
    let at = |from: usize, to: usize| tcp(101 + u32::try_from(from).expect("short"), false, &all[from..to]);
    let open = tcp(100, true, b"");
    let three = ["one", "two", "three"].map(str::to_owned).to_vec();
    let end = all.len();
    for (name, frames, want, notes) in [
        ("in one segment", vec![open.clone(), at(0, end)], &three[..], 0),
        (
            "in many",
            std::iter::once(open.clone()).chain((0..end).map(|from| at(from, from + 1))).collect(),
            &three[..],
            0,
        ),
        ("in another order", vec![open.clone(), at(4, 9), at(9, end), at(0, 4)], &three[..], 0),
        ("some of it again", vec![open.clone(), at(0, 6), at(0, 6), at(2, 9), at(0, end)], &three[..], 0),
        ("from the middle", vec![at(2, 5), at(5, end)], &three[1..], 0),
        ("begun within a segment", vec![at(2, 9), at(9, end)], &[], 0),
        ("not to its end", vec![open.clone(), at(0, 12)], &three[..2], 1),
        ("with a hole", vec![open.clone(), at(0, 4), at(5, end)], &[], 1),
    ] {
        let (messages, said) = held(&whole(&frames));
        assert_eq!(messages, want, "{name}");
        assert_eq!(said.len(), notes, "{name}: {said:?}");
    }
    // Numbers that begin again at 0.
    let frames = [tcp(u32::MAX - 3, true, b""), tcp(u32::MAX - 2, false, &all[..6]), tcp(3, false, &all[6..])];
    assert_eq!(held(&whole(&frames)).0, three);
    // A hole that is never filled.
    let more = message("more");
    let mut frames = vec![open, at(0, 5)];
    frames.extend((0..300_u32).map(|number| tcp(201 + number * 6, false, &more)));
    let (messages, said) = held(&whole(&frames));
    assert_eq!((messages.len(), said.len()), (301, 1), "{said:?}");
    assert!(said[0].ends_with("octets are missing, and with them what they were a part of"), "{said:?}");
}

#[test]
fn what_cannot_be_read_is_told() {
    let long = message(&"x".repeat(200));
    let cut = |frame: Vec<u8>, have: usize| {
        let length = frame.len();
        pcap(DataLink::ETHERNET, &[(frame[..have].to_vec(), length)])
    };
    let mut fragment = udp(&long);
    fragment[20] = 0x20;
    let arp = [vec![1; 12], vec![8, 6], vec![0; 28]].concat();
    for (name, file, want) in [
        ("a part of a packet", whole(&[fragment]), "frame 1: a part of an IP packet: they are not put together"),
        (
            "a datagram that is cut",
            cut(udp(&long), 100),
            "frame 1: 10.0.0.1:4000 > 10.0.0.2:1813: cut: the capture has 58 of 202 octets",
        ),
        ("a header that is cut", cut(udp(&long), 30), "frame 1: cut: the capture has 30 of 244 octets"),
        (
            "a message longer than its datagram",
            whole(&[udp(b"M\x09abc")]),
            "frame 1: 10.0.0.1:4000 > 10.0.0.2:1813: a message of 9 octets in a datagram of 5",
        ),
        ("a message that is bad", whole(&[udp(&message("bad"))]), "frame 1: 10.0.0.1:4000 > 10.0.0.2:1813: a bad one"),
        (
            "another link",
            pcap(DataLink::IEEE802_11, &[(vec![0; 60], 60)]),
            "frame 1: frames of link type 105 are not read",
        ),
        (
            "a segment that is cut",
            pcap(DataLink::ETHERNET, &[(tcp(1, false, &long)[..120].to_vec(), tcp(1, false, &long).len())]),
            "frame 1: TCP [101:101:101:101:101:101:101:101]:4000 > [202:202:202:202:202:202:202:202]:3868: octets are missing, and with them what they were a part of",
        ),
    ] {
        assert_eq!(held(&file), (Vec::new(), vec![want.to_owned()]), "{name}");
    }
    let (listing, others) = listed(&whole(&[arp, udp(b"other"), tcp(5, false, b"other")]));
    assert_eq!((others.others, others.frames, listing.notes.len()), (3, 3, 0));
}

#[test]
fn a_damaged_file_gives_what_is_whole_and_no_panic() {
    let frames = [udp(&message("one")), tcp(1, true, b""), tcp(2, false, &message("two")), udp(&message("three"))];
    let file = whole(&frames);
    let (messages, said) = held(&file[..file.len() - 3]);
    assert_eq!(messages, ["one", "two"]);
    assert!(said[0].starts_with("the capture is damaged behind frame 3: "), "{said:?}");
    let mut writer = PcapNgWriter::new(Vec::new()).expect("written");
    writer.write_pcapng_block(InterfaceDescriptionBlock::new(DataLink::ETHERNET, 0)).expect("written");
    for frame in frames {
        let original_len = u32::try_from(frame.len()).expect("short");
        let block = EnhancedPacketBlock { original_len, data: frame.into(), ..Default::default() };
        writer.write_pcapng_block(block).expect("written");
    }
    for file in [file, writer.into_inner()] {
        assert_eq!(held(&file).0, ["one", "two", "three"]);
        for end in 0..file.len() {
            held(&file[..end]);
        }
        for at in 0..file.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = file.clone();
                damaged[at] = value;
                held(&damaged);
            }
        }
    }
    assert!(!is_capture(b"") && !is_capture(b"0a0d0d0a") && is_capture(&[0x0a, 0x0d, 0x0d, 0x0a]));
}
