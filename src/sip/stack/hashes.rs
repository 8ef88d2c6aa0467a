//! Keyed hashes over a request: where it is looked up, whether it looped, and the To tag of our own responses.

use std::hash::Hasher;

use data_encoding::HEXLOWER;
use siphasher::sip::SipHasher24;

use crate::sip::message::{Message, Name, Via};
use crate::sip::transaction::branch::{Branch, BranchCodec};
use crate::sip::transaction::key::{Fields, KeyMaker, RequestKey};
use crate::sip::transaction::slab::Key;

/// The hashes of one stack. Those of all shards are alike, and stay so over a restart with the same key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashes {
    secret: Secret,
    branches: BranchCodec,
    keys: KeyMaker,
}

#[derive(Clone, Copy)]
struct Secret([u8; 16]);

/// Keeps the key out of every log.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// A hasher for one purpose; `purpose` keeps hashes of different uses apart.
    fn hasher(self, purpose: u8) -> SipHasher24 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write_u8(purpose);
        hasher
    }
}

/// Makes the To tags of responses that are the gateway's own.
#[derive(Clone, Copy, Debug)]
pub struct Tagger(Secret);

impl Tagger {
    /// The tag of those to a request.
    pub(super) fn tag(self, request: &Message) -> String {
        let mut hasher = self.0.hasher(b't');
        write_field(&mut hasher, request.call_id());
        write_field(&mut hasher, request.from_tag());
        HEXLOWER.encode(&hasher.finish().to_be_bytes())
    }
}

impl Hashes {
    pub(super) fn new(key: [u8; 16], incarnation: [u8; 16]) -> Self {
        let own = std::array::from_fn(|place| key[place] ^ incarnation[place]);
        Self { secret: Secret(key), branches: BranchCodec::new(own), keys: KeyMaker::new(key) }
    }

    fn hasher(&self, purpose: u8) -> SipHasher24 {
        self.secret.hasher(purpose)
    }

    /// Appends the branch of a request that goes out for `client`; `None` for an ACK of a 2xx.
    pub(super) fn print_branch(&self, client: Option<Key>, request: &Message, out: &mut Vec<u8>) {
        let branch = Branch { client, loop_hash: self.loop_hash(request) };
        out.extend_from_slice(&self.branches.encode(branch, request.call()));
    }

    /// The branch of one of our own Via values; `None` for anybody else's.
    pub(super) fn read_branch(&self, via: &Via<'_>, message: &Message) -> Option<Branch> {
        self.branches.decode(via.branch?, message.call())
    }

    /// Whether the request was here before and nothing that decides its way has changed since (RFC 5393 §4.2).
    pub(super) fn is_loop(&self, request: &Message) -> bool {
        let vias = || request.values(Name::Via).skip(1).filter_map(Via::parse);
        let is_ours = |via: Via<'_>| self.read_branch(&via, request);
        let Some(first) = vias().find_map(is_ours) else { return false };
        let hash = self.loop_hash(request);
        first.loop_hash == hash || vias().filter_map(is_ours).any(|branch| branch.loop_hash == hash)
    }

    /// Hash of what a loop would bring back unchanged (RFC 5393 §4.2.3): Request-URI and Route as received, Call-ID,
    /// tags, CSeq number and what proxies are asked for. A spiral comes back with another Request-URI or Route.
    fn loop_hash(&self, request: &Message) -> u32 {
        let mut hasher = self.hasher(b'l');
        write_field(&mut hasher, request.request_uri());
        for name in [Name::Route, Name::ProxyRequire, Name::ProxyAuthorization] {
            for value in request.headers(name) {
                write_field(&mut hasher, value);
            }
            hasher.write_u8(0xff);
        }
        write_field(&mut hasher, request.from_tag());
        write_field(&mut hasher, request.to_tag());
        hasher.write_u32(request.cseq().0);
        hasher.finish() as u32
    }

    /// The To tag of the responses the gateway makes itself. The same for a repeated request, and recognised in the ACK.
    pub(super) fn local_tag(&self, request: &Message) -> String {
        self.tagger().tag(request)
    }

    /// What makes these tags.
    pub(super) const fn tagger(&self) -> Tagger {
        Tagger(self.secret)
    }

    /// The key a request is looked up by (RFC 3261 §17.2.3); an ACK and, with [`Meant::Invite`], a CANCEL have that of their
    /// INVITE.
    pub(super) fn request_key(&self, request: &Message, meant: Meant) -> RequestKey {
        let via = request.top_via();
        let method = match meant {
            Meant::Itself => request.method_text(),
            Meant::Invite => b"INVITE",
        };
        self.keys.request(&Fields {
            method,
            branch: via.and_then(|via| via.branch).unwrap_or_default(),
            sent_by_host: via.map_or(b"", |via| via.host),
            sent_by_port: via.map(|via| via.port_or_default()),
            request_uri: request.request_uri(),
            from_tag: request.from_tag(),
            call_id: request.call_id(),
            cseq: request.cseq().0,
            top_via: request.values(Name::Via).next().unwrap_or_default(),
        })
    }

    /// Hash of a Call-ID: nobody without the key can find two that have the same.
    pub(super) fn call(&self, call_id: &[u8]) -> u64 {
        let mut hasher = self.hasher(b'c');
        write_field(&mut hasher, call_id);
        hasher.finish()
    }

    /// Hash of a To tag, to tell the 2xx of one branch apart.
    pub(super) fn tag_hash(&self, tag: &[u8]) -> u64 {
        let mut hasher = self.hasher(b'g');
        write_field(&mut hasher, tag);
        hasher.finish()
    }
}

/// Whose transaction a request asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Meant {
    /// Its own.
    Itself,
    /// That of the INVITE it acknowledges or cancels.
    Invite,
}

/// Writes a field and its length, so that two fields cannot borrow from each other.
fn write_field(hasher: &mut SipHasher24, field: &[u8]) {
    hasher.write(field);
    hasher.write_usize(field.len());
}

/// Appends the lowest `digits` hexadecimal digits of `value`.
pub(crate) fn push_hex(value: u64, digits: u32, out: &mut Vec<u8>) {
    out.extend((0..digits).rev().map(|digit| b"0123456789abcdef"[(value >> (4 * digit) & 15) as usize]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::Message;

    const REQUEST: &[u8] = b"INVITE sip:bob@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\n\
        From: <sip:a@example.net>;tag=1\r\nTo: <sip:b@example.net>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\
        Content-Length: 0\r\n\r\n";

    #[test]
    fn a_branch_of_an_earlier_process_leads_to_nothing() {
        // A restarted gateway uses the same slots again: the response to an old branch would end up in another call.
        let key = [7; 16];
        let (before, after) = (Hashes::new(key, [1; 16]), Hashes::new(key, [2; 16]));
        let request = Message::parse(REQUEST.to_vec()).unwrap();
        let mut via = b"SIP/2.0/UDP 192.0.2.1;branch=".to_vec();
        before.print_branch(Key::from_u64(1 << 32), &request, &mut via);
        let via = Via::parse(&via).unwrap();
        assert!(before.read_branch(&via, &request).is_some());
        assert!(after.read_branch(&via, &request).is_none());
    }
}
