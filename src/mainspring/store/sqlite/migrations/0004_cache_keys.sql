-- What the lookup of a kept result depended on: a row for each task run with a cache policy or a storage key whose
-- results are kept.
CREATE TABLE cache_keys (
    task_run_id BLOB PRIMARY KEY,
    key TEXT,                           -- under which a result is looked up and kept, NULL if there is none
    components TEXT,                    -- JSON object: what went into the key, as texts, mostly hashes
    skipped TEXT,                       -- why nothing was looked up: refresh, disabled, generator, no key or error
    message TEXT                        -- the error, if the key could not be computed
) WITHOUT ROWID;
