-- Identity. A domain is a project of its own kind, as in Keystone.
CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    domain_id TEXT NOT NULL,
    parent_id TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    is_domain INTEGER NOT NULL,
    tags TEXT NOT NULL,
    options TEXT NOT NULL,
    extra TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    UNIQUE (domain_id, is_domain, name)
);
CREATE INDEX projects_by_name ON projects (name, id);

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    domain_id TEXT NOT NULL REFERENCES projects (id),
    default_project_id TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    password_hash TEXT NOT NULL,
    password_set_at_us BIGINT NOT NULL,
    email TEXT NOT NULL,
    description TEXT NOT NULL,
    options TEXT NOT NULL,
    extra TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    UNIQUE (domain_id, name)
);

CREATE TABLE roles (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    domain_id TEXT NOT NULL,
    description TEXT NOT NULL,
    options TEXT NOT NULL,
    UNIQUE (domain_id, name)
);

CREATE TABLE role_implications (
    prior_id TEXT NOT NULL REFERENCES roles (id) ON DELETE CASCADE,
    implied_id TEXT NOT NULL REFERENCES roles (id) ON DELETE CASCADE,
    PRIMARY KEY (prior_id, implied_id)
);

CREATE TABLE assignments (
    actor_kind TEXT NOT NULL,
    actor_id TEXT NOT NULL,
    target_kind TEXT NOT NULL,
    target_id TEXT NOT NULL,
    role_id TEXT NOT NULL REFERENCES roles (id) ON DELETE CASCADE,
    inherited INTEGER NOT NULL,
    PRIMARY KEY (actor_id, target_kind, target_id, role_id, inherited)
);
CREATE INDEX assignments_by_target ON assignments (target_kind, target_id);

CREATE TABLE revocations (
    audit_id TEXT PRIMARY KEY,
    whole_chain INTEGER NOT NULL,
    expires_at_us BIGINT NOT NULL
);

CREATE TABLE fernet_keys (
    position INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    created_at_us BIGINT NOT NULL
);
