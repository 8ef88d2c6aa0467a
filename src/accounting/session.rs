//! One call in progress: what is remembered of it, its names, and its bytes in the queue.

use std::hash::Hasher;
use std::num::NonZeroU32;
use std::time::Duration;

use data_encoding::HEXLOWER;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::clock::{Instant, Now, Timestamp};
use crate::ids::CallHash;
use crate::policy::Marks;
use crate::record::bytes::{Reader, Unreadable};
use crate::record::{Facts, Fields, Party, codec};
use crate::sip::message::Message;
use crate::sip::stack::ServerId;

use super::alarms::Alarms;
use super::doubt::Doubt;
use super::ends::{Ends, names};
use super::stored::VERSION;
use super::transaction::Response;

/// Name of a stored call: a hash of its Call-ID and one of the whole dialog.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key {
    call: CallHash,
    dialog: u128,
}

impl Key {
    /// Octets of a key.
    pub const BYTES: usize = 24;

    /// The key of a dialog, named by the caller's tag first.
    #[must_use]
    pub fn of(call_id: &[u8], from_tag: &[u8], to_tag: &[u8]) -> Self {
        Self { call: CallHash::of(call_id), dialog: hash(&[call_id, from_tag, to_tag]) }
    }

    /// The key of the dialog that a message of the caller belongs to, with this To tag.
    pub(super) fn of_caller(message: &Message, to_tag: &[u8]) -> Self {
        Self { call: message.call(), dialog: hash(&[message.call_id(), message.from_tag(), to_tag]) }
    }

    /// Both keys a message may belong to, and who sent it then: its From tag is the caller's or the callee's. The second
    /// is made when the first did not fit.
    pub(crate) fn candidates(message: &Message) -> impl Iterator<Item = (Self, Party)> {
        let (call_id, from, to) = (message.call_id(), message.from_tag(), message.to_tag());
        let call = message.call();
        let key = move |(one, other, sender): (&[u8], &[u8], Party)| {
            (Self { call, dialog: hash(&[call_id, one, other]) }, sender)
        };
        [(from, to, Party::Caller), (to, from, Party::Callee)].into_iter().map(key)
    }

    /// A fraction of one, different for each call: what is to be spread over time.
    pub(super) fn spread(self) -> f64 {
        f64::from((self.dialog >> 64) as u32) / f64::from(u32::MAX)
    }

    /// The hash of the Call-ID: which shard owns the call.
    #[must_use]
    pub const fn call(self) -> CallHash {
        self.call
    }

    /// The key as it stands in the queue.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        [&self.call.0.to_be_bytes()[..], &self.dialog.to_be_bytes()].concat()
    }

    /// The key from the queue; `None` when the octets are none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (call, dialog) = bytes.split_first_chunk::<8>()?;
        let dialog = <[u8; 16]>::try_from(dialog).ok()?;
        Some(Self { call: CallHash(u64::from_be_bytes(*call)), dialog: u128::from_be_bytes(dialog) })
    }
}

/// A hash of texts and their borders: the same in every process and release.
pub(super) fn hash(texts: &[&[u8]]) -> u128 {
    let mut hasher = SipHasher13::new_with_keys(0x6361_6c6c, 0x6469_616c);
    for text in texts {
        hasher.write(&(text.len() as u64).to_le_bytes());
        hasher.write(text);
    }
    hasher.finish128().as_u128()
}

/// Name of a session: Call-ID, tags and the instant it was created, so that it is never used twice.
pub(super) fn name(call_id: &[u8], from_tag: &[u8], to_tag: &[u8], created: Timestamp) -> u128 {
    hash(&[call_id, from_tag, to_tag, &created.0.to_le_bytes()])
}

/// Name of a whole call.
pub(super) fn multi_name(call_id: &[u8], from_tag: &[u8]) -> u128 {
    hash(&[call_id, from_tag])
}

/// A name of 32 hexadecimal digits.
pub(super) fn hex(name: u128) -> String {
    // A record has two of them: `format!` takes four times as long.
    HEXLOWER.encode(&name.to_be_bytes())
}

/// A boot as a number; 0 for an unknown one.
pub(super) fn boot(boot_id: &str) -> u64 {
    if boot_id.is_empty() { 0 } else { (hash(&[boot_id.as_bytes()]) as u64).max(1) }
}

