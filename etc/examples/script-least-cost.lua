-- Least-cost routing: the longest prefix of the number says which carriers can reach it, the cheapest first. A carrier that
-- fails gives the call to the next; a number that nobody reaches is refused, and the refusal recorded by hand.
local carriers = {
  north = "sip:192.0.2.11",
  south = "sip:192.0.2.12",
}

-- Words of a line of the table: `north 0.010 south 0.015`, carriers with their price a minute.
local function ways(number)
  local line = number and kv("prefixes", number, "prefix")
  local found = {}
  for name, price in (line or ""):gmatch("(%S+)%s+(%S+)") do
    found[#found + 1] = { name = name, price = price }
  end
  return found
end

-- The way in place `place`; false when there is none.
local function try(req, place)
  local way = ways(req.user)[place]
  if not way or not carriers[way.name] then
    return false
  end
  avp.place = place
  acc_extra.carrier = way.name
  acc_extra.price = way.price
  on_failure("next_carrier")
  return relay(carriers[way.name])
end

function request_route(req)
  if has_totag() then
    return relay()
  end
  if not is_method("INVITE") then
    return reply(405)
  end
  do_accounting("log|db", "missed")
  if not try(req, 1) then
    drop_accounting()
    acc_request("403 Destination not allowed", "acc")
    reply(403, "Destination not allowed")
  end
end

function failure_route.next_carrier(req, reply)
  -- The callee's own answers, such as busy, are not tried elsewhere.
  if reply.code >= 500 and reply.code < 600 or reply.code == 408 then
    do_accounting("log|db", "missed")
    try(req, tonumber(avp.place) + 1)
  end
end
