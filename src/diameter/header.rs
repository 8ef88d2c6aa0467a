//! The header of a Diameter message (RFC 6733 §3): 20 octets in front of the AVPs.
//!
//! A message is written once; [`set_repeat`], [`set_hop_by_hop`] and [`set_end_to_end`] patch the octets that differ
//! from one transmission to the next.

use super::avp::Writer;

/// Octets of a header.
pub const HEADER_OCTETS: usize = 20;
/// Octets of a message at most: the greatest multiple of four in 24 bits.
pub const MESSAGE_OCTETS_MAX: usize = 0x00FF_FFFC;
/// The one version.
pub const VERSION: u8 = 1;

/// Command flags (RFC 6733 §3).
pub mod flag {
    /// R: a request.
    pub const REQUEST: u8 = 0x80;
    /// P: agents may forward it.
    pub const PROXIABLE: u8 = 0x40;
    /// E: an answer with a protocol error.
    pub const ERROR: u8 = 0x20;
    /// T: perhaps a repeat.
    pub const REPEAT: u8 = 0x10;
}

/// Command codes (RFC 6733 §3.1).
pub mod command {
    /// CER and CEA, Capabilities-Exchange.
    pub const CAPABILITIES_EXCHANGE: u32 = 257;
    /// RAR and RAA, Re-Auth.
    pub const RE_AUTH: u32 = 258;
    /// ACR and ACA, Accounting.
    pub const ACCOUNTING: u32 = 271;
    /// ASR and ASA, Abort-Session.
    pub const ABORT_SESSION: u32 = 274;
    /// STR and STA, Session-Termination.
    pub const SESSION_TERMINATION: u32 = 275;
    /// DWR and DWA, Device-Watchdog.
    pub const DEVICE_WATCHDOG: u32 = 280;
    /// DPR and DPA, Disconnect-Peer.
    pub const DISCONNECT_PEER: u32 = 282;

    /// The usual abbreviation, `ACR` or `ACA`; `None` for a command of another application.
    #[must_use]
    pub const fn name(command: u32, is_request: bool) -> Option<&'static str> {
        let (request, answer) = match command {
            CAPABILITIES_EXCHANGE => ("CER", "CEA"),
            RE_AUTH => ("RAR", "RAA"),
            ACCOUNTING => ("ACR", "ACA"),
            ABORT_SESSION => ("ASR", "ASA"),
            SESSION_TERMINATION => ("STR", "STA"),
            DEVICE_WATCHDOG => ("DWR", "DWA"),
            DISCONNECT_PEER => ("DPR", "DPA"),
            _ => return None,
        };
        Some(if is_request { request } else { answer })
    }
}

/// A message header.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Header {
    /// Command flags, see [`flag`].
    pub flags: u8,
    /// Command code, 24 bits.
    pub command: u32,
    /// Application-Id.
    pub application: u32,
    /// Hop-by-Hop Identifier, of one connection.
    pub hop_by_hop: u32,
    /// End-to-End Identifier, of one message.
    pub end_to_end: u32,
    /// Octets of the whole message, padding included; [`message`] fills it in.
    pub length: u32,
}

/// The octets are no Diameter message; the stream they came from is lost (RFC 6733 §2.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HeaderError {
    /// Fewer octets than a header has.
    #[error("a Diameter header has {HEADER_OCTETS} octets, here are {0}")]
    Short(usize),
    /// Another version.
    #[error("Diameter version {0}, only version 1 exists")]
    Version(u8),
    /// A length that no message has.
    #[error("message length {0} is below 20 or no multiple of 4")]
    Length(u32),
    /// More octets than allowed.
    #[error("message length {length} is above the limit of {max}")]
    TooLong {
        /// What the header says.
        length: u32,
        /// The limit.
        max: usize,
    },
    /// Fewer octets than the header says.
    #[error("message length {length}, but here are {octets} octets")]
    Truncated {
        /// What the header says.
        length: u32,
        /// What is there.
        octets: usize,
    },
}

/// A message grew beyond what its length field can say.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a Diameter message of {0} octets, {MESSAGE_OCTETS_MAX} is the most")]
pub struct TooLong(pub usize);

