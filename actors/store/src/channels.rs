//! Names of the NOTIFY channels between nodes.

/// Placement of shards may have changed; no payload.
pub(crate) const PLACEMENT: &str = "nexmdm_placement";
/// A person changed a device; payload: its id.
pub(crate) const DEVICE: &str = "nexmdm_device";
/// An account lost something; no payload.
pub(crate) const ACCOUNT: &str = "nexmdm_account";
/// Commands were made; payload: the device's id, `batch:` or `deployment:` with an id.
pub(crate) const COMMAND: &str = "nexmdm_command";
/// Something happened to a deployment; payload: its id, or empty for all of them.
pub(crate) const DEPLOYMENT: &str = "nexmdm_deployment";
/// Alerts were changed, or what decides about their notifications; payload: [`RULES`] when it is the setting of a rule, else none.
pub(crate) const ALERT: &str = "nexmdm_alert";
/// Payload: what every node keeps of rules has changed.
pub(crate) const RULES: &str = "rules";
