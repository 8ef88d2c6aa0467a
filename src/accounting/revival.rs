//! Calls that go on though they have ended in the records: a request inside the dialog has gone where the dialog goes, and
//! the other end has answered it with a 2xx.
//!
//! A BYE that was answered, a session timer that has run out, an end that did not know the call: whatever ended it in the
//! records, such a response says that it was wrong, or that somebody cheats.

use std::num::NonZeroU32;

use super::Outcome;
use super::alarms::Alarms;
use super::engine::Engine;
use super::flags::is_success;
use super::notice::{Notice, Noticed};
use super::session::{self, Session, Text};
use super::settings::Revival;
use super::transaction::{Response, Transaction};
use crate::clock::Now;
use crate::record::{Kind, Value};
use crate::sip::message::{Message, Method, Name};

/// What is left of a call that has ended at `at`; `None` when nobody could tell where its requests have to go.
pub(super) fn remains(at: Now, mut session: Box<Session>) -> Option<Box<Session>> {
    session.alive = at;
    (session.ends.is_some() && !session.is_early()).then_some(session)
}

/// Whether a 2xx to this request shows that a call goes on. Ends report on the media of a call after its end.
pub(super) fn is_sign_of_life(request: &Message) -> bool {
    let asks = matches!(request.method(), Method::Invite | Method::Update | Method::Options)
        || request.method_text() == b"INFO";
    let kind = request.header(Name::ContentType).unwrap_or_default().to_ascii_lowercase();
    let is_report =
        [&b"rtcp"[..], b"rtp-stat", b"rtpstat"].iter().any(|word| kind.windows(word.len()).any(|own| own == *word));
    asks && !is_report
}

/// The field of a Start that says which session it goes on with.
const CONTINUES: &str = "continues";

impl Engine {
    /// A request of an ended call has its final response.
    pub(super) fn came_back(
        &mut self,
        now: Now,
        transaction: &Transaction,
        response: &Response<'_>,
        out: &mut Outcome,
    ) {
        if !is_success(response.code) || response.message.is_none() {
            return;
        }
        let Some((key, _)) = self.calls.find_ended(transaction.request()) else { return };
        let Some((session, is_told)) = self.calls.tell_remains(key) else { return };
        if !is_told {
            self.outbox.tell(Notice::of(Noticed::Revived, session));
        }
        if self.maker.settings().revival == Revival::Told {
            return;
        }
        let Some(mut session) = self.calls.take_remains(key) else { return };
        let at = session.alive;
        let before = session::hex(session.name);
        session.name =
            session::name(session.text(Text::CallId), session.text(Text::FromTag), session.text(Text::ToTag), at.wall);
        session.answered = Some(at);
        session.acknowledged = Some(at.wall);
        session.boot = self.maker.boot();
        session.alive = now;
        session.next_number = Some(NonZeroU32::MIN);
        (session.ending, session.doubt, session.unacknowledged, session.due) = (None, None, None, None);
        session.alarms = Alarms { interim_step: session.alarms.interim_step, ..self.maker.alarms(now, &session) };
        session.alarms.ping = self.first_ping(now, key);
        let mut record = self.maker.of_session(now, Kind::Start, &session);
        record.times.event = at.wall;
        record.times.duration = None;
        record.number = Some(0);
        record.fields.push((CONTINUES.to_owned(), Value::Text(before.into_bytes())));
        out.push(record, key.call(), self.maker.modes().live(session.marks.accounting));
        self.store(key, session, out);
    }
}
