-- A request for wrk: each carries the next of the API keys in KEYS, so that no
-- key reaches its limit while it is measured.
local requests, next_one = {}, 0

function init()
  for key in string.gmatch(os.getenv("KEYS"), "%S+") do
    requests[#requests + 1] = wrk.format("GET", nil, { ["X-API-Key"] = key })
  end
end

function request()
  next_one = next_one % #requests + 1
  return requests[next_one]
end
