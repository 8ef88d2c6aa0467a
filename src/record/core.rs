//! The values that every record has a place for: one table with the name of each and how it is read.
//!
//! Whoever writes records out walks it: JSON the whole of it, a sink the part that its profile has places for.

use std::net::SocketAddr;
use std::time::Duration;

use super::facts::{Fact, Facts, Many};
use super::{Kind, Record};
use crate::clock::Timestamp;
use crate::ids::RecordId;

/// What a value is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Item<'r> {
    /// The id of the record, a ULID as text.
    Id(RecordId),
    /// A kind, which has two names.
    Kind(Kind),
    /// Octets as they came; empty ones say nothing.
    Text(&'r [u8]),
    /// A word of ours.
    Word(&'static str),
    /// A whole number without a unit, such as a status code.
    Number(i64),
    /// An instant in UTC.
    Instant(Timestamp),
    /// A span from the monotonic clock; the backend's mapping says in which unit it goes out, and how it is rounded.
    Span(Duration),
    /// A yes or no.
    Flag(bool),
    /// An address with its port.
    Address(SocketAddr),
    /// Several values.
    Many(Many<'r>),
}

macro_rules! table {
    ($($value:ident $name:literal $record:ident => $item:expr;)*) => {
        /// A value of a record.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        #[allow(missing_docs, reason = "they are called like the parts of a record that they are read from")]
        pub enum Core {
            $($value,)*
        }

        impl Core {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$value,)*];

            /// Its name, as in JSON.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $name,)*
                }
            }

            /// The value in a record; `None` where it says nothing.
            #[inline]
            #[must_use]
            pub fn of(self, record: &Record) -> Option<Item<'_>> {
                match self {
                    $(Self::$value => {
                        let $record = record;
                        $item
                    })*
                }
            }
        }
    };
}

