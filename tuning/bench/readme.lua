-- readme: rewrites what README.md shows of the records in tuning/bench/*.json, between `<!-- bench:NAME -->` and
-- `<!-- /bench -->`, and the plots tuning/bench/{h100,fp4_accuracy}.svg. Tables of speed are printed by `sagegen bench --table`.
-- usage, in the source folder: lua5.4 tuning/bench/readme.lua [--check] [build folder]
--   --check: writes nothing; exit status 1 if README.md or a plot is not what the records say
-- SPDX-License-Identifier: Apache-2.0
local check = arg[1] == "--check"
local build = arg[check and 2 or 1] or "build"
local RECORD, PLOT, README = "tuning/bench/h100.json", "tuning/bench/h100.svg", "README.md"
local FP4_PLOT = "tuning/bench/fp4_accuracy.svg"
package.path = "tuning/bench/?.lua;" .. package.path
local bars = require("bars")

-- -- Files and commands --------------------------------------------------------

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  assert(file:close())
end

local function bench(words)
  local command = ("%s/sagegen bench --table %s %s"):format(build, RECORD, words)
  local pipe = assert(io.popen(command))
  local text = pipe:read("a")
  assert(pipe:close(), command .. " failed")
  return (text:gsub("\n+$", ""))
end

-- -- JSON: what our own programs write, and no more ------------------------------

local parse

local escapes = { n = "\n", t = "\t", r = "\r", b = "\b", f = "\f" }

local function parse_text(s, at)
  local out = {}
  while true do
    local plain, stop = s:match('^([^"\\]*)()', at)
    out[#out + 1] = plain
    if s:sub(stop, stop) == '"' then return table.concat(out), stop + 1 end
    local letter = s:sub(stop + 1, stop + 1)
    local code = letter == "u" and s:match("^%x%x%x%x", stop + 2)
    out[#out + 1] = code and utf8.char(tonumber(code, 16)) or escapes[letter] or letter
    at = stop + (code and 6 or 2)
  end
end

-- The elements of an array or the members of an object, from behind its bracket.
local function parse_list(s, at, close, named)
  local list = {}
  at = s:match("^%s*()", at)
  while s:sub(at, at) ~= close do
    local key
    if named then
      key, at = parse(s, at)
      at = s:match("^%s*:()", at)
    end
    list[key or #list + 1], at = parse(s, at)
    at = s:match("^%s*,?%s*()", at)
  end
  return list, at + 1
end

function parse(s, at)
  at = s:match("^%s*()", at)
  local first = s:sub(at, at)
  if first == "{" then return parse_list(s, at + 1, "}", true) end
  if first == "[" then return parse_list(s, at + 1, "]", false) end
  if first == '"' then return parse_text(s, at + 1) end
  local word, stop = s:match("^([%w%.+-]+)()", at)
  assert(word, "no JSON at byte " .. at)
  return word, stop -- numbers stay as they are written
end

local function load_json(name) return (parse(read("tuning/bench/" .. name), 1)) end

-- -- Blocks --------------------------------------------------------------------

local function table_of(head, rows, row_of)
  local lines = { head, "|" .. ("---|"):rep(select(2, head:gsub("|", "")) - 1) }
  for _, row in ipairs(rows) do lines[#lines + 1] = row_of(row) end
  return table.concat(lines, "\n")
end

local blocks = {}

local function figures(name)
  local record = load_json(name)
  return table_of("| figure | measured | goal |", record.figures, function(row)
    return ("| %s | %s %s | %s |"):format(row.name, row.value, row.unit, row.goal)
  end) .. ("\n\n%s: `%s`"):format(record.machine, record.command)
end

function blocks.figures() return figures("figures.json") end
function blocks.start() return figures("start.json") end

function blocks.verified()
  local record = load_json("verify_h100.json")
  return table_of("| checks | passed | failed | |", record.runs, function(row)
    return ("| %s | %s | %s | `%s` |"):format(row.what, row.passed, row.failed, row.command)
  end) .. "\n\n" .. record.machine
end

function blocks.machine() return (bench(""):match("^[^\n]*")) end

function blocks.d128() return bench("--d 128 --markdown") end
function blocks.d64() return bench("--d 64 --markdown") end
function blocks.d256() return bench("--d 256 --markdown") end

-- Whole processes on the GPU: by bare driver calls, and by libsage from a kernel folder, a pack, a pack's sources with a warm cache.
local WAYS = { { "bare", "bare driver calls" }, { "folder", "libsage, a kernel folder" }, { "pack", "libsage, cubins of a pack" },
  { "sources", "libsage, sources of a pack, from the cache" } }

function blocks.startgpu()
  local record = load_json("start_h100.json")
  local whole, opened = record.start_to_result, record.driver_open_to_result
  return table_of("| median ms to the first O | from the start | from the open driver | more than bare |", WAYS, function(way)
    local added = opened[way[1] .. "_added"]
    return ("| %s | %.0f | %.2f | %s |"):format(way[2], whole[way[1]].median, opened[way[1]].median, added and ("%.2f"):format(added.median) or "")
  end) .. ("\n\n%s, %s, %s processes of each, in turn; O is the same in all"):format(record.gpu, record.kernels, record.processes_of_each)
end

-- What comes before attention, beside copies of the same GPU.
function blocks.preprocess()
  local record = load_json("preprocess_h100.json")
  return table_of("| Q, K, V of bf16 to 8-bit tiles | MB that must move | us | of the copy bandwidth |", record.rows, function(row)
    return ("| %s x %s heads, %s tokens | %.0f | %.0f | %.0f %% |"):format(row.batch, row.heads, row.n, row.bytes / 1e6, row.median_us, 100 * row.share)
  end) .. ("\n\n%s, %s, medians of %s: `preprocess KERNEL_DIR` (tuning/bench/preprocess.c)"):format(record.gpu, record.kernels, record.rounds)
end

-- -- FP4: errors by recipe --------------------------------------------------------

local KINDS = { "normal", "outlier", "runs" }
local SAGE3, NEAREST, SHIPPED = "SageAttention3", "+ maximum lazy by 2^4", "+ scales of P linear in log2 (shipped)"
local fp4 = load_json("fp4_accuracy.json")

local function fp4_row(d, n, recipe, kind)
  for _, row in ipairs(fp4.rows) do
    if row.d == d and row.n == n and row.recipe == recipe and row.kind == kind then return row end
  end
  error(("fp4_accuracy.json has no row of d %s, %s tokens, %s, %s"):format(d, n, recipe, kind))
end

-- In the order of the record.
local function fp4_recipes(d, n)
  local names = {}
  for _, row in ipairs(fp4.rows) do
    if row.d == d and row.n == n and row.kind == KINDS[1] then names[#names + 1] = row.recipe end
  end
  return names
end

local function per_kind(d, n, recipe, format, ...)
  local cells, fields = {}, { ... }
  for i, kind in ipairs(KINDS) do
    local row, values = fp4_row(d, n, recipe, kind), {}
    for k, field in ipairs(fields) do values[k] = tonumber(row[field]) end
    cells[i] = format:format(table.unpack(values))
  end
  return table.concat(cells, " | ")
end

local function fp4_facts(d, n)
  for _, p in ipairs(fp4.problems) do
    if p.d == d and p.n == n then
      return ("%s x %s heads, %s rows of each"):format(p.seeds, p.heads, p.rows)
    end
  end
  error(("fp4_accuracy.json has no problem of d %s, %s tokens"):format(d, n))
end

local function marked(recipe) return recipe == SHIPPED and "**" .. recipe .. "**" or recipe end

function blocks.fp4error()
  return table_of("| error (of SageAttention3's) | normal | outlier | runs |", fp4_recipes("128", "4096"), function(recipe)
    return ("| %s | %s |"):format(marked(recipe), per_kind("128", "4096", recipe, "%.4f (%.3f)", "error", "ratio"))
  end) .. "\n\nd 128, 4096 keys, " .. fp4_facts("128", "4096")
end

function blocks.fp4length()
  return table_of("| shipped recipe's error over SageAttention3's | normal | outlier | runs | |", fp4.problems, function(p)
    return ("| d %s, %s keys | %s | %s |"):format(p.d, p.n, per_kind(p.d, p.n, SHIPPED, "%.3f ± %.3f", "ratio", "ratio_sd"), fp4_facts(p.d, p.n))
  end)
end

function blocks.fp4lse()
  return table_of("| error of LSE in nats, rms (mean) | normal | outlier | runs |", { SAGE3, NEAREST, SHIPPED }, function(recipe)
    return ("| %s | %s |"):format(marked(recipe), per_kind("128", "4096", recipe, "%.4f (%+.4f)", "lse_rms", "lse_mean"))
  end)
end

local function fp4_svg()
  local rows, panels = {}, {}
  for i, recipe in ipairs(fp4_recipes("128", "4096")) do
    rows[i] = { name = recipe, class = recipe == SHIPPED and "marked" or recipe == SAGE3 and "base" or "plain" }
  end
  for i, kind in ipairs(KINDS) do
    panels[i] = { title = kind, value = {}, spread = {}, cut = 1.25 * tonumber(fp4_row("128", "4096", SAGE3, kind).error) }
    for k, row in ipairs(rows) do
      local cell = fp4_row("128", "4096", row.name, kind)
      panels[i].value[k], panels[i].spread[k] = tonumber(cell.error), tonumber(cell.error_sd)
    end
  end
  return bars.svg({ title = "FP4 attention: relative error of O by recipe and distribution", rows = rows, panels = panels,
    caption = "d 128, 4096 keys, " .. fp4_facts("128", "4096") .. "; lines: standard deviation over seeds; float64 models" })
end

-- -- FP4: what an H100 gave that emulates it ------------------------------------------

local function fp4_emulated(name)
  local part = load_json("fp4_h100.json")[name]
  return part.rows, ("\n\n%s; commit %s: `%s`"):format(part.what, part.commit, part.command)
end

-- Each row of no mask with its causal partner.
local function masked_pairs(rows, same)
  local found = {}
  for _, full in ipairs(rows) do
    for _, causal in ipairs(rows) do
      if full.mask == "none" and causal.mask == "causal" and same(full, causal) then found[#found + 1] = { full, causal } end
    end
  end
  return found
end

function blocks.fp4gates()
  local rows, facts = fp4_emulated("gates")
  return table_of("| emulated kernel's error over SageAttention3's | normal | outlier | runs |", rows, function(row)
    local cells = {}
    for i, kind in ipairs(KINDS) do cells[i] = ("%s ± %s"):format(row[kind], row[kind .. "_se"]) end
    local causal = row.mask == "causal" and ", causal" or ""
    return ("| %s%s, %s keys | %s |"):format(row.spec, causal, row.keys, table.concat(cells, " | "))
  end) .. facts
end

function blocks.fp4real()
  local rows, facts = fp4_emulated("real")
  local layers, cells = {}, {}
  for _, pair in ipairs(masked_pairs(rows, function(a, b) return a.layer == b.layer and a.d == b.d end)) do
    local layer = pair[1].layer
    if not cells[layer] then layers[#layers + 1], cells[layer] = layer, {} end
    table.insert(cells[layer], ("%s / %s"):format(pair[1].error, pair[2].error))
  end
  return table_of("| error of O, not causal / causal | d 32 | d 64 | d 128 |", layers, function(layer)
    return ("| layer %s | %s |"):format(layer, table.concat(cells[layer], " | "))
  end) .. facts
end

function blocks.fp4drift()
  local rows, facts = fp4_emulated("drift")
  return table_of("| keys | error of O | causal |", masked_pairs(rows, function(a, b) return a.keys == b.keys end), function(pair)
    return ("| %s | %s | %s |"):format(pair[1].keys, pair[1].error, pair[2].error)
  end) .. facts
end

-- -- All blocks of README.md ----------------------------------------------------

local function fill(text)
  return (text:gsub("<!%-%- bench:(%w+) %-%->\n.-<!%-%- /bench %-%->", function(name)
    local block = assert(blocks[name], README .. ": there is no block named " .. name)
    return ("<!-- bench:%s -->\n%s\n<!-- /bench -->"):format(name, block())
  end))
end

-- -- Writing -------------------------------------------------------------------

local text, plot = fill(read(README)), os.tmpname()
bench("--plot " .. plot)
if not check then
  write(README, text)
  write(PLOT, read(plot))
  write(FP4_PLOT, fp4_svg())
end
local same = text == read(README) and read(plot) == read(PLOT) and fp4_svg() == read(FP4_PLOT)
os.remove(plot)
if not same then
  io.stderr:write("README.md or a plot of it differs from tuning/bench/*.json: run lua5.4 tuning/bench/readme.lua\n")
  os.exit(1)
end
