-- bars: horizontal bars as one self-contained SVG file: a row for each name, panels side by side, each with its own axis from 0.
-- Colours and the reader's light or dark scheme as in gen/svg_plot.c. In: numbers. Out: text, the same for the same numbers.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

-- Pixels of the view box.
local LABEL, PANEL, GAP, ROW, BAR, TOP, FOOT = 330, 190, 24, 20, 12, 64, 46

local STYLE = [[
<style>
  svg { font: 12px system-ui, sans-serif; }
  text { fill: #1f2328; } .paper { fill: #ffffff; } .grid { stroke: #d0d7de; } .axis { stroke: #1f2328; }
  .title { font-size: 16px; font-weight: 600; } .panel { font-size: 13px; font-weight: 600; } .small { font-size: 11px; }
  .plain { fill: #848d97; } .marked { fill: #0072b2; } .base { fill: #d55e00; } .spread { stroke: #1f2328; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .paper { fill: #0d1117; } .grid { stroke: #30363d; } .axis, .spread { stroke: #e6edf3; }
  }
</style>]]

local function escaped(text) return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" })) end

local function line(x1, y1, x2, y2, class)
  return ('<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>'):format(x1, y1, x2, y2, class)
end

local function label(x, y, text, class, anchor)
  return ('<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>'):format(x, y, class, anchor or "start", escaped(text))
end

-- A tick every 1, 2 or 5 times a power of ten, at most five of them up to `most`.
local function step_of(most)
  local power = 10.0 ^ math.floor(math.log(most / 5, 10))
  for _, factor in ipairs({ 1, 2, 5, 10 }) do
    if factor * power * 5 >= most then return factor * power end
  end
end

-- The largest value, or what the bar is cut at.
local function panel_most(panel, rows)
  local most = 0
  for i = 1, #rows do most = math.max(most, panel.value[i] + panel.spread[i]) end
  return math.min(most, panel.cut or most)
end

local function put_panel(out, panel, rows, left)
  local most, bottom = panel_most(panel, rows), TOP + #rows * ROW
  local scale = PANEL / most
  out[#out + 1] = label(left, TOP - 10, panel.title, "panel")
  for tick = 0, most / step_of(most) do
    local value = tick * step_of(most)
    out[#out + 1] = line(left + value * scale, TOP, left + value * scale, bottom + 4, tick == 0 and "axis" or "grid")
    out[#out + 1] = label(left + value * scale, bottom + 16, ("%g"):format(value), "small", "middle")
  end
  for i, row in ipairs(rows) do
    local value, spread, y = panel.value[i], panel.spread[i], TOP + (i - 1) * ROW + (ROW - BAR) / 2
    local width, middle = math.min(value * scale, PANEL), y + BAR / 2
    out[#out + 1] = ('<rect x="%.1f" y="%.1f" width="%.1f" height="%d" class="%s"><title>%s, %s: %.4g</title></rect>'):format(left, y, width,
      BAR, row.class or "plain", escaped(row.name), escaped(panel.title), value)
    if value <= most then
      out[#out + 1] = line((value - spread) * scale + left, middle, math.min(value + spread, most) * scale + left, middle, "spread")
    else -- cut: says how long it is
      out[#out + 1] = label(left + PANEL - 4, middle + 4, ("%.2f"):format(value), "small", "end")
    end
  end
end

-- plot: title, caption, rows = {{name, class = plain | marked | base}}, panels = {{title, value = {number a row}, spread, cut}}.
function M.svg(plot)
  local width, height = LABEL + #plot.panels * (PANEL + GAP), TOP + #plot.rows * ROW + FOOT
  local out = {
    ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">'):format(width, height, width, height),
    "<title>" .. escaped(plot.title) .. "</title>", STYLE,
    ('<rect class="paper" width="%d" height="%d"/>'):format(width, height),
    label(12, 24, plot.title, "title"),
  }
  for i, row in ipairs(plot.rows) do out[#out + 1] = label(12, TOP + (i - 1) * ROW + ROW / 2 + 4, row.name, "small") end
  for i, panel in ipairs(plot.panels) do put_panel(out, panel, plot.rows, LABEL + (i - 1) * (PANEL + GAP)) end
  out[#out + 1] = label(12, height - 8, plot.caption, "small")
  out[#out + 1] = "</svg>\n"
  return table.concat(out, "\n")
end

return M
