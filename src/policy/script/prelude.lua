-- What stands in place of functions of Lua whose work no limit would end, and of those that could swallow a limit.
local hit, text, put = ...
local native = { pcall = pcall, concat = table.concat, unpack = table.unpack }
local getmetatable, type, error = getmetatable, type, error
local full = "not enough memory"
-- Values that `table.unpack` gives at most; the stack has no room for many more.
local most = 100000
local rawget, rawset, rawlen, select, next = rawget, rawset, rawlen, select, next

-- A limit that was hit goes on through each protected call. What a function of ours raises is given as text.
local function passed(ok, first, ...)
  hit()
  if not ok and (type(first) == "userdata" or first == full) then first = text(first) end
  return ok, first, ...
end

function pcall(f, ...)
  return passed(native.pcall(f, ...))
end

-- The handler runs when the call has ended: while an error is being raised, a limit would only call it again.
local function handled(handler, ok, ...)
  if ok then return true, ... end
  return false, select(2, pcall(handler, ...))
end

function xpcall(f, handler, ...)
  return handled(handler, pcall(f, ...))
end

-- A table gets a copy of its metatable, which the script cannot reach: what is refused here cannot come in later. Finalizers
-- run where nothing can end them; a limit that is raised closes the variables of the function that runs while nothing is
-- counted, so what closes them might never end; and a table that is called by way of itself takes minutes in one instruction.
local events = { "index", "newindex", "call", "tostring", "name", "metatable", "mode", "pairs", "len", "eq", "lt", "le",
  "concat", "unm", "add", "sub", "mul", "div", "mod", "pow", "idiv", "band", "bor", "bxor", "bnot", "shl", "shr" }
for place = 1, #events do events[place] = "__" .. events[place] end
local refused = { __gc = "finalizers are not run", __close = "variables are not closed" }

function setmetatable(t, meta)
  if type(t) ~= "table" then
    error("bad argument #1 to 'setmetatable' (table expected, got " .. type(t) .. ")", 2)
  end
  if type(meta) ~= "table" and meta ~= nil then
    error("bad argument #2 to 'setmetatable' (nil or table expected)", 2)
  end
  if meta == nil then
    if not put(t, nil) then error("cannot change a protected metatable", 2) end
    return t
  end
  for name, why in next, refused do
    if rawget(meta, name) ~= nil then
      error("a metatable with `" .. name .. "` cannot be set: " .. why, 2)
    end
  end
  local call = rawget(meta, "__call")
  if call ~= nil and type(call) ~= "function" then
    error("a metatable whose `__call` is a " .. type(call) .. " cannot be set: it is a function", 2)
  end
  local copy = { __metatable = meta, open = rawget(meta, "__metatable") == nil }
  for place = 1, #events do
    local value = rawget(meta, events[place])
    if value ~= nil then copy[events[place]] = value end
  end
  if not put(t, copy) then error("cannot change a protected metatable", 2) end
  return t
end

local function plain(t, name)
  if type(t) ~= "table" then
    error("bad argument #1 to '" .. name .. "' (table expected, got " .. type(t) .. ")", 3)
  end
  if getmetatable(t) ~= nil then
    error("bad argument #1 to '" .. name .. "' (a table without a metatable expected)", 3)
  end
end

local function whole(n, place, name)
  if type(n) ~= "number" or n % 1 ~= 0 then
    error("bad argument #" .. place .. " to '" .. name .. "' (integer expected, got " .. type(n) .. ")", 3)
  end
  return n // 1 | 0
end

function table.concat(t, between, first, last)
  plain(t, "concat")
  local ok, joined = native.pcall(native.concat, t, between or "", first or 1, last or rawlen(t))
  if joined == full and not ok then text(joined) end
  if not ok then error(joined, 2) end
  return joined
end

function table.unpack(t, first, last)
  plain(t, "unpack")
  first, last = first or 1, last or rawlen(t)
  if whole(last, 3, "unpack") - whole(first, 2, "unpack") >= most then error("too many results to unpack", 2) end
  return native.unpack(t, first, last)
end

function table.insert(t, ...)
  plain(t, "insert")
  local count, length = select("#", ...), rawlen(t)
  if count == 1 then
    rawset(t, length + 1, (...))
  elseif count == 2 then
    local at, value = ...
    at = whole(at, 2, "insert")
    if at < 1 or at > length + 1 then error("bad argument #2 to 'insert' (position out of bounds)", 2) end
    for place = length, at, -1 do rawset(t, place + 1, rawget(t, place)) end
    rawset(t, at, value)
  else
    error("wrong number of arguments to 'insert'", 2)
  end
end

function table.remove(t, at)
  plain(t, "remove")
  local length = rawlen(t)
  if at == nil then
    at = length
  else
    at = whole(at, 2, "remove")
    if length + 1 == at or (length == 0 and at == 0) then
      local value = rawget(t, at)
      rawset(t, at, nil)
      return value
    end
    if at < 1 or at > length then error("bad argument #2 to 'remove' (position out of bounds)", 2) end
  end
  if length == 0 then return rawget(t, at) end
  local value = rawget(t, at)
  for place = at, length - 1 do rawset(t, place, rawget(t, place + 1)) end
  rawset(t, length, nil)
  return value
end

function table.move(from, first, last, to_first, to)
  plain(from, "move")
  to = to or from
  plain(to, "move")
  first, last, to_first = whole(first, 2, "move"), whole(last, 3, "move"), whole(to_first, 4, "move")
  if to_first > last or to_first <= first or to ~= from then
    for n = 0, last - first do rawset(to, to_first + n, rawget(from, first + n)) end
  else
    for n = last - first, 0, -1 do rawset(to, to_first + n, rawget(from, first + n)) end
  end
  return to
end

-- Merges ever longer runs; what is equal keeps its order.
function table.sort(t, before)
  plain(t, "sort")
  before = before or function(a, b) return a < b end
  local count, width, from, to = rawlen(t), 1, t, {}
  while width < count do
    for left = 1, count, 2 * width do
      local middle, right = left + width, left + 2 * width
      local a, b = left, middle
      if middle > count + 1 then middle = count + 1 end
      if right > count + 1 then right = count + 1 end
      for place = left, right - 1 do
        if a < middle and (b >= right or not before(from[b], from[a])) then
          to[place] = from[a]
          a = a + 1
        else
          to[place] = from[b]
          b = b + 1
        end
      end
    end
    from, to, width = to, from, width * 2
  end
  if from ~= t then
    for place = 1, count do t[place] = from[place] end
  end
end

for _, name in ipairs { "collectgarbage", "dofile", "load", "loadfile", "print", "require", "warn" } do
  _G[name] = nil
end
