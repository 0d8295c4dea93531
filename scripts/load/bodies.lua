-- Sends the lines of the file named by BODIES, one a request, round and round.
dofile(os.getenv("LOAD") .. "/report.lua")
local requests, at = {}, 0
function init()
    for line in io.lines(os.getenv("BODIES")) do
        requests[#requests + 1] = wrk.format("POST", wrk.path, { ["content-type"] = "application/json" }, line)
    end
end
function request()
    at = at % #requests + 1
    return requests[at]
end
