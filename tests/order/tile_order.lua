-- tile_order: the order in which causal blocks take query tiles, as the emitted kernel computes it (stage/tile_coordinates): every tile of
-- every head once, longest first within the heads that share the L2 cache, which are as many as have room there. SPDX-License-Identifier: Apache-2.0
-- usage: lua5.4 tile_order.lua <sagegen>
local sagegen = arg[1]
local failures = 0

local function check(ok, format, ...)
  if ok then return end
  failures = failures + 1
  if failures <= 20 then print(("tile_order: " .. format):format(...)) end
end

-- The definitions of stage 1 as a Lua function of the launch: C's operators on integers that are not negative.
local function coordinates(spec, arch)
  local pipe = assert(io.popen(("%s expand --spec %s --arch %s --io bf16 --mask causal"):format(sagegen, spec, arch)))
  local text = pipe:read("a")
  assert(pipe:close(), "sagegen failed")
  local stage = assert(text:match("stage 1/7: tile coordinates.-\n(.-const i32 kv_index[^\n]*)\n"), "no stage of tile coordinates")
  local lines = {}
  for line in stage:gmatch("[^\n]+") do
    line = line:gsub("//.*", ""):gsub("%(i32%)blockIdx%.x", "block"):gsub("args%.", "")
    local definitions = line:match("const i32 (.*);")
    if definitions then
      -- `a = x, b = y`: commas outside of parentheses part definitions
      local depth, parts, from = 0, {}, 1
      for i = 1, #definitions do
        local c = definitions:sub(i, i)
        depth = depth + (c == "(" and 1 or c == ")" and -1 or 0)
        if c == "," and depth == 0 then parts[#parts + 1], from = definitions:sub(from, i - 1), i + 1 end
      end
      parts[#parts + 1] = definitions:sub(from)
      for _, part in ipairs(parts) do lines[#lines + 1] = "local " .. part:gsub("/", "//") end
    end
  end
  local source = "local block, batch_count, heads_q, heads_kv, q_tile_first, q_tile_launch, seq_k = ...\nlocal max, min = math.max, math.min\n"
    .. table.concat(lines, "\n"):gsub("batch %* heads_q;?", "batch_count * heads_q", 1) .. "\nreturn head, q_tile, kv_index, heads_together"
  return assert(load(source))
end

local cases = { -- batch, heads_q, heads_kv, first tile, tiles, keys
  { 1, 1, 1, 0, 1, 0 }, { 1, 1, 1, 0, 1, 1 }, { 2, 3, 1, 0, 5, 700 }, { 4, 32, 8, 0, 6, 1024 }, { 4, 32, 32, 0, 43, 8192 }, { 1, 32, 32, 0, 171, 32768 },
  { 3, 7, 7, 0, 22, 16384 }, { 1, 5, 1, 8, 8, 65536 }, { 1, 40, 8, 0, 3, 131072 }, { 1, 3, 3, 2, 4, 1 << 20 },
}
for _, kernel in ipairs({ { "int8_fp8_d128", "sm_90a", 256, 32 }, { "int8_fp16_d64", "sm_80", 192, 24 }, { "fp4_d128", "sm_120a", 128, 24 } }) do
  local spec, arch, key_bytes, megabytes = table.unpack(kernel)
  local place = coordinates(spec, arch)
  for _, case in ipairs(cases) do
    local batch, heads_q, heads_kv, first, tiles, keys = table.unpack(case)
    local name = ("%s, %d x %d heads, %d tiles, %d keys"):format(spec, batch, heads_q, tiles, keys)
    local heads, seen, count = batch * heads_q, {}, 0
    local last_tile, in_group, group_heads
    for block = 0, heads * tiles - 1 do
      local head, tile, kv, together = place(block, batch, heads_q, heads_kv, first, tiles, keys)
      check(head >= 0 and head < heads and tile >= first and tile < first + tiles, "%s: block %d has tile %d of head %d", name, block, tile, head)
      check(kv == head // heads_q * heads_kv + head % heads_q // (heads_q // heads_kv), "%s: head %d reads K and V %d", name, head, kv)
      check(not seen[head * (1 << 20) + tile], "%s: tile %d of head %d twice", name, tile, head)
      seen[head * (1 << 20) + tile], count = true, count + 1
      check(together == 1 or together * keys * key_bytes <= megabytes << 20, "%s: %d heads together are too much for L2", name, together)
      check(together == heads or (together + 1) * keys * key_bytes > megabytes << 20, "%s: more than %d heads fit together", name, together)
      local group = head // together
      if group ~= in_group then
        check(in_group == nil or group == in_group + 1, "%s: block %d leaves its heads early", name, block)
        in_group, last_tile = group, first + tiles - 1
      end
      check(tile <= last_tile, "%s: block %d has tile %d after %d", name, block, tile, last_tile)
      last_tile, group_heads = tile, together
    end
    check(count == heads * tiles and group_heads >= 1, "%s: %d tiles", name, count)
  end
end
if failures > 0 then
  print(failures .. " failed")
  os.exit(1)
end
print("tile_order: every tile once, in order")
