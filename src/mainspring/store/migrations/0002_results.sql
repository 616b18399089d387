-- Where the result or exception of a state is kept, if it is: a JSON object with storage key, serializer and
-- expiration. The result itself is in the result storage.
ALTER TABLE states ADD COLUMN data TEXT;
