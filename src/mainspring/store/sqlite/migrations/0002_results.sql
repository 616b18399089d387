-- Where the result or exception of a state is kept, if it is: a JSON object with storage key, serializer and
-- expiration. The result itself is in the result storage.
ALTER TABLE states ADD COLUMN data TEXT;

DROP VIEW readable_states;

CREATE VIEW readable_states AS
SELECT
    lower(substr(hex(run_id), 1, 8) || '-' || substr(hex(run_id), 9, 4) || '-' || substr(hex(run_id), 13, 4)
        || '-' || substr(hex(run_id), 17, 4) || '-' || substr(hex(run_id), 21)) AS run_id,
    position,
    lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4)
        || '-' || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21)) AS id,
    type,
    name,
    strftime('%Y-%m-%dT%H:%M:%S', timestamp / 1000000, 'unixepoch')
        || printf('.%06dZ', timestamp % 1000000) AS timestamp,
    message,
    details,
    attempt,
    data
FROM states;
