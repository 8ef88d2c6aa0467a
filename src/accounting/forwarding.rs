//! Who forwarded a call before it came here: Diversion (RFC 5806), else History-Info (RFC 7044), read as RFC 7544 maps one to
//! the other.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::record::facts::FACT_VALUES_MAX;
use crate::sip::message::{Elements, Message, Name, NameAddr, Params, Uri, unquote};

/// Values of either header that are read; further ones are left out, and the record says that it was shortened.
const VALUES_MAX: usize = 64;

/// Those who forwarded a call.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Forwarded<'m> {
    /// Their URIs, oldest first; the last few of them.
    pub(super) by: SmallVec<[&'m [u8]; FACT_VALUES_MAX]>,
    /// Why the last one did: a word of RFC 5806 §4.
    pub(super) reason: Cow<'m, [u8]>,
    /// Whether some are missing.
    pub(super) is_cut: bool,
}

impl<'m> Forwarded<'m> {
    /// By the headers of an INVITE; nobody costs two look-ups.
    pub(super) fn of(request: &'m Message) -> Self {
        if request.has(Name::Diversion) {
            Self::of_diversion(request)
        } else if request.has(Name::HistoryInfo) {
            Self::of_history(request)
        } else {
            Self::default()
        }
    }

    /// The newest Diversion stands first.
    fn of_diversion(request: &'m Message) -> Self {
        let mut own = Self::default();
        for (number, value) in request.values(Name::Diversion).filter_map(NameAddr::parse).enumerate() {
            if number == FACT_VALUES_MAX {
                own.is_cut = true;
                break;
            }
            if number == 0 {
                own.reason = value.param(b"reason").map(unquote).unwrap_or_default();
            }
            own.by.push(value.uri);
        }
        own.by.reverse();
        own
    }

    /// Each entry is a target of the call, in the order in which it came there; those that sent it on to somebody else are
    /// named by the `mp` of a later entry, or the later entry says why (`cause`, RFC 4458), or their own URI does (`Reason`).
    fn of_history(request: &'m Message) -> Self {
        let mut own = Self::default();
        let mut entries: SmallVec<[Entry<'m>; 8]> = SmallVec::new();
        for value in request.values(Name::HistoryInfo) {
            if entries.len() == VALUES_MAX {
                own.is_cut = true;
                break;
            }
            entries.extend(Entry::parse(value));
        }
        for (place, entry) in entries.iter().enumerate() {
            let next = entries.get(place + 1);
            let by_later =
                entries[place + 1..].iter().find(|later| !entry.index.is_empty() && later.mapped_from == entry.index);
            let cause =
                by_later.and_then(|later| later.cause).or_else(|| next.and_then(|next| next.cause)).or(entry.reason);
            // The last entry is where the call goes now: whatever it says, it has sent nobody on.
            let has_sent_on = next.is_some() && (by_later.is_some() || cause.is_some());
            if !has_sent_on {
                continue;
            }
            if own.by.len() == FACT_VALUES_MAX {
                own.by.remove(0);
                own.is_cut = true;
            }
            own.by.push(entry.uri);
            own.reason = Cow::Borrowed(cause.map_or(&b"unknown"[..], reason_of));
        }
        own
    }
}

/// The reason of RFC 5806 that a cause of RFC 4458 is (RFC 7544 §6.1).
const fn reason_of(cause: u16) -> &'static [u8] {
    match cause {
        302 => b"unconditional",
        408 => b"no-answer",
        480 | 487 => b"deflection",
        486 => b"user-busy",
        503 => b"unavailable",
        _ => b"unknown",
    }
}

/// A value of History-Info.
#[derive(Clone, Copy, Debug)]
struct Entry<'m> {
    /// Without its embedded headers.
    uri: &'m [u8],
    index: &'m [u8],
    /// The index that `mp` names: another user's target was exchanged for this one.
    mapped_from: &'m [u8],
    /// `cause` of the URI: why the call was sent here.
    cause: Option<u16>,
    /// Status code of the Reason in the URI: what became of it here.
    reason: Option<u16>,
}

impl<'m> Entry<'m> {
    fn parse(value: &'m [u8]) -> Option<Self> {
        let value = NameAddr::parse(value)?;
        let uri = Uri::parse(value.uri)?;
        let end = memchr::memchr(b'?', value.uri).unwrap_or(value.uri.len());
        Some(Self {
            uri: &value.uri[..end],
            index: value.param(b"index").unwrap_or_default(),
            mapped_from: value.param(b"mp").unwrap_or_default(),
            cause: uri.param(b"cause").and_then(number),
            reason: reason_in(uri.headers),
        })
    }
}

/// The cause of a `Reason=SIP%3Bcause%3D302` among the headers of a URI, whatever is escaped of it.
fn reason_in(headers: &[u8]) -> Option<u16> {
    let mut all = headers.split(|octet| *octet == b'&');
    let value = all.find_map(|header| {
        let equals = memchr::memchr(b'=', header)?;
        header[..equals].eq_ignore_ascii_case(b"Reason").then(|| &header[equals + 1..])
    })?;
    let plain = unescaped(&value[..value.len().min(REASON_BYTES_MAX)]);
    let first = Elements::of(&plain).next()?;
    let mut params = Params::of(first);
    let is_sip = params.next().is_some_and(|first| first.name.eq_ignore_ascii_case(b"SIP"));
    number(&params.value(b"cause").map(unquote)?).filter(|_| is_sip)
}

