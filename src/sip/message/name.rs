//! Header names and their compact forms (IANA registry "SIP Header Fields"), found by length and first letter.

macro_rules! names {
    ($($variant:ident $text:literal,)*) => {
        /// A header field's name. The order of the variants carries no meaning.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[repr(u8)]
        pub enum Name {
            /// Any name that has no variant of its own.
            Other,
            $(#[doc = concat!("`", $text, "`")] $variant,)*
        }

        /// Name and usual spelling, in the order of the variants.
        const SPELLINGS: &[(Name, &str)] = &[(Name::Other, ""), $((Name::$variant, $text),)*];
    };
}

names! {
    Accept "Accept",
    AcceptContact "Accept-Contact",
    AcceptEncoding "Accept-Encoding",
    AcceptLanguage "Accept-Language",
    Allow "Allow",
    AllowEvents "Allow-Events",
    Authorization "Authorization",
    CSeq "CSeq",
    CallId "Call-ID",
    Contact "Contact",
    ContentDisposition "Content-Disposition",
    ContentEncoding "Content-Encoding",
    ContentLength "Content-Length",
    ContentType "Content-Type",
    Date "Date",
    Diversion "Diversion",
    Event "Event",
    Expires "Expires",
    From "From",
    HistoryInfo "History-Info",
    Identity "Identity",
    IdentityInfo "Identity-Info",
    MaxBreadth "Max-Breadth",
    MaxForwards "Max-Forwards",
    MinExpires "Min-Expires",
    MinSe "Min-SE",
    PAssertedIdentity "P-Asserted-Identity",
    PChargeInfo "P-Charge-Info",
    PChargingVector "P-Charging-Vector",
    PPreferredIdentity "P-Preferred-Identity",
    PRtpStat "P-RTP-Stat",
    Path "Path",
    Privacy "Privacy",
    ProxyAuthenticate "Proxy-Authenticate",
    ProxyAuthorization "Proxy-Authorization",
    ProxyRequire "Proxy-Require",
    RAck "RAck",
    RSeq "RSeq",
    Reason "Reason",
    RecordRoute "Record-Route",
    ReferTo "Refer-To",
    ReferredBy "Referred-By",
    RejectContact "Reject-Contact",
    RemotePartyId "Remote-Party-ID",
    Replaces "Replaces",
    RequestDisposition "Request-Disposition",
    Require "Require",
    RetryAfter "Retry-After",
    Route "Route",
    Server "Server",
    SessionExpires "Session-Expires",
    SessionId "Session-ID",
    Subject "Subject",
    SubscriptionState "Subscription-State",
    Supported "Supported",
    Timestamp "Timestamp",
    To "To",
    Unsupported "Unsupported",
    UserAgent "User-Agent",
    Via "Via",
    Warning "Warning",
    WwwAuthenticate "WWW-Authenticate",
    XRtpStat "X-RTP-Stat",
}

impl Name {
    /// The name that `text` spells, in any case, whole or compact; [`Name::Other`] when it has no variant.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        let [first, rest @ ..] = text else { return Self::Other };
        if rest.is_empty() {
            return Self::of_compact(*first);
        }
        let Some(row) = FIRST.get(text.len()) else { return Self::Other };
        let mut place = row[usize::from(first & LETTER)];
        while place != 0 {
            let (name, spelling) = SPELLINGS[usize::from(place)];
            if spelling.as_bytes() == text || spelling.as_bytes().eq_ignore_ascii_case(text) {
                return name;
            }
            place = NEXT[usize::from(place)];
        }
        Self::Other
    }

    /// The usual spelling, empty for [`Name::Other`].
    #[must_use]
    pub const fn text(self) -> &'static str {
        SPELLINGS[self as usize].1
    }

    const fn of_compact(letter: u8) -> Self {
        match letter.to_ascii_lowercase() {
            b'a' => Self::AcceptContact,
            b'b' => Self::ReferredBy,
            b'c' => Self::ContentType,
            b'd' => Self::RequestDisposition,
            b'e' => Self::ContentEncoding,
            b'f' => Self::From,
            b'i' => Self::CallId,
            b'j' => Self::RejectContact,
            b'k' => Self::Supported,
            b'l' => Self::ContentLength,
            b'm' => Self::Contact,
            b'n' => Self::IdentityInfo,
            b'o' => Self::Event,
            b'r' => Self::ReferTo,
            b's' => Self::Subject,
            b't' => Self::To,
            b'u' => Self::AllowEvents,
            b'v' => Self::Via,
            b'x' => Self::SessionExpires,
            b'y' => Self::Identity,
            _ => Self::Other,
        }
    }

    /// The bit of this name in a set of names.
    pub(super) const fn bit(self) -> u64 {
        1 << (self as u8)
    }
}

/// Bits of a letter that do not depend on its case.
const LETTER: u8 = 0x1f;
/// Longer than any name in the table.
const LENGTHS: usize = 24;

const TABLES: ([[u8; 32]; LENGTHS], [u8; SPELLINGS.len()]) = tables();
/// Place in `SPELLINGS` of the first name of a length and first letter; 0 when there is none.
static FIRST: [[u8; 32]; LENGTHS] = TABLES.0;
/// Place of the next name with the same length and first letter; 0 when there is none.
static NEXT: [u8; SPELLINGS.len()] = TABLES.1;

const fn tables() -> ([[u8; 32]; LENGTHS], [u8; SPELLINGS.len()]) {
    assert!(SPELLINGS.len() <= 64, "a set of names is one 64-bit word");
    let mut first = [[0; 32]; LENGTHS];
    let mut next = [0; SPELLINGS.len()];
    let mut place = 1;
    while place < SPELLINGS.len() {
        let text = SPELLINGS[place].1.as_bytes();
        let slot = &mut first[text.len()][(text[0] & LETTER) as usize];
        next[place] = *slot;
        *slot = place as u8;
        place += 1;
    }
    (first, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for (name, text) in &SPELLINGS[1..] {
            assert_eq!(Name::of(text.as_bytes()), *name, "{text}");
            assert_eq!(Name::of(text.to_ascii_uppercase().as_bytes()), *name, "{text}");
            assert_eq!(Name::of(text.to_ascii_lowercase().as_bytes()), *name, "{text}");
            assert_eq!(name.text(), *text);
        }
    }

    #[test]
    fn neighbours_of_a_name_are_other_names() {
        for text in ["", "Vias", "Vi", "1", "-", "z", "\u{0}ia", "Call_ID", "Content-Lengthy", "6ia"] {
            assert_eq!(Name::of(text.as_bytes()), Name::Other, "{text:?}");
        }
        assert_eq!(Name::of(&[b'V'; 300]), Name::Other);
        assert_eq!(Name::of(&[0xff, 0xfe, 0xfd]), Name::Other);
    }

    #[test]
    fn compact_names_mean_the_long_ones() {
        for (compact, name) in
            [("v", Name::Via), ("I", Name::CallId), ("l", Name::ContentLength), ("x", Name::SessionExpires)]
        {
            assert_eq!(Name::of(compact.as_bytes()), name, "{compact}");
        }
    }
}
