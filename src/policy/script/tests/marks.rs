//! `do_accounting`, `drop_accounting`, flags and records by hand.

use super::*;

fn marks_of(body: &str) -> Marks {
    let mut stage = stage(&format!("function request_route(req)\n{body}\nreply(404)\nend"));
    let decision = stage.invite();
    assert_eq!(stage.failures(), "", "{body}");
    decision.marks
}

#[test]
fn types_and_flags_mean_sinks_and_parts_and_calls_add_up() {
    for (body, accounting, missed, failed) in [
        ("do_accounting('log')", &[0][..], &[][..], &[][..]),
        ("do_accounting('LOG | db')", &[0, 1], &[], &[]),
        ("do_accounting('db', 'cdr')", &[2], &[], &[]),
        ("do_accounting('log', 'cdr')", &[0], &[], &[]),
        ("do_accounting('db', 'missed')", &[1], &[1], &[]),
        ("do_accounting('db', 'cdr|missed')", &[2], &[1], &[]),
        ("do_accounting('db', 'failed')", &[1], &[], &[1]),
        ("do_accounting('log|aaa', 'missed|failed')", &[0, 3], &[0, 3], &[0, 3]),
        ("do_accounting('log') do_accounting('db', 'missed')", &[0, 1], &[1], &[]),
        ("do_accounting('rows')", &[1], &[], &[]),
        ("do_accounting('diam')", &[], &[], &[]),
        ("do_accounting('log|evi', 'failed') drop_accounting()", &[], &[], &[]),
        ("do_accounting('log|evi', 'failed') drop_accounting('log')", &[4], &[], &[4]),
        ("do_accounting('log|aaa', 'failed|missed') drop_accounting('log', 'missed')", &[0, 3], &[3], &[0, 3]),
        ("setflag(1)", &[0], &[], &[]),
        ("setflag('1') setflag(2)", &[0], &[0], &[]),
        ("setflag(1) setflag(3) setflag('ACC_DB')", &[0, 1], &[], &[0, 1]),
        ("setflag(5)", &[2], &[], &[]),
        ("setflag(1) resetflag(1)", &[], &[], &[]),
        ("setflag(1) drop_accounting()", &[], &[], &[]),
        ("setflag(1) do_accounting('aaa') drop_accounting('log')", &[3], &[], &[]),
        ("setflag(40) if isflagset(40) and not isflagset(41) then do_accounting('log') end", &[0], &[], &[]),
    ] {
        let want = Marks { accounting: mask(accounting), missed: mask(missed), failed: mask(failed) };
        assert_eq!(marks_of(body), want, "{body}");
    }
}

#[test]
fn what_is_no_type_flag_or_table_is_an_error_at_its_line() {
    for (body, want) in [
        ("do_accounting('mars')", "route.lua:2: do_accounting: `mars`: no such type or sink; there are aaa, billing"),
        (
            "do_accounting('log', 'often')",
            "route.lua:2: do_accounting: `often`: no such flag; there are cdr, missed, failed",
        ),
        ("do_accounting('log', nil, 'a\"; DROP')", "route.lua:2: do_accounting: `a\\\"; DROP` is no name of a table"),
        ("do_accounting()", "route.lua:2: do_accounting: argument 1 is missing"),
        ("do_accounting({})", "route.lua:2: do_accounting: argument 1 is a table, not text"),
        ("\nacc_db_request('x', 'a b')", "route.lua:3: acc_db_request: `a b` is no name of a table"),
        ("acc_log_request('$nope')", "route.lua:2: acc_log_request: column 2: unknown variable `$nope`"),
        ("local a = nil; a.b = 1", "route.lua:2: attempt to index a nil value (local 'a')"),
        ("error({ code = 1 })", "request_route: "),
    ] {
        let mut stage = stage(&format!("function request_route(req)\n{body}\nend"));
        let decision = stage.invite();
        assert!(stage.failures().contains(want), "{body}: {}", stage.failures());
        assert_eq!(targets(&decision.treatment), "404 ", "{body}");
    }
}

#[test]
fn a_record_by_hand_has_code_and_phrase_of_its_comment() {
    for (body, want) in [
        ("acc_log_request('403 Destination not allowed')", "0: 403 Destination not allowed"),
        ("acc_aaa_request('404')", "3: 404 Not Found"),
        ("acc_rad_request('Destination not allowed')", "3: 0 Destination not allowed"),
        ("acc_db_request('480 Nobody home', 'missed_calls')", "1: 480 Nobody home in missed_calls"),
        ("acc_request('200 fine')", "0 1: 200 fine"),
        ("acc_request('486 $fU calls $(hdr(X-Customer))', 'acc')", "0 1: 486 alice calls 42 in acc"),
        ("acc_evi_request('200 fine')", "4: 200 fine"),
        ("assert(acc_diam_request('200 fine') == false)", ""),
        ("assert(acc_log_request('200') == true)", "0: 200 OK"),
    ] {
        let mut stage = stage(&format!("function request_route(req)\n{body}\nreply(403)\nend"));
        let decision = stage.invite();
        let made = decision.records.iter().map(|made| {
            let sinks: Vec<String> = made.sinks.iter().map(|sink| sink.0.to_string()).collect();
            let table = made.table.as_ref().map(|table| format!(" in {table}")).unwrap_or_default();
            format!("{}: {} {}{table}", sinks.join(" "), made.code, String::from_utf8_lossy(&made.reason))
        });
        assert_eq!(made.collect::<Vec<_>>().join("; "), want, "{body}: {}", stage.failures());
    }
}

#[test]
fn an_error_keeps_what_was_marked_and_recorded_before() {
    let text = "function request_route(req)\ndo_accounting('log')\nacc_log_request('200 seen')\nerror('late')\nend";
    let decision = stage(text).invite();
    assert_eq!(decision.marks.accounting, mask(&[0]));
    assert_eq!(decision.records.len(), 1);
    let refusing = Settings { on_error: OnError::Refuse, ..settings(text) };
    let mut stage = load(&refusing).expect("a script");
    let decision = stage.invite();
    assert_eq!(targets(&decision.treatment), "500 ");
    assert_eq!((decision.marks.accounting, decision.records.len()), (mask(&[0]), 1));
}

#[test]
fn the_mark_of_missed_calls_holds_for_one_round_and_may_be_set_again() {
    let text = "function request_route(req)\nsetflag(1) setflag(2)\non_failure('next')\nrelay('sip:192.0.2.20')\nend\n\
        function failure_route.next(req, reply)\nif reply.code == 486 then setflag(2) on_failure('next') relay('sip:192.0.2.30') end\nend";
    let mut stage = stage(text);
    let decision = stage.invite();
    assert_eq!(decision.marks.missed, mask(&[0]));
    assert_eq!(decision.account.expect("an account").targets, Targets::Forward);
    let next = stage.fails(486);
    assert_eq!(next.remarks.marks.expect("marks").missed, mask(&[0]), "set again");
    let Onward::To(plan) = next.onward else { panic!("{:?}", next.onward) };
    assert!(shown(&plan).contains("192.0.2.30"), "{plan:?}");
    let next = stage.fails(503);
    assert_eq!(next.remarks.marks.expect("marks").missed, mask(&[]), "not set again");
    assert_eq!(next.remarks.marks.expect("marks").accounting, mask(&[0]), "the others stay");
    assert!(matches!(next.onward, Onward::AsPlanned));
    assert_eq!(stage.failures(), "");
}
