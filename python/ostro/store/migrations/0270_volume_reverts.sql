-- The snapshot that a volume is being reverted to, and which revert that is; both empty while it is none.
ALTER TABLE volumes ADD COLUMN reverting_to TEXT NOT NULL DEFAULT '';
ALTER TABLE volumes ADD COLUMN revert_id TEXT NOT NULL DEFAULT '';
