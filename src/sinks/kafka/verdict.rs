//! What became of a message, and what an error means for it. Codes below zero are the client's own, the
//! others the brokers' (Kafka's protocol, "Error codes").

use rdkafka::error::RDKafkaErrorCode as Code;

use crate::sinks::attempt::Fate;

/// What became of a message; of a record the last of these that one of its messages has.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Verdict {
    /// Its partition has it.
    Stored,
    /// It is not there; a later attempt may succeed.
    Away(String),
    /// It cannot go there before the configuration, here or there, is another.
    Misplaced(String),
    /// It may be there.
    Lost(String),
    /// It, or what was sent with it in one piece, is too large.
    TooLarge(String),
    /// It never will be there.
    Refused(String, u32),
}

/// Kafka's own number of what is too large for a topic.
const TOO_LARGE: u32 = 10;

impl Verdict {
    /// What a message was told that was sent alone.
    pub fn of_one(self) -> Self {
        match self {
            Self::TooLarge(reason) => Self::Refused(reason, TOO_LARGE),
            other => other,
        }
    }

    /// What is wrong.
    pub fn reason(&self) -> &str {
        match self {
            Self::Stored => "",
            Self::Away(reason)
            | Self::Misplaced(reason)
            | Self::Lost(reason)
            | Self::TooLarge(reason)
            | Self::Refused(reason, _) => reason,
        }
    }

    /// Whether nobody takes anything, as far as this message shows.
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Lost(_))
    }

    /// In a batch of which others have another fate: a partition without a leader is no fault of a record, which is why what
    /// may be there is only tried again; as a message of its own it is no other than what was never sent.
    pub fn fate(self) -> Fate {
        match self {
            Self::Stored => Fate::Delivered,
            Self::Away(reason) | Self::Misplaced(reason) | Self::Lost(reason) | Self::TooLarge(reason) => {
                Fate::Retry { reason }
            }
            Self::Refused(reason, code) => Fate::Refused { reason, code },
        }
    }
}

/// Whether the brokers do not let us in.
pub(super) const fn is_barred(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::DelegationTokenAuthorizationFailed
            | Code::SecurityDisabled
    )
}

/// What an error means for a message to that topic; `trouble` is what the client last told of the brokers, `wait` how long
/// it was to wait.
pub(super) fn of(code: Code, topic: &str, trouble: Option<&str>, wait_secs: f64) -> Verdict {
    let told = code.to_string();
    match code {
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
            Verdict::Misplaced(format!("there is no topic `{topic}`: make it, or set `make_topics`"))
        }
        Code::InvalidTopic => Verdict::Misplaced(format!("`{topic}` can be no topic: {told}")),
        Code::TopicAuthorizationFailed => {
            Verdict::Misplaced(format!("we may not write to the topic `{topic}`: {told}"))
        }
        Code::InvalidRequiredAcks | Code::PolicyViolation | Code::UnsupportedVersion | Code::InvalidConfig => {
            Verdict::Misplaced(format!("topic `{topic}`: {told}"))
        }
        _ if is_barred(code) => Verdict::Misplaced(format!("the brokers do not let us in: {told}")),
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => {
            Verdict::TooLarge(format!("it is too large for the topic `{topic}` (`max.message.bytes`): {told}"))
        }
        Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::BadMessage
        | Code::KeySerialization
        | Code::ValueSerialization => Verdict::Refused(format!("the topic `{topic}` refuses it: {told}"), number(code)),
        // Known not to be there.
        Code::NotEnoughReplicas
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::BrokerNotAvailable
        | Code::ReplicaNotAvailable
        | Code::ThrottlingQuotaExceeded
        | Code::QueueFull
        | Code::PurgeQueue => Verdict::Away(format!("topic `{topic}`: {told}")),
        Code::MessageTimedOut | Code::OperationTimedOut | Code::RequestTimedOut | Code::TimedOutQueue => {
            let trouble =
                trouble.unwrap_or("no broker has said why; `tollgate check --deep` asks for the topic's leaders");
            Verdict::Lost(format!("no acknowledgement within {wait_secs} s: {trouble}"))
        }
        _ => {
            Verdict::Lost(trouble.map_or_else(|| format!("topic `{topic}`: {told}"), |more| format!("{told}: {more}")))
        }
    }
}

fn number(code: Code) -> u32 {
    u32::try_from(code as i32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_its_class_and_its_words() {
        let lost = "no acknowledgement within 15 s: 127.0.0.1:9092/1: Connection refused";
        for (what, code, trouble, want) in [
            (
                "a topic that is not there waits for a person",
                Code::UnknownTopicOrPartition,
                None,
                Verdict::Misplaced("there is no topic `acc`: make it, or set `make_topics`".to_owned()),
            ),
            (
                "so does a topic that is not ours",
                Code::TopicAuthorizationFailed,
                None,
                Verdict::Misplaced(
                    "we may not write to the topic `acc`: TopicAuthorizationFailed (Broker: Topic authorization failed)".to_owned(),
                ),
            ),
            (
                "so does a wrong password",
                Code::SaslAuthenticationFailed,
                None,
                Verdict::Misplaced("the brokers do not let us in: SaslAuthenticationFailed (Broker: SASL Authentication failed)".to_owned()),
            ),
            (
                "without its replicas a partition has not taken it",
                Code::NotEnoughReplicas,
                None,
                Verdict::Away("topic `acc`: NotEnoughReplicas (Broker: Not enough in-sync replicas)".to_owned()),
            ),
            (
                "when they went away behind it, it may be there",
                Code::NotEnoughReplicasAfterAppend,
                None,
                Verdict::Lost("topic `acc`: NotEnoughReplicasAfterAppend (Broker: Message(s) written to insufficient number of in-sync replicas)".to_owned()),
            ),
            (
                "a time-out says why",
                Code::MessageTimedOut,
                Some("127.0.0.1:9092/1: Connection refused"),
                Verdict::Lost(lost.to_owned()),
            ),
            (
                "what is refused for what it says parks",
                Code::InvalidRecord,
                None,
                Verdict::Refused("the topic `acc` refuses it: InvalidRecord (Broker: Broker failed to validate record)".to_owned(), 87),
            ),
        ] {
            assert_eq!(of(code, "acc", trouble, 15.0), want, "{what}");
        }
        let too_large = of(Code::MessageSizeTooLarge, "acc", None, 15.0);
        assert!(matches!(too_large, Verdict::TooLarge(_)), "one of many may be at fault");
        assert!(matches!(too_large.of_one(), Verdict::Refused(_, 10)), "one alone is");
    }
}
