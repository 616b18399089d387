-- How processes on other hosts know that an owner lives, and who is to be told of the death of its runs.

-- An owner renews its lease while it has something to lose. One on another host whose lease has run out counts as dead;
-- one on the same host counts as dead when its lock is free, whatever its lease says.
ALTER TABLE owners ADD COLUMN lease_expires INTEGER;  -- NULL: written by a version without leases
ALTER TABLE owners ADD COLUMN ended_by TEXT;          -- who found it dead; NULL if it ended by itself

-- Runs that have on_crashed hooks, as long as they are not over. Whoever settles a dead process calls the hooks, and
-- removes the row before.
CREATE TABLE crash_hooks (
    run_id BLOB PRIMARY KEY,
    entrypoint TEXT,                    -- the task or flow, as module:name; NULL if no name leads to it
    file TEXT                           -- the file that defines it
) WITHOUT ROWID;
