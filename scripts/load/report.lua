-- Prints what a run has measured on one line: requests a second, p50 and p99 in microseconds, answers that were no success.
function done(summary, latency)
    local errors = summary.errors
    io.write(string.format("MEASURED %.0f %.0f %.0f %d\n", summary.requests / summary.duration * 1000000, latency:percentile(50),
        latency:percentile(99), errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
