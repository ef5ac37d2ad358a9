//! The addresses of the dashboard's pages: one enum, its text and back. Which component shows a page is stated in `app`.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use dioxus::router::exports::percent_encoding::{percent_decode_str, utf8_percent_encode};
use dioxus::router::exports::{PATH_ASCII_SET, QUERY_ASCII_SET};
use domain::alert::Rule;
use domain::{AlertId, ChannelId, CommandBatchId, DeploymentId, DeviceId};

use crate::alerts_url::{AlertsUrl, ChannelUrl};
use crate::audit_url::AuditUrl;
use crate::commands_url::{BatchUrl, CommandsUrl};
use crate::deployments_url::{ApksUrl, DeploymentUrl, DeploymentsUrl, NewDeploymentUrl};
use crate::reports_url::ReportsUrl;
use crate::storage_url::StorageUrl;
use crate::url_state::{DeviceUrl, DevicesUrl, EnrollmentUrl, percent_decoded};

/// A part of the settings, in the order of the tabs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Section {
    /// One's own account.
    Profile,
    /// One's own sign-ins.
    Sessions,
    /// One's own API tokens.
    Tokens,
    /// Everybody's accounts.
    Users,
    /// Programs that may be run on devices.
    Exec,
    /// Limits of requests.
    Limits,
}

domain::named!(pub(crate) Section, parse -> Option);

/// The address of a page.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Route {
    Overview {},
    Devices { query: DevicesUrl },
    DeletedDevices {},
    ImportDevices {},
    Device { id: String, query: DeviceUrl },
    Enrollment { query: EnrollmentUrl },
    Commands { query: CommandsUrl },
    CommandBatch { id: String, query: BatchUrl },
    Apks { query: ApksUrl },
    Packages {},
    Deployments { query: DeploymentsUrl },
    NewDeployment { query: NewDeploymentUrl },
    Deployment { id: String, query: DeploymentUrl },
    AgentBuilds {},
    Alerts { query: AlertsUrl },
    Alert { id: String },
    AlertRules {},
    AlertRule { rule: String },
    AlertSilences {},
    AlertChannels {},
    AlertChannel { id: String, query: ChannelUrl },
    AlertRoutes {},
    Reports { query: ReportsUrl },
    Cluster {},
    Storage { query: StorageUrl },
    Audit { query: AuditUrl },
    Settings { section: String },
    NotFound { segments: Vec<String> },
}

impl Route {
    /// The page of a device.
    pub(crate) fn device(id: DeviceId) -> Self {
        Self::Device { id: id.to_string(), query: DeviceUrl::default() }
    }

    /// The page of a batch of commands.
    pub(crate) fn batch(id: CommandBatchId) -> Self {
        Self::CommandBatch { id: id.to_string(), query: BatchUrl::default() }
    }

    /// The page of a deployment.
    pub(crate) fn deployment(id: DeploymentId) -> Self {
        Self::Deployment { id: id.to_string(), query: DeploymentUrl::default() }
    }

    /// The page of an alert.
    pub(crate) fn alert(id: AlertId) -> Self {
        Self::Alert { id: id.to_string() }
    }

    /// The page of a rule.
    pub(crate) fn alert_rule(rule: Rule) -> Self {
        Self::AlertRule { rule: rule.as_str().to_owned() }
    }

    /// The page of a channel.
    pub(crate) fn alert_channel(id: ChannelId) -> Self {
        Self::AlertChannel { id: id.to_string(), query: ChannelUrl::default() }
    }

    /// Whether the page is one of those about alerts.
    pub(crate) fn is_about_alerts(&self) -> bool {
        matches!(
            self,
            Self::Alerts { .. }
                | Self::Alert { .. }
                | Self::AlertRules {}
                | Self::AlertRule { .. }
                | Self::AlertSilences {}
                | Self::AlertChannels {}
                | Self::AlertChannel { .. }
                | Self::AlertRoutes {}
        )
    }

    /// A part of the settings, in the order of the tabs.
    pub(crate) fn settings(section: Section) -> Self {
        Self::Settings { section: section.as_str().to_owned() }
    }

