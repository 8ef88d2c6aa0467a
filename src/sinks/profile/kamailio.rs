//! Kamailio: acc, acc_radius and acc's CDRs as of 5.6.

use super::{
    Absent, Attributes, CLASSIC_ATTRIBUTES, CLASSIC_COLUMNS, CLASSIC_LINE, Columns, Form, Lines, Row, System, TEXTS,
    Texts, Val,
};
use crate::record::LegOrder;
use crate::record::core::Core;

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
    },
    columns: Columns {
        acc: &[CLASSIC_COLUMNS],
        missed: &[CLASSIC_COLUMNS],
        cdr: &[CDR_COLUMNS],
        cdr_table: Some("acc_cdrs"),
        digits: 0,
    },
    attributes: Some(Attributes { dictionary: "kamailio", needed: CLASSIC_ATTRIBUTES, known: &[] }),
    leg_order: LegOrder::NewestFirst,
    join: b",",
    absent: Absent::Written(""),
};

const CALL: &[Row] = &[
    ("start_time", Val::ANSWERED, Form::EpochMillis),
    ("end_time", Val::Core(Core::Ended), Form::EpochMillis),
    ("duration", Val::DURATION, Form::Plain),
];

const CDR_COLUMNS: &[Row] = &[
    ("start_time", Val::ANSWERED, Form::Plain),
    ("end_time", Val::Core(Core::Ended), Form::Plain),
    ("duration", Val::DURATION, Form::Plain),
];
