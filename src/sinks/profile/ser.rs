//! SER 0.8 and 0.9, and OpenSER up to 1.1, which had its format string still.
//!
//! Their lines and columns have what a script may want of From, To and the URIs, and `n/a` for what is not there.

use super::{
    Absent, Attributes, CLASSIC_ATTRIBUTES, Columns, FLAGS, Failed, Form, Lines, Marks, Row, Step, System, TEXTS, Val,
};
use crate::record::LegOrder;
use crate::record::core::Core;
use crate::sinks::radius::StatusMapping;

pub(super) const SYSTEM: System = System {
    name: "ser",
    lines: Lines {
        identity: "ser",
        before: "",
        before_call: "",
        texts: TEXTS,
        line: LINE,
        call: CALL,
        between: [", ", ", "],
        times: &[],
        letters: LETTERS,
    },
    columns: Columns {
        acc: &[COLUMNS, ACC, TIME],
        missed: &[COLUMNS, MISSED, TIME],
        cdr: &[COLUMNS, ACC, TIME],
        parts_needed: usize::MAX,
        cdr_table: None,
        digits: 0,
        times: &[],
    },
    attributes: Some(ATTRIBUTES),
    events: None,
    marks: Marks { flags: Some([1, 2]), failed: Failed::Always("failed_transactions") },
    leg_order: LegOrder::NewestFirst,
    join: b", ",
    absent: Absent::Written("n/a"),
    differs: &[
        "given-up-once",
        "refused-bye-ends",
        "own-to-tag",
        "direction-of-all",
        "6xx-ends",
        "uri-of-answering-target",
        "uri-of-ringing-target",
    ],
};

pub(super) const OPENSER_1_1: System = System {
    name: "openser-1.1",
    lines: Lines { identity: "openser", ..SYSTEM.lines },
    marks: FLAGS,
    differs: &[
        "delay-is-last",
        "more-attributes",
        "early-media",
        "given-up-once",
        "refused-bye-ends",
        "absent-to-tag-left-out",
        "own-to-tag",
        "direction-of-all",
        "6xx-ends",
        "uri-of-ringing-target",
        "fields-of-later-requests",
    ],
    ..SYSTEM
};

const I_URI: Val = Val::Field(&["acc.i-uri"]);
const O_URI: Val = Val::Field(&["acc.o-uri"]);
const FROM: Val = Val::Field(&["acc.from"]);
const FROM_URI: Val = Val::Field(&["acc.from-uri"]);
/// Of the response, if there is one, for the tag in it.
const TO: Val = Val::Field(&["acc.reply-to", "acc.to"]);
const TO_URI: Val = Val::Field(&["acc.to-uri"]);

/// `miocfs`
const LINE: &[Row] = &[
    ("method", Val::METHOD, Form::Plain),
    ("i-uri", I_URI, Form::Plain),
    ("o-uri", O_URI, Form::Plain),
    ("call_id", Val::CALL_ID, Form::Plain),
    ("from", FROM, Form::Plain),
    ("code", Val::CODE, Form::Status),
];

/// Neither had records of whole calls.
const CALL: &[Row] = &[
    ("method", Val::METHOD, Form::Plain),
    ("i-uri", I_URI, Form::Plain),
    ("o-uri", O_URI, Form::Plain),
    ("call_id", Val::CALL_ID, Form::Plain),
    ("from", FROM, Form::Plain),
    ("code", Val::CODE, Form::Status),
    ("duration", Val::DURATION, Form::Secs),
];

/// What `log_fmt` may name.
const LETTERS: &[(char, Row)] = &[
    ('c', ("call_id", Val::CALL_ID, Form::Plain)),
    ('d', ("totag", Val::TO_TAG, Form::Plain)),
    ('f', ("from", FROM, Form::Plain)),
    ('i', ("i-uri", I_URI, Form::Plain)),
    ('m', ("method", Val::METHOD, Form::Plain)),
    ('o', ("o-uri", O_URI, Form::Plain)),
    ('r', ("fromtag", Val::FROM_TAG, Form::Plain)),
    ('s', ("code", Val::CODE, Form::Status)),
    ('t', ("to", TO, Form::Plain)),
    ('u', ("uid", Val::Field(&["acc.digest-user"]), Form::Plain)),
    ('p', ("userpart", Val::Field(&["acc.i-user"]), Form::Plain)),
    ('0', ("fromuser", Val::Field(&["acc.from-user"]), Form::Plain)),
    ('1', ("touser", Val::Field(&["acc.to-user"]), Form::Plain)),
    ('F', ("fromuri", FROM_URI, Form::Plain)),
    ('T', ("touri", TO_URI, Form::Plain)),
    ('U', ("uid", Val::Field(&["acc.digest-user", "acc.from-uri"]), Form::Plain)),
    ('S', ("code", Val::CODE, Form::Plain)),
    ('n', ("cseq", Val::Core(Core::Cseq), Form::Plain)),
    ('D', ("domain", Val::Field(&["acc.i-host"]), Form::Plain)),
    ('X', ("fromdomain", Val::Field(&["acc.from-host"]), Form::Plain)),
];

const COLUMNS: &[Row] = &[
    ("from_uri", FROM_URI, Form::Plain),
    ("to_uri", TO_URI, Form::Plain),
    ("sip_method", Val::METHOD, Form::Plain),
    ("i_uri", I_URI, Form::Plain),
    ("o_uri", O_URI, Form::Plain),
    ("sip_from", FROM, Form::Plain),
    ("sip_callid", Val::CALL_ID, Form::Plain),
    ("sip_to", TO, Form::Plain),
    ("sip_status", Val::CODE, Form::Status),
    ("totag", Val::TO_TAG, Form::Plain),
    ("fromtag", Val::FROM_TAG, Form::Plain),
];
const ACC: &[Row] = &[
    ("username", Val::Field(&["acc.from-user"]), Form::Plain),
    ("domain", Val::Field(&["acc.from-host"]), Form::Plain),
];
const MISSED: &[Row] = &[("username", Val::Fixed("n/a"), Form::Plain), ("domain", Val::Fixed("n/a"), Form::Plain)];
const TIME: &[Row] = &[("time", Val::Time, Form::Plain)];

const ATTRIBUTES: Attributes = Attributes {
    dictionary: "openser",
    needed: CLASSIC_ATTRIBUTES,
    known: &[
        ("User-Name", Val::Field(&["acc.account"]), Form::Plain),
        ("Calling-Station-Id", FROM_URI, Form::Plain),
        ("Called-Station-Id", TO_URI, Form::Plain),
        ("Sip-Translated-Request-URI", O_URI, Form::Plain),
        ("Sip-CSeq", Val::Core(Core::Cseq), Form::Plain),
    ],
    order: &[
        Step::Status,
        Step::Service,
        Step::Value("Sip-Response-Code"),
        Step::Value("Sip-Method"),
        Step::Value("User-Name"),
        Step::Value("Calling-Station-Id"),
        Step::Value("Called-Station-Id"),
        Step::Value("Sip-Translated-Request-URI"),
        Step::Session,
        Step::Value("Sip-To-Tag"),
        Step::Value("Sip-From-Tag"),
        Step::Value("Sip-CSeq"),
        Step::Fields,
        Step::Legs,
        Step::Event,
    ],
    is_exact: true,
    status: StatusMapping::Openser,
};
