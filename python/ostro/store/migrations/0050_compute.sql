-- Compute. A server's flavor is kept with it as it was. Its status columns are written by refresh_status alone. A deleted server's row stays
-- for a day as a tombstone with deleted_at_us set; 0 means alive.
CREATE TABLE flavors (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    ram_mb BIGINT NOT NULL,
    vcpus BIGINT NOT NULL,
    disk_gb BIGINT NOT NULL,
    ephemeral_gb BIGINT NOT NULL,
    swap_mb BIGINT NOT NULL,
    rxtx_factor DOUBLE PRECISION NOT NULL,
    is_public INTEGER NOT NULL,
    description TEXT,
    extra_specs TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL
);

CREATE TABLE flavor_access (
    flavor_id TEXT NOT NULL REFERENCES flavors (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    PRIMARY KEY (flavor_id, project_id)
);

CREATE TABLE keypairs (
    id BIGINT PRIMARY KEY,
    user_id TEXT NOT NULL,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    public_key TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    UNIQUE (user_id, name)
);

CREATE TABLE server_groups (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    name TEXT NOT NULL,
    policy TEXT NOT NULL,
    rules TEXT NOT NULL,
    created_at_us BIGINT NOT NULL
);
CREATE INDEX server_groups_by_project ON server_groups (project_id, created_at_us);

CREATE TABLE servers (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    hostname TEXT NOT NULL,
    flavor_id TEXT NOT NULL,
    flavor TEXT NOT NULL,
    vcpus BIGINT NOT NULL,
    ram_mb BIGINT NOT NULL,
    disk_gb BIGINT NOT NULL,
    image_id TEXT NOT NULL,
    root_volume_id TEXT NOT NULL,
    key_name TEXT,
    metadata TEXT NOT NULL,
    tags TEXT NOT NULL,
    ports TEXT NOT NULL,
    access_ipv4 TEXT NOT NULL,
    access_ipv6 TEXT NOT NULL,
    disk_config TEXT NOT NULL,
    config_drive INTEGER NOT NULL,
    zone_asked TEXT NOT NULL,
    reservation_id TEXT NOT NULL,
    launch_index INTEGER NOT NULL,
    group_id TEXT NOT NULL,
    locked INTEGER NOT NULL,
    locked_reason TEXT,
    host_id TEXT NOT NULL,
    host_name TEXT NOT NULL,
    power TEXT NOT NULL,
    reboots BIGINT NOT NULL,
    reboot_hard INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    fault TEXT,
    deleting INTEGER NOT NULL,
    status TEXT NOT NULL,
    vm_state TEXT NOT NULL,
    task_state TEXT NOT NULL,
    power_state INTEGER NOT NULL,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    launched_at_us BIGINT NOT NULL,
    deleted_at_us BIGINT NOT NULL
);
CREATE INDEX servers_by_project ON servers (deleted_at_us, project_id, created_at_us DESC, id DESC);
CREATE INDEX servers_by_age ON servers (deleted_at_us, created_at_us DESC, id DESC);
CREATE INDEX servers_by_host ON servers (host_id, deleted_at_us);
CREATE INDEX servers_by_group ON servers (group_id, deleted_at_us);

-- What a server is started with, apart from its row because it is large and seldom needed.
CREATE TABLE server_starts (
    server_id TEXT PRIMARY KEY REFERENCES servers (id) ON DELETE CASCADE,
    user_data TEXT NOT NULL,
    keys TEXT NOT NULL
);

-- No reference to servers: the actions of a deleted server can still be read.
CREATE TABLE instance_actions (
    server_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    action TEXT NOT NULL,
    user_id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    event TEXT NOT NULL,
    host_name TEXT NOT NULL,
    message TEXT,
    result TEXT NOT NULL,
    started_at_us BIGINT NOT NULL,
    finished_at_us BIGINT NOT NULL,
    PRIMARY KEY (server_id, request_id)
);

-- A server's volumes. The attachment itself is the block service's.
CREATE TABLE block_devices (
    id TEXT PRIMARY KEY,
    server_id TEXT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    volume_id TEXT NOT NULL,
    attachment_id TEXT NOT NULL,
    device TEXT NOT NULL,
    boot_index INTEGER NOT NULL,
    delete_on_termination INTEGER NOT NULL,
    tag TEXT,
    created_at_us BIGINT NOT NULL,
    UNIQUE (server_id, volume_id)
);

-- Questions to hosts that somebody waits for.
CREATE TABLE asks (
    id TEXT PRIMARY KEY,
    host_id TEXT NOT NULL,
    created_at_us BIGINT NOT NULL
);
CREATE INDEX asks_by_age ON asks (created_at_us);
