//! Hourly aggregates of a sample of devices, beside their heartbeats.

use std::collections::HashSet;

use chrono::Days;
use domain::history::first_unsettled_day;
use domain::partition::day_of;
use domain::reconciliation::ReconciliationRun;
use store::StoreError;
use tokio::time::Instant;
use uuid::Uuid;

use super::Work;

/// Days back that are looked at: heartbeats of older ones come no more.
const DAYS: u64 = 7;
/// Devices that are compared by one statement.
const CHUNK: usize = 20;

/// Compares the aggregated days of the last week for some devices, which the seed draws. What differs is noted to be aggregated again. `false`: this node may
/// not go on.
pub(super) async fn compare(work: &Work<'_>, seed: Uuid, record: &mut ReconciliationRun) -> Result<bool, StoreError> {
    let unsettled = first_unsettled_day(work.now);
    let kept: HashSet<_> = work.store.partitions().await?.iter().filter_map(|table| day_of(table)).collect();
    let days = work.store.aggregated_days(unsettled - Days::new(DAYS), unsettled - Days::new(1)).await?;
    let ids = work.store.sampled_devices(seed, work.settings.sample_devices).await?;
    for day in days.into_iter().filter(|day| kept.contains(day)) {
        for chunk in ids.chunks(CHUNK) {
            let began = Instant::now();
            let (hours, drifts) = work.store.compare_hours(chunk, day).await?;
            record.checked += hours as u64;
            if !drifts.is_empty() {
                let mut devices: Vec<_> = drifts.iter().map(|found| found.device).collect();
                devices.dedup();
                let noted = work.store.note_hours_to_aggregate(&devices, day).await;
                for mut found in drifts {
                    found.drift.healed = noted.is_ok();
                    record.note(found.drift);
                }
                noted?;
            }
            if !work.pause(began, hours).await {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
