//! Requests of calls that nobody here knows though they have passed a gateway that signs as this one does.

use super::Stack;
use super::hashes::Meant;
use crate::clock::Now;
use crate::sip::dialog::Dialogs;
use crate::sip::message::{Message, Method};
use crate::sip::transaction::key::RequestKey;

impl Stack {
    /// Whether a message is a request, not seen yet, that claims a dialog by a signed Route value, while nothing here is of
    /// that dialog; what it is told apart by from others then. An ACK, a CANCEL and a PRACK are none: what they are about
    /// was here a moment ago, or is lost.
    pub fn request_of_unknown(&mut self, now: Now, message: &Message, dialogs: &dyn Dialogs) -> Option<RequestKey> {
        let is_meant = message.is_request()
            && !message.to_tag().is_empty()
            && !matches!(message.method(), Method::Ack | Method::Cancel | Method::Prack);
        if !is_meant || dialogs.find(message).is_some() {
            return None;
        }
        self.wire.set_time(now.wall);
        self.wire.own().routing(message).direction?;
        let key = self.wire.hashes().request_key(message, Meant::Itself);
        let is_here =
            self.tables.find(&key).is_some() || self.answered(message).is_some() || self.early(message).is_some();
        (!is_here).then_some(key)
    }
}
