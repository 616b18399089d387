-- Flow runs that wait for somebody, and flow runs that are asked to leave their process.

-- One row for each call of `pause_flow_run` or `suspend_flow_run`. It stays when it is answered: the flow gets the same
-- answer whenever it comes to this call again.
CREATE TABLE pauses (
    flow_run_id BLOB NOT NULL,          -- the run that waits
    key TEXT NOT NULL,                  -- what tells its pauses from one another
    root_id BLOB NOT NULL,              -- the outermost flow run around, by which they are resumed
    requested INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    suspends INTEGER NOT NULL,          -- 1: the run leaves its process meanwhile
    "schema" TEXT,                      -- JSON schema of the input, {} if that cannot be told, NULL if none is wanted
    type BLOB,                          -- the type of the input, pickled; NULL if other processes cannot have it
    answered INTEGER,
    input,                              -- TEXT: JSON; BLOB: pickled; NULL: none
    problem TEXT,                       -- why an answer was refused where the run goes on
    closed INTEGER,                     -- when it was too late for an answer
    PRIMARY KEY (flow_run_id, key)
) WITHOUT ROWID;

CREATE INDEX pauses_of_flow_run ON pauses (root_id);

-- Requests from outside, until the run has seen them.
CREATE TABLE suspensions (
    flow_run_id BLOB PRIMARY KEY,
    requested INTEGER NOT NULL,
    expires INTEGER NOT NULL
) WITHOUT ROWID;