    /// Segments of its path, and its query.
    fn parts(&self) -> (Vec<&str>, String) {
        let plain = |segments: &[&'static str]| (segments.to_vec(), String::new());
        match self {
            Self::Overview {} => plain(&[]),
            Self::Devices { query } => (vec!["devices"], query.to_string()),
            Self::DeletedDevices {} => plain(&["devices", "deleted"]),
            Self::ImportDevices {} => plain(&["devices", "import"]),
            Self::Device { id, query } => (vec!["devices", id], query.to_string()),
            Self::Enrollment { query } => (vec!["enrollment"], query.to_string()),
            Self::Commands { query } => (vec!["commands"], query.to_string()),
            Self::CommandBatch { id, query } => (vec!["commands", "batches", id], query.to_string()),
            Self::Apks { query } => (vec!["apks"], query.to_string()),
            Self::Packages {} => plain(&["apks", "packages"]),
            Self::Deployments { query } => (vec!["deployments"], query.to_string()),
            Self::NewDeployment { query } => (vec!["deployments", "new"], query.to_string()),
            Self::Deployment { id, query } => (vec!["deployments", id], query.to_string()),
            Self::AgentBuilds {} => plain(&["agent-updates"]),
            Self::Alerts { query } => (vec!["alerts"], query.to_string()),
            Self::Alert { id } => (vec!["alerts", id], String::new()),
            Self::AlertRules {} => plain(&["alerts", "rules"]),
            Self::AlertRule { rule } => (vec!["alerts", "rules", rule], String::new()),
            Self::AlertSilences {} => plain(&["alerts", "silences"]),
            Self::AlertChannels {} => plain(&["alerts", "channels"]),
            Self::AlertChannel { id, query } => (vec!["alerts", "channels", id], query.to_string()),
            Self::AlertRoutes {} => plain(&["alerts", "routes"]),
            Self::Reports { query } => (vec!["reports"], query.to_string()),
            Self::Cluster {} => plain(&["cluster"]),
            Self::Storage { query } => (vec!["storage"], query.to_string()),
            Self::Audit { query } => (vec!["audit"], query.to_string()),
            Self::Settings { section } => (vec!["settings", section], String::new()),
            Self::NotFound { segments } => (segments.iter().map(String::as_str).collect(), String::new()),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (segments, query) = self.parts();
        if segments.is_empty() {
            f.write_str("/")?;
        }
        for segment in segments {
            write!(f, "/{}", utf8_percent_encode(segment, PATH_ASCII_SET))?;
        }
        if !query.is_empty() {
            write!(f, "?{}", utf8_percent_encode(&query, QUERY_ASCII_SET))?;
        }
        Ok(())
    }
}

impl FromStr for Route {
    type Err = Infallible;

    /// Any address is one: what is no page is [`Route::NotFound`]. A fragment is left out.
    fn from_str(address: &str) -> Result<Self, Infallible> {
        let (address, _fragment) = address.split_once('#').unwrap_or((address, ""));
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        let segments: Vec<String> = path.split('/').map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned()).collect();
        let query = percent_decoded(query);
        let query = query.as_str();
        let names: Vec<&str> = segments.iter().map(String::as_str).collect();
        Ok(match names[..] {
            [""] => Self::Overview {},
            ["devices"] => Self::Devices { query: query.into() },
            ["devices", "deleted"] => Self::DeletedDevices {},
            ["devices", "import"] => Self::ImportDevices {},
            ["devices", id] => Self::Device { id: id.into(), query: query.into() },
            ["enrollment"] => Self::Enrollment { query: query.into() },
            ["commands"] => Self::Commands { query: query.into() },
            ["commands", "batches", id] => Self::CommandBatch { id: id.into(), query: query.into() },
            ["apks"] => Self::Apks { query: query.into() },
            ["apks", "packages"] => Self::Packages {},
            ["deployments"] => Self::Deployments { query: query.into() },
            ["deployments", "new"] => Self::NewDeployment { query: query.into() },
            ["deployments", id] => Self::Deployment { id: id.into(), query: query.into() },
            ["agent-updates"] => Self::AgentBuilds {},
            ["alerts"] => Self::Alerts { query: query.into() },
            ["alerts", "rules"] => Self::AlertRules {},
            ["alerts", "rules", rule] => Self::AlertRule { rule: rule.into() },
            ["alerts", "silences"] => Self::AlertSilences {},
            ["alerts", "channels"] => Self::AlertChannels {},
            ["alerts", "channels", id] => Self::AlertChannel { id: id.into(), query: query.into() },
            ["alerts", "routes"] => Self::AlertRoutes {},
            ["alerts", id] => Self::Alert { id: id.into() },
            ["reports"] => Self::Reports { query: query.into() },
            ["cluster"] => Self::Cluster {},
            ["storage"] => Self::Storage { query: query.into() },
            ["audit"] => Self::Audit { query: query.into() },
            ["settings", section] => Self::Settings { section: section.into() },
            _ => Self::NotFound { segments },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(address: &str) -> Route {
        let Ok(route) = address.parse();
        route
    }

    #[test]
    fn every_address_reads_back_as_it_was_written() {
        let addresses = [
            "/",
            "/devices",
            "/devices/deleted",
            "/devices/import",
            "/devices/7",
            "/enrollment",
            "/commands",
            "/commands/batches/7",
            "/apks",
            "/apks/packages",
            "/deployments",
            "/deployments/new",
            "/deployments/7",
            "/agent-updates",
            "/alerts",
            "/alerts/7",
            "/alerts/rules",
            "/alerts/rules/app_down",
            "/alerts/silences",
            "/alerts/channels",
            "/alerts/channels/7",
            "/alerts/routes",
            "/reports",
            "/reports?period=weekly&date=2026-11-23",
            "/cluster",
            "/storage",
            "/audit",
            "/settings/users",
            "/enrollment?status=expired",
            "/no/such/page",
        ];
        for address in addresses {
            let route = parsed(address);
            assert_eq!(route.to_string(), address);
            assert_eq!(matches!(route, Route::NotFound { .. }), address == "/no/such/page", "{address}");
        }
    }

    #[test]
    fn segments_are_decoded_and_encoded() {
        assert_eq!(parsed("/devices/a%2Fb%20c"), Route::Device { id: "a/b c".into(), query: DeviceUrl::default() });
        let route = Route::NotFound { segments: vec!["ä b".into()] };
        assert_eq!((route.to_string().as_str(), parsed(&route.to_string())), ("/%C3%A4%20b", route));
    }

    #[test]
    fn a_slash_at_the_end_and_a_fragment_change_nothing() {
        assert_eq!(parsed("/devices/?#content"), parsed("/devices"));
        assert_eq!(parsed("/cluster/"), Route::Cluster {});
        assert_eq!(parsed("/cluster?unknown=1"), Route::Cluster {});
        assert_eq!(parsed("//"), Route::Overview {});
    }
}
