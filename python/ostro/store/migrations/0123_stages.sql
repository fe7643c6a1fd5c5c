-- When an action of a server got how far: JSON, in order, as its host has told.
ALTER TABLE instance_actions ADD COLUMN stages TEXT NOT NULL DEFAULT '[]';