impl Header {
    /// Reads the header at the start of `octets`.
    ///
    /// # Errors
    /// The octets begin no Diameter message. Whether the whole message is there is not looked at.
    pub fn read(octets: &[u8]) -> Result<Self, HeaderError> {
        let Some(head) = octets.first_chunk::<HEADER_OCTETS>() else {
            return Err(HeaderError::Short(octets.len()));
        };
        if head[0] != VERSION {
            return Err(HeaderError::Version(head[0]));
        }
        let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = word(0) & 0x00FF_FFFF;
        if (length as usize) < HEADER_OCTETS || length % 4 != 0 {
            return Err(HeaderError::Length(length));
        }
        Ok(Self {
            flags: head[4],
            command: word(4) & 0x00FF_FFFF,
            application: word(8),
            hop_by_hop: word(12),
            end_to_end: word(16),
            length,
        })
    }

    /// Appends the header.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(u32::from(VERSION) << 24 | self.length & 0x00FF_FFFF).to_be_bytes());
        out.extend_from_slice(&(u32::from(self.flags) << 24 | self.command & 0x00FF_FFFF).to_be_bytes());
        out.extend_from_slice(&self.application.to_be_bytes());
        out.extend_from_slice(&self.hop_by_hop.to_be_bytes());
        out.extend_from_slice(&self.end_to_end.to_be_bytes());
    }

    /// Whether the flag R is set.
    #[must_use]
    pub const fn is_request(&self) -> bool {
        self.flags & flag::REQUEST != 0
    }

    /// The header of an answer to this request: R and T cleared, P and the identifiers copied (RFC 6733 §6.2).
    #[must_use]
    pub const fn answer(&self) -> Self {
        Self { flags: self.flags & flag::PROXIABLE, length: 0, ..*self }
    }
}

/// Octets of the message at the start of a stream's buffer; `None` while not all of it is there.
///
/// # Errors
/// The stream is no Diameter, or the message is longer than `max` octets: close it.
pub fn frame(buffer: &[u8], max: usize) -> Result<Option<usize>, HeaderError> {
    // The first octets already tell rubbish from Diameter.
    match buffer.first() {
        None => return Ok(None),
        Some(&VERSION) => {}
        Some(&version) => return Err(HeaderError::Version(version)),
    }
    let Some(first) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*first) & 0x00FF_FFFF;
    if (length as usize) < HEADER_OCTETS || length % 4 != 0 {
        return Err(HeaderError::Length(length));
    }
    if length as usize > max {
        return Err(HeaderError::TooLong { length, max });
    }
    Ok((buffer.len() >= length as usize).then_some(length as usize))
}

/// Splits one whole message into its header and the octets of its AVPs. What lies behind the message is left out.
///
/// # Errors
/// The octets begin no Diameter message, or not all of it is there.
pub fn split(octets: &[u8]) -> Result<(Header, &[u8]), HeaderError> {
    let header = Header::read(octets)?;
    match octets.get(HEADER_OCTETS..header.length as usize) {
        Some(avps) => Ok((header, avps)),
        None => Err(HeaderError::Truncated { length: header.length, octets: octets.len() }),
    }
}

/// Appends a message: the header, the AVPs that `fill` writes, and the right length.
///
/// # Errors
/// The message is longer than its length field can say; `out` is as before.
pub fn message(out: &mut Vec<u8>, header: &Header, fill: impl FnOnce(&mut Writer<'_>)) -> Result<(), TooLong> {
    let start = out.len();
    header.write(out);
    fill(&mut Writer::new(out));
    let octets = out.len() - start;
    if octets > MESSAGE_OCTETS_MAX {
        out.truncate(start);
        return Err(TooLong(octets));
    }
    let length = u32::try_from(octets).unwrap_or(u32::MAX).to_be_bytes();
    out[start + 1..start + 4].copy_from_slice(&length[1..]);
    Ok(())
}

/// Sets or clears the flag T of a whole message (RFC 6733 §3). Shorter octets stay as they are.
pub fn set_repeat(message: &mut [u8], repeat: Repeat) {
    if let Some(flags) = message.get_mut(4) {
        *flags = match repeat {
            Repeat::No => *flags & !flag::REPEAT,
            Repeat::Perhaps => *flags | flag::REPEAT,
        };
    }
}

/// Whether a server may have seen a request before: the flag T.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Repeat {
    /// First transmission, or an error answer came.
    No,
    /// An earlier transmission got no answer.
    Perhaps,
}

/// Sets the Hop-by-Hop Identifier of a whole message. Shorter octets stay as they are.
pub fn set_hop_by_hop(message: &mut [u8], id: u32) {
    if let Some(place) = message.get_mut(12..16) {
        place.copy_from_slice(&id.to_be_bytes());
    }
}

