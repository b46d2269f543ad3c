-- figures: measures what the README promises of sagegen itself: expansion and NVRTC per kernel, a cold and a cached
-- `sagegen --spec specs/fp4_d128.yaml`, the size of libsage. Prints a Markdown table and writes tuning/bench/figures.json.
-- usage, in the source folder, on a quiet machine: lua5.4 tuning/bench/figures.lua [build folder]
-- SPDX-License-Identifier: Apache-2.0
local build = arg[1] or "build"
local SPEC, EXTRA = "specs/fp4_d128.yaml", "specs/int8_fp16_d64.yaml specs/int8_fp8_d128.yaml"
local COLD_RUNS, CACHED_RUNS = 3, 21

-- -- Measuring -----------------------------------------------------------------

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read("a")
  assert(pipe:close(), command .. " failed")
  return text
end

local function line_of(command) return (output_of(command):gsub("%s+$", "")) end

local function median(list)
  table.sort(list)
  return list[#list // 2 + 1]
end

local function most(list)
  table.sort(list)
  return list[#list]
end

-- Milliseconds of each of `runs` runs of a whole process.
local function timed(command, runs)
  local script = ([[for i in $(seq %d); do a=$(date +%%s%%N); %s > /dev/null 2>&1 || exit 1; b=$(date +%%s%%N); echo $((b - a)); done]]):format(runs, command)
  local list = {}
  for line in output_of(script):gmatch("%d+") do list[#list + 1] = tonumber(line) / 1e6 end
  return list
end

-- The values of one field over the kernels of a run's JSON.
local function field_of(json, name)
  local list = {}
  for value in json:gmatch('"' .. name .. '": *([%d.]+)') do list[#list + 1] = tonumber(value) end
  return list
end

local load = tonumber(line_of("cut -d' ' -f1 /proc/loadavg"))
if load > 0.5 then io.stderr:write(("figures: this machine is busy (load average %.1f): the times will be too long\n"):format(load)) end
local scratch = line_of("mktemp -d")
local cache = "SAGE_CACHE_DIR=" .. scratch .. "/cache "
local sagegen = build .. "/sagegen"
local doctor = output_of(sagegen .. " doctor --json")

local cold = timed("rm -rf " .. scratch .. "/cache; " .. cache .. sagegen .. " --spec " .. SPEC, COLD_RUNS)
local cached = timed(cache .. sagegen .. " --spec " .. SPEC, CACHED_RUNS)
os.execute("rm -rf " .. scratch .. "/cache")
-- one at a time, so that a kernel's time is its own
local json = output_of(("%s %s %s %s --arch all --jobs 1 --json 2> %s/messages"):format(cache, sagegen, SPEC, EXTRA, scratch))
os.execute(("strip -o %s/libsage.so %s/libsage.so"):format(scratch, build))

local function round(value, digits) return (("%%.%df"):format(digits)):format(value) end
local expand, compile = field_of(json, "expand_ms"), field_of(json, "compile_ms")
local _, kernels_of_spec = output_of(cache .. sagegen .. " --json --spec " .. SPEC .. " 2> /dev/null"):gsub('"key"', "")
local size = tonumber(line_of("wc -c < " .. scratch .. "/libsage.so"))
os.execute("rm -rf " .. scratch)

local rows = {
  { "expansion of a kernel, median", round(median(expand), 1), "ms", "< 10 ms" },
  { "expansion of a kernel, the slowest", round(most(expand), 1), "ms", "< 10 ms" },
  { "NVRTC for a kernel, median", round(median(compile), 0), "ms", "< 1000 ms" },
  { "NVRTC for a kernel, the slowest", round(most(compile), 0), "ms", "< 1000 ms" },
  { ("`sagegen --spec %s`, empty cache, %d kernels"):format(SPEC, kernels_of_spec), round(median(cold), 0), "ms", "< 3000 ms" },
  { "the same, cached, whole process", round(median(cached), 1), "ms", "< 50 ms" },
  { "`libsage.so`, stripped", round(size / 1000, 0), "KB", "< 300 KB" },
}
local facts = {
  { "date", os.date("!%Y-%m-%d") },
  { "commit", line_of("git rev-parse --short HEAD") .. (line_of("git status --porcelain -uno") == "" and "" or " with changes") },
  { "cores", line_of("nproc") },
  { "nvrtc", doctor:match('"version": "([%d.]+)"') },
  { "kernels", tostring(#compile) },
  { "command", "lua5.4 tuning/bench/figures.lua" },
}
local of = {}
for _, fact in ipairs(facts) do of[fact[1]] = fact[2] end
facts[#facts + 1] = { "machine", ("%s cores, NVRTC %s, load average %.1f before, %s kernels one at a time, %s, commit %s"):format(of.cores, of.nvrtc, load, of.kernels, of.date, of.commit) }

-- -- Record and table ----------------------------------------------------------

local lines = {}
for _, fact in ipairs(facts) do lines[#lines + 1] = ('  "%s": "%s",'):format(fact[1], fact[2]) end
local records = {}
for i, row in ipairs(rows) do
  records[i] = ('    {"name": "%s", "value": %s, "unit": "%s", "goal": "%s"}'):format(row[1], row[2], row[3], row[4])
end
local file = assert(io.open("tuning/bench/figures.json", "w"))
file:write("{\n", table.concat(lines, "\n"), '\n  "figures": [\n', table.concat(records, ",\n"), "\n  ]\n}\n")
file:close()

print(facts[#facts][2] .. "\n\n| figure | measured | goal |\n|---|---|---|")
for _, row in ipairs(rows) do print(("| %s | %s %s | %s |"):format(row[1], row[2], row[3], row[4])) end
