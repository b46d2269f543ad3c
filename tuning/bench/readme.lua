-- readme: rewrites what README.md shows of the records in tuning/bench/*.json, between `<!-- bench:NAME -->` and
-- `<!-- /bench -->`, and the plot tuning/bench/h100.svg. Tables of speed are printed by `sagegen bench --table`.
-- usage, in the source folder: lua5.4 tuning/bench/readme.lua [--check] [build folder]
--   --check: writes nothing; exit status 1 if README.md or the plot is not what the records say
-- SPDX-License-Identifier: Apache-2.0
local check = arg[1] == "--check"
local build = arg[check and 2 or 1] or "build"
local RECORD, PLOT, README = "tuning/bench/h100.json", "tuning/bench/h100.svg", "README.md"

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
end
local same = text == read(README) and read(plot) == read(PLOT)
os.remove(plot)
if not same then
  io.stderr:write("README.md or its plot differs from tuning/bench/*.json: run lua5.4 tuning/bench/readme.lua\n")
  os.exit(1)
end
