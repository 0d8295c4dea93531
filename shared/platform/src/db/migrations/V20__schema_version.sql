-- A process looks whether the schema is one that it can work with. What refinery has written down of each migration is no secret.

GRANT SELECT (version) ON refinery_schema_history TO coditect_functions, coditect_jobs, coditect_admin;
