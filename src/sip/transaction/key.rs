//! The key of a server transaction: RFC 3261 §17.2.3, and §9.2 for CANCEL.
//!
//! With the magic cookie a request belongs to the transaction of the same branch, sent-by and method, where an ACK
//! counts as INVITE. Without it (RFC 2543) Request-URI, From tag, Call-ID, CSeq number, top Via and method are compared.
//! The To tag is not: an ACK has one that its INVITE had not.
//!
//! The fields are hashed to 128 bits with a secret, so nobody can make two requests meet, and the hash stands for them
//! in a table. It is not stable over a restart with another secret.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use super::branch;

/// What the rules compare, as received. A field that is not there is empty.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Fields<'a> {
    /// Method of the request line.
    pub method: &'a [u8],
    /// Branch of the top Via.
    pub branch: &'a [u8],
    /// Host of the top Via's sent-by.
    pub sent_by_host: &'a [u8],
    /// Port of the top Via's sent-by; `None` counts as 5060, the default of UDP and TCP (§18.1.1).
    pub sent_by_port: Option<u16>,
    /// Request-URI.
    pub request_uri: &'a [u8],
    /// Tag of From.
    pub from_tag: &'a [u8],
    /// Call-ID.
    pub call_id: &'a [u8],
    /// Number of CSeq.
    pub cseq: u32,
    /// The top Via value whole.
    pub top_via: &'a [u8],
}

/// Names a server transaction. It is a hash that nobody can steer, so that a table does well with a cheap hasher.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct RequestKey(u128);

/// One word of the two: each alone is hash enough.
impl std::hash::Hash for RequestKey {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.0 as u64);
    }
}

/// Hashes requests to their keys.
#[derive(Clone, Copy)]
pub struct KeyMaker {
    secret: [u8; 16],
}

/// Keeps the secret out of every log.
impl std::fmt::Debug for KeyMaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyMaker")
    }
}

impl KeyMaker {
    /// A maker with a random secret.
    #[must_use]
    pub const fn new(secret: [u8; 16]) -> Self {
        Self { secret }
    }

    /// The key a request is stored and looked up by. For an ACK, and for the INVITE that a CANCEL means (§9.2), the
    /// method is INVITE.
    #[must_use]
    pub fn request(&self, fields: &Fields<'_>) -> RequestKey {
        if branch::is_rfc3261(fields.branch) { self.by_branch(fields) } else { self.by_fields(fields) }
    }

    fn by_branch(&self, fields: &Fields<'_>) -> RequestKey {
        let mut hasher = self.hasher(b's');
        // The cookie proved unique what follows; its case may differ and so may the host's (§7.3.1).
        write_lower(&mut hasher, &fields.branch[branch::COOKIE.len()..]);
        write_lower(&mut hasher, fields.sent_by_host);
        hasher.write_u16(fields.sent_by_port.unwrap_or(SENT_BY_PORT));
        write(&mut hasher, fields.method);
        RequestKey(hasher.finish128().as_u128())
    }

    fn by_fields(&self, fields: &Fields<'_>) -> RequestKey {
        let mut hasher = self.hasher(b'o');
        for field in [fields.request_uri, fields.from_tag, fields.call_id, fields.top_via, fields.method] {
            write(&mut hasher, field);
        }
        hasher.write_u32(fields.cseq);
        RequestKey(hasher.finish128().as_u128())
    }

    /// `purpose` keeps the two kinds of key, and other uses of the secret, apart.
    fn hasher(&self, purpose: u8) -> SipHasher13 {
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        hasher.write_u8(purpose);
        hasher
    }
}

/// The port of a sent-by that names none.
const SENT_BY_PORT: u16 = 5060;

/// Writes a field with its length, so that no two fields borrow from each other.
fn write(hasher: &mut SipHasher13, field: &[u8]) {
    hasher.write_usize(field.len());
    hasher.write(field);
}

