-- Canonical forms of names: what accounts, aliases, tags, groups and saved filters are unique and found by.
--
-- A form is made by the server alone (`domain::name`), as SQL folds letters its own way: the columns are empty here, and
-- every start fills those that are (`store::canonical`), the oldest row first. A name whose form another has already gets one
-- that is set apart by the row's id, stays what it is, and is told of in the log.
--
-- Expand only. An earlier build neither reads nor writes the columns; what it inserts has none, and what it changes loses the
-- one that it had, by the triggers: only connections that say that they keep them write them. Its own unique indexes stay.
-- The columns have no default, so no row is rewritten. The locks are short, but while one is waited for everything else waits
-- behind it, so not for long: the start fails then, and is tried again.
SET LOCAL lock_timeout = '5s';

ALTER TABLE app_user ADD COLUMN username_canonical text COLLATE "C";
CREATE UNIQUE INDEX app_user_username_canonical_key ON app_user (username_canonical);

ALTER TABLE device
    ADD COLUMN alias_canonical  text COLLATE "C",
    ADD COLUMN tags_canonical   text[] COLLATE "C",
    ADD COLUMN groups_canonical text[] COLLATE "C";
CREATE UNIQUE INDEX device_alias_canonical_key ON device (alias_canonical) WHERE deleted_at IS NULL;

ALTER TABLE saved_filter ADD COLUMN name_canonical text COLLATE "C";
CREATE UNIQUE INDEX saved_filter_name_canonical_key ON saved_filter (owner, name_canonical);

CREATE FUNCTION device_forget_canonical() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('nexmdm.canonical_names', true) IS DISTINCT FROM 'on' THEN
        IF NEW.alias IS DISTINCT FROM OLD.alias THEN NEW.alias_canonical := NULL; END IF;
        IF NEW.tags IS DISTINCT FROM OLD.tags THEN NEW.tags_canonical := NULL; END IF;
        IF NEW.groups IS DISTINCT FROM OLD.groups THEN NEW.groups_canonical := NULL; END IF;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER device_canonical_names BEFORE UPDATE OF alias, tags, groups ON device
    FOR EACH ROW EXECUTE FUNCTION device_forget_canonical();

CREATE FUNCTION saved_filter_forget_canonical() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('nexmdm.canonical_names', true) IS DISTINCT FROM 'on' AND NEW.name IS DISTINCT FROM OLD.name THEN
        NEW.name_canonical := NULL;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER saved_filter_canonical_names BEFORE UPDATE OF name ON saved_filter
    FOR EACH ROW EXECUTE FUNCTION saved_filter_forget_canonical();

-- Names in the audit trail with their canonical form, for searches by actor or target: the entries themselves never change.
-- Every entry adds its names, whichever build writes it; a search fills the forms that are missing first.
CREATE TABLE audit_name (
    -- In the order of the entries' names, whose indexes it is compared by.
    name      text PRIMARY KEY,
    canonical text COLLATE "C"
);
CREATE INDEX audit_name_canonical_idx ON audit_name (canonical);

CREATE FUNCTION audit_note_names() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit_name (name) SELECT n FROM unnest(ARRAY[NEW.actor_name, NEW.target_name]) n WHERE n IS NOT NULL
        ORDER BY n ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER audit_entry_names AFTER INSERT ON audit_entry FOR EACH ROW EXECUTE FUNCTION audit_note_names();
-- After the trigger, which waits for writers: no entry is missed. No row of the trail is changed.
INSERT INTO audit_name (name)
    SELECT actor_name FROM audit_entry UNION SELECT target_name FROM audit_entry WHERE target_name IS NOT NULL
    ON CONFLICT DO NOTHING;

-- By the names as they are, instead of what SQL makes of them.
CREATE INDEX audit_entry_actor_names_idx ON audit_entry (actor_name, seq);
CREATE INDEX audit_entry_target_names_idx ON audit_entry (target_name, seq) WHERE target_name IS NOT NULL;
DROP INDEX audit_entry_actor_name_idx;
DROP INDEX audit_entry_target_name_idx;
