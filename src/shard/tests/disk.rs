//! What a queue has on disk, and the watch over the promise: no final response before its record.

use std::collections::{BTreeMap, HashSet, VecDeque};

use crate::accounting::{Key, has_ended};
use crate::record::{CallChange, Commit, Kind, Record, codec};
use crate::shard::Ticket;
use crate::sip::stack::tests::script::{header, headers};

/// One commit without a receipt.
struct Open {
    ticket: Ticket,
    records: Vec<Record>,
    calls: Vec<CallChange>,
}

/// A queue that writes when it is told to.
#[derive(Default)]
pub struct Disk {
    /// What it has, in order.
    pub records: Vec<Record>,
    /// The calls it has.
    pub calls: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The notes of ended calls it has; it keeps them all.
    pub notes: BTreeMap<Vec<u8>, Vec<u8>>,
    open: VecDeque<Open>,
    /// Responses that may leave without their record, as the shard has counted them.
    excused: usize,
    /// Whether the next turn's response is to a request that went astray: it needs no record.
    pub is_astray: bool,
    /// Responses that did: they may come again.
    waived: HashSet<String>,
}

impl Disk {
    pub fn append(&mut self, ticket: Ticket, commit: Commit) -> Vec<Record> {
        let read = |body: &[u8]| codec::decode(body).expect("a record of ours can be read");
        let records: Vec<Record> = commit.entries.iter().map(|entry| read(&entry.body)).collect();
        assert!(commit.entries.iter().zip(&records).all(|(entry, record)| entry.id == record.id));
        assert!(self.open.back().is_none_or(|last| last.ticket < ticket), "tickets rise");
        self.open.push_back(Open { ticket, records: records.clone(), calls: commit.calls });
        records
    }

    /// Writes the oldest commit: its receipt.
    pub fn write(&mut self) -> Option<Ticket> {
        let open = self.open.pop_front()?;
        self.records.extend(open.records);
        for change in open.calls {
            match change {
                CallChange::Put { key, value } => drop(self.calls.insert(key, value)),
                CallChange::Remove { key } => drop(self.calls.remove(&key)),
                CallChange::End { key, note } => {
                    self.calls.remove(&key);
                    self.notes.insert(key, note);
                }
                CallChange::Class { .. } => unreachable!("only sinks have Class values"),
            }
        }
        Some(open.ticket)
    }

    /// Writes all up to a ticket.
    pub fn write_to(&mut self, ticket: Ticket) {
        while self.open.front().is_some_and(|open| open.ticket <= ticket) {
            self.write();
        }
    }

    /// Refuses the oldest commit.
    pub fn refuse(&mut self) -> Option<Ticket> {
        self.open.pop_front().map(|open| open.ticket)
    }

    /// Loses what has no receipt yet.
    pub fn crash(&mut self) {
        self.open.clear();
        self.excused = 0;
    }

    /// The shard has counted a response that leaves without its record.
    pub fn excuse(&mut self) {
        self.excused += 1;
    }

    /// A turn begins: what was counted before excuses nothing any more.
    pub fn begin(&mut self) {
        self.excused = usize::from(std::mem::take(&mut self.is_astray));
    }

    /// Looks at a message that leaves: why it may not.
    pub fn check(&mut self, text: &str) -> Result<(), String> {
        let Some(missing) = self.missing(text) else { return Ok(()) };
        let part = |name| header(text, name).unwrap_or_default();
        let name = format!("{} {} {}", part("Call-ID"), part("CSeq"), part("To"));
        if self.waived.contains(&name) {
            return Ok(());
        }
        if self.excused == 0 {
            return Err(format!("{missing} is not on disk, but this leaves:\n{text}"));
        }
        self.excused -= 1;
        self.waived.insert(name);
        Ok(())
    }

    /// What a final response of an accounted call lacks.
    fn missing(&self, text: &str) -> Option<&'static str> {
        let code: u16 = text.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()?;
        let part = |name| header(text, name).unwrap_or_default();
        let (call, cseq) = (part("Call-ID"), part("CSeq"));
        let (number, method) = cseq.split_once(' ')?;
        if code < 200 || call.starts_with("free") {
            return None;
        }
        let tags = [tag_of(part("From")), tag_of(part("To"))];
        let of_call = |record: &&Record| record.call_id == call.as_bytes();
        let of_dialog = |record: &Record| {
            let own = [record.from_tag.as_slice(), &record.to_tag];
            own == tags.map(str::as_bytes) || own == [tags[1].as_bytes(), tags[0].as_bytes()]
        };
        let has_number = |record: &Record| record.cseq.to_string() == number;
        let is_there = |found: &dyn Fn(&Record) -> bool| self.records.iter().filter(of_call).any(found);
        let waits = |found: &dyn Fn(&Record) -> bool| {
            self.open.iter().flat_map(|open| &open.records).filter(of_call).any(found)
        };
        let is_failure = |record: &Record| matches!(record.kind, Kind::Missed | Kind::Failed) && has_number(record);
        let is_opening = |record: &Record| {
            matches!(record.kind, Kind::Start | Kind::Interim) && has_number(record) && of_dialog(record)
        };
        let is_start = |record: &Record| record.kind == Kind::Start && of_dialog(record);
        let is_begun = is_there(&is_start) || waits(&is_start);
        let is_stop = |record: &Record| record.kind == Kind::Stop && of_dialog(record);
        // An end that waits for what the cluster says is no record yet, and is on disk like one.
        let keys =
            [(0, 1), (1, 0)].map(|(from, to)| Key::of(call.as_bytes(), tags[from].as_bytes(), tags[to].as_bytes()));
        let is_kept = || keys.iter().filter_map(|key| self.calls.get(&key.to_bytes())).any(|own| has_ended(own));
        match method {
            "INVITE" if code < 300 => (!is_there(&is_opening)).then_some("its Start or Interim"),
            // What the gateway refuses by itself, for want of a disk, is not accounted.
            "INVITE" if code == 503 && headers(text, "Retry-After").next().is_some() => None,
            "INVITE" => (!is_there(&is_failure) || waits(&is_failure)).then_some("its Missed or Failed"),
            // A BYE before its INVITE's final response ends an early dialog: no Start, so no Stop either.
            // Other refusals end nothing.
            "BYE" if code >= 300 && ![410, 481, 604].contains(&code) => None,
            "BYE" => (is_begun && !is_there(&is_stop) && !is_kept() || waits(&is_stop)).then_some("its Stop"),
            _ => None,
        }
    }
}

/// The tag of a From or To value.
pub fn tag_of(value: &str) -> &str {
    value.split_once(";tag=").map_or("", |(_, tag)| tag)
}
