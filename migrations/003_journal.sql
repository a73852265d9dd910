-- When a run was logged, in microseconds since 1970: of two logs of one run the greater is
-- the later one, in whatever order they arrive from the journals of several processes. Rows
-- from before have none, and count as oldest. The journal itself is a SQLite file.
ALTER TABLE workflow_runs ADD COLUMN revision BIGINT;
