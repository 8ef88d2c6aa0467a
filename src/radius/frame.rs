//! Packets out of a stream: RADIUS over TCP and TLS has no frame but the packet's own Length (RFC 6613 §2.6.2).
//!
//! Only the Length field is looked at, which RADIUS/1.1 (RFC 9765 §4.1) has at the same place: what stands in the other
//! octets of the header is the business of whoever takes the packet.

use super::packet::{HEADER_OCTETS, Malformed, PACKET_OCTETS_MAX};

/// Octets before the end of the Length field.
const LENGTH_END: usize = 4;

/// Collects octets of one connection and gives the packets in them, however they were cut.
///
/// It holds what was pushed and not taken: at most one packet when all were taken after each push.
#[derive(Debug, Default)]
pub struct Frames {
    octets: Vec<u8>,
    taken: usize,
}

impl Frames {
    /// Adds what came.
    pub fn push(&mut self, octets: &[u8]) {
        self.octets.drain(..self.taken);
        self.taken = 0;
        self.octets.extend_from_slice(octets);
    }

    /// The next whole packet, from its code to its last attribute; `None` until more comes.
    ///
    /// # Errors
    /// [`Malformed::Length`] for a length that no packet has. The stream has no further boundary then: the connection
    /// is to be closed (RFC 6613 §2.6.4).
    pub fn take(&mut self) -> Result<Option<&[u8]>, Malformed> {
        let rest = &self.octets[self.taken..];
        let Some(head) = rest.first_chunk::<LENGTH_END>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if !(HEADER_OCTETS..=PACKET_OCTETS_MAX).contains(&length) {
            return Err(Malformed::Length { length });
        }
        let whole = rest.get(..length);
        self.taken += whole.map_or(0, <[u8]>::len);
        Ok(whole)
    }

    /// Whether a packet has begun and not ended.
    #[cfg(test)]
    pub fn is_inside(&self) -> bool {
        self.taken < self.octets.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(length: u16, fill: u8) -> Vec<u8> {
        let mut octets = vec![fill; usize::from(length)];
        octets[2..4].copy_from_slice(&length.to_be_bytes());
        octets
    }

    fn all(frames: &mut Frames) -> Result<Vec<Vec<u8>>, Malformed> {
        let mut found = Vec::new();
        while let Some(packet) = frames.take()? {
            found.push(packet.to_vec());
        }
        Ok(found)
    }

    #[test]
    fn a_length_that_no_packet_has_ends_the_stream() {
        for (length, is_fine) in [(0, false), (19, false), (20, true), (4096, true), (4097, false), (65_535, false)] {
            let mut frames = Frames::default();
            frames.push(&packet(length.max(4), 1)[..2]);
            assert_eq!(frames.take(), Ok(None), "{length}: the Length field has not come yet");
            frames.push(&length.to_be_bytes());
            let wrong = Err(Malformed::Length { length: length.into() });
            assert_eq!(frames.take(), if is_fine { Ok(None) } else { wrong }, "{length}");
            assert!(frames.is_inside());
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
            let (mut frames, mut found, mut rest) = (Frames::default(), Vec::new(), stream.as_slice());
            for cut in cuts.iter().cycle() {
                let (piece, more) = rest.split_at((*cut).min(rest.len()));
                frames.push(piece);
                found.extend(all(&mut frames).unwrap());
                prop_assert!(frames.octets.len() - frames.taken < PACKET_OCTETS_MAX);
                rest = more;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(found, packets);
            prop_assert!(!frames.is_inside());
        }

        #[test]
        fn no_octets_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut frames = Frames::default();
            frames.push(&octets);
            let _ = all(&mut frames);
        }
    }
}
