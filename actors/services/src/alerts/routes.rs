//! Routes from alerts to channels.

use domain::access::{Permission, Principal};
use domain::alert::{Rule, Severity};
use domain::audit::{AuditAction, Target};
use domain::deployment::MaintenanceWindow;
use domain::notification::{DigestTime, ROUTES_MAX, Route};
use domain::{ChannelId, Invalid, RouteId, ServiceError};
use serde_json::{Value, json};
use store::{AuditEntry, ChannelRow};

use super::AlertService;

/// A route as somebody wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRequest {
    /// Channel that it leads to.
    pub channel: ChannelId,
    /// Least severity.
    pub min_severity: Severity,
    /// Rules; empty: all.
    pub rules: Vec<Rule>,
    /// Groups of devices; empty: all, and what is no device.
    pub groups: Vec<String>,
    /// Hours of the day in which it leads there; `None`: always.
    pub hours: Option<MaintenanceWindow>,
    /// Level of escalation: 0 is notified at once.
    pub level: u8,
    /// Time of the day of a digest, instead of single messages.
    pub digest: Option<DigestTime>,
}

impl RouteRequest {
    fn route(self, id: RouteId) -> Result<Route, Invalid> {
        let Self { channel, min_severity, rules, groups, hours, level, digest } = self;
        if hours.as_ref().is_some_and(|hours| hours.daily().is_none()) {
            return Err(Invalid::new("hours", "not hours of a day, as 08:00 to 17:00"));
        }
        if digest.is_some() && hours.is_some() {
            return Err(Invalid::new("hours", "a digest has a time of its own; leave the hours out"));
        }
        Route { id, channel, min_severity, rules, groups, hours, level, digest }.checked()
    }
}

fn audited(route: &Route) -> Value {
    let hours = route.hours.as_ref().and_then(|hours| hours.daily());
    let digest = route.digest.as_ref().map(DigestTime::parts);
    json!({
        "channel_id": route.channel.to_string(), "min_severity": route.min_severity.as_str(),
        "rules": route.rules.iter().map(|rule| rule.as_str()).collect::<Vec<_>>(), "groups": route.groups,
        "hours": hours.map(|hours| format!("{}-{} {}", hours.start(), hours.end(), hours.tz())),
        "level": route.level, "digest": digest.map(|(at, tz)| format!("{at} {tz}")),
    })
}

fn target(id: RouteId) -> Target {
    Target::Other { kind: "alert_route", id: Some(id.to_string()), name: None }
}

impl AlertService {
    /// The routes, the oldest first.
    ///
    /// # Errors
    /// Forbidden.
    pub async fn routes(&self, principal: &Principal) -> Result<Vec<Route>, ServiceError> {
        principal.require(Permission::ManageAlertChannels)?;
        Ok(self.store.alert_routes(false, ROUTES_MAX as i64).await?)
    }

    /// A route.
    ///
    /// # Errors
    /// Forbidden, or there is no such route.
    pub async fn route(&self, principal: &Principal, id: RouteId) -> Result<Route, ServiceError> {
        self.routes(principal).await?.into_iter().find(|route| route.id == id).ok_or(ServiceError::NotFound("route"))
    }

    pub(super) async fn existing(&self, channel: ChannelId) -> Result<ChannelRow, ServiceError> {
        Ok(self.store.alert_channel(channel).await?.ok_or_else(|| Invalid::new("channel_id", "not a channel"))?)
    }

    /// Makes a route.
    ///
    /// # Errors
    /// Forbidden, a value is out of its limits, there is no such channel, or there are too many routes.
    pub async fn add_route(&self, principal: &Principal, request: RouteRequest) -> Result<Route, ServiceError> {
        principal.require(Permission::ManageAlertChannels)?;
        let route = request.route(RouteId(self.clock.new_id()))?;
        self.existing(route.channel).await?;
        let entry = AuditEntry::new(principal, AuditAction::AlertRouteMade, target(route.id)).after(audited(&route));
        match self.store.insert_alert_route(&route, ROUTES_MAX as i64, principal.username(), &entry, self.clock.now()).await? {
            true => Ok(route),
            false => Err(ServiceError::WrongState("the limit of 200 routes is reached; remove one first")),
        }
    }

    /// Changes a route: all of it is given anew.
    ///
    /// # Errors
    /// Forbidden, a value is out of its limits, or there is no such route or channel.
    pub async fn change_route(&self, principal: &Principal, id: RouteId, request: RouteRequest) -> Result<Route, ServiceError> {
        principal.require(Permission::ManageAlertChannels)?;
        let before = self.route(principal, id).await?;
        let route = request.route(id)?;
        self.existing(route.channel).await?;
        let entry = AuditEntry::new(principal, AuditAction::AlertRouteChanged, target(id)).before(audited(&before)).after(audited(&route));
        match self.store.update_alert_route(&route, &entry, self.clock.now()).await? {
            true => Ok(route),
            false => Err(ServiceError::NotFound("route")),
        }
    }

    /// Removes a route.
    ///
    /// # Errors
    /// Forbidden, or there is no such route.
    pub async fn remove_route(&self, principal: &Principal, id: RouteId) -> Result<(), ServiceError> {
        principal.require(Permission::ManageAlertChannels)?;
        let before = self.route(principal, id).await?;
        let entry = AuditEntry::new(principal, AuditAction::AlertRouteRemoved, target(id)).before(audited(&before));
        match self.store.delete_alert_route(id, &entry, self.clock.now()).await? {
            true => Ok(()),
            false => Err(ServiceError::NotFound("route")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_cannot_be_meant_is_refused() {
        let request = RouteRequest {
            channel: ChannelId(uuid::Uuid::nil()),
            min_severity: Severity::Info,
            rules: vec![],
            groups: vec![],
            hours: None,
            level: 0,
            digest: None,
        };
        let refused = |request: RouteRequest| request.route(RouteId(uuid::Uuid::nil())).unwrap_err().field;
        let hours = Some(MaintenanceWindow::parse("09:00", "17:00", "UTC").unwrap());
        let digest = Some(DigestTime::parse("08:00", "UTC").unwrap());
        assert_eq!(refused(RouteRequest { hours, digest: digest.clone(), ..request.clone() }), "hours");
        assert_eq!(refused(RouteRequest { level: 1, digest, ..request.clone() }), "level");
        assert_eq!(refused(RouteRequest { level: 9, ..request.clone() }), "level");
        assert!(request.route(RouteId(uuid::Uuid::nil())).is_ok());
    }
}
