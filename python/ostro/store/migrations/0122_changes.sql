-- The change feed of what users see: for each object, and each project that sees it ('*': every one), the revision of its last change.
-- Triggers write it, so no writer can forget to. gone is 1 once it can't be seen any more.
--
-- A revision must not become visible after a larger one was read. SQLite has one writer, so a counter does. On PostgreSQL a transaction's id
-- is its changes' revision, and change_reached says below which no transaction can be running any more; base is added to it, so that
-- revisions go on growing when the rows are restored into another server, whose transactions count from elsewhere: no revision that
-- can be seen is above the ceiling otherwise.
CREATE TABLE change_base (
    id INTEGER PRIMARY KEY,
    base BIGINT NOT NULL,
    lost BIGINT NOT NULL
);
INSERT INTO change_base (id, base, lost) VALUES (1, 1, 0);

CREATE TABLE changes (
    noun TEXT NOT NULL,
    id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    revision BIGINT NOT NULL,
    gone INTEGER NOT NULL,
    PRIMARY KEY (noun, id, project_id)
);
CREATE INDEX changes_by_revision ON changes (revision, noun);

-- Which revision was reached when: what is gone is remembered for a day.
CREATE TABLE change_marks (
    at_us BIGINT PRIMARY KEY,
    revision BIGINT NOT NULL
);

INSERT INTO changes (noun, id, project_id, revision, gone)
    SELECT 'server', id, project_id, 1, 0 FROM servers WHERE deleted_at_us = 0;
INSERT INTO changes (noun, id, project_id, revision, gone) SELECT 'port', id, project_id, 1, 0 FROM ports;
INSERT INTO changes (noun, id, project_id, revision, gone) SELECT 'volume', id, project_id, 1, 0 FROM volumes;
INSERT INTO changes (noun, id, project_id, revision, gone) SELECT 'snapshot', id, project_id, 1, 0 FROM snapshots;
INSERT INTO changes (noun, id, project_id, revision, gone)
    SELECT 'image', id, owner_id, 1, 0 FROM images WHERE status <> 'deleted';
INSERT INTO changes (noun, id, project_id, revision, gone)
    SELECT 'image', id, '*', 1, 0 FROM images WHERE status <> 'deleted' AND visibility IN ('public', 'community');
INSERT INTO changes (noun, id, project_id, revision, gone)
    SELECT 'image', image_id, member_id, 1, 0 FROM image_members WHERE true ON CONFLICT DO NOTHING;

-- only: sqlite
CREATE VIEW change_reached AS SELECT base AS revision, base AS ceiling FROM change_base;

