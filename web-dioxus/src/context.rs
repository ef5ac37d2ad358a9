//! Context of every page: services, fleet and principal.

use std::net::IpAddr;
use std::sync::{Arc, Weak};

use actors::fleet_view::FleetView;
use clock::Clock;
use dioxus::prelude::*;
use domain::ServiceError;
use domain::access::{Permission, Principal};
use domain::device::DevicePolicy;
use services::System;

use crate::Limit;
use crate::alert_counts::AlertCounts;
use crate::field_labels::labeled;
use crate::fleet_watch::FleetWatch;
use crate::format;
use crate::uploads::Uploads;

/// Initial URL of a page.
#[derive(Clone)]
pub(crate) struct InitialPath(pub(crate) String);

/// Context of a page.
#[derive(Clone)]
pub(crate) struct Session {
    /// Clock of the node.
    pub(crate) clock: Clock,
    /// Weak, so that a forgotten page does not keep a stopping system alive.
    pub(crate) system: Weak<System>,
    /// The runtime that the services run on.
    pub(crate) runtime: tokio::runtime::Handle,
    /// The newest view of every device.
    pub(crate) fleet: Arc<FleetView>,
    /// Policy for the state of devices.
    pub(crate) policy: DevicePolicy,
    /// Data shared by all pages.
    pub(crate) watch: Arc<FleetWatch>,
    /// Principal of the page.
    pub(crate) principal: Principal,
    /// Scheme and host of the server as seen by the browser.
    pub(crate) origin: String,
    /// IP address of the browser.
    pub(crate) address: IpAddr,
    /// The limits in force.
    pub(crate) limits: Arc<[Limit]>,
    /// Uploaded files.
    pub(crate) uploads: Arc<Uploads>,
    /// Count of open alerts.
    pub(crate) alert_counts: Arc<AlertCounts>,
}

impl Session {
    /// Calls a service. The call runs where the services do: a connection to the
    /// database belongs to the runtime it was opened on, and pages come and go.
    pub(crate) async fn call<T, F>(&self, work: impl FnOnce(Arc<System>, Principal) -> F) -> Result<T, ServiceError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ServiceError>> + Send + 'static,
    {
        let system = self.system.upgrade().ok_or(ServiceError::Unavailable)?;
        let running = self.runtime.spawn(work(system, self.principal.clone()));
        let result = running.await.unwrap_or(Err(ServiceError::Internal));
        if let Err(ServiceError::Forbidden(refused)) = &result
            && let Some(system) = self.system.upgrade()
        {
            let (principal, problem) = (self.principal.clone(), refused.to_string());
            self.runtime.spawn(async move { system.trail.refused(&principal, "dashboard", &problem).await });
        }
        result
    }

    /// Whether the person may do something; the services decide, this only spares useless buttons.
    pub(crate) fn may(&self, permission: Permission) -> bool {
        self.principal.may(permission)
    }
}

/// The context of the page.
pub(crate) fn use_session() -> Session {
    use_context::<Session>()
}

/// Message for a refused or failed call.
pub(crate) fn explain(error: &ServiceError) -> String {
    match error {
        ServiceError::Forbidden(_) => "Your role does not allow this.".into(),
        ServiceError::Unauthorized => "Your session has ended. Sign in again.".into(),
        ServiceError::Unavailable => "The server cannot do this right now. Try again in a moment.".into(),
        ServiceError::Internal => "Internal server error. See the server log.".into(),
        ServiceError::Invalid(invalid) => format::sentence(&labeled(invalid)),
        other => format::sentence(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_sentences() {
        assert_eq!(explain(&ServiceError::NotFound("device")), "There is no such device.");
        assert_eq!(explain(&domain::Invalid::new("body", "empty").into()), "File: empty.");
        assert_eq!(
            explain(&ServiceError::Forbidden(domain::access::Forbidden(Permission::ManageDevices))),
            "Your role does not allow this."
        );
    }
}
