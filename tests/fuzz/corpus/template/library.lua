return {f = function(x) return x end}
