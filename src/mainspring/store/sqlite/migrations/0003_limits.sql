-- Concurrency limits, and who holds their slots.

CREATE TABLE concurrency_limits (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    "limit" INTEGER NOT NULL,           -- so many slots may be taken at a time
    active INTEGER NOT NULL,            -- 0: the limit stops nobody
    slot_decay_per_second REAL NOT NULL, -- 0: slots are free when their holder gives them back
    avg_slot_occupancy_seconds REAL,    -- a moving average, NULL until a slot was given back
    decaying_slots REAL NOT NULL,       -- limits with decay: what was left of the slots taken ...
    decaying_since INTEGER NOT NULL,    -- ... at this time
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL
) WITHOUT ROWID;

-- One row per request and limit, while the slots are held or waited for. How many slots of a limit are taken
-- is the sum of these rows and is kept nowhere else.
CREATE TABLE slots (
    id INTEGER PRIMARY KEY,             -- in the order of arrival, which is the order of service
    lease_id BLOB NOT NULL,             -- the request; it has a row for each of its limits
    limit_id BLOB NOT NULL,
    slots INTEGER NOT NULL,
    holder_type TEXT,                   -- flow_run, task_run or deployment
    holder_id BLOB,
    requested INTEGER NOT NULL,
    acquired INTEGER,                   -- NULL while waiting
    lease_expires INTEGER NOT NULL,     -- others may take the slots from then on
    owner_id INTEGER
);

CREATE INDEX slots_of_limit ON slots (limit_id);
CREATE INDEX slots_of_lease ON slots (lease_id);
