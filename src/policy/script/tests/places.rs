//! Every function in every handler: allowed where the seeds allow it, refused everywhere else.

use super::*;

/// The function, a call of it, and the handlers it is allowed in: R request, F failure, B branch, O reply, L local, E end.
const CALLS: &[(&str, &str, &str)] = &[
    ("is_method", "is_method('INVITE')", "RFBOL"),
    ("has_totag", "has_totag()", "RFBOL"),
    ("is_myself", "is_myself()", "RFBOL"),
    ("is_in", "is_in('10.0.0.1', '10.0.0.0/8')", "RFBOLE"),
    ("pv", "pv('$fu')", "RFBOL"),
    ("kv", "kv('rates', '43')", "RFBOLE"),
    ("setflag", "setflag(7)", "RFBOL"),
    ("resetflag", "resetflag(7)", "RFBOL"),
    ("isflagset", "isflagset(7)", "RFBOL"),
    ("do_accounting", "do_accounting('log')", "RFBL"),
    ("drop_accounting", "drop_accounting()", "RFBL"),
    ("acc_log_request", "acc_log_request('200')", "RFBOL"),
    ("acc_db_request", "acc_db_request('200')", "RFBOL"),
    ("acc_rad_request", "acc_rad_request('200')", "RFBOL"),
    ("acc_aaa_request", "acc_aaa_request('200')", "RFBOL"),
    ("acc_diam_request", "acc_diam_request('200')", "RFBOL"),
    ("acc_evi_request", "acc_evi_request('200')", "RFBOL"),
    ("acc_request", "acc_request('200')", "RFBOL"),
    ("relay", "relay('sip:192.0.2.20')", "RF"),
    ("fork", "fork{ 'sip:192.0.2.20', 'sip:192.0.2.21' }", "RF"),
    ("append_branch", "append_branch('sip:192.0.2.20')", "RF"),
    ("reply", "reply(486)", "RF"),
    ("redirect", "redirect('sip:bob@example.org')", "RF"),
    ("drop", "drop()", "RB"),
    ("on_branch", "on_branch('b')", "RFB"),
    ("on_reply", "on_reply('r')", "RFB"),
    ("on_failure", "on_failure('f')", "RFB"),
    ("append_hf", "append_hf('X-A', 'b')", "RFB"),
    ("remove_hf", "remove_hf('X-A')", "RFB"),
    ("record_route", "record_route(false)", "RFB"),
    ("set_socket", "set_socket('udp:192.0.2.1:5070')", "RFB"),
    ("loose_route", "loose_route()", "R"),
    ("count_call", "count_call('x', 5)", "RF"),
    ("calls", "calls('x')", "RFBOLE"),
    ("acc_new_leg", "acc_new_leg()", "RFBOL"),
    ("a value", "avp.x = 1", "RFBOL"),
    ("a field", "acc_extra.x = 1", "RFBOL"),
    ("a leg", "acc_leg.x = 1", "RFBOL"),
    ("the Request-URI", "req.uri = 'sip:carol@example.com'", "RFB"),
    ("the log", "log.info('x')", "RFBOLE"),
];

/// Runs a call in the handler named by the letter; gives what went wrong.
fn failures(call: &str, place: char) -> String {
    let body = |wanted: char| if wanted == place { call } else { "" };
    let text = format!(
        "function request_route(req)\n{}\non_failure('f') on_branch('b') on_reply('r') relay('sip:192.0.2.20')\nend\n\
         function failure_route.f(req, reply)\n{}\nend\nfunction branch_route.b(req)\n{}\nend\n\
         function reply_route.r(req, reply)\n{}\nend\nfunction local_route(req, reply)\n{}\nend\n\
         event_route['dialog:end'] = function(call)\n{}\nend\n",
        body('R'),
        body('F'),
        body('B'),
        body('O'),
        body('L'),
        body('E'),
    );
    let mut stage = stage(&text);
    let view = view(INVITE);
    stage.invite();
    match place {
        'F' => drop(stage.fails(486)),
        'O' => {
            let response = INVITE.replacen("INVITE sip:bob@example.com SIP/2.0", "SIP/2.0 180 Ringing", 1);
            let response = Message::parse(response.into_bytes()).unwrap_or_else(|_| panic!("a response"));
            drop(stage.policy.reply(asked(&view), &response));
        }
        'L' => drop(stage.policy.local(asked(&view), Local::Response { code: 408, reason: b"Request Timeout" })),
        'E' => stage.policy.call_ended(now(), &Record::of_no_call(record::Kind::Stop, now().wall, 1)),
        _ => {}
    }
    assert!(stage.ear.runs.load(Ordering::Relaxed) >= 2, "{place} ran");
    stage.failures()
}

#[test]
fn every_function_works_where_it_is_allowed_and_says_where_that_is_elsewhere() {
    for (name, call, allowed) in CALLS {
        for place in "RFBOLE".chars() {
            let told = failures(call, place);
            if allowed.contains(place) {
                assert_eq!(told, "", "{name} in {place}");
            } else {
                let is_refused = told.contains("cannot be called from")
                    || told.contains("nothing can be set from")
                    || told.contains("cannot be set in");
                assert!(is_refused && told.contains("route.lua:"), "{name} in {place}: {told}");
            }
        }
    }
}

#[test]
fn every_function_of_the_table_is_tried_above() {
    let defined = accounting::FUNCTIONS.iter().chain(super::super::routing::FUNCTIONS).map(|(name, ..)| *name);
    for name in defined {
        assert!(CALLS.iter().any(|(known, ..)| known == &name), "{name} has no row");
    }
}
