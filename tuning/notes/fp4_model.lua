-- fp4_model: what the FP4 loop should reach on an RTX 5090, by a stated model: no measurement. Reads the loop's slots and pipe clocks from
-- `sagegen sass`, and shows how matrix products and the rest interleave in the machine code.
-- usage: lua5.4 tuning/notes/fp4_model.lua <sagegen> [spec ...]      (needs nvdisasm, as sagegen sass does)     SPDX-License-Identifier: Apache-2.0
--
-- Model. An SM has 4 schedulers; a warp's iteration costs, on its scheduler: `tensor` clocks of OMMA (16 each: 8 scores a clock and SM at
-- d 128), `issue` slots, `xu` clocks of ex2 (16 a clock and SM), `lsu` clocks of shared memory (128 bytes a clock and SM).
-- Shared memory feeds the products, so these take max(tensor, lsu); the rest takes max(issue, xu).
--   serial      the sum of the two: products and the rest take turns
--   calibrated  products + a * rest, a from SageAttention3: 1038 TOPS published, 13.3 slots a score
--   overlapped  the larger of the two
local sagegen, specs = arg[1], {table.unpack(arg, 2)}
if not sagegen then
    io.stderr:write("usage: lua5.4 fp4_model.lua <sagegen> [spec ...]\n")
    os.exit(2)
end
if #specs == 0 then specs = {"fp4_d64", "fp4_d128"} end

local clock, sms = 2.41e9, 170 -- RTX 5090: boost clock and SMs (NVIDIA's data sheet); 1676 TOPS dense FP4 = 8 scores a clock and SM at d 128
local function tops(scores_per_clock, d) return 4 * d * scores_per_clock * sms * clock / 1e12 end

-- SageAttention3 at d 128: clocks a score and SM
local sage3_tensor, sage3_issue = 1 / 8, 13.3 / 128
local sage3 = 1 / (1038e12 / (4 * 128 * sms * clock))
local a = (sage3 - sage3_tensor) / sage3_issue
io.write(string.format("SageAttention3, 13.3 slots a score: serial %.0f TOPS, overlapped %.0f, published 1038: a = %.2f\n",
    tops(1 / (sage3_tensor + sage3_issue), 128), tops(1 / math.max(sage3_tensor, sage3_issue), 128), a))

local function lines_of(command)
    local pipe = assert(io.popen(command .. " 2>/dev/null"))
    local text = pipe:read("a")
    pipe:close()
    return text
end

-- One letter an instruction: T product, x ex2, f fma, m maximum, c conversion, s shared memory, n nop, . the rest.
local letters = { tensor = "T", mufu = "x", ffma = "f", fmnmx = "m", f2fp = "c", shared = "s", nop = "n" }
local function strip(spec)
    local text = lines_of(string.format("%s sass --spec %s --arch sm_120a --io bf16 --mask none --annotate", sagegen, spec))
    local out = {}
    for class in text:gmatch("\n%x+ |%s+(%a+)") do out[#out + 1] = letters[class] or "." end
    return table.concat(out)
end

for _, spec in ipairs(specs) do
    local text = lines_of(string.format("%s sass --spec %s --arch sm_120a --io bf16", sagegen, spec))
    for mask, rest in text:gmatch("sm_120a%s+bf16%s+(%a+)%s+%S+(.-)\n") do
        local n = {}
        for x in rest:gmatch("[%d.]+") do n[#n + 1] = tonumber(x) end
        local issue, scores, tensor, xu, lsu = n[4], n[5], n[8], n[9], n[12]
        local d = tonumber(spec:match("d(%d+)"))
        local products, rest_of = math.max(tensor, lsu), math.max(issue, xu)
        local function rate(clocks) return tops(4 * 32 * scores / clocks, d) end
        io.write(string.format("%s %s: %.2f slots a score; clocks of %d scores a lane: tensor %.0f, issue %.0f, xu %.0f, lsu %.0f; TOPS: serial %.0f, calibrated %.0f, overlapped %.0f\n",
            spec, mask, issue / scores, scores, tensor, issue, xu, lsu, rate(products + rest_of), rate(products + a * rest_of), rate(math.max(products, rest_of))))
    end
    local s = strip(spec)
    local alone, products = 0, 0
    for at in s:gmatch("()T") do
        products = products + 1
        local next = s:sub(at + 1, at + 1)
        if next == "T" or next == "n" then alone = alone + 1 end
    end
    local longest = 0
    for gap in s:gmatch("[^T]+") do longest = math.max(longest, #gap) end
    io.write(string.format("%s: %d of %d products are followed by work of another pipe; longest stretch without a product: %d instructions\n", spec, products - alone, products, longest))
    for i = 1, #s, 120 do io.write("  ", s:sub(i, i + 119), "\n") end
end
