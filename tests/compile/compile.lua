-- compile: NVRTC compiles the kernels of every shipped spec, for every target, io and mask, into a cache of its own.
-- default: each target's default variant; no kernel may spill, use local memory, or draw a complaint from ptxas.
-- all: every variant; spills and complaints are reported, but only a kernel that does not compile fails.
-- usage: lua5.4 compile.lua default|all <sagegen> <source folder> <scratch folder> [specs, such as 'fp4_*']     SPDX-License-Identifier: Apache-2.0
-- Exit status: 0 good, 1 failed, 77 skipped because there is no NVRTC.
local mode, sagegen, source, scratch, specs = table.unpack(arg)
local SKIPPED = 77

-- -- Running -----------------------------------------------------------------

local function quoted(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

local function runs(command)
  local ok, _, status = os.execute(command)
  return ok, status
end

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read("a")
  local ok = pipe:close()
  return text, ok
end

local function file_text(path)
  local file = io.open(path)
  if not file then return nil end
  local text = file:read("a")
  file:close()
  return text
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

-- -- Judging -----------------------------------------------------------------

-- An unused constant is no fault: the banner of a kernel names them all.
local HARMLESS = { "#177-D", "diag-suppress" }

local function is_complaint(line)
  for _, text in ipairs(HARMLESS) do
    if line:find(text, 1, true) then return false end
  end
  local low = line:lower()
  return low:find("warning", 1, true) or low:find("serialized", 1, true) or low:find("performance", 1, true)
end

-- Lines of the compiler's log that say more than what it used; nil if the entry has no log.
local function complaints_of(kernel)
  local log = file_text(("%s/cache/%s/%s/log"):format(scratch, kernel.key:sub(1, 2), kernel.key))
  if not log then return nil end
  local found = {}
  for line in log:gmatch("[^\n]+") do
    if is_complaint(line) then found[#found + 1] = line end
  end
  return found
end

local function faults_of(kernel)
  local faults = {}
  local function add(format, ...) faults[#faults + 1] = format:format(...) end
  if kernel.spill_bytes ~= 0 then add("%s bytes spilled", kernel.spill_bytes) end
  if kernel.local_bytes ~= 0 then add("%s bytes of local memory", kernel.local_bytes) end
  local complaints = complaints_of(kernel)
  if not complaints then add("no log in the cache entry %s", kernel.key) end
  for _, line in ipairs(complaints or {}) do add("%s", line) end
  return faults
end

-- -- Table -------------------------------------------------------------------

-- One row for each spec and target: the most of everything over its kernels.
local function print_summary(kernels)
  local rows, order = {}, {}
  for _, k in ipairs(kernels) do
    local name = k.spec .. " " .. k.target
    local row = rows[name]
    if not row then
      row = { spec = k.spec, target = k.target, kernels = 0, attention = 0, others = 0, spill = 0, smem = 0, cubin = 0, ms = 0, slowest = "" }
      rows[name], order[#order + 1] = row, name
    end
    local role = k.role == "attn_fwd" and "attention" or "others"
    row.kernels = row.kernels + 1
    row[role] = math.max(row[role], k.registers)
    row.spill = math.max(row.spill, k.spill_bytes, k.local_bytes)
    row.smem = math.max(row.smem, k.smem_static_bytes + k.smem_dynamic_bytes)
    row.cubin = math.max(row.cubin, k.cubin_bytes)
    if k.compile_ms > row.ms then row.ms, row.slowest = k.compile_ms, k.role end
  end
  local head = "%-20s %-8s %7s  %9s %6s %6s %7s %7s %6s  %s"
  print("the most over the kernels of each spec and target:")
  print(head:format("spec", "target", "kernels", "attn regs", "others", "spills", "smem", "cubin", "ms", "slowest"))
  for _, name in ipairs(order) do
    local r = rows[name]
    print(("%-20s %-8s %7d  %9d %6d %6d %7d %7d %6.0f  %s"):format(r.spec, r.target, r.kernels, r.attention, r.others,
      r.spill, r.smem, r.cubin, r.ms, r.slowest))
  end
end

-- Prints each fault once, with the first kernel that has it and how many do. Returns the number of faulty kernels.
local function report(kernels)
  local faulty, count, first, order = 0, {}, {}, {}
  for _, kernel in ipairs(kernels) do
    local faults = faults_of(kernel)
    if #faults > 0 then faulty = faulty + 1 end
    for _, fault in ipairs(faults) do
      if not count[fault] then count[fault], first[fault], order[#order + 1] = 0, kernel.name, fault end
      count[fault] = count[fault] + 1
    end
  end
  for _, fault in ipairs(order) do
    local more = count[fault] > 1 and (" (and %d more)"):format(count[fault] - 1) or ""
    print(("%s%s: %s"):format(first[fault], more, fault))
  end
  return faulty
end

-- -- Main --------------------------------------------------------------------

if not runs(quoted(sagegen) .. " doctor > /dev/null 2>&1") then
  print("skipped: no usable NVRTC ('sagegen doctor' says more; 'make run' fetches one)")
  os.exit(SKIPPED)
end

assert(runs("rm -rf " .. quoted(scratch) .. " && mkdir -p -m 700 " .. quoted(scratch .. "/cache")))
local command = ("SAGE_CACHE_DIR=%s %s %s/specs/%s.yaml --arch all --json %s 2> %s"):format(quoted(scratch .. "/cache"),
  quoted(sagegen), quoted(source), specs or "*", mode == "all" and "--all-variants" or "", quoted(scratch .. "/messages"))
local started = os.time()
local json, ok = output_of(command)
local kernels = kernels_of(json)
local seconds = os.time() - started
if not ok then print(file_text(scratch .. "/messages")) end
print_summary(kernels)
local faulty = report(kernels)
print(("%d kernels, %d with faults, %d s"):format(#kernels, faulty, seconds))
if mode == "all" then runs("rm -rf " .. quoted(scratch .. "/cache")) end -- that of the default variants is tests/sass's too

local good = ok and #kernels > 0 and (faulty == 0 or mode == "all")
if not ok then print("FAIL: not every kernel compiled; see above") end
if ok and not good then print("FAIL: a default variant spills, uses local memory, or draws a complaint from ptxas") end
os.exit(good and 0 or 1)
