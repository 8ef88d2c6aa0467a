//! Framing as tables: what is on the stream and what comes out of it, whole and cut at every octet.

use super::*;

/// A short word for what came.
fn shown(frame: Frame) -> String {
    match frame {
        Frame::Ping => "ping".to_owned(),
        Frame::Message(octets) => String::from_utf8_lossy(&octets).split("\r\n").next().unwrap_or("").to_owned(),
        Frame::Broken { reason, .. } => format!("{} {}", reason.code, reason.reason),
    }
}

fn frames(limits: MessageLimits, pieces: &[&[u8]]) -> (Vec<String>, bool) {
    let mut framer = Framer::new(limits);
    let mut found = Vec::new();
    for piece in pieces {
        framer.push(piece);
        while let Some(frame) = framer.next() {
            found.push(shown(frame));
        }
    }
    (found, framer.is_within())
}

const SMALL: MessageLimits = MessageLimits { head_bytes_max: 120, header_lines_max: 4, body_bytes_max: 20 };

/// What the streams hold: their octets, what comes out of them, whether a message stays begun.
const STREAMS: &[(&str, &str, &[&str], bool)] = &[
    ("a message without a body", "A x SIP/2.0\r\nl: 0\r\n\r\n", &["A x SIP/2.0"], false),
    ("a message with a body", "A x SIP/2.0\r\nContent-Length: 3\r\n\r\nabc", &["A x SIP/2.0"], false),
    ("two in a row", "A x S\r\nl:2\r\n\r\nabB x S\r\nl:0\r\n\r\n", &["A x S", "B x S"], false),
    ("a body that looks like a message", "A x S\r\nl: 19\r\n\r\nB x S\r\nl: 0\r\n\r\nlast", &["A x S"], false),
    ("a blank line inside the body", "A x S\r\nl: 5\r\n\r\n\r\n\r\nxB x S\r\nl: 0\r\n\r\n", &["A x S", "B x S"], false),
    ("line breaks in front are passed over", "\r\nA x S\r\nl: 0\r\n\r\n", &["A x S"], false),
    ("one CR LF is an answer to a keep-alive", "\r\n", &[], false),
    ("two are a keep-alive", "\r\n\r\n", &["ping"], false),
    ("three are one and a half", "\r\n\r\n\r\n", &["ping"], false),
    ("a keep-alive before a message", "\r\n\r\nA x S\r\nl: 0\r\n\r\n", &["ping", "A x S"], false),
    (
        "keep-alives between messages",
        "A x S\r\nl: 0\r\n\r\n\r\n\r\nB x S\r\nl: 0\r\n\r\n",
        &["A x S", "ping", "B x S"],
        false,
    ),
    ("a folded Content-Length", "A x S\r\nContent-Length:\r\n 3\r\n\r\nabc", &["A x S"], false),
    ("a fold that looks like a Content-Length", "A x S\r\nX: a\r\n l: 9\r\nl: 0\r\n\r\n", &["A x S"], false),
    ("bare LF ends lines", "A x S\nl: 1\n\nb", &["A x S\nl: 1\n\nb"], false),
    ("bare LF before CR LF", "A x S\nl: 1\n\r\nb", &["A x S\nl: 1\n"], false),
    ("half a head", "A x S\r\nl: 3\r\n", &[], true),
    ("half a body", "A x S\r\nl: 3\r\n\r\nab", &[], true),
    ("half a method", "INV", &[], true),
    (
        "a message without Content-Length",
        "A x S\r\n\r\nB x S\r\nl: 0\r\n\r\n",
        &["400 Missing Content-Length header"],
        false,
    ),
    ("a Content-Length that is no number", "A x S\r\nl: -1\r\n\r\n", &["400 Bad Content-Length header"], false),
    ("two of them, even alike", "A x S\r\nl: 0\r\nl: 0\r\n\r\n", &["400 More than one Content-Length header"], false),
    ("one above the limit", "A x S\r\nl: 21\r\n\r\n", &["513 Message body too long"], false),
    ("one above any limit", "A x S\r\nl: 4294967296\r\n\r\n", &["400 Bad Content-Length header"], false),
    ("as many lines as allowed", "A x S\r\na:\r\na:\r\na:\r\nl:0\r\n\r\n", &["A x S"], false),
    ("one more", "A x S\r\na:\r\na:\r\na:\r\na:\r\nl:0\r\n\r\n", &["400 Too many header lines"], false),
    ("folds are no lines", "A x S\r\na:\r\n b\r\n b\r\n b\r\nl:0\r\n\r\n", &["A x S"], false),
    ("rubbish of control octets", "\u{16}\u{3}\u{1}", &["400 No start line"], false),
    ("another protocol", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", &["400 Missing Content-Length header"], false),
];

#[test]
fn a_stream_is_cut_into_its_messages() {
    for (name, stream, want, within) in STREAMS {
        assert_eq!(
            frames(SMALL, &[stream.as_bytes()]),
            (want.iter().map(|s| (*s).to_owned()).collect(), *within),
            "{name}"
        );
    }
}

#[test]
fn it_does_not_matter_where_the_octets_are_cut() {
    for (name, stream, want, within) in STREAMS {
        let octets = stream.as_bytes();
        let want = (want.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>(), *within);
        for at in 0..=octets.len() {
            let (one, two) = octets.split_at(at);
            assert_eq!(frames(SMALL, &[one, two]), want, "{name}, cut at {at}");
        }
        let single: Vec<&[u8]> = octets.chunks(1).collect();
        assert_eq!(frames(SMALL, &single), want, "{name}, octet by octet");
    }
}

#[test]
fn a_head_ends_somewhere() {
    for (name, head, want) in [
        ("just fits", 120, "A x S"),
        ("one octet more", 121, "513 Message header section too long"),
        ("far more", 5_000, "513 Message header section too long"),
    ] {
        let frame = "A x S\r\nX: \r\nl: 0\r\n\r\n";
        let text = frame.replace("X: ", &format!("X: {}", "y".repeat(head - frame.len())));
        assert_eq!(text.len(), head);
        for pieces in [vec![text.as_bytes()], text.as_bytes().chunks(7).collect()] {
            assert_eq!(frames(SMALL, &pieces).0, [want], "{name}");
        }
    }
    // It is refused before it has ended: nobody fills the memory with one line.
    let endless = vec![b'x'; 200];
    assert_eq!(frames(SMALL, &[&endless]).0, ["513 Message header section too long"]);
}

#[test]
fn what_is_left_of_a_broken_message_can_still_be_answered() {
    let mut framer = Framer::new(MessageLimits::default());
    let text = b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/TCP h\r\n\r\nrest";
    framer.push(text);
    let Some(Frame::Broken { octets, reason }) = framer.next() else { panic!("it is broken") };
    assert_eq!((octets.as_slice(), reason.code), (&text[..], 400));
    framer.push(b"A x S\r\nl: 0\r\n\r\n");
    assert_eq!(framer.next(), None, "nothing comes after it");
}

#[test]
fn an_idle_stream_holds_no_memory() {
    let mut framer = Framer::new(MessageLimits::default());
    framer.push(format!("A x S\r\nl: 40000\r\n\r\n{}", "b".repeat(40_000)).as_bytes());
    assert!(matches!(framer.next(), Some(Frame::Message(_))));
    assert!(framer.buffer.capacity() <= ROOM_KEPT_MAX);
}

#[test]
fn a_missing_length_is_added_and_no_other() {
    for (name, message, want) in [
        ("without a body", "A x S\r\nX: y\r\n\r\n", "A x S\r\nX: y\r\nContent-Length: 0\r\n\r\n"),
        ("with one", "A x S\r\nX: y\r\n\r\nabc", "A x S\r\nX: y\r\nContent-Length: 3\r\n\r\nabc"),
        ("it is there", "A x S\r\nl: 3\r\n\r\nabc", "A x S\r\nl: 3\r\n\r\nabc"),
        ("bare LF", "A x S\nX: y\n\nabc", "A x S\nX: y\nContent-Length: 3\r\n\nabc"),
    ] {
        assert_eq!(with_length(Bytes::from_static(message.as_bytes())), want.as_bytes(), "{name}");
    }
}

proptest::proptest! {
    #[test]
    fn no_octets_break_the_framer_or_fill_its_memory(
        pieces in proptest::collection::vec(proptest::collection::vec(octets(), 0..60), 0..40),
    ) {
        let mut framer = Framer::new(SMALL);
        let (mut taken, mut given) = (0, 0);
        for piece in &pieces {
            framer.push(piece);
            given += piece.len();
            while let Some(frame) = framer.next() {
                taken += match frame {
                    Frame::Ping => 4,
                    Frame::Message(octets) | Frame::Broken { octets, .. } => octets.len(),
                };
            }
            proptest::prop_assert!(framer.buffer.len() <= SMALL.head_bytes_max + SMALL.body_bytes_max + 60);
        }
        proptest::prop_assert!(taken <= given);
    }

    #[test]
    fn messages_come_out_as_they_went_in_wherever_they_are_cut(
        bodies in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..20), 1..6),
        cut in 1_usize..50,
    ) {
        let messages: Vec<Vec<u8>> = bodies
            .iter()
            .map(|body| [format!("A x S\r\nl: {}\r\n\r\n", body.len()).as_bytes(), body].concat())
            .collect();
        let (mut framer, mut found) = (Framer::new(SMALL), Vec::new());
        for piece in messages.concat().chunks(cut) {
            framer.push(piece);
            while let Some(frame) = framer.next() {
                found.push(frame);
            }
        }
        proptest::prop_assert_eq!(found, messages.into_iter().map(Frame::Message).collect::<Vec<_>>());
    }
}

/// Octets of which messages are made, more often than others.
fn octets() -> impl proptest::strategy::Strategy<Value = u8> {
    proptest::prop_oneof![
        4 => proptest::sample::select(&b"\r\n\r\n: l0c1 A"[..]),
        1 => proptest::prelude::any::<u8>(),
    ]
}
