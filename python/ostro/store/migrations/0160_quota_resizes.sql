-- Servers on their way, found by project: of one that is being resized the larger shape counts against quotas.
CREATE INDEX servers_moving ON servers (project_id, migration_id) WHERE deleted_at_us = 0 AND migration_id <> '';
