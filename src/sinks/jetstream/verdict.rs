//! What became of one message, and of a record with several.

use async_nats::error::Error;
use async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind};
use async_nats::jetstream::{self, ErrorCode};

use crate::sinks::attempt::Fate;

/// What became of a message; of a record the last of these that one of its messages has.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Verdict {
    /// The stream has it, maybe since an earlier attempt.
    Stored,
    /// The stream takes nothing now.
    Away(String),
    /// Nobody answers for its subject: no stream has it, or the stream has no leader at the moment.
    Nowhere,
    /// This subject cannot be used before the configuration, here or there, is another.
    Misplaced(String),
    /// It may have been stored.
    Lost(String),
    /// It is never stored.
    Refused(String, u32),
}

impl Verdict {
    /// What follows for its record; of those that nobody answers for, [`Verdict::Nowhere`] says nothing yet.
    pub fn fate(self) -> Fate {
        match self {
            Self::Stored => Fate::Delivered,
            Self::Away(reason) => Fate::Unsent { reason },
            Self::Nowhere => Fate::Unsent { reason: NOBODY.to_owned() },
            Self::Misplaced(reason) => Fate::Retry { reason },
            Self::Lost(reason) => Fate::Unknown { reason },
            Self::Refused(reason, code) => Fate::Refused { reason, code },
        }
    }
}

/// What a message without a stream is told.
pub(super) const NOBODY: &str = "nobody answers for its subject";

/// What a message is told for which the connection has no room.
pub(super) fn unsent(kind: PublishErrorKind, error: &dyn std::error::Error) -> Verdict {
    match kind {
        PublishErrorKind::MaxPayloadExceeded => Verdict::Refused(error.to_string(), 0),
        PublishErrorKind::Other => Verdict::Lost(format!("the connection is gone: {error}")),
        _ => Verdict::Lost(error.to_string()),
    }
}

/// Waits for the acknowledgement of a message.
pub(super) async fn of(ack: PublishAckFuture) -> Verdict {
    let Err(error) = ack.await else { return Verdict::Stored };
    match error.kind() {
        PublishErrorKind::StreamNotFound => Verdict::Nowhere,
        PublishErrorKind::MaxPayloadExceeded => Verdict::Refused(error.to_string(), 0),
        PublishErrorKind::Other => match of_server(&error) {
            Some(error) => refused(error),
            None => Verdict::Lost(format!("an answer that cannot be read: {error}")),
        },
        // No `_` for those that a condition of ours would have caused: we set none.
        PublishErrorKind::TimedOut
        | PublishErrorKind::BrokenPipe
        | PublishErrorKind::MaxAckPending
        | PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::WrongLastSequence => Verdict::Lost(error.to_string()),
    }
}

fn of_server(error: &Error<PublishErrorKind>) -> Option<&jetstream::Error> {
    std::error::Error::source(error).and_then(|source| source.downcast_ref())
}

/// What the server of the stream has answered.
fn refused(error: &jetstream::Error) -> Verdict {
    let (code, reason) = (error.error_code(), error.to_string());
    match code {
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM => {
            Verdict::Refused(reason, u32::try_from(code.0).unwrap_or(0))
        }
        ErrorCode::STREAM_NOT_MATCH => Verdict::Misplaced(format!("another stream has its subject: {reason}")),
        // One subject of many may be full (`discard_new_per_subject`).
        ErrorCode::STREAM_STORE_FAILED if reason.contains("per subject") => Verdict::Misplaced(reason),
        ErrorCode::INSUFFICIENT_RESOURCES | ErrorCode::STORAGE_RESOURCES_EXCEEDED => {
            Verdict::Away(format!("the servers have no room left for streams, by `max_file` or on the disk: {reason}"))
        }
        // Full with `discard` "new", no disk, no memory, no quorum: it is the stream's own state, whatever the record.
        _ => Verdict::Away(reason),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_server_refuses_waits_unless_it_is_the_message_itself() {
        let answered = |code: u16, number: u16, text: &str| -> Verdict {
            let answer = json!({ "code": code, "err_code": number, "description": text });
            refused(&serde_json::from_value(answer).expect("an error of JetStream"))
        };
        let full = answered(503, 10_023, "insufficient resources");
        assert!(
            matches!(&full, Verdict::Away(reason) if reason.contains("no room left") && reason.contains("insufficient")),
            "{full:?}"
        );
        let large = answered(400, 10_054, "message size exceeds maximum allowed");
        assert!(matches!(large, Verdict::Refused(_, 10_054)), "{large:?}");
        let leaderless = answered(503, 10_008, "JetStream system temporarily unavailable");
        assert!(matches!(&leaderless, Verdict::Away(reason) if !reason.contains("room")), "{leaderless:?}");
    }
}
