-- How a task run looks for a kept result is in its own row if it is known when that is written, as it mostly is. Only
-- what is found out later, or why nothing was looked up, is a row of its own, and counts instead.
DROP VIEW readable_task_runs;
ALTER TABLE cache_keys RENAME TO cache_key_rows;
ALTER TABLE task_runs ADD COLUMN cache_key TEXT;    -- as `key` and `components` of `cache_keys`
ALTER TABLE task_runs ADD COLUMN cache_components TEXT;

CREATE VIEW cache_keys AS
SELECT task_run_id, key, components, skipped, message FROM cache_key_rows
UNION ALL
SELECT id, cache_key, cache_components, CAST(NULL AS TEXT), CAST(NULL AS TEXT) FROM task_runs
WHERE cache_key IS NOT NULL AND NOT EXISTS (SELECT 1 FROM cache_key_rows AS r WHERE r.task_run_id = task_runs.id);

-- Results come last in their table, and only their keys are put in between others: keys are in no order, so rows that
-- are sorted by them are moved about.
ALTER TABLE results RENAME TO sorted_results;

CREATE TABLE results (
    key TEXT NOT NULL UNIQUE,           -- the cache key, the step of a flow run, or any other storage key
    run_id BLOB,                        -- the run whose result it is, if it is one
    created INTEGER NOT NULL,
    file TEXT,
    content TEXT
);

INSERT INTO results SELECT key, run_id, created, file, content FROM sorted_results ORDER BY created;
DROP TRIGGER results_replaced;
DROP TRIGGER results_deleted;
DROP TABLE sorted_results;

CREATE TRIGGER results_replaced AFTER UPDATE OF file ON results
WHEN OLD.file IS NOT NULL AND OLD.file IS NOT NEW.file
BEGIN
    INSERT OR IGNORE INTO unused_files VALUES (OLD.file);
END;

CREATE TRIGGER results_deleted AFTER DELETE ON results
WHEN OLD.file IS NOT NULL
BEGIN
    INSERT OR IGNORE INTO unused_files VALUES (OLD.file);
END;

CREATE VIEW readable_task_runs AS
SELECT
    lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4)
        || '-' || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21)) AS id,
    nullif(lower(substr(hex(flow_run_id), 1, 8) || '-' || substr(hex(flow_run_id), 9, 4) || '-' || substr(hex(flow_run_id), 13, 4)
        || '-' || substr(hex(flow_run_id), 17, 4) || '-' || substr(hex(flow_run_id), 21)), '----') AS flow_run_id,
    name,
    task_key,
    task_version,
    tags,
    task_inputs,
    empirical_policy,
    lower(substr(hex(state_id), 1, 8) || '-' || substr(hex(state_id), 9, 4) || '-' || substr(hex(state_id), 13, 4)
        || '-' || substr(hex(state_id), 17, 4) || '-' || substr(hex(state_id), 21)) AS state_id,
    state_type,
    state_name,
    run_count,
    flow_run_run_count,
    strftime('%Y-%m-%dT%H:%M:%S', created / 1000000, 'unixepoch')
        || printf('.%06dZ', created % 1000000) AS created,
    strftime('%Y-%m-%dT%H:%M:%S', updated / 1000000, 'unixepoch')
        || printf('.%06dZ', updated % 1000000) AS updated,
    strftime('%Y-%m-%dT%H:%M:%S', expected_start_time / 1000000, 'unixepoch')
        || printf('.%06dZ', expected_start_time % 1000000) AS expected_start_time,
    strftime('%Y-%m-%dT%H:%M:%S', start_time / 1000000, 'unixepoch')
        || printf('.%06dZ', start_time % 1000000) AS start_time,
    strftime('%Y-%m-%dT%H:%M:%S', end_time / 1000000, 'unixepoch')
        || printf('.%06dZ', end_time % 1000000) AS end_time,
    total_run_time / 1e6 AS total_run_time,
    owner_id,
    strftime('%Y-%m-%dT%H:%M:%S', next_scheduled_start_time / 1000000, 'unixepoch')
        || printf('.%06dZ', next_scheduled_start_time % 1000000) AS next_scheduled_start_time,
    renamed,
    dynamic_key,
    nullif(lower(substr(hex(pending_id), 1, 8) || '-' || substr(hex(pending_id), 9, 4) || '-' || substr(hex(pending_id), 13, 4)
        || '-' || substr(hex(pending_id), 17, 4) || '-' || substr(hex(pending_id), 21)), '----') AS pending_id,
    nullif(lower(substr(hex(running_id), 1, 8) || '-' || substr(hex(running_id), 9, 4) || '-' || substr(hex(running_id), 13, 4)
        || '-' || substr(hex(running_id), 17, 4) || '-' || substr(hex(running_id), 21)), '----') AS running_id,
    message,
    details,
    data,
    cache_key,
    cache_components
FROM task_runs;
