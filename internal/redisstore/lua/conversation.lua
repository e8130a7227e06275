-- Applies an Append or a Replace to a conversation; the steps are those of the
-- contract in package store.
-- KEYS  1 list of messages, in order  2 companion hash  [3 the organisation's
--       generation, where it is in the same slot]
-- ARGV  1 'live' or 'merge'  2 'append' or 'replace'  3 version
--       4 generation, hexadecimal  5 life in ms, or 0  6 expiry in ms since 1970, or 0
--       7 longest life in ms, or 0  8 how long a floor is kept in ms, or 0
--       9 window in messages  10 slack  11 window in bytes, or 0  12 ids to remember
--       13 most ms that a version may be ahead
--       then for each message: order and flags, id, digest, payload
-- Gives status, version, generation, what is left of the life in ms, the time in
-- seconds and microseconds, the id of a conflict; then for each
-- message a letter (n new, d duplicate, x dropped) and the order where it stands.
--
-- The hash has floor, trimmedTo, highest (of all remembered orders), generation,
-- epoch (ms of the creation), expiresAt, keepUntil (of the floor), lastArrival,
-- bytes, conflicts; 'i:<id>' with an order and a digest, 40 digits, for each
-- order of the id, lowest first; and 's:<digest>:<id>' with the rest of a message
-- whose content is not the one in the list.
local list, meta = KEYS[1], KEYS[2]
local live, replace, version = ARGV[1] == 'live', ARGV[2] == 'replace', ARGV[3]
local generation = tonumber(ARGV[4], 16)
local life, expires, longest, keep = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local window, slack, maxBytes, maxIDs = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local FIRST, STRIDE, ENTRY, MAXORDERS = 14, 4, 40, 32
local count = (#ARGV - FIRST + 1) / STRIDE

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])

local fields = {'floor', 'trimmedTo', 'highest', 'generation', 'epoch', 'expiresAt', 'keepUntil', 'lastArrival', 'bytes'}
local HEADERS = #fields
for i = 0, count - 1 do
  fields[HEADERS + 1 + i] = 'i:' .. ARGV[FIRST + i * STRIDE + 1]
end
local state = redis.call('HMGET', meta, unpack(fields))
local floor, trimmedTo, highest = state[1] or '', state[2] or '', state[3] or ''
local stored = tonumber(state[4] or '0', 16)
local epoch, expiresAt, keepUntil = tonumber(state[5] or now), tonumber(state[6] or 0), tonumber(state[7] or 0)
local lastArrival, bytes = tonumber(state[8] or 0), tonumber(state[9] or 0)

local function integer(n) return string.format('%.0f', n) end

local organisation = KEYS[3] and redis.call('GET', KEYS[3]) or '0'
if not tonumber(organisation) then
  return redis.error_reply('ERR the generation of the organisation is not a number')
end
local placed = {}
local function answer(status, v, current, conflict)
  return {status, v == '' and '-' or v, current or organisation, integer(math.max(expiresAt - now, 0)), time[1], time[2],
    conflict or '', unpack(placed)}
end

