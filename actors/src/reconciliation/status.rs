//! The last status of every device, beside its newest heartbeat.

use domain::reconciliation::{ReconciliationRun, Window};
use store::StoreError;
use tokio::time::Instant;

use super::Work;

/// Compares all devices, chunk by chunk, and mends each chunk before the next. `false`: this node may not go on.
pub(super) async fn compare(work: &Work<'_>, record: &mut ReconciliationRun) -> Result<bool, StoreError> {
    let window = Window::at(work.now);
    let mut after = None;
    loop {
        let began = Instant::now();
        let mut chunk = work.store.compare_status(after, work.settings.chunk_devices, window).await?;
        let devices = chunk.devices;
        record.checked += devices as u64;
        if !chunk.drifts.is_empty() {
            let healed = work.store.heal_status(&mut chunk.drifts, window, work.now).await;
            // What was found is told, whether or not it could be mended.
            chunk.drifts.into_iter().for_each(|found| record.note(found.drift));
            healed?;
        }
        if (devices as i64) < work.settings.chunk_devices {
            return Ok(true);
        }
        after = chunk.last;
        if !work.pause(began, devices).await {
            return Ok(false);
        }
    }
}
