-- launches: the launches before attention of one spec of each family, and what each reads and writes, as the PTX machine counts it: a table
-- for preprocess.md. usage: lua5.4 tuning/notes/launches.lua SAGEGEN SCRATCH     SPDX-License-Identifier: Apache-2.0
local sagegen, scratch = table.unpack(arg)
local HEADS, ROWS = 2, 1024 -- of Q, K and V; one batch
local SECTOR = 32           -- bytes

local rows = {
  { spec = "int8_fp16_d128", arch = "sm_90a" }, { spec = "int8_fp8_d128", arch = "sm_90a" },
  { spec = "int8_fp8_d128", arch = "sm_90a", lse = true }, { spec = "fp8_fp8_d128", arch = "sm_90a" },
  { spec = "int8_fp8acc16_d128", arch = "sm_89" }, { spec = "fp4_d128", arch = "sm_120a" },
}

-- fp32, shaped [HEADS][ROWS][dim]; values in (-1, 1).
local function write_npy(path, dim)
  local head = ("{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d, %d), }"):format(HEADS, ROWS, dim)
  head = head .. (" "):rep(-(10 + #head + 1) % 64) .. "\n"
  local file = assert(io.open(path, "wb"))
  file:write("\x93NUMPY\1\0", string.pack("<s2", head))
  for _ = 1, HEADS * ROWS * dim do file:write(string.pack("<f", 2 * math.random() - 1)) end
  file:close()
end

local function counts(row)
  local io_words = { sagegen, "run --device vm --counts --io bf16 --spec", row.spec, "--arch", row.arch }
  for _, name in ipairs { "q", "k", "v" } do io_words[#io_words + 1] = ("--%s %s/%s.npy"):format(name, scratch, name) end
  io_words[#io_words + 1] = ("--out %s/o.npy %s 2>&1"):format(scratch, row.lse and "--lse " .. scratch .. "/lse.npy" or "")
  local pipe = assert(io.popen(table.concat(io_words, " ")))
  local text = pipe:read("a")
  assert(pipe:close(), text)
  return text
end

math.randomseed(1)
for _, name in ipairs { "q", "k", "v" } do write_npy(scratch .. "/" .. name .. ".npy", 128) end
local elements = HEADS * ROWS * 128
print("| spec, target | launch | bytes read, of an element of Q | written |\n|---|---|---|---|")
for _, row in ipairs(rows) do
  local number = 0
  for kernel, read, written in counts(row):gmatch("counts of (%S+)\n[^\n]*\n[^\n]*: (%d+) sectors of 32 bytes read, (%d+) written") do
    local role = kernel:match("quantise_k?[qv]") or kernel:match("delta_s")
    if role then
      number = number + 1
      print(("| %s %s%s | %d %s | %.2f | %.2f |"):format(row.spec, row.arch, row.lse and ", LSE" or "", number, role,
        read * SECTOR / elements, written * SECTOR / elements))
    end
  end
end
