//! OpenSIPS: as of 4.0, and 2.2, the generation of the `do_accounting` README.

use super::{
    Absent, Attributes, CLASSIC_ATTRIBUTES, CLASSIC_COLUMNS, CLASSIC_LINE, Columns, Form, Lines, OPTIONS, Row, Step,
    System, TEXTS, Val, classic_order, event,
};
use crate::record::LegOrder;
use crate::sinks::radius::StatusMapping;

pub(super) const SYSTEM: System = System {
    name: "opensips",
    lines: Lines {
        identity: "opensips",
        before: "{level}:",
        before_call: "{level}:",
        texts: TEXTS,
        line: LINE,
        call: CALL,
        between: [";", ";"],
        times: &[],
        letters: &[],
    },
    columns: Columns {
        acc: &[CLASSIC_COLUMNS, SETUP, DURATION],
        missed: &[CLASSIC_COLUMNS, SETUP],
        cdr: &[CLASSIC_COLUMNS, SETUP, DURATION],
        parts_needed: usize::MAX,
        cdr_table: None,
        digits: 0,
        times: &[],
    },
    attributes: Some(ATTRIBUTES),
    events: Some(event::OPENSIPS),
    marks: OPTIONS,
    leg_order: LegOrder::OldestFirst,
    join: b", ",
    absent: Absent::Written(""),
    differs: &[
        "delay-is-last",
        "more-attributes",
        "legs-under-wrong-attributes",
        "created-is-0",
        "times-by-hand",
        "early-media",
        "given-up-once",
        "refused-bye-ends",
        "long-values",
        "null-refused",
        "own-to-tag",
        "direction-of-all",
        "cdr-of-every-call",
        "drop-of-one-backend",
        "marks-of-call",
        "fields-read-anew",
        "fields-of-later-requests",
    ],
};

pub(super) const SYSTEM_2_2: System = System {
    name: "opensips-2.2",
    lines: Lines {
        identity: "opensips",
        before: "",
        before_call: "",
        texts: TEXTS,
        line: CLASSIC_LINE,
        call: CALL,
        between: [";", ";"],
        times: &[],
        letters: &[],
    },
    columns: Columns { acc: &[CLASSIC_COLUMNS], ..SYSTEM.columns },
    attributes: Some(ATTRIBUTES_2_2),
    events: None,
    marks: OPTIONS,
    leg_order: LegOrder::NewestFirst,
    join: b", ",
    absent: Absent::Written(""),
    differs: &[
        "events-of-2.2",
        "delay-is-last",
        "more-attributes",
        "created-in-cdr-alone",
        "shared-buffer",
        "early-media",
        "given-up-once",
        "refused-bye-ends",
        "long-values",
        "null-refused",
        "own-to-tag",
        "direction-of-all",
        "table-of-call",
        "marks-of-call",
        "fields-of-later-requests",
    ],
};

const LINE: &[Row] = &[
    ("timestamp", Val::EVENT, Form::Epoch),
    ("created", Val::CREATED, Form::Epoch),
    ("setuptime", Val::SETUP, Form::Secs),
    ("method", Val::METHOD, Form::Plain),
    ("from_tag", Val::FROM_TAG, Form::Plain),
    ("to_tag", Val::TO_TAG, Form::Plain),
    ("call_id", Val::CALL_ID, Form::Plain),
    ("code", Val::CODE, Form::Plain),
    ("reason", Val::REASON, Form::Plain),
];

pub(super) const CALL: &[Row] = &[
    ("created", Val::CREATED, Form::Epoch),
    ("call_start_time", Val::ANSWERED, Form::Epoch),
    ("duration", Val::DURATION, Form::Secs),
    ("ms_duration", Val::DURATION, Form::Millis),
    ("setuptime", Val::SETUP, Form::Secs),
    ("method", Val::METHOD, Form::Plain),
    ("from_tag", Val::FROM_TAG, Form::Plain),
    ("to_tag", Val::TO_TAG, Form::Plain),
    ("call_id", Val::CALL_ID, Form::Plain),
    ("code", Val::CODE, Form::Plain),
    ("reason", Val::REASON, Form::Plain),
];

/// In both tables.
const SETUP: &[Row] = &[("setuptime", Val::SETUP, Form::Secs), ("created", Val::CREATED, Form::Plain)];

/// In `acc` alone.
const DURATION: &[Row] = &[("duration", Val::DURATION, Form::Secs), ("ms_duration", Val::DURATION, Form::Millis)];

/// The spans where the dictionary has them.
const ATTRIBUTES: Attributes = Attributes {
    dictionary: "opensips",
    needed: CLASSIC_ATTRIBUTES,
    known: &[
        ("Sip-Call-Created", Val::CREATED, Form::Plain),
        ("Sip-Call-MSDuration", Val::DURATION, Form::Millis),
        ("Sip-Call-Setuptime", Val::SETUP, Form::Secs),
        ("Sip-Call-Duration", Val::DURATION, Form::Secs),
    ],
    order: classic_order!(
        Step::Value("Sip-Call-Duration"),
        Step::Value("Sip-Call-Setuptime"),
        Step::Value("Sip-Call-Created"),
        Step::Value("Sip-Call-MSDuration"),
        Step::Fields,
        Step::Legs
    ),
    is_exact: false,
    status: StatusMapping::Newest,
};

/// It has the numbers of its client library, and its own for the spans.
const ATTRIBUTES_2_2: Attributes = Attributes {
    dictionary: "opensips-2.2",
    needed: CLASSIC_ATTRIBUTES,
    known: &[
        ("Sip-Call-MSDuration", Val::DURATION, Form::Millis),
        ("Sip-Call-Setuptime", Val::SETUP, Form::Secs),
        ("Sip-Call-Duration", Val::DURATION, Form::Secs),
    ],
    order: classic_order!(
        Step::Fields,
        Step::Value("Sip-Call-Duration"),
        Step::Value("Sip-Call-MSDuration"),
        Step::Value("Sip-Call-Setuptime"),
        Step::Legs
    ),
    is_exact: true,
    status: StatusMapping::Newest,
};