/// A stored call cannot be taken up.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RestoreError {
    /// The key is none of ours.
    #[error("a stored call has a name of {length} octets, not {}", Key::BYTES)]
    BadKey {
        /// Octets of the key.
        length: usize,
    },
    /// Written by a newer release.
    #[error("stored call of version {found}, this release reads up to {VERSION}")]
    Newer {
        /// First octet of what is stored, above the one this release writes.
        found: u8,
    },
    /// The octets mean nothing.
    #[error("stored call: {0}")]
    Unreadable(#[from] Unreadable),
}

/// A BYE that is on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub(super) at: Now,
    pub(super) by: Party,
    pub(super) transaction: ServerId,
}

/// A call in progress.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) texts: Texts,
    pub(super) name: u128,
    pub(super) multi: u128,
    /// Who is told of it.
    pub(super) marks: Marks,
    /// The boot its monotonic instants belong to; 0 for unknown.
    pub(super) boot: u64,
    pub(super) created: Now,
    /// First 2xx; `None` while there is only early media.
    pub(super) answered: Option<Now>,
    pub(super) acknowledged: Option<Timestamp>,
    /// CSeq number of the INVITE.
    pub(super) cseq: u32,
    /// Code of the response that opened it.
    pub(super) code: u16,
    pub(super) is_cut: bool,
    /// Session-Expires of the last refresh, in seconds; 0 without.
    pub(super) timer_s: u32,
    /// How many of its fields, from the first, are its route's own.
    pub(super) own_fields: u16,
    /// Number of its next record; `None` when an earlier release took the call in, which did not count.
    pub(super) next_number: Option<NonZeroU32>,
    /// When the call was last known to go on.
    pub(super) alive: Now,
    /// Where its ends are, and what a request to them is made of; `None` when neither has named a Contact.
    pub(super) ends: Option<Ends>,
    /// Whether it may have ended; stored but for the records it makes.
    pub(super) doubt: Option<Box<Doubt>>,
    // What follows is not stored.
    pub(super) ending: Option<Ending>,
    /// CSeq number and final code of the INVITE whose ACK is to come.
    pub(super) unacknowledged: Option<(u32, u16)>,
    pub(super) alarms: Alarms,
    /// Where it stands in the list of timers.
    pub(super) due: Option<Instant>,
}

/// The texts of a session in one allocation.
#[derive(Clone, Debug)]
pub(super) struct Texts {
    pub(super) bytes: Box<[u8]>,
    ends: [u32; TEXTS],
}

/// Which text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Text {
    CallId,
    FromTag,
    ToTag,
    Reason,
    /// Empty: none.
    Table,
    Fields,
    Legs,
    /// Facts of its Start; they are stored apart.
    Facts,
}

pub(super) const TEXTS: usize = 8;

/// In the order in which they are packed and stored.
pub(super) const ALL_TEXTS: [Text; TEXTS] =
    [Text::CallId, Text::FromTag, Text::ToTag, Text::Reason, Text::Table, Text::Fields, Text::Legs, Text::Facts];

impl Texts {
    /// Packs texts in the order of [`Text`].
    pub(super) fn pack(texts: [&[u8]; TEXTS]) -> Self {
        let bytes = texts.concat().into_boxed_slice();
        let mut ends = [0; TEXTS];
        let mut end = 0;
        for (place, text) in ends.iter_mut().zip(texts) {
            end += text.len();
            *place = u32::try_from(end).expect("the limits of a record's texts add up to less than 4 GiB");
        }
        Self { bytes, ends }
    }

    fn get(&self, text: Text) -> &[u8] {
        let place = text as usize;
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.bytes[start as usize..self.ends[place] as usize]
    }
}

/// What a session starts with.
pub(super) struct Opening<'a> {
    pub(super) call_id: &'a [u8],
    pub(super) from_tag: &'a [u8],
    pub(super) to_tag: &'a [u8],
    pub(super) reason: &'a [u8],
    pub(super) table: Option<&'a str>,
    pub(super) fields: &'a Fields,
    /// How many of them, from the first, are the route's own.
    pub(super) own_fields: u16,
    /// In order of creation.
    pub(super) legs: &'a [Fields],
    pub(super) facts: &'a Facts,
    pub(super) is_cut: bool,
    pub(super) marks: Marks,
    pub(super) boot: u64,
    pub(super) created: Now,
    pub(super) cseq: u32,
    pub(super) code: u16,
}