-- What is decided: emptied means that list and ids of before are to be deleted,
-- raised that the floor is higher, onlyFloor that nothing else changes, promoted that
-- the generation is new; push comes to the end of the list, or the list from an order
-- on becomes tail, if that is loaded.
local emptied, pristine, raised, onlyFloor, promoted, changed = false, not state[4], false, false, false, false
local tail, loaded, tailBytes, tailCount = {}, false, 0, 0
local conflicts = 0
local push, inserted, moved = {}, 0, false
-- writes and drops are the fields of the hash to set and to delete.
local writes, drops = {}, {}
local function set(field, value)
  writes[#writes + 1] = field
  writes[#writes + 1] = value
end
local arrival = lastArrival
local function nextArrival()
  arrival = math.max(arrival + 1, micros)
  return integer(arrival)
end
local function ms(order) return tonumber(string.sub(order, 1, 12), 16) or 0 end
local function at(i) return string.sub(ARGV[FIRST + i * STRIDE], 1, 24) end
local function head(i) return ARGV[FIRST + i * STRIDE] end
local function rest(i)
  return string.sub(head(i), 25) .. '|' .. ARGV[4] .. '|' .. nextArrival() .. '|'
    .. ARGV[FIRST + i * STRIDE + 1] .. '|' .. ARGV[FIRST + i * STRIDE + 3]
end
-- What is merged tells that the conversation was there when it was written; a
-- historic version, whose millisecond is lower, tells nothing.
local function older(order)
  local written = ms(order)
  if not live and written >= 1099511627776 then
    epoch = math.min(epoch, written)
  end
end
local function place(letter, order) placed[#placed + 1] = letter .. order end

-- Nearly always messages that are new and above everything come to a conversation that
-- goes on: none of the steps up to 6 changes anything but its end.
local plain = not replace and count > 0 and generation == stored and not pristine and expiresAt > now
  and (expires == 0 or expires > now) and ms(version) - ARGV[13] <= now and version >= floor
local latest, ids = highest > trimmedTo and highest or trimmedTo, {}
for i = 0, count - 1 do
  local order, id = at(i), ARGV[FIRST + i * STRIDE + 1]
  if order <= latest or order < floor or state[HEADERS + 1 + i] or ids[id] then plain = false end
  latest, ids[id] = order, true
end
if plain then
  for i = 0, count - 1 do
    local order = at(i)
    push[i + 1] = order .. rest(i)
    bytes = bytes + #push[i + 1]
    set(fields[HEADERS + 1 + i], order .. ARGV[FIRST + i * STRIDE + 2])
    older(order)
    place('n', order)
  end
  highest, inserted, changed = latest, count, true
else
  -- Step 1.
  -- A version may be ahead of what is stored, if not of the time: a clock that was
  -- wrong must not lock a conversation.
  if ms(version) - ARGV[13] > math.max(now, ms(highest), ms(floor)) then
    return answer('ahead', '')
  end
  -- What is over joins a life that others prolonged, and a Replace that has to be
  -- remembered still says what has gone.
  if expires > 0 and expires <= now and (live or expiresAt <= now or generation > stored) then
    if live or not replace or keep == 0 then
      return answer('expired', '')
    end
    onlyFloor = true
  end

  -- known[id] is a list of {order, digest}, lowest order first.
  local known = {}
  local function empty()
    emptied, known, trimmedTo, highest, bytes = true, {}, '', '', 0
  end
  local function entries(text)
    local list = {}
    for at = 1, #text, ENTRY do
      list[#list + 1] = {string.sub(text, at, at + 23), string.sub(text, at + 24, at + 39)}
    end
    return list
  end
  for i = 0, count - 1 do
    local text = state[HEADERS + 1 + i]
    if text then known[ARGV[FIRST + i * STRIDE + 1]] = entries(text) end
  end
  if expiresAt > 0 and expiresAt <= now then
    if keepUntil <= now then floor = '' end
    empty()
    epoch, expiresAt = now, 0
  elseif next(known) and redis.call('EXISTS', list) == 0 then
    empty() -- somebody else deleted the list
  end

  -- Step 2.
  raised = replace and version > floor
  if generation < stored or onlyFloor then
    if live then
      return answer('stale', '', integer(stored))
    end
    for i = 1, count do placed[i] = 'x' .. string.sub(ARGV[FIRST + (i - 1) * STRIDE], 1, 24) end
    if not raised then
      return answer('unchanged', '')
    end
    count = 0
  elseif generation > stored then
    promoted = not pristine
    empty()
    epoch = now
  end
  if not onlyFloor then
    stored = math.max(stored, generation)
  end

  -- Step 3.
  if live then
    local exceed = version < floor and floor or ''
    if replace and version < string.sub(highest, 1, 20) and highest > exceed then
      exceed = highest
    end
    for i = 0, count - 1 do
      if not replace and at(i) <= trimmedTo and trimmedTo > exceed then exceed = trimmedTo end
    end
    if exceed ~= '' then
      return answer('superseded', string.sub(exceed, 1, 20))
    end
  end

  -- Step 4.
  local newFloor = raised and version or floor
  for i = 0, count - 1 do
    local id, digest = ARGV[FIRST + i * STRIDE + 1], ARGV[FIRST + i * STRIDE + 2]
    for _, e in ipairs(known[id] or {}) do
      if e[1] >= newFloor and e[2] ~= digest then
        if live then
          return answer('conflict', '', nil, id)
        end
        conflicts = conflicts + 1
        break
      end
    end
  end

  -- The end of the list from the lowest order that will be touched: tail[order]
  -- is the rest of the message. It is loaded once, or not at all.
  local function loadTail(lowest)
    loaded = true
    if emptied then return end
    local size, chunk = 32, nil
    repeat
      chunk = redis.call('LRANGE', list, -size, -1)
      local whole = #chunk < size
      size = size * 8
    until whole or string.sub(chunk[1], 1, 24) < lowest
    for _, element in ipairs(chunk) do
      local order = string.sub(element, 1, 24)
      if order >= lowest then
        tail[order] = string.sub(element, 25)
        tailBytes = tailBytes + #element
        tailCount = tailCount + 1
      end
    end
  end

  -- The rest of a message is flags|generation|arrival|id|payload.
  local function arrivedNow(rest)
    return (string.gsub(rest, '^([^|]*|[^|]*|)%d+', '%1' .. nextArrival()))
  end

  local function save(id, list)
    known[id] = list
    local text = {}
    for i, e in ipairs(list) do text[i] = e[1] .. e[2] end
    if #list == 0 then
      drops[#drops + 1] = 'i:' .. id
    else
      set('i:' .. id, table.concat(text))
    end
  end
  local function has(list, digest)
    for _, e in ipairs(list) do
      if e[2] == digest then return true end
    end
    return false
  end

  -- Step 5.
  changed = raised
  if raised then
    floor = version
    if highest == '' or string.sub(highest, 1, 20) < version then
      empty()
    elseif not emptied then
      loadTail('')
      local all = redis.call('HGETALL', meta)
      local aside = {}
      for i = 1, #all, 2 do
        if string.sub(all[i], 1, 2) == 's:' then aside[all[i]] = all[i + 1] end
      end
      for i = 1, #all, 2 do
        if string.sub(all[i], 1, 2) == 'i:' then
          local id, before, after = string.sub(all[i], 3), entries(all[i + 1]), {}
          for _, e in ipairs(before) do
            if e[1] >= floor then after[#after + 1] = e end
          end
          if #after < #before then
            local first = before[1]
            if first[1] < floor then
              local rest = tail[first[1]]
              tail[first[1]] = nil
              local heir = after[1]
              if heir then
                local name = 's:' .. heir[2] .. ':' .. id
                local content = heir[2] == first[2] and rest or aside[name]
                if content and not tail[heir[1]] then
                  tail[heir[1]] = arrivedNow(content)
                else
                  after = {}
                end
                if heir[2] ~= first[2] then
                  drops[#drops + 1] = name
                  if rest and has(after, first[2]) then set('s:' .. first[2] .. ':' .. id, rest) end
                end
              end
            end
            for _, e in ipairs(before) do
              if not has(after, e[2]) and aside['s:' .. e[2] .. ':' .. id] then
                drops[#drops + 1] = 's:' .. e[2] .. ':' .. id
              end
            end
            save(id, after)
          end
        end
      end
    end
  end

  -- Step 6. Messages that are new and above everything go straight to the end.
  local function insert(i, order, id, digest)
    if loaded then
      tail[order] = rest(i)
    else
      push[#push + 1] = order .. rest(i)
      bytes = bytes + #push[#push]
    end
    save(id, {{order, digest}})
    inserted = inserted + 1
    older(order)
    if order > highest then highest = order end
    place('n', order)
  end

  local function remember(id, list, order, digest)
    local position = 1
    while list[position] and list[position][1] < order do position = position + 1 end
    table.insert(list, position, {order, digest})
    if #list > MAXORDERS then
      local gone = table.remove(list, MAXORDERS)
      if not has(list, gone[2]) then drops[#drops + 1] = 's:' .. gone[2] .. ':' .. id end
    end
    if order > highest then highest = order end
  end

  local function dropped(order)
    return string.sub(order, 1, 20) < floor or order <= trimmedTo
  end
  if not loaded then
    -- Messages that do not simply come one after the other at the end, and ids
    -- that move to a lower order, need the list from there on.
    local lowest, latest, ascending = nil, highest, true
    for i = 0, count - 1 do
      local order, list = at(i), known[ARGV[FIRST + i * STRIDE + 1]]
      if not dropped(order) and not (list and (list[1][1] <= trimmedTo or list[1][1] <= order)) then
        if not lowest or order < lowest then lowest = order end
        if list or order <= latest then ascending = false end
        latest = order
      end
    end
    if not ascending then loadTail(lowest) end
  end

  for i = 0, count - 1 do
    local order, id, digest = at(i), ARGV[FIRST + i * STRIDE + 1], ARGV[FIRST + i * STRIDE + 2]
    local list = known[id]
    local first = list and list[1]
    local there = false
    for _, e in ipairs(list or {}) do
      if e[1] == order then there = true end
    end
    if dropped(order) then
      place('x', order)
    elseif there then
      place('d', first[1])
    elseif not first then
      if not tail[order] then
        insert(i, order, id, digest)
      elseif live then
        return answer('conflict', '', nil, id)
      else
        place('x', order)
      end
    elseif first[1] <= trimmedTo then
      place('d', first[1])
    elseif order > first[1] then
      local news = digest ~= first[2] and not has(list, digest)
      remember(id, list, order, digest)
      if news and has(list, digest) then
        set('s:' .. digest .. ':' .. id, rest(i))
      end
      save(id, list)
      place('d', list[1][1])
    else
      if tail[order] and live then
        return answer('conflict', '', nil, id)
      elseif tail[order] then
        place('x', order)
      else
        local old = tail[first[1]]
        tail[first[1]] = nil
        if digest == first[2] then
          tail[order] = old
        else
          tail[order] = rest(i)
          if old then set('s:' .. first[2] .. ':' .. id, old) end
          if has(list, digest) then drops[#drops + 1] = 's:' .. digest .. ':' .. id end
        end
        remember(id, list, order, digest)
        save(id, list)
        place('d', order)
        moved = true
        older(order)
      end
    end
  end
  changed = changed or inserted > 0 or moved

  if not changed and not promoted and #writes == 0 then
    return answer('unchanged', '')
  end
end

-- Everything is decided: write.
local function each(command, key, values)
  for from = 1, #values, 1000 do
    redis.call(command, key, unpack(values, from, math.min(from + 999, #values)))
  end
end
if emptied then
  redis.call('DEL', list, meta)
end
local length
if loaded then
  local orders, elements, size = {}, {}, 0
  for order in pairs(tail) do orders[#orders + 1] = order end
  table.sort(orders)
  for n, order in ipairs(orders) do
    elements[n] = order .. tail[order]
    size = size + #elements[n]
  end
  if tailCount > 0 then redis.call('LTRIM', list, 0, -tailCount - 1) end
  each('RPUSH', list, elements)
  bytes = bytes - tailBytes + size
  length = redis.call('LLEN', list)
elseif #push > 0 then
  for from = 1, #push, 1000 do
    length = redis.call('RPUSH', list, unpack(push, from, math.min(from + 999, #push)))
  end
  if length == #push then
    -- Nothing else is in the list: somebody may have deleted it.
    bytes = 0
    for _, element in ipairs(push) do bytes = bytes + #element end
  end
end

-- Step 8.
if length and (length > window + slack or maxBytes > 0 and bytes > maxBytes * 9 / 8) then
  while length > 1 and (length > window or maxBytes > 0 and bytes > maxBytes) do
    local oldest, n = redis.call('LRANGE', list, 0, 63), 0
    while n < #oldest and length > 1 and (length > window or maxBytes > 0 and bytes > maxBytes) do
      n, length = n + 1, length - 1
      bytes = bytes - #oldest[n]
      trimmedTo = string.sub(oldest[n], 1, 24)
    end
    redis.call('LTRIM', list, n, -1)
  end
end

-- Step 9.
if raised and not onlyFloor and generation == stored then
  older(version)
end
if changed then
  local expiry = expires > 0 and expires or now + life
  if longest > 0 then expiry = math.min(expiry, epoch + longest) end
  expiresAt = math.max(expiresAt, expiry)
  if replace and keep > 0 then keepUntil = math.max(keepUntil, now + keep) end
end

if emptied or pristine or raised then
  set('generation', string.format('%x', stored))
  set('floor', floor)
  set('keepUntil', integer(keepUntil))
end
if emptied or pristine or raised or epoch ~= tonumber(state[5] or now) then
  set('epoch', integer(epoch))
end
if emptied or trimmedTo ~= (state[2] or '') then set('trimmedTo', trimmedTo) end
set('highest', highest)
set('expiresAt', integer(expiresAt))
set('lastArrival', integer(arrival))
set('bytes', integer(bytes))
if #drops > 0 and not emptied then each('HDEL', meta, drops) end
each('HSET', meta, writes)
if conflicts > 0 then redis.call('HINCRBY', meta, 'conflicts', conflicts) end
if changed or emptied then
  -- A life that ended takes everything but a floor that is kept.
  redis.call('PEXPIREAT', list, integer(expiresAt))
  redis.call('PEXPIREAT', meta, integer(math.max(expiresAt, keepUntil)))
end

-- Ids beyond those to remember: drop from the lowest, in one go now and then.
local limit = math.max(maxIDs, window + slack)
if inserted > 0 and redis.call('HLEN', meta) > limit * 1.5 + HEADERS + 1 then
  local all, sample, ids = redis.call('HGETALL', meta), {}, 0
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 2) == 'i:' then
      ids = ids + 1
      if ids % 7 == 1 then sample[#sample + 1] = string.sub(all[i + 1], 1, 24) end
    end
  end
  table.sort(sample)
  -- Sampled, so with a margin: at least limit ids remain.
  local below = sample[math.floor(#sample * (1 - limit / ids) * 0.6) + 1] or ''
  local old = {}
  for i = 1, #all, 2 do
    local order = string.sub(all[i + 1], 1, 24)
    if string.sub(all[i], 1, 2) == 'i:' and order < below and order <= trimmedTo and ids - #old > limit then
      old[#old + 1] = all[i]
    end
  end
  if #old > 0 then each('HDEL', meta, old) end
end

return answer((inserted > 0 or moved or raised) and 'applied' or 'unchanged', '')
