-- What it takes to go on with a flow run that keeps its results, after it ended otherwise than completed.
CREATE TABLE resumptions (
    flow_run_id BLOB PRIMARY KEY,
    entrypoint TEXT,                    -- the flow, as module:name
    file TEXT,                          -- the file that defines it
    parameters TEXT,                    -- where the parameters are kept by value
    problem TEXT,                       -- why the run cannot be resumed by its id
    step TEXT,                          -- for a subflow: what tells its run from others of its parent
    attempt INTEGER NOT NULL            -- the attempt whose steps are gone on with
) WITHOUT ROWID;
