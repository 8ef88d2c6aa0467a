//! Messages of the base protocol (RFC 6733 §5): what we ask a peer, what we answer it, what its answers say.

use std::net::IpAddr;

use super::application;
use super::avp::{Avp, Avps, Writer, flag as avp_flag};
use super::code;
use super::header::{self, Header, command, flag};
use super::peer::Identity;
use super::result;

/// Identifiers of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ids {
    /// Of the connection.
    pub hop_by_hop: u32,
    /// Of the message.
    pub end_to_end: u32,
}

/// Octets of AVP data that are copied from a request into a refusal at most.
const COPIED_OCTETS_MAX: usize = 16_384;
/// Octets of texts that are kept from an answer.
const TEXT_OCTETS_MAX: usize = 256;
const M: u8 = avp_flag::MANDATORY;
const TLS: u32 = 1;

/// Capabilities-Exchange-Request (RFC 6733 §5.3.1) from the local address of the connection.
#[must_use]
pub fn capabilities_request(we: &Identity, local: IpAddr, inband_tls: bool, ids: Ids) -> Vec<u8> {
    request(command::CAPABILITIES_EXCHANGE, we, ids, |avps| {
        avps.address(code::HOST_IP_ADDRESS, 0, M, local);
        avps.u32(code::VENDOR_ID, 0, M, we.vendor);
        avps.avp(code::PRODUCT_NAME, 0, 0, we.product.as_bytes());
        state(we, avps);
        for vendor in we.supported_vendors.iter().filter(|vendor| **vendor != 0) {
            avps.u32(code::SUPPORTED_VENDOR_ID, 0, M, *vendor);
        }
        if inband_tls {
            avps.u32(code::INBAND_SECURITY_ID, 0, M, TLS);
        }
        avps.u32(code::ACCT_APPLICATION_ID, 0, M, application::ACCOUNTING);
        if let Some(vendor) = we.vendor_application.filter(|vendor| *vendor != 0) {
            avps.group(code::VENDOR_SPECIFIC_APPLICATION_ID, 0, M, |avps| {
                avps.u32(code::VENDOR_ID, 0, M, vendor);
                avps.u32(code::ACCT_APPLICATION_ID, 0, M, application::ACCOUNTING);
            });
        }
        if let Some(firmware) = we.firmware {
            avps.u32(code::FIRMWARE_REVISION, 0, 0, firmware);
        }
    })
}

/// Device-Watchdog-Request (RFC 6733 §5.5.1).
#[must_use]
pub fn watchdog_request(we: &Identity, ids: Ids) -> Vec<u8> {
    request(command::DEVICE_WATCHDOG, we, ids, |avps| state(we, avps))
}

/// Disconnect-Peer-Request (RFC 6733 §5.4.1).
#[must_use]
pub fn disconnect_request(we: &Identity, cause: u32, ids: Ids) -> Vec<u8> {
    request(command::DISCONNECT_PEER, we, ids, |avps| avps.u32(code::DISCONNECT_CAUSE, 0, M, cause))
}

fn request(command: u32, we: &Identity, ids: Ids, more: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let header = Header {
        flags: flag::REQUEST,
        command,
        application: application::BASE,
        hop_by_hop: ids.hop_by_hop,
        end_to_end: ids.end_to_end,
        length: 0,
    };
    build(&header, |avps| {
        origin(we, avps);
        more(avps);
    })
}

fn origin(we: &Identity, avps: &mut Writer<'_>) {
    avps.avp(code::ORIGIN_HOST, 0, M, we.host.as_bytes());
    avps.avp(code::ORIGIN_REALM, 0, M, we.realm.as_bytes());
}

fn state(we: &Identity, avps: &mut Writer<'_>) {
    if let Some(state) = we.origin_state {
        avps.u32(code::ORIGIN_STATE_ID, 0, M, state);
    }
}

fn build(header: &Header, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let written = header::message(&mut out, header, fill);
    debug_assert!(written.is_ok(), "names and copies are bounded");
    out
}

/// The answer 2001 to a Device-Watchdog-Request or Disconnect-Peer-Request.
#[must_use]
pub fn base_answer(we: &Identity, request: &Header) -> Vec<u8> {
    build(&request.answer(), |avps| {
        avps.u32(code::RESULT_CODE, 0, M, result::SUCCESS);
        origin(we, avps);
    })
}

