//! OpenSER 1.2 and 1.3, and OpenSIPS 1.4, which calls itself `opensips`.

use super::opensips::CALL;
use super::{
    Absent, Attributes, CLASSIC_ATTRIBUTES, CLASSIC_COLUMNS, CLASSIC_LINE, Columns, FLAGS, Form, Lines, Step, System,
    TEXTS, Val, classic_order,
};
use crate::record::LegOrder;
use crate::record::core::Core;
use crate::sinks::radius::StatusMapping;

pub(super) const SYSTEM: System = System {
    name: "openser",
    lines: Lines {
        identity: "openser",
        before: "",
        before_call: "",
        texts: TEXTS,
        line: CLASSIC_LINE,
        call: CALL,
        between: [";", ";"],
        times: &[],
        letters: &[],
    },
    columns: Columns {
        acc: &[CLASSIC_COLUMNS],
        missed: &[CLASSIC_COLUMNS],
        cdr: &[CLASSIC_COLUMNS],
        parts_needed: usize::MAX,
        cdr_table: None,
        digits: 0,
        times: &[],
    },
    attributes: Some(Attributes {
        dictionary: "openser",
        needed: CLASSIC_ATTRIBUTES,
        known: &[("Sip-CSeq", Val::Core(Core::Cseq), Form::Plain)],
        order: classic_order!(Step::Fields, Step::Legs),
        is_exact: false,
        status: StatusMapping::Openser,
    }),
    events: None,
    marks: FLAGS,
    leg_order: LegOrder::NewestFirst,
    join: b", ",
    absent: Absent::Written(""),
    differs: &[
        "delay-is-last",
        "more-attributes",
        "early-media",
        "given-up-once",
        "refused-bye-ends",
        "own-to-tag",
        "6xx-ends",
        "fields-of-later-requests",
    ],
};
