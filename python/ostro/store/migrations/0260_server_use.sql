-- What the living servers of each project add up to, so that counting against limits costs the same however many there are. It is kept by the database
-- itself, in the transaction that changes a server. A project has up to 256 rows, by the first two letters of its servers' ids, because two processes
-- that change one row get in each other's way. A server stays in its project, and a tombstone stays one.
DROP INDEX servers_by_use;
CREATE TABLE server_use (
    project_id TEXT NOT NULL,
    part TEXT NOT NULL,
    servers BIGINT NOT NULL,
    vcpus BIGINT NOT NULL,
    ram_mb BIGINT NOT NULL,
    disk_gb BIGINT NOT NULL,
    PRIMARY KEY (project_id, part)
);
INSERT INTO server_use (project_id, part, servers, vcpus, ram_mb, disk_gb)
    SELECT project_id, substr(id, 1, 2), count(*), sum(vcpus), sum(ram_mb), sum(disk_gb) FROM servers
    WHERE deleted_at_us = 0 GROUP BY project_id, substr(id, 1, 2);

-- only: sqlite
CREATE TRIGGER servers_use_added AFTER INSERT ON servers WHEN NEW.deleted_at_us = 0 BEGIN
  INSERT INTO server_use (project_id, part, servers, vcpus, ram_mb, disk_gb)
  VALUES (NEW.project_id, substr(NEW.id, 1, 2), 1, NEW.vcpus, NEW.ram_mb, NEW.disk_gb)
  ON CONFLICT (project_id, part) DO UPDATE SET servers = servers + 1, vcpus = vcpus + excluded.vcpus,
  ram_mb = ram_mb + excluded.ram_mb, disk_gb = disk_gb + excluded.disk_gb; END;

CREATE TRIGGER servers_use_resized AFTER UPDATE OF vcpus, ram_mb, disk_gb ON servers
  WHEN OLD.deleted_at_us = 0 AND NEW.deleted_at_us = 0 BEGIN
  UPDATE server_use SET vcpus = vcpus + NEW.vcpus - OLD.vcpus, ram_mb = ram_mb + NEW.ram_mb - OLD.ram_mb,
  disk_gb = disk_gb + NEW.disk_gb - OLD.disk_gb
  WHERE project_id = NEW.project_id AND part = substr(NEW.id, 1, 2); END;

CREATE TRIGGER servers_use_ended AFTER UPDATE OF deleted_at_us ON servers
  WHEN OLD.deleted_at_us = 0 AND NEW.deleted_at_us > 0 BEGIN
  UPDATE server_use SET servers = servers - 1, vcpus = vcpus - OLD.vcpus, ram_mb = ram_mb - OLD.ram_mb,
  disk_gb = disk_gb - OLD.disk_gb
  WHERE project_id = OLD.project_id AND part = substr(OLD.id, 1, 2); END;

CREATE TRIGGER servers_use_removed AFTER DELETE ON servers WHEN OLD.deleted_at_us = 0 BEGIN
  UPDATE server_use SET servers = servers - 1, vcpus = vcpus - OLD.vcpus, ram_mb = ram_mb - OLD.ram_mb,
  disk_gb = disk_gb - OLD.disk_gb
  WHERE project_id = OLD.project_id AND part = substr(OLD.id, 1, 2); END;

-- only: postgres
CREATE FUNCTION use_server_added() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO server_use (project_id, part, servers, vcpus, ram_mb, disk_gb)
  VALUES (NEW.project_id, substr(NEW.id, 1, 2), 1, NEW.vcpus, NEW.ram_mb, NEW.disk_gb)
  ON CONFLICT (project_id, part) DO UPDATE SET servers = server_use.servers + 1,
  vcpus = server_use.vcpus + excluded.vcpus, ram_mb = server_use.ram_mb + excluded.ram_mb,
  disk_gb = server_use.disk_gb + excluded.disk_gb; RETURN NULL; END $$;

CREATE TRIGGER servers_use_added AFTER INSERT ON servers FOR EACH ROW WHEN (NEW.deleted_at_us = 0)
  EXECUTE FUNCTION use_server_added();

CREATE FUNCTION use_server_resized() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  UPDATE server_use SET vcpus = vcpus + NEW.vcpus - OLD.vcpus, ram_mb = ram_mb + NEW.ram_mb - OLD.ram_mb,
  disk_gb = disk_gb + NEW.disk_gb - OLD.disk_gb
  WHERE project_id = NEW.project_id AND part = substr(NEW.id, 1, 2); RETURN NULL; END $$;

CREATE TRIGGER servers_use_resized AFTER UPDATE OF vcpus, ram_mb, disk_gb ON servers FOR EACH ROW
  WHEN (OLD.deleted_at_us = 0 AND NEW.deleted_at_us = 0) EXECUTE FUNCTION use_server_resized();

CREATE FUNCTION use_server_ended() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  UPDATE server_use SET servers = servers - 1, vcpus = vcpus - OLD.vcpus, ram_mb = ram_mb - OLD.ram_mb,
  disk_gb = disk_gb - OLD.disk_gb
  WHERE project_id = OLD.project_id AND part = substr(OLD.id, 1, 2); RETURN NULL; END $$;

CREATE TRIGGER servers_use_ended AFTER UPDATE OF deleted_at_us ON servers FOR EACH ROW
  WHEN (OLD.deleted_at_us = 0 AND NEW.deleted_at_us > 0) EXECUTE FUNCTION use_server_ended();

CREATE TRIGGER servers_use_removed AFTER DELETE ON servers FOR EACH ROW WHEN (OLD.deleted_at_us = 0)
  EXECUTE FUNCTION use_server_ended();
