//! Task reports of devices: stored before they are acknowledged.

use actors::messages::DeviceCredentials;
use domain::ServiceError;
use domain::deployment::TaskReport;
use store::TaskReportOutcome;

use super::AgentService;

impl AgentService {
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
        report.checked()?;
        self.check(credentials).await?;
        match self.task_reports.record(report).await? {
            TaskReportOutcome::Changed { .. } | TaskReportOutcome::Nothing => Ok(()),
            TaskReportOutcome::Refused(refusal) => Err(ServiceError::DeploymentRefused(refusal)),
            TaskReportOutcome::Unknown => Err(ServiceError::NotFound("deployment of this device")),
        }
    }
}
