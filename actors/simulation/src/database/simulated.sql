-- The virtual clock and the journal of a simulated cluster's database.
CREATE SCHEMA simulated;
-- Sequences: what is set is seen by every statement at once, whatever its snapshot.
CREATE SEQUENCE simulated.clock_us MINVALUE 0 START 0;
CREATE SEQUENCE simulated.notified;
-- The first number is told twice.
SELECT nextval('simulated.notified');

CREATE FUNCTION simulated.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    $$ SELECT timestamptz 'epoch' + last_value * interval '1 microsecond' FROM simulated.clock_us $$;
CREATE FUNCTION simulated.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    $$ SELECT simulated.clock_timestamp() $$;
CREATE FUNCTION simulated.pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('simulated.notified');
    PERFORM pg_catalog.pg_notify($1, $2);
END $$;

ALTER TABLE cluster ALTER created_at SET DEFAULT simulated.clock_timestamp();
ALTER TABLE cluster_node ALTER joined_at SET DEFAULT simulated.clock_timestamp(), ALTER renewed_at SET DEFAULT simulated.clock_timestamp();
ALTER TABLE device ALTER changed_at SET DEFAULT simulated.now();

-- Which backend wrote as the owner of a device, and who owned its shard at that moment.
CREATE TABLE simulated.owner_write (
    at         timestamptz NOT NULL,
    backend    integer NOT NULL,
    device_id  uuid NOT NULL,
    -- URL of the owner, which is another one for each start of a node; none: the shard was free.
    owner      text
);
CREATE FUNCTION simulated.note_owner_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO simulated.owner_write
    SELECT simulated.clock_timestamp(), pg_backend_pid(), NEW.device_id, n.http_url
    FROM public.device d JOIN public.shard s ON s.shard_id = d.shard LEFT JOIN public.cluster_node n ON n.node_id = s.owner
    WHERE d.device_id = NEW.device_id;
    RETURN NULL;
END $$;
CREATE TRIGGER note_owner_write AFTER INSERT OR UPDATE ON device_condition
    FOR EACH ROW EXECUTE FUNCTION simulated.note_owner_write();

DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path = simulated, public, pg_catalog', current_database());
END $$;