table! {
    Id "id" r => Some(Item::Id(r.id));
    Kind "kind" r => Some(Item::Kind(r.kind));
    Method "method" r => Some(Item::Text(&r.method));
    CallId "call_id" r => Some(Item::Text(&r.call_id));
    FromTag "from_tag" r => Some(Item::Text(&r.from_tag));
    ToTag "to_tag" r => Some(Item::Text(&r.to_tag));
    Reason "reason" r => Some(Item::Text(&r.reason));
    Cseq "cseq" r => Some(Item::Number(r.cseq.into()));
    Code "code" r => (r.code > 0).then_some(Item::Number(r.code.into()));
    InDialog "in_dialog" r => Some(Item::Flag(r.in_dialog));
    Session "session" r => Some(Item::Text(r.session.as_bytes()));
    MultiSession "multi_session" r => Some(Item::Text(r.multi_session.as_bytes()));
    Number "number" r => r.number.map(|number| Item::Number(number.into()));
    Event "event" r => Some(Item::Instant(r.times.event));
    Created "created" r => Some(Item::Instant(r.times.created));
    Answered "answered" r => r.times.answered.map(Item::Instant);
    Acknowledged "acknowledged" r => r.times.acknowledged.map(Item::Instant);
    Ended "ended" r => r.times.ended.map(Item::Instant);
    Setup "setup_s" r => r.times.setup.map(Item::Span);
    Duration "duration_s" r => r.times.duration.map(Item::Span);
    EndedBy "ended_by" r => r.end.map(|end| Item::Word(end.by.name()));
    Cause "cause" r => r.end.map(|end| Item::Word(end.cause.name()));
    EndedFrom "ended_from" r => r.facts.address(Fact::EndedFrom).map(Item::Address);
    Reasons "reasons" r => Many::of(r, Fact::Reason).map(Item::Many);
    Q850 "q850" r => number(&r.facts, Fact::Q850);
    SipCause "sip_cause" r => number(&r.facts, Fact::SipCause);
    PostDialDelay "pdd_s" r => r.facts.span(Fact::PostDialDelay).map(Item::Span);
    Ring "ring_s" r => ring(r).map(Item::Span);
    Dialled "dialled" r => r.facts.text(Fact::Dialled).map(Item::Text);
    Called "called" r => called(&r.facts).map(Item::Text);
    Sent "sent" r => r.facts.text(Fact::Sent).or_else(|| called(&r.facts)).map(Item::Text);
    Target "target" r => r.facts.attempts().last().map(|last| Item::Text(last.uri));
    TargetAddress "target_address" r => r.facts.attempts().last().and_then(|last| last.address).map(Item::Address);
    AttemptCount "attempt_count" r => r.facts.attempt_count().map(|count| Item::Number(count.try_into().unwrap_or(i64::MAX)));
    Attempts "attempts" r => Many::of(r, Fact::Attempt).map(Item::Many);
    Redirecting "redirecting" r => r.facts.texts(Fact::Forwarded).last().map(|uri| Item::Text(number_in(uri)));
    ForwardReason "forward_reason" r => r.facts.text(Fact::ForwardReason).map(Item::Text);
    Forwarded "forwarded_by" r => Many::of(r, Fact::Forwarded).map(Item::Many);
    Billed "billed" r => r.facts.text(Fact::Billed).map(Item::Text);
    SessionId "session_id" r => r.facts.text(Fact::SessionId).map(Item::Text);
    Icid "icid" r => r.facts.text(Fact::Icid).map(Item::Text);
    RtpStat "rtp_stat" r => Many::of(r, Fact::RtpStat).map(Item::Many);
    RtpSent "rtp_sent" r => rtp(&r.facts, b"PS");
    RtpReceived "rtp_received" r => rtp(&r.facts, b"PR");
    RtpLost "rtp_lost" r => rtp(&r.facts, b"PL");
    RtpJitter "rtp_jitter_ms" r => rtp(&r.facts, b"JI");
    RtpLatency "rtp_latency_ms" r => rtp(&r.facts, b"LA");
    ClaimedAttest "claimed_attest" r => r.facts.text(Fact::Attest).map(Item::Text);
    ClaimedOrigId "claimed_origid" r => r.facts.text(Fact::OrigId).map(Item::Text);
    ClaimedOrig "claimed_orig" r => r.facts.text(Fact::Orig).map(Item::Text);
    ClaimedDest "claimed_dest" r => Many::of(r, Fact::Dest).map(Item::Many);
    ClaimedIat "claimed_iat" r => number(&r.facts, Fact::Iat).and_then(instant);
    ClaimedDiv "claimed_div" r => Many::of(r, Fact::Div).map(Item::Many);
    ClaimedName "claimed_name" r => r.facts.text(Fact::CallerName).map(Item::Text);
    ClaimedVerstat "claimed_verstat" r => r.facts.text(Fact::Verstat).map(Item::Text);
    VerifiedAttest "verified_attest" r => r.facts.text(Fact::VerifiedAttest).map(Item::Text);
    VerifiedOrig "verified_orig" r => r.facts.text(Fact::VerifiedOrig).map(Item::Text);
    IdentityVerdict "identity_verdict" r => r.facts.text(Fact::IdentityVerdict).map(Item::Text);
    Mirror "mirror" r => r.facts.text(Fact::Mirror).map(Item::Text);
    Table "table" r => r.table.as_ref().map(|table| Item::Text(table.as_bytes()));
    Shortened "shortened" r => r.shortened.then_some(Item::Flag(true));
}

fn number(facts: &Facts, fact: Fact) -> Option<Item<'_>> {
    Some(Item::Number(facts.number(fact)?.try_into().unwrap_or(i64::MAX)))
}

/// An instant by its seconds; `None` for one that no calendar has.
fn instant(secs: Item<'_>) -> Option<Item<'_>> {
    const YEAR_10_000: i64 = 253_402_300_800;
    match secs {
        Item::Number(secs) if secs < YEAR_10_000 => Some(Item::Instant(Timestamp(secs * 1_000_000))),
        _ => None,
    }
}

/// The number in a URI: what stands before its `@` and its parameters, else the URI.
fn number_in(uri: &[u8]) -> &[u8] {
    let user = memchr::memchr(b':', uri).map_or(uri, |colon| &uri[colon + 1..]);
    let is_tel = uri.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"tel:"));
    let Some(end) = memchr::memchr(b'@', user).or(is_tel.then_some(user.len())) else { return uri };
    let user = &user[..end];
    &user[..memchr::memchr(b';', user).unwrap_or(user.len())]
}

/// A number of the first report on the media that has it; of several that one report gives, the first.
fn rtp<'r>(facts: &'r Facts, key: &[u8]) -> Option<Item<'r>> {
    let of_report = |report: &[u8]| {
        let part = report.split(|octet| matches!(octet, b',' | b';')).map(<[u8]>::trim_ascii).find_map(|part| {
            let (name, value) = part.split_at_checked(key.len())?;
            value.strip_prefix(b"=").filter(|_| name.eq_ignore_ascii_case(key))
        })?;
        let digits = part.iter().position(|octet| !octet.is_ascii_digit()).unwrap_or(part.len());
        std::str::from_utf8(&part[..digits]).ok()?.parse().ok()
    };
    facts.texts(Fact::RtpStat).find_map(of_report).map(Item::Number)
}

