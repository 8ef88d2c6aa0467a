//! The key of a server transaction: RFC 3261 §17.2.3, and §9.2 for CANCEL.
//!
//! With the magic cookie a request belongs to the transaction of the same branch, sent-by and method, where an ACK
//! counts as INVITE. Without it (RFC 2543) Request-URI, From tag, Call-ID, CSeq number, top Via and To tag are compared;
//! the ACK's To tag is that of the answer it acknowledges.
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
    /// Tag of To.
    pub to_tag: &'a [u8],
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
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
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

    /// The key a request is looked up by, and stored by unless it is an ACK.
    ///
    /// For an ACK it leads to the INVITE. Of an INVITE without the cookie that only works after [`Self::acknowledged`]
    /// was stored too.
    #[must_use]
    pub fn request(&self, fields: &Fields<'_>) -> RequestKey {
        if branch::is_rfc3261(fields.branch) {
            return self.by_branch(fields, if fields.method == b"ACK" { b"INVITE" } else { fields.method });
        }
        self.by_fields(fields, fields.method, fields.to_tag)
    }

    /// The key of the INVITE that a CANCEL means (§9.2). A CANCEL of any other request has no effect anyway.
    #[must_use]
    pub fn cancelled(&self, cancel: &Fields<'_>) -> RequestKey {
        if branch::is_rfc3261(cancel.branch) {
            return self.by_branch(cancel, b"INVITE");
        }
        self.by_fields(cancel, b"INVITE", cancel.to_tag)
    }

    /// The second key of an INVITE once a refusal with `to_tag` was sent, by which its ACK finds it. `None` with the
    /// cookie, where the first key serves.
    #[must_use]
    pub fn acknowledged(&self, invite: &Fields<'_>, to_tag: &[u8]) -> Option<RequestKey> {
        (!branch::is_rfc3261(invite.branch)).then(|| self.by_fields(invite, b"ACK", to_tag))
    }

    fn by_branch(&self, fields: &Fields<'_>, method: &[u8]) -> RequestKey {
        let mut hasher = self.hasher(b's');
        // The cookie proved unique what follows; its case may differ and so may the host's (§7.3.1).
        write_lower(&mut hasher, &fields.branch[branch::COOKIE.len()..]);
        write_lower(&mut hasher, fields.sent_by_host);
        hasher.write_u16(fields.sent_by_port.unwrap_or(SENT_BY_PORT));
        write(&mut hasher, method);
        RequestKey(hasher.finish128().as_u128())
    }

    fn by_fields(&self, fields: &Fields<'_>, method: &[u8], to_tag: &[u8]) -> RequestKey {
        let mut hasher = self.hasher(b'o');
        for field in [fields.request_uri, fields.from_tag, fields.call_id, fields.top_via, to_tag, method] {
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
