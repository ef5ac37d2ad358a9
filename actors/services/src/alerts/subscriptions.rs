//! Subscriptions of channels to events: what the audit trail records, and what happens to devices.

use domain::access::{Permission, Principal};
use domain::audit::{AuditAction, Target};
use domain::notification::{EventSubscription, SUBSCRIPTIONS_MAX};
use domain::{ChannelId, Invalid, ServiceError, SubscriptionId, Timestamp};
use serde_json::json;
use store::{AuditEntry, Subscribed};

use super::AlertService;

/// A subscription as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionView {
    /// The subscription.
    pub subscription: EventSubscription,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Whoever subscribes sees what the audit trail records.
fn authorize(principal: &Principal) -> Result<(), ServiceError> {
    principal.require(Permission::ManageAlertChannels)?;
    Ok(principal.require(Permission::ViewAudit)?)
}

fn entry(principal: &Principal, action: AuditAction, subscription: &EventSubscription) -> AuditEntry {
    let target =
        Target::Other { kind: "event_subscription", id: Some(subscription.id.to_string()), name: Some(subscription.actions.join(", ")) };
    AuditEntry::new(principal, action, target)
}

impl AlertService {
    /// The subscriptions, the oldest first.
    ///
    /// # Errors
    /// Forbidden.
    pub async fn subscriptions(&self, principal: &Principal) -> Result<Vec<SubscriptionView>, ServiceError> {
        self.authorize_channels(principal)?;
        let view =
            |one: Subscribed| SubscriptionView { subscription: one.subscription, created_by: one.created_by, created_at: one.created_at };
        Ok(self.store.event_subscriptions(false, 1, SUBSCRIPTIONS_MAX as i64).await?.into_iter().map(view).collect())
    }

    /// Subscribes a channel to actions of the audit trail and to events of devices, from now on.
    ///
    /// # Errors
    /// Forbidden, an action is none, there is no such channel, or there are too many subscriptions.
    pub async fn subscribe(
        &self,
        principal: &Principal,
        channel: ChannelId,
        actions: Vec<String>,
    ) -> Result<SubscriptionView, ServiceError> {
        authorize(principal)?;
        let subscription = EventSubscription { id: SubscriptionId(self.clock.new_id()), channel, actions }.checked()?;
        if self.existing(channel).await?.channel.kind.keeps_incidents() {
            return Err(Invalid::new("channel_id", "a channel of PagerDuty, which has incidents alone; subscribe another one").into());
        }
        let entry = entry(principal, AuditAction::EventSubscriptionMade, &subscription)
            .after(json!({ "channel_id": channel.to_string(), "actions": subscription.actions }));
        let (by, now) = (principal.username(), self.clock.now());
        match self.store.insert_event_subscription(&subscription, SUBSCRIPTIONS_MAX as i64, by, &entry, now).await? {
            true => Ok(SubscriptionView { subscription, created_by: by.to_owned(), created_at: now }),
            false => Err(ServiceError::WrongState("the limit of 100 subscriptions is reached; remove one first")),
        }
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// Forbidden, or there is no such subscription.
    pub async fn unsubscribe(&self, principal: &Principal, id: SubscriptionId) -> Result<(), ServiceError> {
        let all = self.subscriptions(principal).await?;
        let before =
            all.into_iter().map(|view| view.subscription).find(|one| one.id == id).ok_or(ServiceError::NotFound("subscription"))?;
        let entry = entry(principal, AuditAction::EventSubscriptionRemoved, &before)
            .before(json!({ "channel_id": before.channel.to_string(), "actions": before.actions }));
        match self.store.delete_event_subscription(id, &entry, self.clock.now()).await? {
            true => Ok(()),
            false => Err(ServiceError::NotFound("subscription")),
        }
    }
}
