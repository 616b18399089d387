-- Locks on keys of results, one row for each that is held.
CREATE TABLE locks (
    key TEXT PRIMARY KEY,
    holder TEXT NOT NULL,               -- any text, made up by whoever took the lock
    acquired INTEGER NOT NULL,
    expires INTEGER,                    -- the lock is free from then on, NULL for no end
    owner_id INTEGER                    -- the process, whose death frees the lock
) WITHOUT ROWID;
