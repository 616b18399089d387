-- What a process has noted in its journal, and committed since.
ALTER TABLE owners ADD COLUMN settled_page INTEGER;  -- the last page that is committed; NULL: none
