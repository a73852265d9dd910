-- What other tools show well: runs, nodes, calls and failures, without payloads. A relation of
-- the user's that has one of these names stays as it is.
CREATE VIEW IF NOT EXISTS runs_v AS
SELECT id, wpk_id AS workflow, run_id, status, error_type, error_text, duration_ms,
       CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.tokens.total') END
           AS tokens,
       CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.llm_calls') END
           AS llm_calls,
       CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.tool_calls') END
           AS tool_calls,
       thread_id, started_at, created_at, updated_at
FROM workflow_runs;

-- An element with "$of" is a call or an event, beside its node.
CREATE VIEW IF NOT EXISTS nodes_v AS
SELECT run.id, run.wpk_id AS workflow, run.run_id, log.key AS position,
       json_extract(log.value, '$.node') AS node,
       json_extract(log.value, '$.status') AS status,
       json_extract(log.value, '$.step') AS step,
       json_extract(log.value, '$.attempt') AS attempt,
       json_extract(log.value, '$.parent') AS parent,
       json_extract(log.value, '$.error_type') AS error_type,
       json_extract(log.value, '$.error_text') AS error_text,
       json_extract(log.value, '$.duration_ms') AS duration_ms,
       json_extract(log.value, '$.tokens.total') AS tokens,
       json_extract(log.value, '$.llm_calls') AS llm_calls,
       json_extract(log.value, '$.tool_calls') AS tool_calls,
       json_extract(log.value, '$.started_at') AS started_at,
       run.created_at
FROM workflow_runs run, json_each(run.node_logs) log
WHERE log.type = 'object' AND json_type(log.value, '$."$of"') IS NULL;

CREATE VIEW IF NOT EXISTS calls_v AS
SELECT id, workflow, run_id, position, at,
       json_extract(call, '$.kind') AS kind,
       json_extract(call, '$.name') AS name,
       json_extract(call, '$.status') AS status,
       json_extract(call, '$.error_type') AS error_type,
       json_extract(call, '$.error_text') AS error_text,
       json_extract(call, '$.duration_ms') AS duration_ms,
       json_extract(call, '$.tokens.input') AS tokens_in,
       json_extract(call, '$.tokens.output') AS tokens_out,
       json_extract(call, '$.started_at') AS started_at,
       created_at
FROM (SELECT run.id, run.wpk_id AS workflow, run.run_id, log.key AS position,
             call.key AS at, call.value AS call, run.created_at
      FROM workflow_runs run, json_each(run.node_logs) log,
           json_each(log.value, '$.calls') call
      WHERE log.type = 'object' AND call.type = 'object'
      UNION ALL
      SELECT run.id, run.wpk_id, run.run_id, json_extract(log.value, '$."$of"[0]'),
             json_extract(log.value, '$."$of"[1]'), log.value, run.created_at
      FROM workflow_runs run, json_each(run.node_logs) log
      WHERE log.type = 'object' AND json_type(log.value, '$."$of"') = 'array'
        AND json_extract(log.value, '$.kind') <> 'event');

-- Failed runs, and where each failed.
CREATE VIEW IF NOT EXISTS failures_v AS
SELECT id, wpk_id AS workflow, run_id, error_type, error_text,
       (SELECT json_extract(log.value, '$.node') FROM json_each(node_logs) log
        WHERE log.type = 'object' AND json_extract(log.value, '$.status') = 'failed'
        ORDER BY log.key LIMIT 1) AS failed_at,
       duration_ms, thread_id, started_at, created_at
FROM workflow_runs
WHERE status = 'failed';
