-- `do_accounting` and `drop_accounting` of OpenSIPS 2.2: a line and a row at the end of each call and for missed ones; calls
-- to extensions of four digits cost nothing, and are not recorded; those to voice mail are no missed calls.
function request_route(req)
  if has_totag() then
    return relay()
  end
  if not is_method("INVITE") then
    return reply(405)
  end
  do_accounting("log|db", "cdr|missed")
  acc_extra.note = req.hdr("X-Note") or "n1"
  if req.user and req.user:match("^%d%d%d%d$") then
    drop_accounting()
  elseif req.user == "voicemail" then
    drop_accounting("log|db", "missed")
  end
  relay("sip:bob@192.0.2.11")
end
