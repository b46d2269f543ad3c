-- start: measures what libsage adds to the start of an application: cache hits, packs, compilation of one problem. Prints a
-- Markdown table and writes tuning/bench/start.json. Needs NVRTC; where there is no GPU, the driver is the tests' stand-in
-- (tests/fake_cuda.so of the build folder: as an sm_90, and loading takes it no time).
-- usage, in the source folder, on a quiet machine: lua5.4 tuning/bench/start.lua [build folder]
-- SPDX-License-Identifier: Apache-2.0
local build = arg[1] or "build"
local RUNS, COLD_RUNS = 31, 5
local PACK_SPECS = "int8_fp8_d64 int8_fp8_d128 fp8_fp8_d64 fp8_fp8_d128 int8_fp8_d256"

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read("a")
  assert(pipe:close(), command .. " failed")
  return text
end

local function line_of(command) return (output_of(command):gsub("%s+$", "")) end

local scratch = line_of("mktemp -d")
local fake = not io.open("/dev/nvidiactl")
local driver = fake and ("SAGE_DRIVER=" .. build .. "/tests/fake_cuda.so ") or ""
local sagegen, start_time = build .. "/sagegen", build .. "/start_time"

local function cache(name) return "SAGE_CACHE_DIR=" .. scratch .. "/" .. name .. " " end

-- The sorted sums of the chosen columns of what each of `runs` processes prints; `before` runs in front of each.
local function timed(command, columns, runs, before)
  local list = {}
  for _ = 1, runs do
    if before then os.execute(before) end
    local sum, numbers = 0, {}
    for number in output_of(command):gmatch("%S+") do numbers[#numbers + 1] = tonumber(number) end
    for _, column in ipairs(columns) do sum = sum + numbers[column] end
    list[#list + 1] = sum
  end
  table.sort(list)
  return list
end

local function median(list) return list[#list // 2 + 1] end

local load = tonumber(line_of("cut -d' ' -f1 /proc/loadavg"))
if load > 0.5 then io.stderr:write(("start: this machine is busy (load average %.1f): the times will be too long\n"):format(load)) end

-- -- Packs -----------------------------------------------------------------------

local function pack(name, words)
  output_of(("%s%s pack %s -o %s/%s 2> %s/messages"):format(cache("packs"), sagegen, words, scratch, name, scratch))
  return scratch .. "/" .. name
end

local many = pack("many.sagepack", PACK_SPECS)
local ready = pack("ready.sagepack", "int8_fp8_d128 --arch sm_90a")
local sources = pack("sources.sagepack", "int8_fp8_d128 --arch sm_89 --io bf16 --mask none --sources")
local count = output_of(start_time .. " pack " .. many):match("(%d+)%s*$")
local bytes = tonumber(line_of("wc -c < " .. many))
local opened = timed(start_time .. " pack " .. many, { 1 }, RUNS)
local read = timed(start_time .. " pack " .. many, { 1, 2 }, RUNS)

-- -- The cache -------------------------------------------------------------------

local hits = {}
for _ = 1, 5 do
  for ms in output_of(cache("packs") .. start_time .. " hits"):gmatch("%S+") do hits[#hits + 1] = tonumber(ms) end
end
table.sort(hits)

-- -- Starts ----------------------------------------------------------------------

local function start(pack_path, spec) return driver .. cache("starts") .. start_time .. " plan " .. pack_path .. " " .. spec end

local empty = "rm -rf " .. scratch .. "/starts"
local cold_pack = timed(start(sources, "int8_fp8_d128"), { 1, 2 }, COLD_RUNS, empty)
local warm_pack = timed(start(sources, "int8_fp8_d128"), { 1, 2, 3 }, RUNS)
local cold_generator = timed(start("-", "int8_fp8_d128"), { 1, 2 }, COLD_RUNS, empty)
local warm_generator = timed(start("-", "int8_fp8_d128"), { 1, 2, 3 }, RUNS)
local cubins = timed(driver .. "SAGE_NVRTC=/nonexistent " .. cache("starts") .. start_time .. " plan " .. ready .. " int8_fp8_d128", { 1, 2, 3 }, RUNS)
os.execute("rm -rf " .. scratch)

-- -- Record and table ------------------------------------------------------------

local function row(name, value, digits, goal) return { name, ("%%.%df"):format(digits):format(value), "ms", goal } end

local rows = {
  row("a kernel from the cache, median", median(hits), 3, "< 1 ms"),
  row("a kernel from the cache, 99 of 100", hits[math.ceil(#hits * 0.99)], 3, "< 1 ms"),
  row(("a pack of %s kernels (%.1f MB): open, check the whole file"):format(count, bytes / 1e6), median(opened), 1, "< 20 ms"),
  row("the same, and read and check all its cubins", median(read), 1, "< 20 ms"),
  row("cold: context and plan, its 3 kernels compiled from a pack's sources", median(cold_pack), 0, "< 1500 ms"),
  row("cold: context and plan, its 3 kernels made by the generator", median(cold_generator), 0, "< 1500 ms"),
  row("warm: context, plan, release: cubins of a pack", median(cubins), 2, "< 10 ms"),
  row("warm: the same, from a pack's sources and the cache", median(warm_pack), 2, "< 10 ms"),
  row("warm: the same, from the generator and the cache", median(warm_generator), 2, "< 10 ms"),
}
local nvrtc = output_of(sagegen .. " doctor --json"):match('"version": "([%d.]+)"')
local commit = line_of("git rev-parse --short HEAD") .. (line_of("git status --porcelain -uno") == "" and "" or " with changes")
local machine = ("%s cores, NVRTC %s, %s, load average %.1f before, medians of %d processes (cold: %d), %s, commit %s"):format(line_of("nproc"), nvrtc,
  fake and "a stand-in for the driver" or "the GPU's driver", load, RUNS, COLD_RUNS, os.date("!%Y-%m-%d"), commit)
local records = {}
for i, r in ipairs(rows) do
  records[i] = ('    {"name": "%s", "value": %s, "unit": "%s", "goal": "%s"}'):format(r[1], r[2], r[3], r[4])
end
local file = assert(io.open("tuning/bench/start.json", "w"))
file:write('{\n  "command": "lua5.4 tuning/bench/start.lua",\n  "machine": "', machine, '",\n  "figures": [\n', table.concat(records, ",\n"), "\n  ]\n}\n")
file:close()
print(machine .. "\n\n| figure | measured | goal |\n|---|---|---|")
for _, r in ipairs(rows) do print(("| %s | %s %s | %s |"):format(r[1], r[2], r[3], r[4])) end
