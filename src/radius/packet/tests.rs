//! Tests of packets: text vectors, and crate `radius` as a second opinion.

use ::radius::core::avp::AVP;
use ::radius::core::packet::Packet as Model;
use proptest::prelude::*;

use super::*;

/// Name, octets, verdict of each vector.
fn vectors() -> Vec<(String, Vec<u8>, String)> {
    let (mut found, mut name, mut octets) = (Vec::new(), String::new(), Vec::new());
    for line in include_str!("../../../tests/vectors/radius/packets.txt").lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            comment.clone_into(&mut name);
        } else if line.starts_with("ok ") || line.starts_with("bad ") {
            found.push((name.clone(), std::mem::take(&mut octets), line.to_owned()));
        } else {
            octets.extend(line.split_whitespace().map(|octet| u8::from_str_radix(octet, 16).unwrap()));
        }
    }
    found
}

fn verdict(datagram: &[u8]) -> String {
    match Packet::parse(datagram) {
        Ok(packet) => {
            let numbers: Vec<String> = packet.attributes().map(|attribute| attribute.number.to_string()).collect();
            let numbers = if numbers.is_empty() { "-".to_owned() } else { numbers.join(",") };
            format!("ok {} {} {} {numbers}", packet.code(), packet.identifier(), packet.octets().len())
        }
        Err(error) => format!("bad {error}"),
    }
}

#[test]
fn vectors_read_as_stated() {
    let vectors = vectors();
    assert!(vectors.len() > 15);
    for (name, octets, want) in vectors {
        assert_eq!(verdict(&octets), want, "{name}");
    }
}

#[test]
fn every_cut_of_a_packet_is_refused_or_whole() {
    for (name, octets, want) in vectors().into_iter().filter(|(_, _, want)| want.starts_with("ok")) {
        let length = usize::from(u16::from_be_bytes([octets[2], octets[3]]));
        for end in 0..octets.len() {
            let cut = verdict(&octets[..end]);
            assert_eq!(cut == want, end >= length, "{name} cut at {end}: {cut}");
        }
    }
}

#[test]
fn an_attribute_is_never_empty_nor_too_long() {
    for (octets, want) in [(0, 0), (1, 3), (253, 255), (254, 255), (10_000, 255)] {
        let mut out = Vec::new();
        push(&mut out, 1, &vec![b'x'; octets]);
        assert_eq!(out.len(), want, "{octets} octets");
    }
}

#[test]
fn a_packet_is_finished_up_to_4096_octets_only() {
    for (octets, fits) in [(19, false), (20, true), (4096, true), (4097, false), (70_000, false)] {
        assert_eq!(finish(&mut vec![0; octets]).is_ok(), fits, "{octets} octets");
    }
}

proptest! {
    #[test]
    fn our_writer_makes_the_octets_of_crate_radius(
        identifier: u8,
        secret in prop::collection::vec(any::<u8>(), 1..40),
        attributes in prop::collection::vec((1_u8..=255, prop::collection::vec(any::<u8>(), 1..=253)), 0..16),
    ) {
        let mut ours = Vec::new();
        begin(&mut ours, Code::ACCOUNTING_REQUEST, identifier);
        let mut model = Model::new_with_identifier(Known::AccountingRequest, &secret, identifier);
        for (number, value) in &attributes {
            push(&mut ours, *number, value);
            model.add(AVP::from_bytes(*number, value));
        }
        match finish(&mut ours) {
            Ok(()) => {
                crate::radius::authenticator::sign_request(&mut ours, &crate::radius::Secret::new(secret));
                prop_assert_eq!(&ours, &model.encode().unwrap());
            }
            Err(TooLong { octets }) => prop_assert!(octets > PACKET_OCTETS_MAX),
        }
    }

    #[test]
    fn our_reader_agrees_with_crate_radius(datagram in prop::collection::vec(any::<u8>(), 0..80), length in 18_u16..90) {
        let mut datagram = datagram;
        if datagram.len() > 4 {
            datagram[2..4].copy_from_slice(&length.to_be_bytes());
        }
        // The model drops attributes of a packet whose last octet stands alone; ours refuses it.
        let ours = Packet::parse(&datagram);
        let model = Model::decode(&datagram, b"x");
        if ours.is_ok() {
            prop_assert!(model.is_ok(), "{:?}", model.err());
        }
        if let (Ok(ours), Ok(model)) = (ours, model) {
            prop_assert_eq!(ours.identifier(), model.get_identifier());
            prop_assert_eq!(&ours.authenticator()[..], &model.get_authenticator()[..]);
            for attribute in ours.attributes() {
                let all = model.lookup_all(attribute.number);
                prop_assert!(all.iter().any(|avp| avp.encode_bytes() == attribute.value));
            }
        }
    }

    #[test]
    fn no_datagram_panics(datagram in prop::collection::vec(any::<u8>(), 0..5000)) {
        let _ = verdict(&datagram);
        prop_assert!(Attributes::of(&datagram).count() <= datagram.len());
    }
}