/// Octets of an embedded Reason that are looked at.
const REASON_BYTES_MAX: usize = 256;

fn unescaped(text: &[u8]) -> Vec<u8> {
    let digit = |octet: Option<&u8>| octet.and_then(|octet| char::from(*octet).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match (*first == b'%').then(|| digit(tail.first()).zip(digit(tail.get(1)))).flatten() {
            Some((high, low)) => {
                out.push((high * 16 + low) as u8);
                rest = &tail[2..];
            }
            None => out.push(*first),
        }
    }
    out
}

fn number(text: &[u8]) -> Option<u16> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, prop_assert, proptest};

    use super::*;

    fn invite(lines: &str) -> Message {
        let text = format!("INVITE sip:d@x SIP/2.0\r\n{lines}CSeq: 1 INVITE\r\nCall-ID: c\r\n\r\n");
        Message::parse(text.into_bytes()).expect("a message")
    }

    /// `URI URI reason`, with `+` when some are missing.
    fn shown(request: &Message) -> String {
        let own = Forwarded::of(request);
        let words = own.by.iter().copied().chain([&*own.reason]).map(String::from_utf8_lossy).collect::<Vec<_>>();
        words.join(" ") + if own.is_cut { " +" } else { "" }
    }

    #[test]
    fn who_forwarded_a_call_is_read_from_either_header() {
        for (name, lines, want) in [
            ("nobody", "", ""),
            (
                "one, as RFC 5806 shows it",
                "Diversion: <sip:b@x>;reason=user-busy;privacy=off;counter=1\r\n",
                "sip:b@x user-busy",
            ),
            (
                "the newest stands first",
                "Diversion: <sip:c@x>;reason=no-answer, <tel:+492>;reason=unconditional\r\n",
                "tel:+492 sip:c@x no-answer",
            ),
            (
                "in several lines, quoted",
                "Diversion: \"C, \\\"x\" <sip:c@x>;reason=\"do-not-disturb\"\r\ndiversion: sip:b@x\r\n",
                "sip:b@x sip:c@x do-not-disturb",
            ),
            ("one that cannot be read", "Diversion: <sip:c@x\r\n", ""),
            (
                "a busy callee that forwards (RFC 7044)",
                "History-Info: <sip:b@x?Reason=SIP%3Bcause%3D486>;index=1, <sip:d@x;cause=486>;index=1.1;mp=1\r\n",
                "sip:b@x user-busy",
            ),
            (
                "twice, and a target found for the same user is no forwarding",
                "History-Info: <sip:b@x>;index=1\r\nHistory-Info: <sip:b@192.0.2.1>;index=1.1;rc=1\r\n\
                 History-Info: <sip:c@x;cause=302>;index=1.2;mp=1.1\r\nHistory-Info: <sip:d@x;cause=408>;index=1.3;mp=1.2\r\n",
                "sip:b@192.0.2.1 sip:c@x;cause=302 no-answer",
            ),
            (
                "without mp, by the Reason alone, in any case and half escaped",
                "History-Info: <sip:b@x?x=y&rEASON=sip%3bcause=302%3Btext=%22a%2Cb%22>;index=1,<sip:d@x>;index=1.1\r\n",
                "sip:b@x unconditional",
            ),
            ("only where it goes now", "History-Info: <sip:d@x?Reason=SIP%3Bcause%3D302>;index=1\r\n", ""),
            (
                "Diversion is taken where both are",
                "History-Info: <sip:b@x>;index=1, <sip:d@x;cause=302>;index=1.1\r\nDiversion: <sip:c@x>\r\n",
                "sip:c@x ",
            ),
            (
                "a Reason of Q.850 is no status code",
                "History-Info: <sip:b@x?Reason=Q.850%3Bcause%3D17>;index=1,<sip:d@x>;index=1.1\r\n",
                "",
            ),
        ] {
            // A quote within a URI takes none of the readers further than its line.
            assert_eq!(shown(&invite(lines)).trim_end(), want.trim_end(), "{name}");
        }
    }

    #[test]
    fn of_many_the_newest_are_kept() {
        let history: Vec<_> = (0..200).map(|number| format!("<sip:{number}@x;cause=302>;index=1.{number}")).collect();
        let request = invite(&format!("History-Info: {}\r\n", history.join(", ")));
        let own = Forwarded::of(&request);
        assert_eq!((own.by.len(), own.is_cut), (FACT_VALUES_MAX, true));
        let diversion: Vec<_> = (0..200).map(|number| format!("<sip:{number}@x>")).collect();
        let request = invite(&format!("Diversion: {}\r\n", diversion.join(", ")));
        let own = Forwarded::of(&request);
        assert_eq!((own.by.last().copied(), own.by.len(), own.is_cut), (Some(&b"sip:0@x"[..]), FACT_VALUES_MAX, true));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn any_header_is_read(octets in vec(proptest::sample::select(b"<sip:b@x>;,\"\\?Reason=%3Bcau1.mp&".to_vec()), 0..2_000)) {
            let value = String::from_utf8(octets).expect("they are ASCII");
            for name in ["Diversion", "History-Info"] {
                let request = invite(&format!("{name}: {value}\r\n"));
                prop_assert!(Forwarded::of(&request).by.len() <= FACT_VALUES_MAX);
            }
        }
    }
}
