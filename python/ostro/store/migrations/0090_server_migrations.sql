-- Servers that move between hosts. leaving_host_id is the host that still has to give up what it has of the server; the consumer of the
-- migration's uuid holds in Placement what is used there.
CREATE TABLE server_migrations (
    uuid TEXT PRIMARY KEY,
    id BIGINT NOT NULL UNIQUE,
    server_id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    source_host_id TEXT NOT NULL,
    source_host TEXT NOT NULL,
    target_host_id TEXT NOT NULL,
    target_host TEXT NOT NULL,
    leaving_host_id TEXT NOT NULL,
    disk_copied INTEGER NOT NULL,
    stage TEXT NOT NULL,
    landing TEXT NOT NULL,
    reason TEXT NOT NULL,
    request_id TEXT NOT NULL,
    abort_asked INTEGER NOT NULL,
    force_asked INTEGER NOT NULL,
    old_shape TEXT NOT NULL,
    new_shape TEXT NOT NULL,
    memory_total BIGINT NOT NULL,
    memory_processed BIGINT NOT NULL,
    memory_remaining BIGINT NOT NULL,
    disk_total BIGINT NOT NULL,
    disk_processed BIGINT NOT NULL,
    disk_remaining BIGINT NOT NULL,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL
);
CREATE INDEX server_migrations_server ON server_migrations (server_id);
CREATE INDEX server_migrations_created ON server_migrations (created_at_us, uuid);

ALTER TABLE servers ADD COLUMN migration_id TEXT NOT NULL DEFAULT '';
ALTER TABLE servers ADD COLUMN moving TEXT NOT NULL DEFAULT '';
ALTER TABLE servers ADD COLUMN resized INTEGER NOT NULL DEFAULT 0;

ALTER TABLE ports ADD COLUMN arriving_host_id TEXT NOT NULL DEFAULT '';
CREATE INDEX ports_arriving ON ports (arriving_host_id) WHERE arriving_host_id <> '';
