//! URL state of the pages about APKs and deployments: lists, filters, and the draft of a deployment.

use std::fmt;

use domain::ApkId;
use domain::deployment::{DeploymentState, Reason, TaskState};

use crate::selection::Selection;
use crate::url_state::{self, Query, pairs};

/// State of the deployments page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DeploymentsUrl {
    /// Filter by state.
    pub(crate) state: Option<DeploymentState>,
}

impl From<&str> for DeploymentsUrl {
    fn from(query: &str) -> Self {
        Self { state: value(query, "state").and_then(|name| DeploymentState::parse(&name)) }
    }
}

impl fmt::Display for DeploymentsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Query::new(f).pair("state", self.state.map(DeploymentState::as_str))
    }
}

/// State of the page of a deployment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DeploymentUrl {
    /// Filter of devices by state.
    pub(crate) state: Option<TaskState>,
    /// Filter of devices by reason.
    pub(crate) reason: Option<Reason>,
}

impl DeploymentUrl {
    /// Whether any filter is set.
    pub(crate) fn is_filtered(self) -> bool {
        self != Self::default()
    }
}

impl From<&str> for DeploymentUrl {
    fn from(query: &str) -> Self {
        Self {
            state: value(query, "state").and_then(|name| TaskState::parse(&name)),
            reason: value(query, "reason").and_then(|name| Reason::parse(&name)),
        }
    }
}

impl fmt::Display for DeploymentUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut query = Query::new(f);
        query.pair("state", self.state.map(TaskState::as_str))?;
        query.pair("reason", self.reason.map(Reason::as_str))
    }
}

/// Initial values of a new deployment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct NewDeploymentUrl {
    /// APK.
    pub(crate) apk: Option<ApkId>,
    /// Preselected devices.
    pub(crate) devices: Selection,
}

impl From<&str> for NewDeploymentUrl {
    fn from(query: &str) -> Self {
        Self { apk: value(query, "apk").and_then(|id| id.parse().ok()), devices: url_state::selection_of(query) }
    }
}

impl fmt::Display for NewDeploymentUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut query = Query::new(f);
        query.pair("apk", self.apk.map(|id| id.to_string()).as_deref())?;
        query.selection(&self.devices)
    }
}

/// State of the APKs page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ApksUrl {
    /// Filter by package.
    pub(crate) package: Option<String>,
}

impl From<&str> for ApksUrl {
    fn from(query: &str) -> Self {
        Self { package: value(query, "package") }
    }
}

impl fmt::Display for ApksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Query::new(f).pair("package", self.package.as_deref())
    }
}

fn value(query: &str, wanted: &str) -> Option<String> {
    pairs(query).find(|(key, _)| *key == wanted).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Route;
    use domain::DeviceId;
    use domain::query::DeviceFilter;
    use uuid::Uuid;

    #[test]
    fn an_address_reads_back_as_it_was_written() {
        let device = |n| DeviceId(Uuid::from_u128(n));
        let filter = DeviceFilter { tag: Some("a&b=c".into()), battery_below: Some(20), ..DeviceFilter::default() };
        let mut matching = Selection::matching(filter);
        assert!(matching.set(device(3), false));
        let new = |apk, devices| Route::NewDeployment { query: NewDeploymentUrl { apk, devices } };
        for route in [
            Route::Deployments { query: DeploymentsUrl { state: Some(DeploymentState::Paused) } },
            Route::Deployment { id: "x".into(), query: DeploymentUrl { state: Some(TaskState::Failed), reason: Reason::parse("offline") } },
            Route::Apks { query: ApksUrl { package: Some("com.example.till".into()) } },
            new(None, Selection::default()),
            new(Some(ApkId(Uuid::from_u128(7))), Selection::of([device(1), device(2)])),
            new(Some(ApkId(Uuid::from_u128(7))), matching),
        ] {
            assert_eq!(route.to_string().parse::<Route>().ok(), Some(route));
        }
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        assert_eq!(DeploymentsUrl::from("state=happy&foo=1"), DeploymentsUrl::default());
        assert!(!DeploymentUrl::from("state=x&reason=y").is_filtered() && DeploymentUrl::from("state=failed").is_filtered());
        assert_eq!(NewDeploymentUrl::from("apk=7&sel="), NewDeploymentUrl::default());
    }
}
