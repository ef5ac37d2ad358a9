//! Whether nothing is under way any more for the devices of a seed, by the database.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use crate::harness::Psql;

const LOOK_EVERY: Duration = Duration::from_millis(400);

/// Everything that still waits for a device with a tag: what, and how often.
const WAITING: &str = "
    WITH ours AS (SELECT device_id FROM device WHERE :'tag' = ANY (tags) AND deleted_at IS NULL)
    SELECT 'commands ' || state, count(*) FROM command JOIN ours USING (device_id)
     WHERE state IN ('queued', 'sent', 'delivered') GROUP BY 1
    UNION ALL
    SELECT 'installations ' || state, count(*) FROM deployment_task JOIN ours USING (device_id)
     WHERE state NOT IN ('succeeded', 'failed', 'skipped', 'canceled') GROUP BY 1
    UNION ALL
    SELECT 'devices with a queue', count(*) FROM device_last_status JOIN ours USING (device_id)
     WHERE queue_depth > 1 HAVING count(*) > 0";

/// Waits until nothing is left; what is, after `within`.
pub(super) async fn until_drained(psql: &Psql, tag: &str, within: Duration) -> Result<Option<String>> {
    let started = Instant::now();
    loop {
        let rows = psql.run(WAITING, &[("tag", tag)]).await?;
        let waiting: Vec<String> = rows.lines().filter_map(|row| row.rsplit_once('|')).map(|(what, n)| format!("{n} {what}")).collect();
        if waiting.is_empty() {
            return Ok(None);
        }
        if started.elapsed() > within {
            return Ok(Some(format!("not drained within {within:?}: {}", waiting.join(", "))));
        }
        sleep(LOOK_EVERY).await;
    }
}
