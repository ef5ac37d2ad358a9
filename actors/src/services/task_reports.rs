//! Task reports of devices: stored before they are acknowledged.

use domain::ServiceError;
use store::{TaskReport, TaskReportOutcome};

use super::AgentService;
use crate::messages::DeviceCredentials;

impl AgentService {
    /// Records a task report; returns after the commit. A repeated report changes nothing. A device whose report is refused
    /// does not install.
    ///
    /// # Errors
    /// The credentials no longer hold or are another device's, the device is deleted, it has no such deployment, the report is refused,
    /// or the database is unavailable.
    pub async fn record_task_report(&self, credentials: DeviceCredentials, report: TaskReport) -> Result<(), ServiceError> {
        if report.device != credentials.device_id {
            return Err(ServiceError::ForeignDevice);
        }
        self.check(credentials).await?;
        match self.task_reports.record(report).await? {
            TaskReportOutcome::Changed { .. } | TaskReportOutcome::Nothing => Ok(()),
            TaskReportOutcome::Refused(refusal) => Err(ServiceError::DeploymentRefused(refusal)),
            TaskReportOutcome::Unknown => Err(ServiceError::NotFound("deployment of this device")),
        }
    }
}
