-- Who pays for which part: Alice calls Bob, who has forwarded his calls to Carol. Alice pays the leg to Bob and Bob the one to
-- Carol, so that the call has the legs (alice, bob) and (bob, carol), each in a line and a row of its own.
local forwards = {
  bob = { user = "carol", target = "sip:carol@192.0.2.12" },
}

function request_route(req)
  if has_totag() then
    return relay()
  end
  if not is_method("INVITE") then
    return reply(405)
  end
  do_accounting("log|db", "missed")
  avp.src = req.from_user
  avp.dst = req.user
  local forward = forwards[req.user]
  if not forward then
    return relay("sip:192.0.2.11")
  end
  -- A further value of the same AVPs is a further leg.
  avp.src = req.user
  avp.dst = forward.user
  relay(forward.target)
end