/// Sets the End-to-End Identifier of a whole message. Shorter octets stay as they are.
pub fn set_end_to_end(message: &mut [u8], id: u32) {
    if let Some(place) = message.get_mut(16..20) {
        place.copy_from_slice(&id.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACR: Header = Header {
        flags: flag::REQUEST | flag::PROXIABLE,
        command: command::ACCOUNTING,
        application: 3,
        hop_by_hop: 0x0102_0304,
        end_to_end: 0xA0B0_C0D0,
        length: 20,
    };
    const OCTETS: [u8; 20] = [1, 0, 0, 20, 0xC0, 0, 1, 15, 0, 0, 0, 3, 1, 2, 3, 4, 0xA0, 0xB0, 0xC0, 0xD0];

    #[test]
    fn a_header_is_what_the_rfc_draws() {
        let mut out = Vec::new();
        ACR.write(&mut out);
        assert_eq!(out, OCTETS);
        assert_eq!(Header::read(&OCTETS), Ok(ACR));
        assert_eq!(ACR.answer().flags, flag::PROXIABLE);
    }

    #[test]
    fn what_is_no_diameter_is_told_at_once() {
        let with = |at: usize, octet: u8| {
            let mut octets = OCTETS;
            octets[at] = octet;
            octets
        };
        for (name, octets, want) in [
            ("version 0", with(0, 0), HeaderError::Version(0)),
            ("version 2", with(0, 2), HeaderError::Version(2)),
            ("length 21", with(3, 21), HeaderError::Length(21)),
        ] {
            assert_eq!(Header::read(&octets), Err(want), "{name}");
            assert_eq!(frame(&octets, 65_536), Err(want), "{name}, from a stream");
        }
        for length in 0..20 {
            let (octets, want) = (with(3, length), HeaderError::Length(length.into()));
            assert_eq!(Header::read(&octets), Err(want), "length {length}");
            assert_eq!(frame(&octets, 65_536), Err(want), "length {length}, from a stream");
        }
        assert_eq!(frame(b"HTTP", 65_536), Err(HeaderError::Version(b'H')));
        let long = HeaderError::TooLong { length: 0x0001_0014, max: 65_536 };
        assert_eq!(frame(&with(1, 1), 65_536), Err(long), "one above the limit");
    }

    #[test]
    fn a_stream_waits_for_the_whole_message() {
        for length in 0..20 {
            assert_eq!(frame(&OCTETS[..length], 65_536), Ok(None), "{length} octets");
            assert!(Header::read(&OCTETS[..length]).is_err(), "{length} octets");
        }
        assert_eq!(frame(&OCTETS, 65_536), Ok(Some(20)));
        let mut more = OCTETS;
        more[3] = 24;
        assert_eq!(split(&more), Err(HeaderError::Truncated { length: 24, octets: 20 }));
    }

    #[test]
    fn a_repeat_differs_in_its_flag_and_hop_only() {
        let mut octets = OCTETS;
        set_repeat(&mut octets, Repeat::Perhaps);
        set_hop_by_hop(&mut octets, 9);
        let differing: Vec<usize> = (0..20).filter(|at| octets[*at] != OCTETS[*at]).collect();
        assert!(differing.iter().all(|at| *at == 4 || (12..16).contains(at)), "{differing:?}");
        assert_eq!(Header::read(&octets).map(|header| (header.flags, header.hop_by_hop)), Ok((0xD0, 9)));
        set_repeat(&mut octets, Repeat::No);
        set_hop_by_hop(&mut octets, ACR.hop_by_hop);
        assert_eq!(octets, OCTETS);
    }

    #[test]
    fn a_message_knows_its_length() {
        let mut out = vec![7; 5];
        message(&mut out, &ACR, |avps| avps.avp(1, 0, 0x40, b"alice")).expect("short");
        assert_eq!(out.len(), 5 + 20 + 16);
        let (header, avps) = split(&out[5..]).expect("a message");
        assert_eq!((header.length, avps.len()), (36, 16));
        let long = vec![0; MESSAGE_OCTETS_MAX];
        assert!(message(&mut out, &ACR, |avps| avps.avp(1, 0, 0, &long)).is_err());
        assert_eq!(out.len(), 41, "nothing of it stays");
    }
}