CREATE TRIGGER servers_added AFTER INSERT ON servers BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'server', NEW.id, NEW.project_id, change_base.base, NEW.deleted_at_us > 0 FROM change_base WHERE true
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER servers_changed AFTER UPDATE ON servers BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'server', NEW.id, NEW.project_id, change_base.base, NEW.deleted_at_us > 0 FROM change_base WHERE true
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER servers_removed AFTER DELETE ON servers WHEN OLD.deleted_at_us = 0 BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'server', OLD.id, OLD.project_id, change_base.base, 1 FROM change_base WHERE true
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER ports_added AFTER INSERT ON ports BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'port', NEW.id, NEW.project_id, change_base.base, 0 FROM change_base WHERE true
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER ports_changed AFTER UPDATE ON ports BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'port', NEW.id, NEW.project_id, change_base.base, 0 FROM change_base WHERE true
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER ports_moved AFTER UPDATE OF project_id ON ports WHEN OLD.project_id <> NEW.project_id BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'port', NEW.id, OLD.project_id, change_base.base, 1 FROM change_base WHERE true
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER ports_removed AFTER DELETE ON ports BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'port', OLD.id, OLD.project_id, change_base.base, 1 FROM change_base WHERE true
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER volumes_added AFTER INSERT ON volumes BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'volume', NEW.id, NEW.project_id, change_base.base, 0 FROM change_base WHERE true
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER volumes_changed AFTER UPDATE ON volumes BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'volume', NEW.id, NEW.project_id, change_base.base, 0 FROM change_base WHERE true
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER volumes_moved AFTER UPDATE OF project_id ON volumes WHEN OLD.project_id <> NEW.project_id BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'volume', NEW.id, OLD.project_id, change_base.base, 1 FROM change_base WHERE true
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER volumes_removed AFTER DELETE ON volumes BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'volume', OLD.id, OLD.project_id, change_base.base, 1 FROM change_base WHERE true
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER snapshots_added AFTER INSERT ON snapshots BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'snapshot', NEW.id, NEW.project_id, change_base.base, 0 FROM change_base WHERE true
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER snapshots_changed AFTER UPDATE ON snapshots BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'snapshot', NEW.id, NEW.project_id, change_base.base, 0 FROM change_base WHERE true
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER snapshots_moved AFTER UPDATE OF project_id ON snapshots WHEN OLD.project_id <> NEW.project_id BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'snapshot', NEW.id, OLD.project_id, change_base.base, 1 FROM change_base WHERE true
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER snapshots_removed AFTER DELETE ON snapshots BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'snapshot', OLD.id, OLD.project_id, change_base.base, 1 FROM change_base WHERE true
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER ports_plugged AFTER INSERT ON ports WHEN NEW.device_id <> '' BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'server', servers.id, servers.project_id, change_base.base, 0 FROM change_base, servers WHERE servers.id IN (NEW.device_id) AND servers.deleted_at_us = 0
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER ports_replugged AFTER UPDATE OF device_id, mac_address, fixed_ips, security_groups ON ports WHEN OLD.device_id <> '' OR NEW.device_id <> '' BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'server', servers.id, servers.project_id, change_base.base, 0 FROM change_base, servers WHERE servers.id IN (OLD.device_id, NEW.device_id) AND servers.deleted_at_us = 0
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER ports_unplugged AFTER DELETE ON ports WHEN OLD.device_id <> '' BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'server', servers.id, servers.project_id, change_base.base, 0 FROM change_base, servers WHERE servers.id IN (OLD.device_id) AND servers.deleted_at_us = 0
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER block_devices_added AFTER INSERT ON block_devices BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'server', servers.id, servers.project_id, change_base.base, 0 FROM change_base, servers WHERE servers.id IN (NEW.server_id) AND servers.deleted_at_us = 0
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER block_devices_changed AFTER UPDATE ON block_devices BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'server', servers.id, servers.project_id, change_base.base, 0 FROM change_base, servers WHERE servers.id IN (NEW.server_id) AND servers.deleted_at_us = 0
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER block_devices_removed AFTER DELETE ON block_devices BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'server', servers.id, servers.project_id, change_base.base, 0 FROM change_base, servers WHERE servers.id IN (OLD.server_id) AND servers.deleted_at_us = 0
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER attachments_added AFTER INSERT ON attachments BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'volume', volumes.id, volumes.project_id, change_base.base, 0 FROM change_base, volumes WHERE volumes.id = NEW.volume_id
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER attachments_changed AFTER UPDATE ON attachments BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'volume', volumes.id, volumes.project_id, change_base.base, 0 FROM change_base, volumes WHERE volumes.id = NEW.volume_id
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER attachments_removed AFTER DELETE ON attachments BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'volume', volumes.id, volumes.project_id, change_base.base, 0 FROM change_base, volumes WHERE volumes.id = OLD.volume_id
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER images_added AFTER INSERT ON images BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'image', NEW.id, NEW.owner_id, change_base.base, NEW.status = 'deleted' FROM change_base WHERE true
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'image', NEW.id, '*', change_base.base, NEW.status = 'deleted' OR NEW.visibility NOT IN ('public', 'community') FROM change_base WHERE (NEW.visibility IN ('public', 'community'))
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER images_changed AFTER UPDATE ON images BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'image', NEW.id, NEW.owner_id, change_base.base, NEW.status = 'deleted' FROM change_base WHERE true
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'image', NEW.id, '*', change_base.base, NEW.status = 'deleted' OR NEW.visibility NOT IN ('public', 'community') FROM change_base WHERE (NEW.visibility IN ('public', 'community') OR OLD.visibility IN ('public', 'community'))
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'image', NEW.id, image_members.member_id, change_base.base, NEW.status = 'deleted' FROM change_base, image_members WHERE image_members.image_id = NEW.id
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER images_moved AFTER UPDATE OF owner_id ON images WHEN OLD.owner_id <> NEW.owner_id BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'image', NEW.id, OLD.owner_id, change_base.base, 1 FROM change_base WHERE true
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER images_removed AFTER DELETE ON images WHEN OLD.status <> 'deleted' BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'image', OLD.id, OLD.owner_id, change_base.base, 1 FROM change_base WHERE true
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'image', OLD.id, '*', change_base.base, 1 FROM change_base WHERE (OLD.visibility IN ('public', 'community'))
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER image_members_added AFTER INSERT ON image_members BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'image', NEW.image_id, NEW.member_id, change_base.base, 0 FROM change_base WHERE true
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER image_members_changed AFTER UPDATE ON image_members BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'image', NEW.image_id, NEW.member_id, change_base.base, 0 FROM change_base WHERE true
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

