//! Kamailio: acc, acc_radius and acc's CDRs as of 5.6.

use super::{
    Absent, Attributes, CLASSIC_ATTRIBUTES, CLASSIC_COLUMNS, CLASSIC_LINE, Columns, FLAGS, Form, From, Lines, Row,
    Step, System, TEXTS, Texts, TimeLine, Val, classic_order,
};
use crate::record::LegOrder;
use crate::record::core::Core;
use crate::sinks::radius::StatusMapping;

pub(super) const SYSTEM: System = System {
    name: "kamailio",
    lines: Lines {
        identity: "kamailio",
        before: "{level}: acc [acc.c:287]: acc_log_request(): ",
        before_call: "{level}: acc [acc_cdr.c:395]: log_write_cdr(): ",
        texts: Texts { ended: "", ..TEXTS },
        line: CLASSIC_LINE,
        call: CALL,
        between: [";", "; "],
        times: TIMES,
        letters: &[],
    },
    columns: Columns {
        acc: &[CLASSIC_COLUMNS],
        missed: &[CLASSIC_COLUMNS],
        cdr: &[CDR_COLUMNS],
        parts_needed: usize::MAX,
        cdr_table: Some("acc_cdrs"),
        digits: 0,
        times: &[&[], SECONDS, FRACTION, LOCAL, UTC],
    },
    attributes: Some(Attributes {
        dictionary: "kamailio",
        needed: CLASSIC_ATTRIBUTES,
        known: &[],
        order: classic_order!(Step::Fields, Step::Legs),
        is_exact: false,
        status: StatusMapping::Newest,
    }),
    events: None,
    marks: FLAGS,
    leg_order: LegOrder::NewestFirst,
    join: b",",
    absent: Absent::Written(""),
    differs: &[
        "acc-json",
        "delay-is-last",
        "more-attributes",
        "empty-attributes",
        "code-as-field",
        "early-media",
        "given-up-once",
        "refused-bye-ends",
        "second-2xx",
        "long-values",
        "null-refused",
        "own-to-tag",
        "end-without-bye",
        "fields-at-lifetime",
        "fields-of-start",
        "direction-of-all",
        "filter-of-missed",
        "time-modes",
        "reason-from-header",
        "julian-days",
        "marks-of-call",
        "fields-of-later-requests",
    ],
};

/// `time_mode` 0 to 4.
const TIMES: &[TimeLine] = &[
    TimeLine { before: "{level}: acc [acc.c:287]: acc_log_request(): ", rows: &[] },
    TimeLine { before: "{level}: acc [acc.c:261]: acc_log_request(): ", rows: MICROS },
    TimeLine { before: "{level}: acc [acc.c:268]: acc_log_request(): ", rows: FRACTION },
    TimeLine { before: "{level}: acc [acc.c:281]: acc_log_request(): ", rows: LOCAL },
    TimeLine { before: "{level}: acc [acc.c:281]: acc_log_request(): ", rows: UTC },
];
const MICROS: &[Row] = &[("time_exten", Val::EVENT, Form::Micros)];
const SECONDS: &[Row] = &[("time_attr", Val::EVENT, Form::Epoch), ("time_exten", Val::EVENT, Form::Micros)];
const FRACTION: &[Row] = &[("time_attr", Val::EVENT, Form::EpochMillis)];
const LOCAL: &[Row] = &[("time_attr", Val::EVENT, Form::Local)];
const UTC: &[Row] = &[("time_attr", Val::EVENT, Form::Utc)];

const CALL: &[Row] = &[
    ("start_time", Val::Start(From::Answered), Form::EpochMillis),
    ("end_time", Val::Core(Core::Ended), Form::EpochMillis),
    ("duration", Val::Lasted(From::Answered), Form::Plain),
];

const CDR_COLUMNS: &[Row] = &[
    ("start_time", Val::Start(From::Answered), Form::Plain),
    ("end_time", Val::Core(Core::Ended), Form::Plain),
    ("duration", Val::Lasted(From::Answered), Form::Plain),
];
