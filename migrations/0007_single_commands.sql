-- Commands that are in no batch are listed by themselves; among those of large batches they would take a
-- look at every one. The table came with the migration before last, so it is small wherever this runs.
CREATE INDEX command_single ON command (created_at DESC, request_id DESC) WHERE batch_id IS NULL;
