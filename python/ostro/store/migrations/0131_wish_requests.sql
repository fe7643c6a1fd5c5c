-- Which request a wish comes from, so that a host's log bears its id.
ALTER TABLE wishes ADD COLUMN request_id TEXT NOT NULL DEFAULT '';
