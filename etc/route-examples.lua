-- route-examples.lua: each function and field of scripts in a line or two; etc/route.lua says what they do and where they may
-- be called. A call to sip:NAME@example.com runs example.NAME. What stands in test_NAME is what comes of it: these tests run
-- whenever Tollgate is tested, so this file cannot say what is not so. `tollgate script test` runs yours in the same way.
--
-- It needs sinks of the kinds log, db, aaa (or radius) and evi, none of diam; [accounting.flags] log_flag = 1,
-- log_missed_flag = 2, failed_transaction_flag = 3; and in [script.tables] `rates`, a file with the lines "43 0.05" and
-- "431 0.02"; the route that is named at route.gold. It listens on udp:192.0.2.1:5060 and udp:192.0.2.1:5070, and its own
-- name is gw.example.com.

example = {}
local look, seen

function request_route(req)
  local run = example[req.user]
  if run then run(req) end
  if look then seen = look(req) end
end

local function is(a, b)
  if a ~= b then error(tostring(a) .. " is not " .. tostring(b), 2) end
end

-- Plays a call to an example; `what` looks at what it has set, and gives the second result.
local function try(name, what, from)
  look, seen = what, nil
  local made = play((invite:gsub("NAME", name)), from)
  look = nil
  return made, seen
end

invite = [[
INVITE sip:NAME@example.com SIP/2.0
Via: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK1
Via: SIP/2.0/UDP 192.0.2.11;branch=z9hG4bK0
From: "Alice" <sip:alice@atlanta.example.com>;tag=a1
To: <sip:NAME@example.com>
Call-ID: call-1
CSeq: 7 INVITE
Contact: <sip:alice@192.0.2.10>
User-Agent: Phone
Max-Forwards: 70
X-Customer: 42
Content-Type: text/plain
Content-Length: 2

hi]]

---------------------------------------------------------------------------------------------------------------------------
-- Where it goes

-- Kamailio: t_relay();  here the Request-URI, changed or not, says where
function example.relay() relay() end
function test_relay() is(try("relay").decision, "relay") end

-- one after the other; those of the inner list ring at the same time
function example.serial()
  relay{ "sip:10.0.0.5", { "sip:10.0.0.6", "sip:10.0.0.7" }, fork = "serial", ring_timeout_s = 20, next_on = "5xx,408",
    redirects = "follow", targets = "forward" }