impl Session {
    pub(super) fn open<'a>(opening: &Opening<'a>) -> Self {
        let mut values = Vec::new();
        let left = |values: &Vec<u8>| codec::FIELDS_BYTES_MAX.saturating_sub(values.len());
        let mut is_cut = opening.is_cut | codec::put_fields(opening.fields, left(&values), &mut values);
        let fields_end = values.len();
        for leg in opening.legs {
            is_cut |= codec::put_fields(leg, left(&values), &mut values);
        }
        let (fields, legs) = values.split_at(fields_end);
        let mut cut = |text: &'a [u8], limit: usize| {
            is_cut |= text.len() > limit;
            &text[..text.len().min(limit)]
        };
        let texts = [
            cut(opening.call_id, codec::CALL_ID_BYTES_MAX),
            cut(opening.from_tag, codec::TAG_BYTES_MAX),
            cut(opening.to_tag, codec::TAG_BYTES_MAX),
            cut(opening.reason, codec::REASON_BYTES_MAX),
            opening.table.unwrap_or_default().as_bytes(),
            fields,
            legs,
            opening.facts.bytes(),
        ];
        Self {
            texts: Texts::pack(texts),
            name: name(opening.call_id, opening.from_tag, opening.to_tag, opening.created.wall),
            multi: multi_name(opening.call_id, opening.from_tag),
            marks: opening.marks,
            boot: opening.boot,
            created: opening.created,
            answered: None,
            acknowledged: None,
            cseq: opening.cseq,
            code: opening.code,
            is_cut,
            timer_s: 0,
            own_fields: opening.own_fields,
            // Its Start has the number 0.
            next_number: Some(NonZeroU32::MIN),
            alive: opening.created,
            ends: None,
            doubt: None,
            ending: None,
            unacknowledged: None,
            alarms: Alarms::default(),
            due: None,
        }
    }

    pub(super) fn text(&self, text: Text) -> &[u8] {
        self.texts.get(text)
    }

    pub(super) fn table(&self) -> Option<String> {
        let table = self.text(Text::Table);
        (!table.is_empty()).then(|| String::from_utf8_lossy(table).into_owned())
    }

    pub(super) fn fields(&self) -> Fields {
        codec::read_fields(&mut Reader::new(self.text(Text::Fields))).unwrap_or_default()
    }

    pub(super) fn facts(&self) -> Facts {
        Facts::from_bytes(self.text(Text::Facts)).unwrap_or_default()
    }

    /// The legs in order of creation.
    pub(super) fn legs(&self) -> Vec<Fields> {
        let mut reader = Reader::new(self.text(Text::Legs));
        let mut legs = Vec::new();
        while reader.left() > 0 {
            match codec::read_fields(&mut reader) {
                Ok(leg) => legs.push(leg),
                Err(_) => break,
            }
        }
        legs
    }

    /// Whether it has no To tag, and a response comes from where its callee is.
    pub(super) fn is_without_tags(&self, response: &Response<'_>) -> bool {
        let known = self.ends.as_ref().and_then(|ends| ends.known(Party::Caller));
        let is_there = response.message.is_some_and(|message| known.is_none_or(|known| names(message, known.target)));
        self.text(Text::ToTag).is_empty() && is_there
    }

    /// Whether there is early media and no final response yet.
    pub(super) const fn is_early(&self) -> bool {
        self.answered.is_none()
    }

    /// When it is known to have gone on at least: its response, else its INVITE.
    pub(super) fn begun(&self) -> Now {
        self.answered.unwrap_or(self.created)
    }

    /// Whether its 2xx has reached nobody, as far as can be told: no ACK has come, and no request of the caller.
    pub(super) fn is_unreached(&self) -> bool {
        self.acknowledged.is_none() && self.unacknowledged.is_some_and(|(number, _)| number == self.cseq)
    }

    /// From the INVITE to its first 2xx.
    pub(super) fn setup(&self) -> Option<Duration> {
        self.answered.map(|answered| answered.mono.since(self.created.mono))
    }

    /// From the first 2xx to `end`: by the monotonic clock within one boot, else by the wall clock.
    pub(super) fn lasted(&self, end: Now, boot: u64) -> Option<Duration> {
        let answered = self.answered?;
        let same_boot = self.boot == boot && boot != 0;
        Some(if same_boot { end.mono.since(answered.mono) } else { end.wall.since(answered.wall) })
    }

    /// The number of its next record, which is taken with this.
    pub(super) fn take_number(&mut self) -> Option<u32> {
        let number = self.next_number?;
        // At the end of all numbers the last one stays; a call has no such number of records.
        self.next_number = Some(number.saturating_add(1));
        Some(number.get())
    }

    /// Memory it holds, itself included, in octets; a doubt, which few have, left out.
    pub(super) fn memory(&self) -> usize {
        let ends = self.ends.as_ref().map_or(0, |ends| ends.bytes().0.len());
        size_of::<Self>() + self.texts.bytes.len() + ends
    }
}
