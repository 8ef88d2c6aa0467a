//! Frames of a file of pcap or pcapng.

use std::borrow::Cow;
use std::time::Duration;

use pcap_file::pcap::{PcapParser, PcapTsResolution};
use pcap_file::pcapng::PcapNgParser;
use pcap_file::pcapng::blocks::block_common::Block;

/// One frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Frame<'c> {
    /// Its place in the file from 1, as Wireshark counts.
    pub number: u64,
    /// When it was seen, since 1970.
    pub at: Option<Duration>,
    /// How it begins, as a number of tcpdump's registry of link types.
    pub link: u32,
    pub data: Cow<'c, [u8]>,
    /// Octets that it had, of which there may be fewer.
    pub length: u32,
}

/// The frames of a file.
#[derive(Debug)]
pub(super) struct Frames<'c> {
    pub all: Vec<Frame<'c>>,
    /// Why they end before the file does.
    pub damage: Option<String>,
}

/// Whether a file begins as a capture does.
pub(super) fn is_capture(octets: &[u8]) -> bool {
    MAGIC.iter().any(|magic| octets.starts_with(magic))
}

/// All frames as far as the file is in order.
pub(super) fn read(octets: &[u8]) -> Frames<'_> {
    let mut all = Vec::new();
    let read = if octets.starts_with(&PCAPNG) { pcapng(octets, &mut all) } else { pcap(octets, &mut all) };
    let damage = read.err().map(|why| format!("the capture is damaged behind frame {}: {why}", all.len()));
    Frames { all, damage }
}

fn pcap<'c>(octets: &'c [u8], all: &mut Vec<Frame<'c>>) -> Result<(), String> {
    let (mut rest, parser) = PcapParser::new(octets).map_err(|error| error.to_string())?;
    let header = parser.header();
    let fraction = match header.ts_resolution {
        PcapTsResolution::MicroSecond => 1_000,
        PcapTsResolution::NanoSecond => 1,
    };
    while !rest.is_empty() {
        // Without looking for oddities, which do not hinder: times, and lengths beyond the one that was agreed.
        let (behind, packet) = parser.next_raw_packet(rest).map_err(|error| error.to_string())?;
        rest = behind;
        let since = Duration::from_secs(packet.ts_sec.into());
        let at = since.checked_add(Duration::from_nanos(u64::from(packet.ts_frac) * fraction));
        let number = number(all);
        all.push(Frame { number, at, link: header.datalink.into(), data: packet.data, length: packet.orig_len });
    }
    Ok(())
}

fn pcapng<'c>(octets: &'c [u8], all: &mut Vec<Frame<'c>>) -> Result<(), String> {
    let (mut rest, mut parser) = PcapNgParser::new(octets).map_err(|error| error.to_string())?;
    while !rest.is_empty() {
        let (behind, block) = parser.next_raw_block(rest).map_err(|error| error.to_string())?;
        rest = behind;
        // Others tell of names, counters and the like.
        if !PACKETS.contains(&block.type_) {
            continue;
        }
        let block = block.try_into_block(parser.state()).map_err(|error| error.to_string())?;
        let (interface, at, data, length) = match block {
            Block::EnhancedPacket(own) => (own.interface_id, Some(own.timestamp), own.data, own.original_len),
            Block::SimplePacket(own) => (0, None, own.data, own.original_len),
            Block::Packet(own) => (own.interface_id.into(), Some(own.timestamp), own.data, own.original_len),
            _ => continue,
        };
        let interface = usize::try_from(interface).ok().and_then(|at| parser.state().interfaces().get(at));
        let link = interface.ok_or("a packet of no interface")?.linktype.into();
        let number = number(all);
        all.push(Frame { number, at, link, data, length });
    }
    Ok(())
}

fn number(all: &[Frame<'_>]) -> u64 {
    all.len() as u64 + 1
}

/// How a file of pcapng begins.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// How captures begin: pcap of microseconds and nanoseconds in either order of octets, and pcapng.
const MAGIC: [[u8; 4]; 5] =
    [[0xa1, 0xb2, 0xc3, 0xd4], [0xd4, 0xc3, 0xb2, 0xa1], [0xa1, 0xb2, 0x3c, 0x4d], [0x4d, 0x3c, 0xb2, 0xa1], PCAPNG];

/// Types of the blocks of pcapng that have a packet: the obsolete one, the simple and the enhanced.
const PACKETS: [u32; 3] = [2, 3, 6];
