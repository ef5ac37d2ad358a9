//! Deployments that are not over, and those that ended lately, beside their tasks.

use chrono::TimeDelta;
use domain::reconciliation::ReconciliationRun;
use store::StoreError;
use tokio::time::Instant;

use super::Work;

/// How long a deployment is compared after its end.
const ENDED_WITHIN: TimeDelta = TimeDelta::hours(25);
/// Numbers that are compared of each.
const NUMBERS: u64 = 4;
/// Rows of tasks that one may have, for the pace: so many may take as long as they take.
const ROWS: usize = 10_000;

/// Compares them one by one: each may have many tasks. Nothing is mended: a task that is added would install something, so that a person decides.
/// `false`: this node may not go on.
pub(super) async fn compare(work: &Work<'_>, record: &mut ReconciliationRun) -> Result<bool, StoreError> {
    let mut after = None;
    loop {
        let began = Instant::now();
        let Some((id, drifts)) = work.store.compare_deployment(after, work.now - ENDED_WITHIN).await? else { return Ok(true) };
        record.checked += NUMBERS;
        drifts.into_iter().for_each(|drift| record.note(drift));
        after = Some(id);
        if !work.pause(began, ROWS).await {
            return Ok(false);
        }
    }
}
