-- embed: writes a C file that holds the given files as string literals, sorted by name; same input, same bytes.
-- Usage: lua5.4 embed.lua SOURCE_DIR OUT.c FILES...          FILES are relative to SOURCE_DIR. Declared in embedded.h.
-- SPDX-License-Identifier: Apache-2.0

local source_dir, out_path = arg[1], arg[2]
if not out_path then
    io.stderr:write("usage: embed.lua SOURCE_DIR OUT.c FILES...\n")
    os.exit(2)
end

-- One byte as it stands in a C string literal; three octal digits never swallow the next character, \? forbids trigraphs.
local function escape(byte)
    if byte == '"' or byte == "\\" or byte == "?" then return "\\" .. byte end
    if byte:match("[ -~]") then return byte end
    return string.format("\\%03o", byte:byte())
end

-- A file's bytes as adjacent literals, one per line of the file.
local function literals(data)
    local lines = {}
    for line in data:gmatch("[^\n]*\n?") do
        if line ~= "" then lines[#lines + 1] = '    "' .. line:gsub("\n", ""):gsub("[%c\"\\?\127-\255]", escape) .. (line:sub(-1) == "\n" and "\\n" or "") .. '"' end
    end
    return #lines > 0 and table.concat(lines, "\n") or '    ""'
end

local function read(path)
    local file = assert(io.open(path, "rb"))
    local data = assert(file:read("a"))
    file:close()
    return data
end

local names = table.move(arg, 3, #arg, 1, {})
table.sort(names)

local out, rows = { "// Written by gen/embed.lua. Do not edit.", '#include "embedded.h"', "" }, {}
for i, name in ipairs(names) do
    local data = read(source_dir .. "/" .. name)
    out[#out + 1] = string.format("static const char data_%d[] =\n%s;\n", i, literals(data))
    rows[#rows + 1] = string.format('    {"%s", data_%d, sizeof data_%d - 1},', name:gsub(".", escape), i, i)
end
if #rows == 0 then rows[1] = "    {NULL, NULL, 0}," end
out[#out + 1] = "const struct embedded_file embedded_files[] = {\n" .. table.concat(rows, "\n") .. "\n};"
out[#out + 1] = string.format("const int embedded_file_count = %d;", #names)

local file = assert(io.open(out_path, "wb"))
assert(file:write(table.concat(out, "\n"), "\n"))
assert(file:close())
