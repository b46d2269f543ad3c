-- tiles: counts of MMA steps.
local M = { k_mma = 32 }

-- The number of MMA steps over n elements.
function M.count(n)
    return n // M.k_mma
end

return M
