//! Deployments as the Deploy milestone asks for them: by `apk_version_id`, with a typed target and flat options.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::deployment::{DeploymentOptions, DeploymentRequest};

/// Body of `POST /v1/deployments` in either form: the second has `apk_version_id`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum DeploymentBody {
    /// With the options in groups.
    Grouped(DeploymentRequest),
    /// With flat options.
    Flat(FlatDeploymentRequest),
}

/// Body of `POST /v1/deployments` with flat options.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FlatDeploymentRequest {
    /// APK to install, by its id.
    pub apk_version_id: String,
    /// Target devices.
    pub target: TypedTarget,
    /// Options; absent ones have conservative defaults. Those of the other form are taken, too.
    #[serde(default)]
    #[schema(value_type = FlatDeploymentOptions)]
    pub options: DeploymentOptions,
    /// Display name, at most 200 characters; app and version when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Rule for devices that an older open deployment of the package has; `wait` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<crate::names::ConflictRule>)]
    pub conflict: Option<String>,
    /// Dry run: only return the plan.
    #[serde(default)]
    pub dry_run: bool,
}

/// Target devices. The set is fixed on creation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TypedTarget {
    /// Every device, or a selection.
    #[serde(rename = "type")]
    #[schema(value_type = crate::names::TargetType)]
    pub kind: String,
    /// With `selection`: device ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_ids: Option<Vec<String>>,
    /// With `selection`: what devices have to match. Beside `device_ids`: which of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<TargetFilters>,
}

/// Filters of a target; a device matches all that are given.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TargetFilters {
    /// Tags of which the device has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Groups of which the device is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// Text, searched as in lists of devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

/// Flat options of a deployment.
#[derive(ToSchema)]
pub struct FlatDeploymentOptions {
    /// Canary size; 0: no canary, which a deployment to the fleet refuses.
    pub canary: Option<u32>,
    /// Max installs per minute; 0: no limit.
    pub rate: Option<u32>,
    /// Max concurrent installs.
    pub concurrency: Option<u32>,
    /// Unmetered Wi-Fi or Ethernet only.
    pub wifi_only: Option<bool>,
    /// Minimum battery, percent.
    pub min_battery: Option<u8>,
    /// Only charging devices.
    pub charging_only: Option<bool>,
    /// Maintenance window.
    pub window: Option<FlatWindow>,
    /// Retries.
    pub retry: Option<FlatRetry>,
    /// Steps after the installation.
    pub post_install: Option<PostInstall>,
    /// Allow a rollback.
    pub allow_rollback: Option<bool>,
    /// Devices that do not meet the requirements in their turn; `skip` when absent.
    #[schema(value_type = Option<crate::names::OnUnmet>)]
    pub on_unmet: Option<String>,
}

/// Maintenance window of one period.
#[derive(ToSchema)]
pub struct FlatWindow {
    /// Begin, RFC 3339 with the offset from UTC.
    pub start_iso: String,
    /// End.
    pub end_iso: String,
}

/// Retries on one device.
#[derive(ToSchema)]
pub struct FlatRetry {
    /// Retries.
    pub max: Option<u32>,
    /// Delay of the first retry, s; it doubles with each.
    pub backoff_sec: Option<u32>,
}

/// Steps after an installation.
#[derive(ToSchema)]
pub struct PostInstall {
    /// Intent that is sent to the app.
    pub restart_intent: Option<PostInstallIntent>,
}

/// Intent that is sent to an app.
#[derive(ToSchema)]
pub struct PostInstallIntent {
    /// Action.
    pub action: String,
    /// Texts by name.
    #[schema(value_type = Option<Object>)]
    pub extras: Option<serde_json::Value>,
}