CREATE TRIGGER image_members_removed AFTER DELETE ON image_members BEGIN
  UPDATE change_base SET base = base + 1; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'image', OLD.image_id, OLD.member_id, change_base.base, 1 FROM change_base WHERE true
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; END;

-- only: postgres
CREATE VIEW change_reached AS
  SELECT base + pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1 AS revision,
  base + pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1 AS ceiling FROM change_base;

CREATE FUNCTION note_servers_added() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'server', NEW.id, NEW.project_id, change_base.base + pg_current_xact_id()::text::bigint, (NEW.deleted_at_us > 0)::integer FROM change_base
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER servers_added AFTER INSERT ON servers FOR EACH ROW
  EXECUTE FUNCTION note_servers_added();

CREATE FUNCTION note_servers_changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'server', NEW.id, NEW.project_id, change_base.base + pg_current_xact_id()::text::bigint, (NEW.deleted_at_us > 0)::integer FROM change_base
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER servers_changed AFTER UPDATE ON servers FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
  EXECUTE FUNCTION note_servers_changed();

CREATE FUNCTION note_servers_removed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'server', OLD.id, OLD.project_id, change_base.base + pg_current_xact_id()::text::bigint, 1 FROM change_base
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER servers_removed AFTER DELETE ON servers FOR EACH ROW WHEN (OLD.deleted_at_us = 0)
  EXECUTE FUNCTION note_servers_removed();

CREATE FUNCTION note_ports_added() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'port', NEW.id, NEW.project_id, change_base.base + pg_current_xact_id()::text::bigint, 0 FROM change_base
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER ports_added AFTER INSERT ON ports FOR EACH ROW
  EXECUTE FUNCTION note_ports_added();

CREATE FUNCTION note_ports_changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'port', NEW.id, NEW.project_id, change_base.base + pg_current_xact_id()::text::bigint, 0 FROM change_base
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER ports_changed AFTER UPDATE ON ports FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
  EXECUTE FUNCTION note_ports_changed();

CREATE FUNCTION note_ports_moved() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'port', NEW.id, OLD.project_id, change_base.base + pg_current_xact_id()::text::bigint, 1 FROM change_base
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER ports_moved AFTER UPDATE OF project_id ON ports FOR EACH ROW WHEN (OLD.project_id <> NEW.project_id)
  EXECUTE FUNCTION note_ports_moved();

CREATE FUNCTION note_ports_removed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'port', OLD.id, OLD.project_id, change_base.base + pg_current_xact_id()::text::bigint, 1 FROM change_base
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER ports_removed AFTER DELETE ON ports FOR EACH ROW
  EXECUTE FUNCTION note_ports_removed();

CREATE FUNCTION note_volumes_added() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'volume', NEW.id, NEW.project_id, change_base.base + pg_current_xact_id()::text::bigint, 0 FROM change_base
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER volumes_added AFTER INSERT ON volumes FOR EACH ROW
  EXECUTE FUNCTION note_volumes_added();

CREATE FUNCTION note_volumes_changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'volume', NEW.id, NEW.project_id, change_base.base + pg_current_xact_id()::text::bigint, 0 FROM change_base
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER volumes_changed AFTER UPDATE ON volumes FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
  EXECUTE FUNCTION note_volumes_changed();

CREATE FUNCTION note_volumes_moved() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'volume', NEW.id, OLD.project_id, change_base.base + pg_current_xact_id()::text::bigint, 1 FROM change_base
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER volumes_moved AFTER UPDATE OF project_id ON volumes FOR EACH ROW WHEN (OLD.project_id <> NEW.project_id)
  EXECUTE FUNCTION note_volumes_moved();

