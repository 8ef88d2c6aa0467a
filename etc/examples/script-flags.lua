-- Calls and missed calls by flags, as the wiki of OpenSER has it. What the flags mean stands in `[accounting.flags]`.
local ACC, MISSED = 1, 2

function request_route(req)
  if has_totag() then
    -- The end of a call that was accounted is recorded too, whether or not its BYE is marked.
    return relay()
  end
  if not is_method("INVITE|MESSAGE") then
    return reply(405)
  end
  setflag(ACC)
  setflag(MISSED)
  relay("sip:bob@192.0.2.11")
end
