-- What other tools show well: runs, nodes, calls and failures, without payloads. A relation of
-- the user's that has one of these names stays as it is.
DO $$
BEGIN
    IF to_regclass(format('%I.runs_v', current_schema())) IS NULL THEN
        CREATE VIEW runs_v AS
        SELECT id, wpk_id AS workflow, run_id, status, error_type, error_text, duration_ms,
               jsonb_path_query_first(metadata, '$.tokens.total ? (@.type() == "number")')::numeric
                   AS tokens,
               jsonb_path_query_first(metadata, '$.llm_calls ? (@.type() == "number")')::numeric
                   AS llm_calls,
               jsonb_path_query_first(metadata, '$.tool_calls ? (@.type() == "number")')::numeric
                   AS tool_calls,
               thread_id, started_at, created_at, updated_at
        FROM workflow_runs;
    END IF;

    -- An element with "$of" is a call or an event, beside its node.
    IF to_regclass(format('%I.nodes_v', current_schema())) IS NULL THEN
        CREATE VIEW nodes_v AS
        SELECT run.id, run.wpk_id AS workflow, run.run_id, log.at - 1 AS position,
               log.value ->> 'node' AS node,
               log.value ->> 'status' AS status,
               jsonb_path_query_first(log.value, '$.step ? (@.type() == "number")')::numeric
                   AS step,
               jsonb_path_query_first(log.value, '$.attempt ? (@.type() == "number")')::numeric
                   AS attempt,
               log.value ->> 'parent' AS parent,
               log.value ->> 'error_type' AS error_type,
               log.value ->> 'error_text' AS error_text,
               jsonb_path_query_first(log.value, '$.duration_ms ? (@.type() == "number")')::numeric
                   AS duration_ms,
               jsonb_path_query_first(log.value, '$.tokens.total ? (@.type() == "number")')::numeric
                   AS tokens,
               jsonb_path_query_first(log.value, '$.llm_calls ? (@.type() == "number")')::numeric
                   AS llm_calls,
               jsonb_path_query_first(log.value, '$.tool_calls ? (@.type() == "number")')::numeric
                   AS tool_calls,
               log.value ->> 'started_at' AS started_at,
               run.created_at
        FROM workflow_runs run,
             jsonb_array_elements(CASE jsonb_typeof(run.node_logs) WHEN 'array'
                                  THEN run.node_logs END) WITH ORDINALITY AS log (value, at)
        WHERE jsonb_typeof(log.value) = 'object' AND NOT log.value ? '$of';
    END IF;

    IF to_regclass(format('%I.calls_v', current_schema())) IS NULL THEN
        CREATE VIEW calls_v AS
        SELECT id, workflow, run_id, position, at,
               call ->> 'kind' AS kind,
               call ->> 'name' AS name,
               call ->> 'status' AS status,
               call ->> 'error_type' AS error_type,
               call ->> 'error_text' AS error_text,
               jsonb_path_query_first(call, '$.duration_ms ? (@.type() == "number")')::numeric
                   AS duration_ms,
               jsonb_path_query_first(call, '$.tokens.input ? (@.type() == "number")')::numeric
                   AS tokens_in,
               jsonb_path_query_first(call, '$.tokens.output ? (@.type() == "number")')::numeric
                   AS tokens_out,
               call ->> 'started_at' AS started_at,
               created_at
        FROM (SELECT run.id, run.wpk_id AS workflow, run.run_id, log.at - 1 AS position,
                     call.at - 1 AS at, call.value AS call, run.created_at
              FROM workflow_runs run,
                   jsonb_array_elements(CASE jsonb_typeof(run.node_logs) WHEN 'array'
                                        THEN run.node_logs END)
                       WITH ORDINALITY AS log (value, at),
                   jsonb_array_elements(CASE jsonb_typeof(log.value -> 'calls')
                                        WHEN 'array' THEN log.value -> 'calls' END)
                       WITH ORDINALITY AS call (value, at)
              WHERE jsonb_typeof(call.value) = 'object'
              UNION ALL
              SELECT run.id, run.wpk_id, run.run_id, (log.value #>> '{$of,0}')::bigint,
                     (log.value #>> '{$of,1}')::bigint, log.value, run.created_at
              FROM workflow_runs run,
                   jsonb_array_elements(CASE jsonb_typeof(run.node_logs) WHEN 'array'
                                        THEN run.node_logs END) AS log (value)
              WHERE jsonb_typeof(log.value -> '$of') = 'array'
                AND log.value ->> 'kind' <> 'event') AS calls;
    END IF;

    -- Failed runs, and where each failed.
    IF to_regclass(format('%I.failures_v', current_schema())) IS NULL THEN
        CREATE VIEW failures_v AS
        SELECT id, wpk_id AS workflow, run_id, error_type, error_text,
               (SELECT log.value ->> 'node'
                FROM jsonb_array_elements(CASE jsonb_typeof(node_logs) WHEN 'array'
                                          THEN node_logs END)
                    WITH ORDINALITY AS log (value, at)
                WHERE log.value ->> 'status' = 'failed' ORDER BY log.at LIMIT 1) AS failed_at,
               duration_ms, thread_id, started_at, created_at
        FROM workflow_runs
        WHERE status = 'failed';
    END IF;
END
$$;