/// The number that the call was routed to.
fn called(facts: &Facts) -> Option<&[u8]> {
    facts.text(Fact::Called).or_else(|| facts.text(Fact::Dialled))
}

/// From the first response of 180 to 189 to the answer, or to the end of a call without one.
fn ring(record: &Record) -> Option<Duration> {
    Some(record.times.setup?.saturating_sub(record.facts.span(Fact::PostDialDelay)?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::record::codec::tests::record;

    #[test]
    fn every_value_has_a_name_of_its_own_and_says_nothing_where_there_is_nothing() {
        let bare = Record { code: 0, end: None, ..record() };
        let mut whole = Record { number: Some(0), table: Some("cdr".into()), shortened: true, ..record() };
        let times = &mut whole.times;
        (times.answered, times.acknowledged, times.ended) =
            (Some(Timestamp(1)), Some(Timestamp(2)), Some(Timestamp(3)));
        (times.setup, times.duration) = (Some(Duration::ZERO), Some(Duration::ZERO));
        let silent: Vec<_> =
            Core::ALL.iter().filter(|value| value.of(&bare).is_none()).map(|value| value.name()).collect();
        assert_eq!(
            silent,
            [
                "code",
                "number",
                "answered",
                "acknowledged",
                "ended",
                "setup_s",
                "duration_s",
                "ended_by",
                "cause",
                "ended_from",
                "reasons",
                "q850",
                "sip_cause",
                "pdd_s",
                "ring_s",
                "dialled",
                "called",
                "sent",
                "target",
                "target_address",
                "attempt_count",
                "attempts",
                "redirecting",
                "forward_reason",
                "forwarded_by",
                "billed",
                "session_id",
                "icid",
                "rtp_stat",
                "rtp_sent",
                "rtp_received",
                "rtp_lost",
                "rtp_jitter_ms",
                "rtp_latency_ms",
                "claimed_attest",
                "claimed_origid",
                "claimed_orig",
                "claimed_dest",
                "claimed_iat",
                "claimed_div",
                "claimed_name",
                "claimed_verstat",
                "verified_attest",
                "verified_orig",
                "identity_verdict",
                "mirror",
                "table",
                "shortened"
            ]
        );
        whole.facts = crate::record::facts::tests::all();
        assert!(Core::ALL.iter().all(|value| value.of(&whole).is_some()));
        let names: BTreeSet<_> = Core::ALL.iter().map(|value| value.name()).collect();
        assert_eq!(names.len(), Core::ALL.len());
    }

    #[test]
    fn reports_on_the_media_and_numbers_in_uris_are_read() {
        let value = |stat: &[u8], key: &[u8]| {
            let mut facts = Facts::new();
            assert!(!facts.put_text(Fact::RtpStat, stat));
            match rtp(&facts, key) {
                Some(Item::Number(number)) => Some(number),
                _ => None,
            }
        };
        for (name, stat, key, want) in [
            ("P-RTP-Stat", &b"PS=1207,OS=193120,PR=1208,OR=193280,PL=3,JI=12,LA=40"[..], &b"PL"[..], Some(3)),
            ("X-RTP-Stat has both directions", b"CS=0;PS=1207;PL=1,2;JI=23,2;EN=PCMA", b"JI", Some(23)),
            ("in any case, with blanks", b" ps = 1, pr=7 ", b"PR", Some(7)),
            ("another one that ends so", b"XPS=1", b"PS", None),
            ("no number", b"PS=-", b"PS", None),
            ("one that is too long", b"PS=99999999999999999999", b"PS", None),
        ] {
            assert_eq!(value(stat, key), want, "{name}");
        }
        for (uri, want) in [
            (&b"sip:+492;x=y@h;user=phone"[..], &b"+492"[..]),
            (b"TEL:+492;ext=1", b"+492"),
            (b"sip:h;x=1", b"sip:h;x=1"),
            (b"urn:a:b", b"urn:a:b"),
            (b"", b""),
        ] {
            assert_eq!(number_in(uri), want);
        }
    }
}
