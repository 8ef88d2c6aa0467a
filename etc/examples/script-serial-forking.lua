-- One phone after the other, as in the course of OpenSER: who is busy has missed the call, and it goes on to the next. The mark
-- of missed calls holds for one round, so the failure route sets it again for the next phone.
local ACC, MISSED = 1, 2

function request_route(req)
  if has_totag() then
    return relay()
  end
  if not is_method("INVITE") then
    return reply(405)
  end
  setflag(ACC)
  setflag(MISSED)
  on_failure("next")
  relay("sip:bob@192.0.2.11")
end

function failure_route.next(req, reply)
  -- Busy, no answer, not there: anything else goes back to the caller.
  if reply.code == 486 or reply.code == 408 or reply.code == 480 then
    setflag(MISSED)
    relay("sip:carol@192.0.2.12")
  end
end