end
function test_serial()
  local made = try("serial")
  is(made.decision, "relay") is(#made.targets, 3) is(made.targets[3], "sip:serial@10.0.0.7")
end

-- all at the same time
function example.fork() fork{ "sip:10.0.0.5", "sip:10.0.0.6" } end
function test_fork() is(#try("fork").targets, 2) end

-- beside the Request-URI, one more
function example.append_branch()
  append_branch("sip:bob@10.0.0.9")
  relay()
end
function test_append_branch()
  local made = try("append_branch")
  is(#made.targets, 2) is(made.targets[2], "sip:bob@10.0.0.9")
end

-- sl_send_reply("486", "Busy Here"); the reason may be left out
function example.reply() reply(486) end
function test_reply()
  local made = try("reply")
  is(made.decision, "reply") is(made.code, 486) is(made.reason, "Busy Here")
end

function example.redirect() redirect("sip:bob@10.0.0.5", "sip:bob@10.0.0.6") end
function test_redirect() is(try("redirect").code, 302) end

-- no response: the caller sends again, and hears nothing
function example.drop() drop() end
function test_drop() is(try("drop").decision, "drop") end

-- the failure route runs when the call is not answered: t_on_failure("second")
function example.on_failure()
  on_failure("second")
  relay("sip:10.0.0.5")
end
function failure_route.second(req, reply)
  if reply.code == 486 and reply.reason == "Busy Here" then relay("sip:10.0.0.6") end
end
function test_on_failure()
  try("on_failure")
  is(fails(486).targets[1], "sip:on_failure@10.0.0.6")
end

-- t_on_reply("looks")
function example.on_reply()
  on_reply("looks")
  relay("sip:10.0.0.5")
end
function reply_route.looks(req, reply)
  seen = { reply.code, reply.reason, reply.hdr("CSeq"), reply.is_local, reply.to_tag, reply.contact, reply.body }
end
function test_on_reply()
  try("on_reply")
  replies(180)
  is(seen[1], 180) is(seen[2], "Ringing") is(seen[3], "7 INVITE") is(seen[4], false)
  is(seen[5], nil) is(seen[6], nil) is(seen[7], nil)
end

-- t_on_branch("each"): each target gets a header line of its own, and those on 10.0.0.9 are not tried
function example.on_branch()
  on_branch("each")
  fork{ "sip:10.0.0.5", "sip:10.0.0.6" }
end
function branch_route.each(req)
  append_hf("X-Target", req.host)
  if req.host == "10.0.0.9" then drop() end
end
function test_on_branch() is(#try("on_branch").targets, 2) end

function example.append_hf()
  append_hf("X-Trunk", "7")
  relay()
end
function test_append_hf() is(try("append_hf").added[1], "X-Trunk: 7") end

function example.remove_hf()
  remove_hf("X-Customer")
  relay()
end
function test_remove_hf() is(try("remove_hf").removed[1], "X-Customer") end

-- stays out of the dialog; without this line each INVITE gets a Record-Route
function example.record_route()
  record_route(false)
  relay()
end
function test_record_route() is(try("record_route").record_route, false) end

-- $fs = "udp:192.0.2.1:5070"
function example.set_socket()
  set_socket("udp:192.0.2.1:5070")
  relay()
end
function test_set_socket() is(try("set_socket").socket, "udp:192.0.2.1:5070") end

-- a request inside a dialog follows its Route: no question of where to
function example.loose_route()
  if loose_route() then relay() else reply(404, "No Route") end
end
function test_loose_route() is(try("loose_route").reason, "No Route") end

-- for what takes a [[route]] with domains = ["gold.example"] and script = "gold", and for later requests of these dialogs
function route.gold(req) relay("sip:10.0.0.8") end
function test_gold() is(play((invite:gsub("NAME@example.com", "bob@gold.example"))).targets[1], "sip:bob@10.0.0.8") end

-- `tollgate script trace call-1` shows afterwards which of these lines have decided for the call.

---------------------------------------------------------------------------------------------------------------------------
-- What is recorded

-- answered calls, missed calls and failed transactions, at syslog and the database
function example.do_accounting()
  do_accounting("log|db", "missed|failed")
  relay()
end
function test_do_accounting()
  local made = try("do_accounting")
  is(made.accounting, "lines rows") is(made.missed, "lines rows") is(made.failed, "lines rows")
end

-- into another table; "cdr": one record of the whole call
function example.table() do_accounting("db", "cdr", "acc_gold") relay() end
function test_table()
  local made = try("table")
  is(made.accounting, "cdrs") is(made.table, "acc_gold")
end

-- all but missed calls of syslog
function example.drop_accounting()
  do_accounting("log|db", "missed")
  drop_accounting("log", "missed")
  relay()
end
function test_drop_accounting()
  local made = try("drop_accounting")
  is(made.accounting, "lines rows") is(made.missed, "rows")
end

-- setflag(1): log_flag; setflag(2) would be log_missed_flag
function example.setflag() setflag(1) relay() end
function test_setflag() is(try("setflag").accounting, "lines") end

function example.resetflag()
  setflag(1)
  resetflag(1)
  relay()
end
function test_resetflag() is(try("resetflag").accounting, "") end

-- flags may have names
function example.isflagset()
  setflag("GOLD")
  if isflagset("GOLD") then relay("sip:10.0.0.5") else reply(403) end
end
function test_isflagset() is(try("isflagset").decision, "relay") end

-- a record now, and then the refusal
function example.acc_log_request()
  acc_log_request("403 Not for you, $fU")
  reply(403)
end
function test_acc_log_request()
  local record = try("acc_log_request").records[1]
  is(record.code, 403) is(record.reason, "Not for you, alice") is(record.sinks, "lines")
end

function example.acc_db_request() acc_db_request("404 Nobody", "missed_calls") reply(404) end
function test_acc_db_request()
  local record = try("acc_db_request").records[1]
  is(record.sinks, "rows") is(record.table, "missed_calls")
end

-- by RADIUS; acc_rad_request is its older name
function example.acc_aaa_request() acc_aaa_request("402 Pay") reply(402) end
function test_acc_aaa_request() is(try("acc_aaa_request").records[1].sinks, "billing") end

function example.acc_rad_request() acc_rad_request("402 Pay") reply(402) end
function test_acc_rad_request() is(try("acc_rad_request").records[1].sinks, "billing") end

function example.acc_evi_request() acc_evi_request("480") reply(480) end
function test_acc_evi_request() is(try("acc_evi_request").records[1].sinks, "bus") end

-- false: there is no sink of this kind
function example.acc_diam_request()
  if not acc_diam_request("480") then log.warn("no Diameter") end
  reply(480)
end
function test_acc_diam_request() is(#try("acc_diam_request").records, 0) end

-- syslog and database at once
function example.acc_request() acc_request("486 Busy", "acc") reply(486) end
function test_acc_request() is(try("acc_request").records[1].sinks, "lines rows") end

-- $avp(tag): the newest is first
function example.avp()
  avp.tag = "one"
  avp.tag = "two"
end
function test_avp()
  local _, values = try("avp", function() return avp.tag .. " " .. table.concat(avps.tag, ",") end)
  is(values, "two two,one")
end

-- $acc_extra(customer)
function example.acc_extra(req) acc_extra.customer = req.hdr("X-Customer") end
function test_acc_extra() is(select(2, try("acc_extra", function() return acc_extra.customer end)), "42") end

-- Alice calls Bob, who forwards to Carol: two legs; acc_legs[0] is the first, acc_legs[-1] the last
function example.legs()
  acc_leg.src, acc_leg.dst = "alice", "bob"
  acc_new_leg()
  acc_leg.src = "bob"
  acc_legs[-1].dst = "carol"
end
function test_legs()
  local _, legs = try("legs", function() return #acc_legs .. acc_legs[0].dst .. acc_leg.dst end)
  is(legs, "2bobcarol")
end

---------------------------------------------------------------------------------------------------------------------------
-- The request

-- the number is written in another way, and so it leaves
function example.uri(req)
  req.user = "4930123"
  req.host = "10.0.0.5"
  relay()
end
function test_uri()
  local _, uri = try("uri", function(req) return req.uri .. " " .. tostring(req.port) .. " " .. req.original_uri end)
  is(uri, "sip:4930123@10.0.0.5 nil sip:uri@example.com")
end

function example.names(req)
  names = table.concat({ req.from_uri, req.from_user, req.from_host, req.from_tag, req.to_uri, req.to_user, req.to_host }, " ")
end
function test_names()
  try("names")
  is(names, "sip:alice@atlanta.example.com alice atlanta.example.com a1 sip:names@example.com names example.com")
end

function example.way(req)
  way = table.concat({ req.src_ip, req.src_port, req.dst_ip, req.dst_port, req.transport, req.socket }, " ")
end
function test_way()
  try("way", nil, "10.1.2.3:5062")
  is(way, "10.1.2.3 5062 192.0.2.1 5060 udp udp:192.0.2.1:5060")
end

-- inside a dialog: there is a To tag; is_from_callee says who sends
function example.dialog(req)
  if req.is_initial and not req.has_totag and req.to_tag == nil and not req.is_from_callee then reply(480, "New") end
end
function test_dialog() is(try("dialog").reason, "New") end

function example.lines(req)
  lines = table.concat({ req.method, req.call_id, req.cseq, req.user_agent, req.contact, req.content_type, req.max_forwards,
    req.body, req.hdr("Via", -1) }, " ")
end
function test_lines()
  try("lines")
  is(lines, "INVITE call-1 7 Phone <sip:alice@192.0.2.10> text/plain 70 hi SIP/2.0/UDP 192.0.2.11;branch=z9hG4bK0")
end

---------------------------------------------------------------------------------------------------------------------------
-- What helps

function example.is_method()
  if is_method("INVITE|UPDATE") then relay() else reply(405) end
end
function test_is_method() is(try("is_method").decision, "relay") end

function example.has_totag()
  if has_totag() then relay() else reply(481) end
end
function test_has_totag() is(try("has_totag").code, 481) end

-- uri == myself
function example.is_myself()
  if is_myself("sip:gw.example.com") and not is_myself() then relay() end
end
function test_is_myself() is(try("is_myself").decision, "relay") end

-- any variable and transformation of `tollgate vars`
function example.pv() reply(480, pv("$(fU{s.toupper}) has $(hdr(X-Customer))")) end
function test_pv() is(try("pv").reason, "ALICE has 42") end

function example.is_in(req)
  if is_in(req.src_ip, "10.0.0.0/8", "2001:db8::/32") then relay() else reply(403) end
end
function test_is_in()
  is(try("is_in").code, 403)
  is(try("is_in", nil, "10.1.2.3:5060").decision, "relay")
end

-- the value of the longest key that the number begins with; kv("rates", "43") asks for that key
function example.kv()
  acc_extra.rate = kv("rates", "43171234", "prefix")
  acc_extra.usual = kv("rates", "43")
end
function test_kv() is(select(2, try("kv", function() return acc_extra.rate .. " " .. acc_extra.usual end)), "0.02 0.05") end

-- one call at a time of each user
function example.count_call(req)
  if count_call(req.from_user, 1) then relay() else reply(486, "Enough") end
end
function test_count_call()
  is(try("count_call").decision, "relay")
  is(try("count_call").reason, "Enough")
end

function example.calls() reply(480, "There are " .. calls("nobody")) end
function test_calls() is(try("calls").reason, "There are 0") end

function example.log(req)
  log.debug("from", req.from_user) log.info("well") log.warn("hm") log.error("no")
  reply(480, "Told")
end
function test_log() is(table.concat(try("log").lines, "; "), "debug from alice; info well; warn hm; error no") end

-- a response or a request that the gateway makes itself: reply is nil for a request
function local_route(req, reply)
  if reply and reply.is_local and reply.code == 408 then acc_log_request("408 Nobody answers") end
end
function test_local_route()
  try("relay")
  is(responds(408).records[1].reason, "Nobody answers")
  is(#responds(500).records, 0)
end

-- a recorded call has ended
event_route["dialog:end"] = function(call)
  log.info(call.call_id, call.from_tag, call.to_tag, call.session, call.code, call.reason, call.duration_ms, call.by, call.cause)
  if call.customer == 42 then log.warn("the customer has hung up") end
end
function test_dialog_end()
  try("relay")
  is(ends{ customer = 42 }.lines[2], "warn the customer has hung up")
  is(#ends().lines, 1)
end
