-- Acquires with the license keys in the file named by KEYS, each time for another device, and releases what it has got.
dofile(os.getenv("LOAD") .. "/report.lua")
local keys, held, devices = {}, {}, 0
local headers = { ["content-type"] = "application/json" }
function init()
    for line in io.lines(os.getenv("KEYS")) do keys[#keys + 1] = line end
end
function request()
    local session = table.remove(held)
    if session then return wrk.format("POST", "/api/v1/licenses/release", headers, '{"session_id":"' .. session .. '"}') end
    devices = devices + 1
    return wrk.format("POST", "/api/v1/licenses/acquire", headers, string.format(
        '{"license_key":"%s","hardware_id":"device-%d","user_email":"load@bench.example"}', keys[devices % #keys + 1], devices))
end
function response(status, _, body)
    if status == 201 then held[#held + 1] = string.match(body, '"session_id":"([^"]+)"') end
end
