//! What connections count, as metrics with documented names.

use metrics::{Counter, counter, gauge};

use super::connection::{Connection, Direction, End};
use crate::metric::metrics_of;
use crate::sip::stack::Transport;

metrics_of! { METRICS:
    /// Connections that stand or are being made, by `direction` (`in`, `out`).
    gauge SIP_CONNECTIONS = "tollgate_sip_connections", "connections";
    /// Connections that stood, by `transport` and `direction`.
    counter SIP_CONNECTIONS_OPENED_TOTAL = "tollgate_sip_connections_opened_total", "connections";
    /// Connections that ended, by `reason`.
    counter SIP_CONNECTIONS_ENDED_TOTAL = "tollgate_sip_connections_ended_total", "connections";
    /// Connections that were closed as soon as they came, by `limit` (`all`, `source`, `strangers`).
    counter SIP_CONNECTIONS_REFUSED_TOTAL = "tollgate_sip_connections_refused_total", "connections";
    /// Times a connection could not be taken, such as for want of file descriptors.
    counter SIP_ACCEPT_FAILURES_TOTAL = "tollgate_sip_accept_failures_total", "failures";
    /// Messages that came by connections.
    counter SIP_STREAM_MESSAGES_RECEIVED_TOTAL = "tollgate_sip_stream_messages_received_total", "messages";
    /// Messages that left by connections.
    counter SIP_STREAM_MESSAGES_SENT_TOTAL = "tollgate_sip_stream_messages_sent_total", "messages";
    /// Messages that could not be sent or handed to a shard, by `kind` (`request`, `response`, `received`).
    counter SIP_STREAM_MESSAGES_LOST_TOTAL = "tollgate_sip_stream_messages_lost_total", "messages";
}

/// The handles that are used for each message.
pub(super) struct Meters {
    pub received: Counter,
    pub sent: Counter,
    pub requests_lost: Counter,
    pub responses_lost: Counter,
    pub received_lost: Counter,
}

impl Meters {
    pub fn new() -> Self {
        let lost = |kind: &'static str| counter!(SIP_STREAM_MESSAGES_LOST_TOTAL, "kind" => kind);
        Self {
            received: counter!(SIP_STREAM_MESSAGES_RECEIVED_TOTAL),
            sent: counter!(SIP_STREAM_MESSAGES_SENT_TOTAL),
            requests_lost: lost("request"),
            responses_lost: lost("response"),
            received_lost: lost("received"),
        }
    }

    pub fn opened(&self, connection: &Connection) {
        let transport = match connection.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        };
        let direction = direction(connection.direction);
        counter!(SIP_CONNECTIONS_OPENED_TOTAL, "transport" => transport, "direction" => direction).increment(1);
    }

    pub fn ended(&self, end: End) {
        counter!(SIP_CONNECTIONS_ENDED_TOTAL, "reason" => end.reason()).increment(1);
    }

    pub fn accept_failed(&self) {
        counter!(SIP_ACCEPT_FAILURES_TOTAL).increment(1);
    }

    pub fn refused(&self, limit: &'static str) {
        counter!(SIP_CONNECTIONS_REFUSED_TOTAL, "limit" => limit).increment(1);
    }

    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
    pub fn standing(&self, inbound: usize, outbound: usize) {
        gauge!(SIP_CONNECTIONS, "direction" => direction(Direction::Inbound)).set(inbound as f64);
        gauge!(SIP_CONNECTIONS, "direction" => direction(Direction::Outbound)).set(outbound as f64);
    }
}

const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "in",
        Direction::Outbound => "out",
    }
}
