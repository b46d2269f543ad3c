-- sass: the instruction budgets of budgets.txt, held against what `sagegen sass` counts in the default variant of every shipped spec,
-- target and mask (bf16), and in the tuning points of POINTS (specs of tests/gpu). No kernel may use local memory, spill, or have its wgmma serialised.
-- usage: lua5.4 sass.lua test|rewrite|raise <sagegen> <source folder> <cache folder> <scratch folder>     SPDX-License-Identifier: Apache-2.0
-- test: exit status 0 good, 1 failed, 77 skipped because there is no NVRTC or no nvdisasm.
-- rewrite: makes budgets.txt of today's figures. raise: raises those that are exceeded. NVRTCs differ: rewrite with one, raise with others:
--   for l in 13.0 13.5; do SAGE_NVRTC=/opt/$l/lib64 lua5.4 tests/sass/sass.lua $([ $l = 13.0 ] && echo rewrite || echo raise) build/sagegen . /tmp/c /tmp/s; done
local mode, sagegen, source, cache, scratch = table.unpack(arg)
local SKIPPED, PROCESSES = 77, 2
local BUDGETS = source .. "/tests/sass/budgets.txt"
local POINTS = { -- beside the defaults: where registers are scarcest
  { spec = "int8_fp8_points_d64", target = "sm_90a", variant = "q192_k128_s3_w12_f8" },
  { spec = "int8_fp8_points_d128", target = "sm_90a", variant = "q192_k128_s3_w12_f8" },
}

-- -- Running -----------------------------------------------------------------