/// The answer to a request that we do not serve: Session-Id first, Proxy-Info in order (RFC 6733 §6.2); E set for a
/// protocol error.
#[must_use]
pub fn refusal(we: &Identity, request: &[u8], result: u32) -> Vec<u8> {
    let Ok((asked, avps)) = header::split(request) else { return Vec::new() };
    let mut header = asked.answer();
    if result / 1000 == 3 {
        header.flags |= flag::ERROR;
    }
    let mut room = COPIED_OCTETS_MAX;
    build(&header, |out| {
        let of = |wanted: u32| Avps::new(avps).flatten().filter(move |avp| avp.code == wanted && avp.vendor == 0);
        let mut copy = |avp: Avp<'_>, out: &mut Writer<'_>| {
            if let Some(rest) = room.checked_sub(avp.value.len() + 8) {
                room = rest;
                out.avp(avp.code, 0, M, avp.value);
            }
        };
        if let Some(session) = of(code::SESSION_ID).next() {
            copy(session, out);
        }
        out.u32(code::RESULT_CODE, 0, M, result);
        origin(we, out);
        for proxy in of(code::PROXY_INFO) {
            copy(proxy, out);
        }
    })
}

/// Disconnect-Cause of a Disconnect-Peer-Request; 0, rebooting, when it has none.
#[must_use]
pub fn disconnect_cause(request: &[u8]) -> u32 {
    let avps = header::split(request).map_or(&[][..], |(_, avps)| avps);
    Avps::new(avps).find(code::DISCONNECT_CAUSE, 0).and_then(|avp| avp.u32()).unwrap_or(0)
}

/// Why a message is not the one that was waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unfit {
    /// Its AVPs cannot be read.
    Broken,
    /// It is another message.
    Other,
}

/// What a peer says about itself in its Capabilities-Exchange-Answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Capabilities<'a> {
    /// Result-Code; 0 for none.
    pub code: u32,
    /// Error-Message.
    pub text: String,
    /// Origin-Host.
    pub host: &'a str,
    /// Origin-Realm.
    pub realm: &'a str,
    /// Whether it has base accounting, or relays everything.
    pub has_accounting: bool,
    /// Whether it agrees to TLS on this connection.
    pub offers_tls: bool,
}

impl<'a> Capabilities<'a> {
    /// Reads an answer.
    ///
    /// # Errors
    /// It is no Capabilities-Exchange-Answer, or broken.
    pub fn read(message: &'a [u8]) -> Result<Self, Unfit> {
        let (header, avps) = header::split(message).map_err(|_| Unfit::Broken)?;
        if header.is_request() || header.command != command::CAPABILITIES_EXCHANGE {
            return Err(Unfit::Other);
        }
        let mut found =
            Self { code: 0, text: String::new(), host: "", realm: "", has_accounting: false, offers_tls: false };
        for avp in Avps::new(avps) {
            let avp = avp.map_err(|_| Unfit::Broken)?;
            if avp.vendor == 0 {
                found.take(&avp);
            }
        }
        Ok(found)
    }

    fn take(&mut self, avp: &Avp<'a>) {
        match avp.code {
            code::RESULT_CODE => self.code = avp.u32().unwrap_or(0),
            code::ERROR_MESSAGE => self.text = text(avp.value),
            code::ORIGIN_HOST => self.host = avp.utf8().unwrap_or(""),
            code::ORIGIN_REALM => self.realm = avp.utf8().unwrap_or(""),
            code::INBAND_SECURITY_ID => self.offers_tls |= avp.u32() == Some(TLS),
            code::ACCT_APPLICATION_ID | code::AUTH_APPLICATION_ID => self.application(avp),
            // The vendor inside is not looked at (RFC 6733 §6.11).
            code::VENDOR_SPECIFIC_APPLICATION_ID => {
                for member in avp.grouped().into_iter().flatten().flatten() {
                    self.application(&member);
                }
            }
            _ => {}
        }
    }

    /// A relay may state itself as either kind of application.
    fn application(&mut self, avp: &Avp<'a>) {
        self.has_accounting |= match avp.code {
            code::ACCT_APPLICATION_ID => matches!(avp.u32(), Some(application::ACCOUNTING | application::RELAY)),
            code::AUTH_APPLICATION_ID => avp.u32() == Some(application::RELAY),
            _ => false,
        };
    }
}

/// Whether an answer is positive, and if not, what it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Result-Code.
    Result(u32),
    /// Experimental-Result.
    Experimental {
        /// Its Vendor-Id.
        vendor: u32,
        /// Experimental-Result-Code.
        code: u32,
    },
    /// Neither.
    Missing,
}

/// What an answer to an Accounting-Request says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer<'a> {
    /// The result.
    pub outcome: Outcome,
    /// Acct-Interim-Interval in seconds.
    pub interim: Option<u32>,
    /// Accounting-Realtime-Required.
    pub realtime: Option<u32>,
    /// Values of Class, in order.
    pub classes: Vec<&'a [u8]>,
    avps: &'a [u8],
}