CREATE FUNCTION note_volumes_removed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'volume', OLD.id, OLD.project_id, change_base.base + pg_current_xact_id()::text::bigint, 1 FROM change_base
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER volumes_removed AFTER DELETE ON volumes FOR EACH ROW
  EXECUTE FUNCTION note_volumes_removed();

CREATE FUNCTION note_snapshots_added() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'snapshot', NEW.id, NEW.project_id, change_base.base + pg_current_xact_id()::text::bigint, 0 FROM change_base
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER snapshots_added AFTER INSERT ON snapshots FOR EACH ROW
  EXECUTE FUNCTION note_snapshots_added();

CREATE FUNCTION note_snapshots_changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'snapshot', NEW.id, NEW.project_id, change_base.base + pg_current_xact_id()::text::bigint, 0 FROM change_base
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER snapshots_changed AFTER UPDATE ON snapshots FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
  EXECUTE FUNCTION note_snapshots_changed();

CREATE FUNCTION note_snapshots_moved() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'snapshot', NEW.id, OLD.project_id, change_base.base + pg_current_xact_id()::text::bigint, 1 FROM change_base
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER snapshots_moved AFTER UPDATE OF project_id ON snapshots FOR EACH ROW WHEN (OLD.project_id <> NEW.project_id)
  EXECUTE FUNCTION note_snapshots_moved();

CREATE FUNCTION note_snapshots_removed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'snapshot', OLD.id, OLD.project_id, change_base.base + pg_current_xact_id()::text::bigint, 1 FROM change_base
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER snapshots_removed AFTER DELETE ON snapshots FOR EACH ROW
  EXECUTE FUNCTION note_snapshots_removed();

CREATE FUNCTION note_ports_plugged() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'server', servers.id, servers.project_id, change_base.base + pg_current_xact_id()::text::bigint, 0 FROM change_base, servers WHERE servers.id IN (NEW.device_id) AND servers.deleted_at_us = 0
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER ports_plugged AFTER INSERT ON ports FOR EACH ROW WHEN (NEW.device_id <> '')
  EXECUTE FUNCTION note_ports_plugged();

CREATE FUNCTION note_ports_replugged() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'server', servers.id, servers.project_id, change_base.base + pg_current_xact_id()::text::bigint, 0 FROM change_base, servers WHERE servers.id IN (OLD.device_id, NEW.device_id) AND servers.deleted_at_us = 0
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER ports_replugged AFTER UPDATE OF device_id, mac_address, fixed_ips, security_groups ON ports FOR EACH ROW WHEN (OLD.device_id <> '' OR NEW.device_id <> '')
  EXECUTE FUNCTION note_ports_replugged();

CREATE FUNCTION note_ports_unplugged() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'server', servers.id, servers.project_id, change_base.base + pg_current_xact_id()::text::bigint, 0 FROM change_base, servers WHERE servers.id IN (OLD.device_id) AND servers.deleted_at_us = 0
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER ports_unplugged AFTER DELETE ON ports FOR EACH ROW WHEN (OLD.device_id <> '')
  EXECUTE FUNCTION note_ports_unplugged();

CREATE FUNCTION note_block_devices_added() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'server', servers.id, servers.project_id, change_base.base + pg_current_xact_id()::text::bigint, 0 FROM change_base, servers WHERE servers.id IN (NEW.server_id) AND servers.deleted_at_us = 0
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER block_devices_added AFTER INSERT ON block_devices FOR EACH ROW
  EXECUTE FUNCTION note_block_devices_added();

CREATE FUNCTION note_block_devices_changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'server', servers.id, servers.project_id, change_base.base + pg_current_xact_id()::text::bigint, 0 FROM change_base, servers WHERE servers.id IN (NEW.server_id) AND servers.deleted_at_us = 0
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER block_devices_changed AFTER UPDATE ON block_devices FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
  EXECUTE FUNCTION note_block_devices_changed();

CREATE FUNCTION note_block_devices_removed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'server', servers.id, servers.project_id, change_base.base + pg_current_xact_id()::text::bigint, 0 FROM change_base, servers WHERE servers.id IN (OLD.server_id) AND servers.deleted_at_us = 0
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER block_devices_removed AFTER DELETE ON block_devices FOR EACH ROW
  EXECUTE FUNCTION note_block_devices_removed();

CREATE FUNCTION note_attachments_added() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'volume', volumes.id, volumes.project_id, change_base.base + pg_current_xact_id()::text::bigint, 0 FROM change_base, volumes WHERE volumes.id = NEW.volume_id
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER attachments_added AFTER INSERT ON attachments FOR EACH ROW
  EXECUTE FUNCTION note_attachments_added();

