-- Hosts that may be declared dead: their epochs, how they fence themselves, and what an operator said of them.

ALTER TABLE hosts ADD COLUMN epoch BIGINT NOT NULL DEFAULT 1;
ALTER TABLE hosts ADD COLUMN fence_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN forced_down INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN maintenance INTEGER NOT NULL DEFAULT 0;