local function quoted(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

local function runs(command)
  local ok, _, status = os.execute(command)
  return ok, status
end

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read("a")
  pipe:close()
  return text
end

local function file_text(path)
  local file = assert(io.open(path))
  local text = file:read("a")
  file:close()
  return text
end

local function skip(text)
  print("skipped: " .. text)
  os.exit(SKIPPED)
end

-- The objects of "kernels", which are flat; values as text, numbers as numbers.
local function kernels_of(json)
  local kernels = {}
  for object in (json:match('"kernels": *(%b[])') or ""):gmatch("%b{}") do
    local kernel = {}
    for key, value in object:gmatch('"([%w_]+)": *("?[^,"\n}]*)') do
      kernel[key] = value:sub(1, 1) == '"' and value:sub(2) or tonumber(value) or value
    end
    kernels[#kernels + 1] = kernel
  end
  return kernels
end

-- One sagegen for each share of the specs and for each point, side by side: most of the time is nvdisasm's. Kernels in the order of the
-- specs' names, then the points as <spec>:<variant>.
-- nil: one failed, its messages are printed.
local function count_kernels()
  local shares, parts, kernels = {}, {}, {}
  local place = {}
  for spec in output_of("ls " .. quoted(source) .. "/specs/*.yaml"):gmatch("[^\n]+") do
    local share = #place % PROCESSES + 1
    shares[share] = (shares[share] or "") .. " --spec " .. quoted(spec)
    place[#place + 1] = spec:match("([^/]+)%.yaml$")
  end
  for _, point in ipairs(POINTS) do
    shares[#shares + 1] = (" --spec %s --arch %s --variant %s"):format(quoted(source .. "/tests/gpu/specs/" .. point.spec .. ".yaml"), point.target, point.variant)
    place[#place + 1] = point.spec .. ":" .. point.variant
  end
  for i, specs in ipairs(shares) do
    local out = quoted(scratch .. "/" .. i)
    parts[i] = ("{ SAGE_CACHE_DIR=%s %s sass%s --io bf16 --jobs 1 --json > %s.json 2> %s.err || touch %s.failed; } &"):format(quoted(cache),
      quoted(sagegen), specs, out, out, out)
  end
  runs(table.concat(parts, " ") .. " wait")
  local failed, of_spec = false, {}
  for i = 1, #shares do
    if io.open(scratch .. "/" .. i .. ".failed") then
      failed = true
      io.write(file_text(scratch .. "/" .. i .. ".err"))
    end
    for _, kernel in ipairs(kernels_of(file_text(scratch .. "/" .. i .. ".json"))) do
      if i > #shares - #POINTS then kernel.spec = kernel.spec .. ":" .. kernel.variant end
      of_spec[kernel.spec] = of_spec[kernel.spec] or {}
      table.insert(of_spec[kernel.spec], kernel)
    end
  end
  for _, spec in ipairs(place) do
    for _, kernel in ipairs(of_spec[spec] or {}) do kernels[#kernels + 1] = kernel end
  end
  return not failed and kernels or nil
end

-- -- Budgets -------------------------------------------------------------------

local function key_of(row) return ("%s %s %s"):format(row.spec, row.target, row.mask) end

-- Rows by key, and the comment lines at the top.
local function read_budgets()
  local rows, head = {}, {}
  for line in io.lines(BUDGETS) do
    local spec, target, mask, most, goal = line:match("^(%S+)%s+(%S+)%s+(%S+)%s+([%d.]+)%s+(%S+)$")
    if line:sub(1, 1) == "#" then
      head[#head + 1] = line
    elseif line ~= "" then
      assert(spec, BUDGETS .. ": not a row: " .. line)
      local row = { spec = spec, target = target, mask = mask, most = tonumber(most), goal = tonumber(goal) }
      assert(not rows[key_of(row)], BUDGETS .. ": twice: " .. key_of(row))
      rows[key_of(row)] = row
    end
  end
  return rows, head
end

local function rounded_up(figure) return math.ceil(figure * 10 - 1e-6) / 10 end

local function write_budgets(kernels, rows, head)
  local file = assert(io.open(BUDGETS, "w"))
  file:write(table.concat(head, "\n"), "\n")
  for _, k in ipairs(kernels) do
    local row = rows[key_of(k)]
    local most = rounded_up(k.slots_per_score)
    if mode == "raise" and row then most = math.max(most, row.most) end
    file:write(("%-20s %-8s %-7s %5.1f  %s\n"):format(k.spec, k.target, k.mask, most, row and row.goal and ("%.1f"):format(row.goal) or "-"))
  end
  file:close()
end

-- -- Judging ---------------------------------------------------------------------

local function faults_of(kernel, row)
  local faults = {}
  local function add(format, ...) faults[#faults + 1] = format:format(...) end
  if kernel.spill_bytes ~= 0 then add("%s bytes spilled", kernel.spill_bytes) end
  if kernel.local_bytes ~= 0 or kernel.local_accesses ~= 0 then
    add("%s bytes of local memory, %s accesses", kernel.local_bytes, kernel.local_accesses)
  end
  if kernel.wgmma_serialised ~= "false" then add("wgmma is serialised") end
  if kernel.scores == 0 or kernel.scores_estimated ~= "false" then add("no main loop was found, or its scores are not known") end
  if not row then
    add("%.2f issue slots a score, and no budget in tests/sass/budgets.txt", kernel.slots_per_score)
  elseif kernel.slots_per_score > row.most + 0.005 then
    add("%.2f issue slots a score; the budget is %.1f", kernel.slots_per_score, row.most)
  end
  return faults
end

-- Prints faults and goals; returns the number of kernels with faults.
local function judge(kernels, rows)
  local faulty, slack, seen = 0, 0, {}
  local function width(key) return ("%-36s"):format(key) end
  for _, kernel in ipairs(kernels) do
    local key = key_of(kernel)
    local row = rows[key]
    local faults = faults_of(kernel, row)
    seen[key] = true
    for _, fault in ipairs(faults) do print(("FAIL: %s %s"):format(width(key), fault)) end
    if #faults > 0 then faulty = faulty + 1 end
    if row and row.goal then
      local at_goal = kernel.slots_per_score <= row.goal
      print(("goal: %s %.2f of %.1f%s"):format(width(key), kernel.slots_per_score, row.goal,
        not at_goal and "" or row.most > row.goal and ": reached, the budget can be lowered to it" or ": reached"))
    end
    if row and kernel.slots_per_score < 0.9 * row.most then slack = slack + 1 end
  end
  for key in pairs(rows) do
    if not seen[key] then
      faulty = faulty + 1
      print(("FAIL: %s has a budget, and no kernel"):format(key))
    end
  end
  if slack > 0 then print(("%d kernels are more than a tenth below their budgets"):format(slack)) end
  return faulty
end

-- -- Main ------------------------------------------------------------------------

local doctor = output_of(quoted(sagegen) .. " doctor --json 2> /dev/null")
if not doctor:find('"can_compile": true', 1, true) then skip("no usable NVRTC ('sagegen doctor' says more; 'make run' fetches one)") end
if not doctor:match('"nvdisasm": (%b{})'):find('"found": true', 1, true) then skip("no nvdisasm ('make nvdisasm' fetches one)") end

assert(runs(("rm -rf %s && mkdir -p %s && mkdir -p -m 700 %s"):format(quoted(scratch), quoted(scratch), quoted(cache))))
local started = os.time()
local kernels = count_kernels()
if not kernels then
  print("FAIL: not every kernel could be counted; see above")
  os.exit(1)
end
local rows, head = read_budgets()
if mode ~= "test" then
  write_budgets(kernels, rows, head)
  os.exit(0)
end
local faulty = judge(kernels, rows)
print(("%d kernels, %d faults, %d s"):format(#kernels, faulty, os.time() - started))
os.exit(#kernels > 0 and faulty == 0 and 0 or 1)
