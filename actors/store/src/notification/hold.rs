//! Claims that last longer than others.

use domain::{ChannelId, NotificationId, Timestamp};

use crate::{Store, StoreError};

impl Store {
    /// Keeps others from trying a claimed message until `until`. Returns whether the claim still holds: not after another sender has taken the message
    /// over.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn hold_delivery(
        &self,
        notification: NotificationId,
        channel: ChannelId,
        attempt: u32,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let held = sqlx::query!(
            "UPDATE notification_delivery SET next_attempt_at = $4
             WHERE notification_id = $1 AND channel_id = $2 AND attempts = $3 AND state = 'queued'",
            notification.0,
            channel.0,
            i32::try_from(attempt).unwrap_or(i32::MAX),
            until
        );
        Ok(held.execute(&self.pool).await?.rows_affected() == 1)
    }
}
