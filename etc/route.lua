-- route.lua: the manual of scripts, and a script that works. `[script] file = "route.lua"` in tollgate.toml uses it.
--
-- route-examples.lua beside it has an example of each function and field, with what comes of it.
--
-- Lua 5.4 with the libraries string, table, math and utf8. A script decides where requests go and what is recorded of them.
-- It has no files, sockets or clock, and nothing in it waits: each handler runs to its end, within the limits of [script].
-- There are no coroutines, finalizers (`__gc`) and variables that are closed (`__close`). setmetatable takes what the metatable
-- holds at that moment: a metamethod that is set later does nothing until setmetatable is called again.
--
--   function request_route(req)               each request that comes in, once, however often it is sent
--   function route.NAME(req)                  those that take a [[route]] with script = "NAME", and later ones of their
--                                             dialogs; it may do what request_route may
--   function branch_route.NAME(req)           each target before it is tried, after on_branch("NAME")
--   function reply_route.NAME(req, reply)     each response that passes, after on_reply("NAME")
--   function failure_route.NAME(req, reply)   all branches of a round have failed, after on_failure("NAME"); once
--   function local_route(req, reply)          the gateway makes a final response; or a request, then reply is nil
--   event_route["dialog:end"] = function(call) end      a recorded call has ended
--
-- Handlers that a function may be called from: R request, F failure, B branch, O reply, L local, E end of a call.
--
-- The request, `req`
--   .method .uri .user .host .port .original_uri      uri, user and host may be set (R F B): so the request leaves
--   .from_uri .from_user .from_host .from_tag .to_uri .to_user .to_host .to_tag .call_id .cseq
--   .src_ip .src_port .dst_ip .dst_port .transport .socket
--   .is_initial .has_totag .is_from_callee .user_agent .contact .content_type .max_forwards .body
--   .hdr("Name"[, index])     a header line: 0 is the first, -1 the last; nil when there is none
-- The response, `reply`: .code .reason .is_local .to_tag .contact .body .hdr("Name"[, index])
-- The ended call, `call`: .call_id .from_tag .to_tag .session .code .reason .duration_ms .by .cause, and its fields by name
--
-- Where it goes
--   relay()                   where it is meant for: by its Route inside a dialog, else to req.uri; or to appended branches    R F
--   relay("sip:10.0.0.5")     to a target as in a route's `to`                                                             R F
--   relay{ "sip:10.0.0.5", { "sip:10.0.0.6", "sip:10.0.0.7" }, fork = "serial", ring_timeout_s = 20, next_on = "5xx,408",
--          redirects = "follow", targets = "forward" }      one after the other; a list within the list at the same time   R F
--   fork{ ... }               the same, all at the same time                                                               R F
--   append_branch([uri])      one more for relay(), which tries them at once; in R beside req.uri                        R F
--   reply(code[, reason])     responds; redirect(uri, ...) responds with 302                                               R F
--   drop()                    no response (R); this target is not tried (B)                                                R B
--   on_branch(name) on_reply(name) on_failure(name)         which handlers run later; nil for none                       R F B
--   append_hf(name, value) remove_hf(name)                  header lines, not those that belong to the proxy             R F B
--   record_route(false)       stays out of the dialog: its end is not seen                                               R F B
--   set_socket("udp:10.0.0.1:5060")                         leaves by this listener, where its transport leads there     R F B
--   loose_route()             whether it goes by its Route                                                                   R
-- A request_route that does none of this leaves the request to the [[route]] tables, and a route.NAME to the rest of the
-- table that names it; what all mark adds up.
--
-- What is recorded
--   do_accounting(types[, flags[, table]])                  "log|db|aaa|diam|evi|file" or names of sinks; "missed|failed|cdr"  R F B L
--   drop_accounting([types[, flags]])                       all; all of these types; only these flags of them           R F B L
--   setflag(f) resetflag(f) isflagset(f)                    numbers or names; [accounting.flags] says what they mark  R F B O L
--   acc_log_request(comment) acc_db_request(comment[, table]) acc_aaa_request(comment) acc_rad_request(comment)
--   acc_diam_request(comment) acc_evi_request(comment) acc_request(comment[, table])   a record now: "403 Not here"      R F B O L
--       true: it is on disk before anything that the handler decides leaves; false: there is no such sink
--   avp.NAME = v              pushes: the newest is first; avp.NAME the newest, avps.NAME all, avp.NAME = nil deletes   R F B O L
--   acc_extra.NAME = v        a field of the records; sinks with fixed columns know those of [accounting.fields] only      R F B O L
--   acc_new_leg()  acc_leg.NAME = v  acc_legs[i].NAME       legs; acc_leg is the last, acc_legs[0] the first            R F B O L
--       legs that a BYE sets are added to those of its call; avp.NAME for [accounting.bye_leg_fields] says more of these
--
-- What helps
--   is_method("INVITE|BYE") has_totag() is_myself([uri]) pv("$(hdr(Via)[*])")                                           R F B O L
--   is_in(ip, "10.0.0.0/8", ...)  kv(table, key)  kv(table, key, "prefix")     tables of [script.tables]              R F B O L E
--   count_call(key[, max])    the call counts for the key until it ends; false where the key has max of them already        R F
--   calls(key)                calls of the key in progress, of all threads, over reloads and restarts; of recorded calls   R F B O L E
--   log.debug(...) log.info(...) log.warn(...) log.error(...)                                                         R F B O L E
--
-- Tests: `tollgate script test` runs functions named test_*, which have messages.NAME (the file NAME.sip beside this one) and
--   play(message[, "IP:PORT"])     what request_route makes of it: .decision .code .reason .targets .route .accounting .missed
--                                  .failed .table .records .added .removed .record_route .socket .lines (of the log)
--   fails(code) replies(code)      its branches have failed, a response of theirs passes
--   responds(code)                 the gateway itself responds, or would: local_route
--   ends{ FIELD = VALUE }          its call has ended: event_route["dialog:end"]
--
-- `tollgate script trace CALL-ID` shows which lines have decided for a call: all calls that set, mark or decide, and assignments.
--
-- The mark of missed calls holds for one round where an on_failure is armed (or targets = "forward"): a failure route that
-- tries another target sets it again, as in the acc modules. The table of do_accounting takes all records but missed calls.

-- Calls are accounted at every sink, missed ones too; the first target is tried, and when it is busy the second.
function request_route(req)
  if req.has_totag then
    return relay()
  end
  if not is_method("INVITE") then
    return reply(405)
  end
  if not is_in(req.src_ip, "127.0.0.0/8", "::1/128") then
    acc_request("403 Destination not allowed")
    return reply(403, "Destination not allowed")
  end
  do_accounting("log|db|aaa|diam|evi|file", "missed|failed")
  acc_extra.customer = req.hdr("X-Customer")
  on_failure("next")
  relay("sip:127.0.0.1:5070")
end

function failure_route.next(req, reply)
  if reply.code == 486 or reply.code == 408 then
    do_accounting("log|db|aaa|diam|evi|file", "missed")
    relay("sip:127.0.0.1:5071")
  end
end
