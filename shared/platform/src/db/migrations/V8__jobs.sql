-- What jobs have done, once for each business key, and which worker is at what. None of it belongs to a tenant.
CREATE TABLE job_runs (
    job          text NOT NULL,
    key          text NOT NULL CHECK (length(key) BETWEEN 1 AND 200),
    -- Grows with each worker that takes the run over: what an earlier one still tries to commit is refused.
    attempt      integer NOT NULL,
    claimed_at   timestamptz NOT NULL,
    -- Until when the worker is believed to live; it renews this while it works.
    leased_until timestamptz NOT NULL,
    done_at      timestamptz,
    counts       jsonb,
    PRIMARY KEY (job, key)
);
CREATE INDEX job_runs_claimed ON job_runs (claimed_at);

ALTER TABLE job_runs ENABLE ROW LEVEL SECURITY;
ALTER TABLE job_runs FORCE ROW LEVEL SECURITY;
CREATE POLICY jobs ON job_runs TO coditect_jobs USING (true);
GRANT SELECT, INSERT, DELETE ON job_runs TO coditect_jobs;
GRANT UPDATE (attempt, claimed_at, leased_until, done_at, counts) ON job_runs TO coditect_jobs;
