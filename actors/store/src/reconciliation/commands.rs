//! Commands that are over, of those that actors hold.

use domain::{CommandId, Timestamp};

use crate::{Store, StoreError};

impl Store {
    /// Of these commands, those that ended before this time or have no row any more.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn commands_over(&self, ids: &[CommandId], before: Timestamp) -> Result<Vec<CommandId>, StoreError> {
        let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
        let over = sqlx::query_scalar!(
            r#"SELECT r.id AS "id!" FROM UNNEST($1::uuid[]) AS r(id) LEFT JOIN command c ON c.request_id = r.id
               WHERE c.request_id IS NULL OR c.finished_at < $2"#,
            &ids,
            before
        );
        Ok(over.fetch_all(&self.pool).await?.into_iter().map(CommandId).collect())
    }
}
