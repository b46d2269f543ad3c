-- frag_check: templates/lib/frag.lua, the layouts that the kernels are generated from, against the PTX ISA's statements of the
-- fragments, restated here (see layouts.h; not derived from frag.lua nor from the PTX machine). Usage: lua frag_check.lua [root]
-- SPDX-License-Identifier: Apache-2.0
local root = arg[1] or "."
local frag = dofile(root .. "/templates/lib/frag.lua")
local failures = 0

local function check(ok, format, ...)
    if ok then return end
    failures = failures + 1
    if failures <= 20 then print(string.format("frag_check: " .. format, ...)) end
end

-- Value of a C expression of integers over the given names: /, ^ and % of non-negative numbers.
local function evaluate(expression, names)
    local lua = expression:gsub("/", "//"):gsub("%^", "~")
    return assert(load("return " .. lua, expression, "t", names))()
end

-- PTX ISA, "Matrix Fragments for mma.*": element i of lane 4 g + t. Position along k of A, by bits of an element.
local a_position = {
    [16] = function(t, i) return i < 4 and t * 2 + (i & 1) or t * 2 + (i & 1) + 8 end,  -- m16n8k16, i < 8
    [8] = function(t, i) return i < 8 and t * 4 + (i & 3) or t * 4 + (i & 3) + 16 end,  -- m16n8k32, i < 16
    [4] = function(t, i) return i < 16 and t * 8 + (i & 7) or t * 8 + (i & 7) + 32 end, -- m16n8k64, i < 32
}
-- Whether element i of A lies in row g (not g + 8).
local a_upper = {
    [16] = function(i) return i < 2 or i >= 4 and i < 6 end,
    [8] = function(i) return i < 4 or i >= 8 and i < 12 end,
    [4] = function(i) return i < 8 or i >= 16 and i < 24 end,
}
local k_of = { [16] = 16, [8] = 32, [4] = 64 }
-- Accumulator element i of an m16n8 tile: column; elements 0 and 1 are row g.
local function c_column(t, i) return t * 2 + (i & 1) end

local formats = { fp16 = 16, fp8_e4m3 = 8, nvfp4 = 4, mxfp4 = 4 }
local names = { "fp16", "fp8_e4m3", "nvfp4", "mxfp4" }

