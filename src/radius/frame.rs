//! Packets in a stream: RADIUS over TCP and TLS has no frame but the packet's own Length (RFC 6613 §2.6.2).
//!
//! Only the Length field is looked at, which RADIUS/1.1 (RFC 9765 §4.1) has at the same place: what stands in the other
//! octets of the header is the business of whoever takes the packet.

use super::packet::{HEADER_OCTETS, Malformed, PACKET_OCTETS_MAX};

/// Octets before the end of the Length field.
const LENGTH_END: usize = 4;

/// Octets of the packet that `octets` begin with, from its code to its last attribute, once all of it is there.
///
/// # Errors
/// [`Malformed::Length`] for a length that no packet has. The stream has no further boundary then: the connection is to be
/// closed (RFC 6613 §2.6.4).
pub fn frame(octets: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some(head) = octets.first_chunk::<LENGTH_END>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    if !(HEADER_OCTETS..=PACKET_OCTETS_MAX).contains(&length) {
        return Err(Malformed::Length { length });
    }
    Ok((octets.len() >= length).then_some(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::net::stream::Packets;

    fn packet(length: u16, fill: u8) -> Vec<u8> {
        let mut octets = vec![fill; usize::from(length)];
        octets[2..4].copy_from_slice(&length.to_be_bytes());
        octets
    }

    fn all(frames: &mut Packets) -> Result<Vec<Vec<u8>>, Malformed> {
        let mut found = Vec::new();
        while let Some(packet) = frames.take(frame)? {
            found.push(packet.to_vec());
        }
        Ok(found)
    }

    #[test]
    fn a_length_that_no_packet_has_ends_the_stream() {
        for (length, is_fine) in [(0, false), (19, false), (20, true), (4096, true), (4097, false), (65_535, false)] {
            let mut frames = Packets::default();
            frames.push(&packet(length.max(4), 1)[..2]);
            assert_eq!(frames.take(frame), Ok(None), "{length}: the Length field has not come yet");
            frames.push(&length.to_be_bytes());
            let wrong = Err(Malformed::Length { length: length.into() });
            assert_eq!(frames.take(frame), if is_fine { Ok(None) } else { wrong }, "{length}");
            assert!(frames.rest() > 0);
        }
    }

    proptest! {
        #[test]
        fn packets_come_out_whole_however_the_stream_is_cut(
            lengths in prop::collection::vec(20_u16..=4096, 1..8),
            cuts in prop::collection::vec(1_usize..5000, 1..50),
        ) {
            let packets: Vec<_> = (0_u8..).zip(&lengths).map(|(fill, length)| packet(*length, fill)).collect();
            let stream = packets.concat();
            let (mut frames, mut found, mut rest) = (Packets::default(), Vec::new(), stream.as_slice());
            for cut in cuts.iter().cycle() {
                let (piece, more) = rest.split_at((*cut).min(rest.len()));
                frames.push(piece);
                found.extend(all(&mut frames).unwrap());
                prop_assert!(frames.rest() < PACKET_OCTETS_MAX);
                rest = more;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(found, packets);
            prop_assert_eq!(frames.rest(), 0);
        }

        #[test]
        fn no_octets_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut frames = Packets::default();
            frames.push(&octets);
            let _ = all(&mut frames);
        }
    }
}