CREATE FUNCTION note_attachments_changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'volume', volumes.id, volumes.project_id, change_base.base + pg_current_xact_id()::text::bigint, 0 FROM change_base, volumes WHERE volumes.id = NEW.volume_id
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER attachments_changed AFTER UPDATE ON attachments FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
  EXECUTE FUNCTION note_attachments_changed();

CREATE FUNCTION note_attachments_removed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'volume', volumes.id, volumes.project_id, change_base.base + pg_current_xact_id()::text::bigint, 0 FROM change_base, volumes WHERE volumes.id = OLD.volume_id
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER attachments_removed AFTER DELETE ON attachments FOR EACH ROW
  EXECUTE FUNCTION note_attachments_removed();

CREATE FUNCTION note_images_added() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'image', NEW.id, NEW.owner_id, change_base.base + pg_current_xact_id()::text::bigint, (NEW.status = 'deleted')::integer FROM change_base
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'image', NEW.id, '*', change_base.base + pg_current_xact_id()::text::bigint, (NEW.status = 'deleted' OR NEW.visibility NOT IN ('public', 'community'))::integer FROM change_base WHERE (NEW.visibility IN ('public', 'community'))
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER images_added AFTER INSERT ON images FOR EACH ROW
  EXECUTE FUNCTION note_images_added();

CREATE FUNCTION note_images_changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'image', NEW.id, NEW.owner_id, change_base.base + pg_current_xact_id()::text::bigint, (NEW.status = 'deleted')::integer FROM change_base
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'image', NEW.id, '*', change_base.base + pg_current_xact_id()::text::bigint, (NEW.status = 'deleted' OR NEW.visibility NOT IN ('public', 'community'))::integer FROM change_base WHERE (NEW.visibility IN ('public', 'community') OR OLD.visibility IN ('public', 'community'))
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'image', NEW.id, image_members.member_id, change_base.base + pg_current_xact_id()::text::bigint, (NEW.status = 'deleted')::integer FROM change_base, image_members WHERE image_members.image_id = NEW.id
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER images_changed AFTER UPDATE ON images FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
  EXECUTE FUNCTION note_images_changed();

CREATE FUNCTION note_images_moved() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'image', NEW.id, OLD.owner_id, change_base.base + pg_current_xact_id()::text::bigint, 1 FROM change_base
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER images_moved AFTER UPDATE OF owner_id ON images FOR EACH ROW WHEN (OLD.owner_id <> NEW.owner_id)
  EXECUTE FUNCTION note_images_moved();

CREATE FUNCTION note_images_removed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'image', OLD.id, OLD.owner_id, change_base.base + pg_current_xact_id()::text::bigint, 1 FROM change_base
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'image', OLD.id, '*', change_base.base + pg_current_xact_id()::text::bigint, 1 FROM change_base WHERE (OLD.visibility IN ('public', 'community'))
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER images_removed AFTER DELETE ON images FOR EACH ROW WHEN (OLD.status <> 'deleted')
  EXECUTE FUNCTION note_images_removed();

CREATE FUNCTION note_image_members_added() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'image', NEW.image_id, NEW.member_id, change_base.base + pg_current_xact_id()::text::bigint, 0 FROM change_base
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER image_members_added AFTER INSERT ON image_members FOR EACH ROW
  EXECUTE FUNCTION note_image_members_added();

CREATE FUNCTION note_image_members_changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'image', NEW.image_id, NEW.member_id, change_base.base + pg_current_xact_id()::text::bigint, 0 FROM change_base
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER image_members_changed AFTER UPDATE ON image_members FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
  EXECUTE FUNCTION note_image_members_changed();

CREATE FUNCTION note_image_members_removed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changes (noun, id, project_id, revision, gone)
  SELECT 'image', OLD.image_id, OLD.member_id, change_base.base + pg_current_xact_id()::text::bigint, 1 FROM change_base
  ON CONFLICT (noun, id, project_id) DO UPDATE
  SET revision = excluded.revision, gone = excluded.gone; RETURN NULL; END $$;

CREATE TRIGGER image_members_removed AFTER DELETE ON image_members FOR EACH ROW
  EXECUTE FUNCTION note_image_members_removed();
