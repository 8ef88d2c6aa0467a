-- The typical route of a script, for `tests/bench/load --script tests/bench/typical.lua`: four fields are read, two values set,
-- the call is accounted and relayed.
function request_route(req)
  if req.has_totag then return relay() end
  if req.method == "INVITE" and is_in(req.src_ip, "127.0.0.0/8") then
    avp.caller = req.from_user
    avp.callee = req.user
    do_accounting("aaa", "missed|failed")
    return relay("sip:127.0.0.1:UAS")
  end
  reply(403)
end
