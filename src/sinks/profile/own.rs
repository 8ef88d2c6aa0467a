//! Tollgate's own: nothing is lost.

use super::{Absent, Attributes, Columns, Form, Lines, Row, System, Texts, Val};
use crate::record::LegOrder;
use crate::record::core::Core;
use crate::sinks::radius::StatusMapping;

pub(super) const SYSTEM: System = System {
    name: "own",
    lines: Lines {
        identity: crate::names::PRODUCT,
        before: "",
        before_call: "",
        texts: Texts { answered: "", missed: "", acknowledged: "", accounted: "", ended: "" },
        line: LINE,
        call: LINE,
        between: [";", ";"],
        times: &[],
        letters: &[],
    },
    columns: Columns { acc: COLUMNS, missed: COLUMNS, cdr: COLUMNS, cdr_table: None, digits: 3, times: &[] },
    attributes: Some(Attributes {
        dictionary: "",
        needed: ATTRIBUTES,
        known: &[],
        order: &[],
        is_exact: false,
        status: StatusMapping::Newest,
    }),
    leg_order: LegOrder::OldestFirst,
    join: b", ",
    absent: Absent::Omitted,
};

const LINE: &[Row] = &[
    ("record_id", Val::Core(Core::Id), Form::Plain),
    ("kind", Val::Core(Core::Kind), Form::Plain),
    ("event", Val::EVENT, Form::Plain),
    ("method", Val::METHOD, Form::Plain),
    ("code", Val::CODE, Form::Plain),
    ("reason", Val::REASON, Form::Plain),
    ("call_id", Val::CALL_ID, Form::Plain),
    ("from_tag", Val::FROM_TAG, Form::Plain),
    ("to_tag", Val::TO_TAG, Form::Plain),
    ("session", Val::Core(Core::Session), Form::Plain),
    ("created", Val::CREATED, Form::Plain),
    ("answered", Val::ANSWERED, Form::Plain),
    ("acknowledged", Val::Core(Core::Acknowledged), Form::Plain),
    ("ended", Val::Core(Core::Ended), Form::Plain),
    ("setup_s", Val::SETUP, Form::Plain),
    ("duration_s", Val::DURATION, Form::Plain),
    ("ended_by", Val::Core(Core::EndedBy), Form::Plain),
    ("cause", Val::Core(Core::Cause), Form::Plain),
];

/// The classic columns, for whoever reads those, and what a record says besides.
const COLUMNS: &[&[Row]] = &[&[
    ("method", Val::METHOD, Form::Plain),
    ("from_tag", Val::FROM_TAG, Form::Plain),
    ("to_tag", Val::TO_TAG, Form::Plain),
    ("callid", Val::CALL_ID, Form::Plain),
    ("sip_code", Val::CODE, Form::Plain),
    ("sip_reason", Val::REASON, Form::Plain),
    ("time", Val::EVENT, Form::Plain),
    ("kind", Val::Core(Core::Kind), Form::Plain),
    ("created", Val::CREATED, Form::Plain),
    ("answered", Val::ANSWERED, Form::Plain),
    ("acknowledged", Val::Core(Core::Acknowledged), Form::Plain),
    ("ended", Val::Core(Core::Ended), Form::Plain),
    ("setup_ms", Val::SETUP, Form::Millis),
    ("duration_ms", Val::DURATION, Form::Millis),
    ("ended_by", Val::Core(Core::EndedBy), Form::Plain),
    ("cause", Val::Core(Core::Cause), Form::Plain),
    ("session", Val::Core(Core::Session), Form::Plain),
]];

/// Tollgate's own vendor space.
const ATTRIBUTES: &[Row] = &[
    ("Tollgate-Record-Kind", Val::Core(Core::Kind), Form::Plain),
    ("Tollgate-Call-Id", Val::CALL_ID, Form::Plain),
    ("Tollgate-Method", Val::METHOD, Form::Plain),
    ("Tollgate-Response-Code", Val::CODE, Form::Plain),
    ("Tollgate-Reason", Val::REASON, Form::Plain),
    ("Tollgate-From-Tag", Val::FROM_TAG, Form::Plain),
    ("Tollgate-To-Tag", Val::TO_TAG, Form::Plain),
    ("Tollgate-CSeq", Val::Core(Core::Cseq), Form::Plain),
    ("Tollgate-Created", Val::CREATED, Form::Plain),
    ("Tollgate-Answered", Val::ANSWERED, Form::Plain),
    ("Tollgate-Acknowledged", Val::Core(Core::Acknowledged), Form::Plain),
    ("Tollgate-Ended", Val::Core(Core::Ended), Form::Plain),
    ("Tollgate-Setup-Time-Ms", Val::SETUP, Form::Millis),
    ("Tollgate-Duration-Ms", Val::DURATION, Form::Millis),
    ("Tollgate-Ended-By", Val::Core(Core::EndedBy), Form::Plain),
    ("Tollgate-End-Cause", Val::Core(Core::Cause), Form::Plain),
];
