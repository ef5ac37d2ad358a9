-- Index for the dead letters of a channel, the newest first: the page of a channel reads them every few seconds, whatever was delivered.
--
-- Expand only: an index alone, of few rows. Deliveries wait while it is built.
CREATE INDEX notification_delivery_dead_newest_idx ON notification_delivery (channel_id, queued_at DESC, notification_id DESC) WHERE state = 'dead';
