-- frag: where elements sit in MMA fragments and in the swizzled tile images. Pure functions; the truth that templates, tests and
-- documentation share. Source: PTX ISA, "Matrix Fragments for mma.m16n8k16 / k32 / k64" and "wgmma ... register fragments".
local M = {}

-- Key (within its group) that position k of the P A-fragment stands for, so that score accumulators become A registers unshuffled.
-- Accumulators: lane t of a quad holds columns 8j + 2t + {0,1} of n8-tile j. A register: lane t holds `per_lane` consecutive k.
function M.key_of_k(k, per_lane)
    local span = 4 * per_lane                    -- positions held by the four lanes of a quad in one register
    local group, within = k // span, k % span
    local t, r = within // per_lane, within % per_lane
    return group * span + 8 * (r // 2) + 2 * t + r % 2
end

-- Consecutive k positions that one lane holds in one A register: 2 for 16-bit elements, 4 for 8-bit, 8 for 4-bit.
function M.per_lane(format)
    local table_of = { fp16 = 2, fp8_e4m3 = 4, nvfp4 = 8, mxfp4 = 8 }
    return table_of[format]
end

-- C expression for the key, in its tile, of position `p` (an expression) of the P fragment; 16-bit elements keep their order.
function M.key_expression(format, p)
    local forms = {
        fp16 = "P",
        fp8_e4m3 = "P / 16 * 16 + 8 * (P % 4 / 2) + 2 * (P % 16 / 4) + P % 2",
        nvfp4 = "P / 32 * 32 + 8 * (P % 8 / 2) + 2 * (P % 32 / 8) + P % 2",
        mxfp4 = "P / 32 * 32 + 8 * (P % 8 / 2) + 2 * (P % 32 / 8) + P % 2",
    }
    return (string.gsub(forms[format], "P", p))
end

-- Columns of O, in groups of 32, of which a lane of a quad holds 8 neighbours: V's rows are put in this order, so that four n8 tiles of
-- an accumulator are 16 bytes of O. Lane t holds columns 2t and 2t + 1 of n8 tile n: channels 8t + 2 (n % 4) and the next of the group.
function M.wide_columns(head_dim_v)
    return head_dim_v // 32 * 32
end

-- C expression for the row of V's image, and column of the product, of channel `c` (of d_v, padded).
function M.v_row(head_dim_v, d_v, c)
    local form = string.gsub("C / 32 * 32 + C % 8 / 2 * 8 + C % 32 / 8 * 2 + C % 2", "C", c)
    local wide = M.wide_columns(head_dim_v)
    return wide == 0 and c or wide == d_v and form or string.format("(%s < %d ? %s : %s)", c, wide, form, c)
end

-- C expression for the place, in 16-byte chunks, of chunk `group` of channel `c` while a quantiser turns a tile of V: `groups` chunks a
-- channel, turned by the channel's group of 8, `c8`, so that neither stores of words nor loads of chunks meet in a bank. `wide`: groups of
-- 8 channels that neighbouring lanes read.
function M.v_place(groups, wide, c, c8, group)
    local turn = wide == 8 and c8 .. " % 8" or string.format("%s * %d %% 8", c8, 8 // wide)
    return string.format(groups % 8 == 0 and "(%s) * groups + (%s ^ %s)" or "((%s) * groups + %s) ^ %s", c, group, turn)
end

-- C expression for the 16-byte chunk where chunk `c` of row `r` of a panel sits: the 128-, 64- and 32-byte swizzle modes of TMA and
-- wgmma, which also keep ldmatrix free of bank conflicts.
function M.swizzle(panel_bytes, row, chunk)
    local forms = { [128] = "(%s ^ %s %% 8)", [64] = "(%s ^ %s / 2 %% 4)", [32] = "(%s ^ %s / 4 %% 2)" }
    return string.format(forms[panel_bytes], chunk, row)
end

-- The same as numbers, for tests.
function M.swizzled_chunk(panel_bytes, row, chunk)
    local shift = { [128] = 0, [64] = 1, [32] = 2 }
    return chunk ~ ((row >> shift[panel_bytes]) & (panel_bytes // 16 - 1))
end

-- Row of the A operand (of 16) and k step (of a pair) whose block scales lane `lane` supplies; thread-id selector 0 reads the lanes
-- with lane % 4 = 0, 1; selector 1 those with 2, 3. One register so serves two k steps.
function M.scale_a(lane)
    return lane // 4 + 8 * (lane % 2), lane % 4 // 2
end

-- Column of the B operand (of 32, four n8 tiles) whose block scales lane `lane` supplies; selector i belongs to n8 tile i.
function M.scale_b(lane)
    return 8 * (lane % 4) + lane // 4
end

-- Block scales of a tile of K or V: `words` registers a lane and step of 64 keys, stored so that a lane loads them as vectors: [step][words / width][lane][width].
function M.scale_width(words)
    return words % 4 == 0 and 4 or words % 2 == 0 and 2 or 1
end

-- C expression for the index, in words, of word `w` (an expression: words of earlier steps too) of lane `lane`.
function M.scale_word(words, w, lane)
    local width = M.scale_width(words)
    if width == 1 then return string.format("(%s) * 32 + %s", w, lane) end
    return string.format("((%s) / %d * 32 + %s) * %d + (%s) %% %d", w, width, lane, width, w, width)
end

return M
