//! History that keeps itself in order: archiving, dropping and reconciling beside a fleet that reports, reading archives, and the size of a heartbeat.

mod archive;
mod archive_read;
mod drop_table;
mod heartbeat_size;
mod reconcile;
mod setup;

pub(super) use archive::archive;
pub(super) use archive_read::archive_read;
pub(super) use drop_table::drop_table;
pub(super) use heartbeat_size::heartbeat_size;
pub(super) use reconcile::reconcile;
