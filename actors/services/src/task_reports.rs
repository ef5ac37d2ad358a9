//! Task reports of devices: stored before they are acknowledged.

use actors::messages::DeviceCredentials;
use domain::deployment::TaskReport;
use domain::{DeploymentId, ServiceError};
use store::TaskReportOutcome;

use super::AgentService;

impl AgentService {
    /// Counts a report of a device about a deployment that could not be used; it is written in a while.
    pub fn note_report_error(&self, credentials: DeviceCredentials, deployment: DeploymentId) {
        self.report_errors.count(deployment, credentials.device_id, &self.store, &self.clock);
    }

    /// Records a task report; returns after the commit. A repeated report changes nothing. A device whose report is refused
    /// does not install.
    ///
    /// # Errors
    /// A text is too long, the credentials no longer hold or are another device's, the device is deleted, it has no such deployment, the report is refused,
    /// or the database is unavailable.
    pub async fn record_task_report(&self, credentials: DeviceCredentials, report: TaskReport) -> Result<(), ServiceError> {
        if report.device != credentials.device_id {
            return Err(ServiceError::ForeignDevice);
        }
        let deployment = report.deployment;
        if let Err(refused) = report.checked() {
            self.note_report_error(credentials, deployment);
            return Err(refused.into());
        }
        self.check(credentials).await?;
        match self.task_reports.record(report).await? {
            TaskReportOutcome::Changed { .. } | TaskReportOutcome::Nothing => Ok(()),
            TaskReportOutcome::Refused(refusal) => {
                if refusal.is_contradiction() {
                    self.note_report_error(credentials, deployment);
                }
                Err(ServiceError::DeploymentRefused(refusal))
            }
            TaskReportOutcome::Unknown => Err(ServiceError::NotFound("deployment of this device")),
        }
    }
}
