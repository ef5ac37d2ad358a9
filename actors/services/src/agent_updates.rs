//! Update checks and update reports of agents. A check is answered from memory.

use actors::agent_updates::{hour_of, promoted_of};
use actors::messages::DeviceCredentials;
use apk::signed_url::LinkHolder;
use domain::rollout::{AgentBuild, Promotion, UpdateAnswer, UpdateEvent, answer, newest};
use domain::text::{fit_line, opaque};
use domain::{AgentBuildId, DeviceId, Invalid, ServiceError, Timestamp};
use store::{UpdateReport, UpdateReportOutcome};

use super::agent::unknown_is_unauthorized;
use super::agent_builds::AgentBuildService;
use super::detached::run_detached;

/// Longest package name, in characters.
const PACKAGE_MAX_CHARS: usize = 255;
/// So much of an error is kept, in characters; the same is a CHECK.
const ERROR_MAX_CHARS: usize = 200;

/// Update check of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateCheck {
    /// Package name of its agent.
    pub package: String,
    /// Version code that it runs.
    pub version_code: i64,
    /// Device id that the agent claims, if any.
    pub device: Option<DeviceId>,
}

/// Offered build.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateOffer {
    /// The build.
    pub build: AgentBuild,
    /// Promotion.
    pub promotion: Promotion,
    /// Download address.
    pub url: String,
    /// Until when that holds.
    pub url_expires_at: Timestamp,
}

/// Report of a device about an agent update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateProgress {
    /// The build.
    pub build: AgentBuildId,
    /// Event.
    pub event: UpdateEvent,
    /// Error.
    pub error: Option<String>,
    /// The version that it runs now.
    pub version_code: Option<i64>,
}

impl AgentBuildService {
    /// Whether there is a newer build for a device. Asks no database, except where the device's owner is out of reach.
    ///
    /// # Errors
    /// The credentials no longer hold, are another device's, or the device is deleted; the package is not the agent's; or it could
    /// not be read lately what is offered.
    pub async fn check(
        &self,
        credentials: DeviceCredentials,
        check: UpdateCheck,
    ) -> Result<Result<UpdateOffer, UpdateAnswer>, ServiceError> {
        let checked = self.checked(credentials, check).await;
        let label = match &checked {
            Ok(Ok(_)) => "offered",
            Ok(Err(answer)) => answer.as_str(),
            Err(ServiceError::Unavailable | ServiceError::NotOwner) => "unavailable",
            Err(_) => "refused",
        };
        self.parts.metrics.agent_update_checks.with_label_values(&[label]).inc();
        checked
    }

    async fn checked(&self, credentials: DeviceCredentials, check: UpdateCheck) -> Result<Result<UpdateOffer, UpdateAnswer>, ServiceError> {
        if check.device.is_some_and(|device| device != credentials.device_id) {
            return Err(ServiceError::ForeignDevice);
        }
        opaque("package_name", &check.package, PACKAGE_MAX_CHARS)?;
        if check.package != self.package() {
            return Err(
                Invalid::new("package_name", format!("not the agent's, which is {} (agent_updates.package)", self.package())).into()
            );
        }
        if check.version_code < 0 {
            return Err(Invalid::new("current_version_code", "less than 0").into());
        }
        self.parts.router.check(credentials).await.map_err(unknown_is_unauthorized)?;
        let known = self.parts.offers.known().ok_or(ServiceError::Unavailable)?;
        let promoted = promoted_of(&known.builds, &check.package);
        let answer = answer(credentials.device_id, check.version_code, &promoted);
        let judged_by = match answer {
            UpdateAnswer::Offer(id) => Some(id),
            _ => newest(&promoted).map(|build| build.build),
        };
        if let Some(build) = judged_by {
            self.parts.counters.count(build, hour_of(self.parts.clock.now()), matches!(answer, UpdateAnswer::Offer(_)));
        }
        let UpdateAnswer::Offer(id) = answer else { return Ok(Err(answer)) };
        let build = known.build(id).ok_or(ServiceError::Internal)?.clone();
        let promotion = build.promotion.ok_or(ServiceError::Internal)?;
        let (url, url_expires_at) =
            self.parts.library.download_url(build.apk, Some(LinkHolder::Device(credentials.device_id)), self.parts.clock.now());
        Ok(Ok(UpdateOffer { build, promotion, url, url_expires_at }))
    }

    /// Stores the report of an update on a device. A repeated report counts once. A build with too many failures is halted at once.
    ///
    /// # Errors
    /// The credentials no longer hold, the device is deleted, there is no such build, it was never offered, or another version
    /// was installed.
    pub async fn report(&self, credentials: DeviceCredentials, reported: UpdateProgress) -> Result<(), ServiceError> {
        self.parts.router.check(credentials).await.map_err(unknown_is_unauthorized)?;
        let UpdateProgress { build, event, error, version_code } = reported;
        if version_code.is_some_and(|version| version < 0) {
            return Err(Invalid::new("version_code", "less than 0").into());
        }
        // Cut rather than refused: what failed must be heard, however long the words.
        let error = error.map(|mut text| {
            fit_line(&mut text, ERROR_MAX_CHARS);
            text
        });
        let report =
            UpdateReport { build, device: credentials.device_id, event, error: error.filter(|text| !text.is_empty()), version_code };
        let (store, policy, offers) = (self.parts.store.clone(), self.parts.settings.halt, self.parts.offers.clone());
        let now = self.parts.clock.now();
        let taken = run_detached(async move {
            let taken = store.report_update(&report, policy, now).await?;
            if let UpdateReportOutcome::Halted(reason) = taken {
                tracing::warn!(event = "agent_build.halted", build_id = %build, reason = reason.as_str());
                // The other nodes read it within a second.
                if let Err(cause) = offers.refresh(&store).await {
                    tracing::warn!(event = "agent_builds.read_failed", %cause);
                }
            }
            Ok(taken)
        })
        .await?;
        match taken {
            UpdateReportOutcome::Counted | UpdateReportOutcome::Halted(_) => {
                self.parts.metrics.agent_update_reports.with_label_values(&[event.as_str()]).inc();
                Ok(())
            }
            UpdateReportOutcome::Repeated => Ok(()),
            UpdateReportOutcome::NotFound => Err(ServiceError::NotFound("build")),
            UpdateReportOutcome::NeverOffered => Err(ServiceError::WrongState("this build was never offered")),
            UpdateReportOutcome::OtherVersion(version) => Err(Invalid::new("version_code", format!("the build's is {version}")).into()),
        }
    }
}