-- Scores leave Q K^T as accumulators; lane t's values of row g, tile by tile, column by column, become its elements of row g of
-- A of P V, in order. So the i-th such element of A stands for the key of the i-th such accumulator.
for _, name in ipairs(names) do
    local bits = formats[name]
    local per_lane = frag.per_lane(name)
    check(per_lane == 32 // bits, "per_lane(%s) is %d", name, per_lane)
    local keys = 128
    for t = 0, 3 do
        local held = {} -- keys of lane t's accumulators in row g
        for tile = 0, keys // 8 - 1 do
            for i = 0, 1 do held[#held + 1] = 8 * tile + c_column(t, i) end
        end
        local at = 0
        for step = 0, keys // k_of[bits] - 1 do
            for i = 0, 16 * k_of[bits] // 32 - 1 do
                if a_upper[bits](i) then
                    at = at + 1
                    local k = step * k_of[bits] + a_position[bits](t, i)
                    local key = frag.key_of_k(k, per_lane)
                    check(key == held[at], "%s: lane %d, k %d stands for key %d, not %d", name, t, k, held[at], key)
                end
            end
        end
        check(at == #held, "%s: %d elements for %d keys", name, at, #held)
    end
    for p = 0, 255 do
        local key = evaluate(frag.key_expression(name, "P"), { P = p })
        check(key == frag.key_of_k(p, per_lane), "%s: key_expression of %d is %d", name, p, key)
    end
end

-- PTX ISA, "Shared Memory Matrix Layout" and tensor-map swizzle modes: on byte addresses, bits 4.. ^= bits 7.., of which 3, 2, 1
-- for 128, 64, 32 bytes.
for _, mode in ipairs({ { 128, 7 }, { 64, 3 }, { 32, 1 } }) do
    local bytes, mask = mode[1], mode[2]
    for row = 0, 31 do
        for chunk = 0, bytes // 16 - 1 do
            local address = row * bytes + chunk * 16
            local place = address ~ ((address >> 7 & mask) << 4)
            local expected = (place - row * bytes) // 16
            check(frag.swizzled_chunk(bytes, row, chunk) == expected, "swizzled_chunk(%d, %d, %d)", bytes, row, chunk)
            check(evaluate(frag.swizzle(bytes, "r", "c"), { r = row, c = chunk }) == expected, "swizzle(%d) of row %d chunk %d",
                  bytes, row, chunk)
        end
    end
end

-- PTX ISA, "Block Scaling for mma.sync": thread-id-a s takes lanes 2 s (row g) and 2 s + 1 (row g + 8) of each quad; thread-id-b
-- takes one lane of the quad, column g.
for g = 0, 7 do
    for selector = 0, 1 do
        for upper = 0, 1 do
            local row, step = frag.scale_a(4 * g + 2 * selector + upper)
            check(row == g + 8 * upper and step == selector, "scale_a of lane %d", 4 * g + 2 * selector + upper)
        end
    end
    for tile = 0, 3 do
        check(frag.scale_b(4 * g + tile) == 8 * tile + g, "scale_b of lane %d", 4 * g + tile)
    end
end

-- PTX ISA, fragments of C and D: lane 4 g + t holds columns 2 t and 2 t + 1 of each tile of 8 columns. V's rows, which are the columns of
-- O, are ordered so that four tiles give a lane eight neighbouring channels.
for _, head_dim in ipairs({ 32, 40, 64, 72, 80, 96, 128, 160, 192, 256 }) do
    local expression = frag.v_row(head_dim, (head_dim + 15) // 16 * 16, "C"):gsub("^%((C < %d+) %? (.-) : C%)$", "(%1) and (%2) or C")
    local channel_of, wide = {}, head_dim // 32 * 32
    for channel = 0, head_dim - 1 do
        local row = evaluate(expression, { C = channel })
        check(row >= 0 and row < head_dim and not channel_of[row], "v_row(%d) of channel %d is %s", head_dim, channel, row)
        channel_of[row] = channel
    end
    check(frag.wide_columns(head_dim) == wide, "wide_columns(%d)", head_dim)
    for t = 0, 3 do
        for tile = 0, head_dim // 8 - 1 do
            for i = 0, 1 do
                local column = 8 * tile + 2 * t + i
                local expected = column < wide and 32 * (tile // 4) + 8 * t + 2 * (tile % 4) + i or column
                check(channel_of[column] == expected, "head dim %d: column %d is channel %s, not %d", head_dim, column, channel_of[column], expected)
            end
        end
    end
end

-- While V is turned, each chunk of each channel has a place of its own, and the chunks that eight lanes store words to (neighbouring groups of
-- 8 channels, the same chunk of each) or read (neighbouring chunks) lie in different banks: places that differ mod 8.
for _, d_v in ipairs({ 16, 32, 48, 64, 80, 96, 128, 160, 192, 256 }) do
    local wide = math.min(8, d_v // 8 & -(d_v // 8))
    for _, groups in ipairs({ 2, 4, 8, 16, 32 }) do
        local expression, taken = frag.v_place(groups, wide, "c", "c / 8", "group"), {}
        local function place(c, group) return evaluate(expression, { c = c, group = group, groups = groups }) end
        for c = 0, d_v - 1 do
            for group = 0, groups - 1 do
                local at = place(c, group)
                check(at >= 0 and at < d_v * groups and not taken[at], "v_place: d_v %d, %d chunks: chunk %d of channel %d at %d", d_v, groups, group, c, at)
                taken[at] = true
            end
        end
        if wide == 8 and groups % 8 == 0 then
            for first = 0, groups - 1 do
                local stores, loads = {}, {}
                for lane = 0, 7 do
                    stores[place(8 * lane, first) % 8], loads[place(0, first // 8 * 8 + lane) % 8] = true, true
                end
                check(#stores == 7 and stores[0] and #loads == 7 and loads[0], "v_place: d_v %d, %d chunks: lanes meet in a bank", d_v, groups)
            end
        end
    end
end

print(failures == 0 and "frag_check: ok" or string.format("frag_check: %d failures", failures))
os.exit(failures == 0)
