-- Users that identity providers vouch for. Their name is what they are shown as, and need not be unique: the column `name` holds their id.
ALTER TABLE users ADD COLUMN source TEXT NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN shown_name TEXT NOT NULL DEFAULT '';

CREATE TABLE federated_users (
    idp_id TEXT NOT NULL REFERENCES identity_providers (id) ON DELETE CASCADE,
    protocol_id TEXT NOT NULL,
    unique_id TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (idp_id, protocol_id, unique_id)
);
CREATE INDEX federated_users_by_user ON federated_users (user_id);

CREATE TABLE expiring_members (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    idp_id TEXT NOT NULL REFERENCES identity_providers (id) ON DELETE CASCADE,
    verified_at_us BIGINT NOT NULL,
    PRIMARY KEY (user_id, group_id)
);

-- States of logins that came back from a provider: each is good once.
CREATE TABLE used_logins (
    state TEXT PRIMARY KEY,
    expires_at_us BIGINT NOT NULL
);
