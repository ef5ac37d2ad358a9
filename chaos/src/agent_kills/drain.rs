//! Detection of quiescence of the devices of a seed, from the database.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use crate::harness::Psql;

const POLL_INTERVAL: Duration = Duration::from_millis(400);

/// Unfinished work of the devices with a tag: kind and count. A device that lost its database reports nothing more about what it
/// had received before; a deployment that paused by itself starts nothing more.
const UNFINISHED: &str = "
    WITH ours AS (SELECT device_id FROM device WHERE :'tag' = ANY (tags) AND deleted_at IS NULL)
    SELECT 'commands ' || state, count(*) FROM command JOIN ours USING (device_id)
     WHERE state IN ('queued', 'sent', 'delivered')
       AND NOT (state = 'delivered' AND device_id::text = :'lost' AND created_at < to_timestamp(:'lost_at')) GROUP BY 1
    UNION ALL
    SELECT 'installations ' || task.state, count(*)
      FROM deployment_task task JOIN ours USING (device_id) JOIN deployment USING (deployment_id)
     WHERE task.state NOT IN ('succeeded', 'failed', 'skipped', 'canceled')
       AND NOT (deployment.state = 'paused' AND task.state <> 'installing')
       AND NOT (task.state = 'installing' AND device_id::text = :'lost' AND started_at < to_timestamp(:'lost_at')) GROUP BY 1
    UNION ALL
    SELECT 'devices with a queue', count(*) FROM device_last_status JOIN ours USING (device_id)
     WHERE queue_depth > 1 HAVING count(*) > 0";

/// Waits until no work is left; a description of the rest after `within`. `lost` is the device that lost its database, and when
/// (microseconds).
pub(super) async fn until_drained(psql: &Psql, tag: &str, lost: Option<(&str, i64)>, within: Duration) -> Result<Option<String>> {
    let started = Instant::now();
    let (lost, lost_at) = lost.map_or(("", 0.0), |(device, at_us)| (device, at_us as f64 / 1e6));
    let lost_at = lost_at.to_string();
    loop {
        let rows = psql.run(UNFINISHED, &[("tag", tag), ("lost", lost), ("lost_at", &lost_at)]).await?;
        let waiting: Vec<String> = rows.lines().filter_map(|row| row.rsplit_once('|')).map(|(what, n)| format!("{n} {what}")).collect();
        if waiting.is_empty() {
            return Ok(None);
        }
        if started.elapsed() > within {
            return Ok(Some(format!("not drained within {within:?}: {}", waiting.join(", "))));
        }
        sleep(POLL_INTERVAL).await;
    }
}
