//! Reports of devices about deployments that could not be used, gathered: devices of a deployment share a row, and need not wait for each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clock::Clock;
use domain::{DeploymentId, DeviceId};
use store::{ReportErrors, Store};

/// How long they are gathered before they are written. A node that dies meanwhile has not counted them.
const GATHERED_FOR: Duration = Duration::from_secs(5);
/// Most deployments of devices that are gathered; of others none is counted until those are written.
const GATHERED_MAX: usize = 1_000;

/// Gathered reports, by deployment and device.
#[derive(Default)]
pub(super) struct GatheredErrors(Mutex<HashMap<(DeploymentId, DeviceId), u32>>);

impl GatheredErrors {
    /// Counts a report, and has all of them written in a while.
    pub(super) fn count(self: &Arc<Self>, deployment: DeploymentId, device: DeviceId, store: &Store, clock: &Clock) {
        if self.add(deployment, device) {
            let (gathered, store, clock) = (Arc::clone(self), store.clone(), clock.clone());
            tokio::spawn(async move {
                tokio::time::sleep(GATHERED_FOR).await;
                if let Err(error) = store.note_report_errors(&gathered.take(), clock.now()).await {
                    tracing::warn!(event = "deployment.report_errors_not_counted", %error);
                }
            });
        }
    }

    /// Adds a report. Answers whether it is the first one since they were taken.
    fn add(&self, deployment: DeploymentId, device: DeviceId) -> bool {
        let mut gathered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = gathered.is_empty();
        if let Some(errors) = gathered.get_mut(&(deployment, device)) {
            *errors = errors.saturating_add(1);
        } else if gathered.len() < GATHERED_MAX {
            gathered.insert((deployment, device), 1);
        }
        is_first
    }

    fn take(&self) -> Vec<ReportErrors> {
        let gathered = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        gathered.into_iter().map(|((deployment, device), errors)| ReportErrors { deployment, device, errors }).collect()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn errors_of_a_device_are_one_count_and_a_flood_is_bounded() {
        let gathered = GatheredErrors::default();
        let (deployment, device) = (DeploymentId(Uuid::from_u128(1)), DeviceId(Uuid::from_u128(2)));
        assert!(gathered.add(deployment, device), "it is to be written");
        assert!(!gathered.add(deployment, device), "it is written with the first");
        assert_eq!(gathered.take(), [ReportErrors { deployment, device, errors: 2 }]);
        assert!(gathered.add(deployment, device), "the next write");
        for other in 2..2 * GATHERED_MAX as u128 {
            assert!(!gathered.add(DeploymentId(Uuid::from_u128(other)), device));
        }
        assert_eq!(gathered.take().len(), GATHERED_MAX);
    }
}