fn write_lower(hasher: &mut SipHasher13, field: &[u8]) {
    hasher.write_usize(field.len());
    let mut lower = [0; 64];
    for part in field.chunks(lower.len()) {
        let lower = &mut lower[..part.len()];
        lower.copy_from_slice(part);
        lower.make_ascii_lowercase();
        hasher.write(lower);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAKER: KeyMaker = KeyMaker::new([9; 16]);

    /// An INVITE with the cookie.
    const NEW: Fields<'_> = Fields {
        method: b"INVITE",
        branch: b"z9hG4bK776asdhds",
        sent_by_host: b"pc33.atlanta.com",
        sent_by_port: None,
        request_uri: b"sip:bob@biloxi.com",
        from_tag: b"1928301774",
        call_id: b"a84b4c76e66710@pc33.atlanta.com",
        cseq: 314_159,
        top_via: b"SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK776asdhds",
    };

    /// The same without it, as RFC 2543 made them.
    const OLD: Fields<'_> = Fields { branch: b"1", top_via: b"SIP/2.0/UDP pc33.atlanta.com;branch=1", ..NEW };

    #[test]
    fn with_the_cookie_branch_sent_by_and_method_decide() {
        let invite = MAKER.request(&NEW);
        for (name, other, want) in [
            ("the same again is a repetition", NEW, true),
            ("other dialog fields do not matter", Fields { call_id: b"x", cseq: 1, ..NEW }, true),
            ("another branch is another transaction", Fields { branch: b"z9hG4bK776asdhdt", ..NEW }, false),
            ("the same branch of another host is another one", Fields { sent_by_host: b"evil.com", ..NEW }, false),
            ("and of another port", Fields { sent_by_port: Some(5070), ..NEW }, false),
            ("5060 is the default port", Fields { sent_by_port: Some(5060), ..NEW }, true),
            ("a host is the same in any case", Fields { sent_by_host: b"PC33.Atlanta.com", ..NEW }, true),
            ("and so is a parameter", Fields { branch: b"Z9HG4BK776ASDHDS", ..NEW }, true),
            ("the CANCEL has a transaction of its own", Fields { method: b"CANCEL", ..NEW }, false),
            ("another method is another transaction", Fields { method: b"BYE", ..NEW }, false),
            ("methods differ by case (§7.1)", Fields { method: b"invite", ..NEW }, false),
        ] {
            assert_eq!(MAKER.request(&other) == invite, want, "{name}");
        }
    }

    #[test]
    fn without_the_cookie_the_fields_of_rfc_2543_decide() {
        let invite = MAKER.request(&OLD);
        for (name, other, want) in [
            ("the same again is a repetition", OLD, true),
            ("another Request-URI is another transaction", Fields { request_uri: b"sip:eve@x", ..OLD }, false),
            ("another From tag too", Fields { from_tag: b"y", ..OLD }, false),
            ("another Call-ID too", Fields { call_id: b"y", ..OLD }, false),
            ("another CSeq too", Fields { cseq: 1, ..OLD }, false),
            ("another top Via too", Fields { top_via: b"SIP/2.0/UDP y", ..OLD }, false),
            ("another method too", Fields { method: b"OPTIONS", ..OLD }, false),
            ("the CANCEL has a transaction of its own", Fields { method: b"CANCEL", ..OLD }, false),
            ("a branch alone decides nothing", Fields { branch: b"2", ..OLD }, true),
            ("the cookie makes it another one", NEW, false),
        ] {
            assert_eq!(MAKER.request(&other) == invite, want, "{name}");
        }
    }

    #[test]
    fn fields_do_not_borrow_from_each_other() {
        let a = Fields { from_tag: b"ab", call_id: b"c", ..OLD };
        let b = Fields { from_tag: b"a", call_id: b"bc", ..OLD };
        assert_ne!(MAKER.request(&a), MAKER.request(&b));
        let a = Fields { branch: b"z9hG4bKab", sent_by_host: b"c", ..NEW };
        let b = Fields { branch: b"z9hG4bKa", sent_by_host: b"bc", ..NEW };
        assert_ne!(MAKER.request(&a), MAKER.request(&b));
    }

    #[test]
    fn another_secret_gives_other_keys() {
        assert_ne!(KeyMaker::new([1; 16]).request(&NEW), MAKER.request(&NEW));
        assert_ne!(KeyMaker::new([1; 16]).request(&OLD), MAKER.request(&OLD));
    }

    proptest! {
        #[test]
        fn no_octets_panic_and_long_hosts_ignore_case(branch: Vec<u8>, host in "[a-zA-Z0-9.]{0,200}", method: Vec<u8>) {
            let fields = Fields { branch: &branch, method: &method, sent_by_host: host.as_bytes(), ..NEW };
            let upper = host.to_ascii_uppercase();
            let other = Fields { sent_by_host: upper.as_bytes(), ..fields };
            prop_assert_eq!(MAKER.request(&fields), MAKER.request(&other));
        }
    }
}