impl<'a> Answer<'a> {
    /// Reads the AVPs of an answer. Unknown ones, and known ones with another size than theirs, are ignored.
    ///
    /// # Errors
    /// Lengths that do not fit: the peer is broken.
    pub fn read(message: &'a [u8]) -> Result<Self, Unfit> {
        let (_, avps) = header::split(message).map_err(|_| Unfit::Broken)?;
        let mut found = Self { outcome: Outcome::Missing, interim: None, realtime: None, classes: Vec::new(), avps };
        for avp in Avps::new(avps) {
            let avp = avp.map_err(|_| Unfit::Broken)?;
            if avp.vendor != 0 {
                continue;
            }
            match avp.code {
                code::RESULT_CODE => {
                    if let Some(code) = avp.u32() {
                        found.outcome = Outcome::Result(code);
                    }
                }
                code::EXPERIMENTAL_RESULT if found.outcome == Outcome::Missing => {
                    let members = || avp.grouped().ok();
                    let number = |code| members()?.find(code, 0)?.u32();
                    if let Some(code) = number(code::EXPERIMENTAL_RESULT_CODE) {
                        let vendor = number(code::VENDOR_ID).unwrap_or(0);
                        found.outcome = Outcome::Experimental { vendor, code };
                    }
                }
                code::ACCT_INTERIM_INTERVAL => found.interim = avp.u32(),
                code::ACCOUNTING_REALTIME_REQUIRED => found.realtime = avp.u32(),
                code::CLASS => found.classes.push(avp.value),
                _ => {}
            }
        }
        Ok(found)
    }

    /// Error-Message, shortened.
    #[must_use]
    pub fn text(&self) -> String {
        self.named(code::ERROR_MESSAGE)
    }

    /// Who made the answer: Error-Reporting-Host, else Origin-Host.
    #[must_use]
    pub fn by(&self) -> String {
        let reporter = self.named(code::ERROR_REPORTING_HOST);
        if reporter.is_empty() { self.named(code::ORIGIN_HOST) } else { reporter }
    }

    fn named(&self, code: u32) -> String {
        Avps::new(self.avps).find(code, 0).map(|avp| text(avp.value)).unwrap_or_default()
    }

    /// The members of the first Failed-AVP, encoded; empty when there is none, or when they are too long to be kept.
    #[must_use]
    pub fn failed(&self) -> Vec<u8> {
        let group = Avps::new(self.avps).find(code::FAILED_AVP, 0);
        group.map(|avp| avp.value).filter(|value| value.len() <= FAILED_OCTETS_MAX).unwrap_or_default().to_vec()
    }

    /// Redirect-Hosts, how long they may be used (0: for this message only), and whether for all messages.
    #[must_use]
    pub fn redirect(&self) -> Redirect {
        let all = || Avps::new(self.avps).flatten().filter(|avp| avp.vendor == 0);
        let number = |code: u32| all().find(|avp| avp.code == code).and_then(|avp| avp.u32()).unwrap_or(0);
        let hosts = all().filter(|avp| avp.code == code::REDIRECT_HOST).map(|avp| text(avp.value));
        Redirect {
            hosts: hosts.take(HOSTS_MAX).collect(),
            usage: number(code::REDIRECT_HOST_USAGE),
            seconds: number(code::REDIRECT_MAX_CACHE_TIME),
        }
    }
}

/// Octets of a Failed-AVP that are kept.
const FAILED_OCTETS_MAX: usize = 4_096;
/// Hosts of a redirect that are looked at.
const HOSTS_MAX: usize = 8;

/// Where a redirect leads (RFC 6733 §6.12–6.14).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Redirect {
    /// DiameterURIs.
    pub hosts: Vec<String>,
    /// Redirect-Host-Usage.
    pub usage: u32,
    /// Redirect-Max-Cache-Time.
    pub seconds: u32,
}

