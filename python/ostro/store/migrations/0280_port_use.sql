-- How many ports each project has, kept by the database as server_use is, and in parts for the same reason.
CREATE TABLE port_use (
    project_id TEXT NOT NULL,
    part TEXT NOT NULL,
    ports BIGINT NOT NULL,
    PRIMARY KEY (project_id, part)
);
INSERT INTO port_use (project_id, part, ports)
    SELECT project_id, substr(id, 1, 2), count(*) FROM ports GROUP BY project_id, substr(id, 1, 2);

-- only: sqlite
CREATE TRIGGER ports_use_added AFTER INSERT ON ports BEGIN
  INSERT INTO port_use (project_id, part, ports) VALUES (NEW.project_id, substr(NEW.id, 1, 2), 1)
  ON CONFLICT (project_id, part) DO UPDATE SET ports = ports + 1; END;

CREATE TRIGGER ports_use_removed AFTER DELETE ON ports BEGIN
  UPDATE port_use SET ports = ports - 1 WHERE project_id = OLD.project_id AND part = substr(OLD.id, 1, 2); END;

CREATE TRIGGER ports_use_moved AFTER UPDATE OF project_id ON ports WHEN OLD.project_id <> NEW.project_id BEGIN
  UPDATE port_use SET ports = ports - 1 WHERE project_id = OLD.project_id AND part = substr(OLD.id, 1, 2); INSERT INTO port_use (project_id, part, ports)
  VALUES (NEW.project_id, substr(NEW.id, 1, 2), 1)
  ON CONFLICT (project_id, part) DO UPDATE SET ports = ports + 1; END;

-- only: postgres
CREATE FUNCTION use_port_added() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO port_use (project_id, part, ports) VALUES (NEW.project_id, substr(NEW.id, 1, 2), 1)
  ON CONFLICT (project_id, part) DO UPDATE SET ports = port_use.ports + 1; RETURN NULL; END $$;

CREATE TRIGGER ports_use_added AFTER INSERT ON ports FOR EACH ROW
  EXECUTE FUNCTION use_port_added();

CREATE FUNCTION use_port_removed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  UPDATE port_use SET ports = ports - 1 WHERE project_id = OLD.project_id AND part = substr(OLD.id, 1, 2); RETURN NULL; END $$;

CREATE TRIGGER ports_use_removed AFTER DELETE ON ports FOR EACH ROW
  EXECUTE FUNCTION use_port_removed();

CREATE FUNCTION use_port_moved() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  UPDATE port_use SET ports = ports - 1 WHERE project_id = OLD.project_id AND part = substr(OLD.id, 1, 2); INSERT INTO port_use (project_id, part, ports)
  VALUES (NEW.project_id, substr(NEW.id, 1, 2), 1)
  ON CONFLICT (project_id, part) DO UPDATE SET ports = port_use.ports + 1; RETURN NULL; END $$;

CREATE TRIGGER ports_use_moved AFTER UPDATE OF project_id ON ports FOR EACH ROW
  WHEN (OLD.project_id <> NEW.project_id) EXECUTE FUNCTION use_port_moved();