/// Printable text from a peer, shortened.
fn text(octets: &[u8]) -> String {
    let octets = &octets[..octets.len().min(TEXT_OCTETS_MAX)];
    String::from_utf8_lossy(octets).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: Ids = Ids { hop_by_hop: 7, end_to_end: 9 };

    fn we() -> Identity {
        Identity { supported_vendors: vec![10_415, 0], vendor_application: Some(10_415), ..Identity::new("gw.a", "a") }
    }

    #[test]
    fn capabilities_name_us_and_the_accounting_application() {
        let octets = capabilities_request(&we(), "::ffff:127.0.0.1".parse().expect("an address"), true, IDS);
        let (header, avps) = header::split(&octets).expect("whole");
        assert_eq!((header.flags, header.command, header.application), (0x80, 257, 0));
        assert_eq!((header.hop_by_hop, header.end_to_end), (7, 9));
        let found: Vec<(u32, u8, &[u8])> =
            Avps::new(avps).flatten().map(|avp| (avp.code, avp.flags, avp.value)).collect();
        let want: [(u32, u8, &[u8]); 9] = [
            (264, 0x40, b"gw.a"),
            (296, 0x40, b"a"),
            (257, 0x40, &[0, 1, 127, 0, 0, 1]),
            (266, 0x40, &[0, 0, 0, 0]),
            (269, 0, b"Tollgate"),
            (265, 0x40, &[0, 0, 0x28, 0xaf]),
            (299, 0x40, &[0, 0, 0, 1]),
            (259, 0x40, &[0, 0, 0, 3]),
            (260, 0x40, &[0, 0, 1, 10, 0x40, 0, 0, 12, 0, 0, 0x28, 0xaf, 0, 0, 1, 3, 0x40, 0, 0, 12, 0, 0, 0, 3]),
        ];
        assert_eq!(found, want);
    }

    #[test]
    fn a_refusal_keeps_session_and_proxies_in_order() {
        let asked = Header { flags: 0xC0, command: 258, application: 1, hop_by_hop: 3, end_to_end: 4, length: 0 };
        let mut request = Vec::new();
        header::message(&mut request, &asked, |avps| {
            avps.avp(code::PROXY_INFO, 0, M, b"first");
            avps.avp(code::SESSION_ID, 0, M, b"s;1");
            avps.avp(code::PROXY_INFO, 0, M, b"then");
            avps.avp(code::PROXY_INFO, 0, M, &[0; COPIED_OCTETS_MAX]);
        })
        .expect("short");
        let octets = refusal(&we(), &request, result::COMMAND_UNSUPPORTED);
        let (header, avps) = header::split(&octets).expect("whole");
        assert_eq!(header, Header { flags: 0x60, length: header.length, ..asked });
        let codes: Vec<(u32, &[u8])> = Avps::new(avps).flatten().map(|avp| (avp.code, avp.value)).collect();
        let want: [(u32, &[u8]); 6] =
            [(263, b"s;1"), (268, &[0, 0, 0x0b, 0xb9]), (264, b"gw.a"), (296, b"a"), (284, b"first"), (284, b"then")];
        assert_eq!(codes, want);
    }

    #[test]
    fn an_answer_is_read_whatever_else_is_in_it() {
        let head = Header { flags: 0x40, command: 271, application: 3, ..Header::default() };
        let mut octets = Vec::new();
        header::message(&mut octets, &head, |avps| {
            avps.avp(code::SESSION_ID, 0, M, b"s");
            avps.avp(code::ACCT_INTERIM_INTERVAL, 0, M, b"odd");
            avps.u32(9999, 77, M, 1);
            avps.group(code::EXPERIMENTAL_RESULT, 0, M, |avps| {
                avps.u32(code::VENDOR_ID, 0, M, 10_415);
                avps.u32(code::EXPERIMENTAL_RESULT_CODE, 0, M, 5030);
            });
            avps.avp(code::ERROR_MESSAGE, 0, 0, b"no\n\xffcredit");
            avps.avp(code::ORIGIN_HOST, 0, M, b"cdf.a");
            avps.group(code::FAILED_AVP, 0, M, |avps| avps.avp(2011, 8164, 0, b"x"));
            avps.avp(code::CLASS, 0, M, b"one");
            avps.avp(code::CLASS, 0, M, b"two");
        })
        .expect("short");
        let answer = Answer::read(&octets).expect("sound");
        assert_eq!(answer.outcome, Outcome::Experimental { vendor: 10_415, code: 5030 });
        assert_eq!((answer.interim, answer.realtime), (None, None));
        assert_eq!(answer.text(), "no \u{fffd}credit");
        assert_eq!(answer.by(), "cdf.a");
        let failed = answer.failed();
        let failed = Avps::new(&failed).find(2011, 8164).expect("kept");
        assert_eq!(failed.value, b"x");
        assert_eq!(answer.classes, [b"one", b"two"]);
        for end in header::HEADER_OCTETS..octets.len() {
            // Cut anywhere, with a length that fits: an answer, or broken, and never a panic.
            let mut cut = octets[..end].to_vec();
            cut.resize(end.next_multiple_of(4), 0);
            let length = u32::try_from(cut.len()).expect("short").to_be_bytes();
            cut[1..4].copy_from_slice(&length[1..]);
            let _either = Answer::read(&cut).map(|answer| (answer.text(), answer.failed(), answer.redirect()));
        }
    }
}
