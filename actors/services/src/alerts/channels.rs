//! Channels of notifications: made, changed, tried, and what was sent over them.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::access::{Permission, Principal};
use domain::audit::{AuditAction, Target};
use domain::invalid::in_range;
use domain::notification::{CHANNELS_MAX, Channel, ChannelKind};
use domain::query::PAGE_MAX;
use domain::{ChannelId, Invalid, NotificationId, ServiceError};
use notify::{ChannelFields, SealError};
use serde_json::{Value, json};
use store::{AuditEntry, ChannelRow, NewSecret};

use super::list::shown;
use super::{AlertService, Delivery};
use crate::access_trail::given;

/// Declaration of a channel's field.
pub type ChannelField = notify::Field;
/// Form of the value of a channel's field.
pub type ChannelInput = notify::Input;

/// Fields of a kind of channel, in the order in which they are shown.
pub fn channel_fields(kind: ChannelKind) -> &'static [ChannelField] {
    notify::fields(kind)
}

/// A channel as lists show it: without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelView {
    /// The channel; of secret fields the settings have at most the host.
    pub channel: Channel,
    /// Names of the secret fields that are set; `None`: they cannot be read with this master key.
    pub secrets: Option<Vec<&'static str>>,
}

/// A channel as somebody wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelRequest {
    /// Name.
    pub name: String,
    /// Kind; that of a channel stays.
    pub kind: ChannelKind,
    /// Values of its fields. Of a channel that is changed, secrets that are left out stay, and an empty one goes.
    pub fields: ChannelValues,
    /// Whether it is on.
    pub enabled: bool,
}

/// Values of fields, secrets among them: never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ChannelValues(pub BTreeMap<String, String>);

impl std::fmt::Debug for ChannelValues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Outcome of a test of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelTest {
    /// Whether the service took the message.
    pub delivered: bool,
    /// Its answer in its words, or the error.
    pub answer: String,
    /// How long it took.
    pub took: Duration,
}

fn target(channel: &Channel) -> Target {
    Target::Other { kind: "alert_channel", id: Some(channel.id.to_string()), name: Some(channel.name.clone()) }
}

/// A channel, for the record: secrets by their names only.
fn audited(channel: &Channel, fields: &ChannelFields) -> Value {
    json!({
        "name": channel.name, "kind": channel.kind.as_str(), "settings": channel.settings, "enabled": channel.enabled,
        "secrets": secrets(channel.kind, fields),
    })
}

/// Names of the secret fields that are set.
fn secrets(kind: ChannelKind, fields: &ChannelFields) -> Vec<&'static str> {
    notify::fields(kind).iter().filter(|field| field.secret && fields.secrets.has(field.name)).map(|field| field.name).collect()
}

fn unsealed(error: SealError) -> ServiceError {
    match error {
        SealError::Unreadable => ServiceError::WrongState("the channel's secrets cannot be read with this master key: enter them again"),
        SealError::Failed => ServiceError::Internal,
    }
}

impl AlertService {
    fn view(&self, row: &ChannelRow) -> ChannelView {
        let secrets = self.notifier.open(row).ok().map(|fields| secrets(row.channel.kind, &fields));
        ChannelView { channel: row.channel.clone(), secrets }
    }

    async fn row(&self, id: ChannelId) -> Result<ChannelRow, ServiceError> {
        self.store.alert_channel(id).await?.ok_or(ServiceError::NotFound("channel"))
    }

    /// Whether the caller may manage channels and routes, before the request's body is read.
    ///
    /// # Errors
    /// Forbidden.
    pub fn authorize_channels(&self, principal: &Principal) -> Result<(), ServiceError> {
        Ok(principal.require(Permission::ManageAlertChannels)?)
    }

    /// Whether the configuration names a mail server, so that channels of mail need none of their own.
    ///
    /// # Errors
    /// Forbidden.
    pub fn has_mail_server(&self, principal: &Principal) -> Result<bool, ServiceError> {
        self.authorize_channels(principal)?;
        Ok(self.notifier.has_mail_server())
    }

    /// The channels by name, without their secrets.
    ///
    /// # Errors
    /// Forbidden.
    pub async fn channels(&self, principal: &Principal) -> Result<Vec<Channel>, ServiceError> {
        self.authorize_channels(principal)?;
        Ok(self.store.alert_channels(CHANNELS_MAX as i64).await?)
    }

    /// A channel, with the names of its secrets.
    ///
    /// # Errors
    /// Forbidden, or there is no such channel.
    pub async fn channel(&self, principal: &Principal, id: ChannelId) -> Result<ChannelView, ServiceError> {
        self.authorize_channels(principal)?;
        Ok(self.view(&self.row(id).await?))
    }

    /// Makes a channel.
    ///
    /// # Errors
    /// Forbidden, a value is out of its limits, the name is taken, or there are too many.
    pub async fn add_channel(&self, principal: &Principal, request: ChannelRequest) -> Result<ChannelView, ServiceError> {
        self.authorize_channels(principal)?;
        let ChannelRequest { name, kind, fields, enabled } = request;
        let now = self.clock.now();
        let id = ChannelId(self.clock.new_id());
        let fields = notify::parse(kind, fields.0, None, self.notifier.has_mail_server())?;
        let has_secret = !fields.secrets.is_empty();
        let channel = Channel { id, name, kind, settings: fields.settings.clone(), has_secret, enabled, changed_at: now }.checked()?;
        let sealed = has_secret.then(|| self.notifier.seal(id, &fields.secrets)).transpose().map_err(unsealed)?;
        let entry = AuditEntry::new(principal, AuditAction::AlertChannelMade, target(&channel)).after(audited(&channel, &fields));
        let by = principal.username();
        match self.store.insert_alert_channel(&channel, sealed.as_deref(), CHANNELS_MAX as i64, by, &entry, now).await? {
            true => {
                tracing::info!(event = "alert_channel.made", channel_id = %id, kind = kind.as_str(), by);
                Ok(ChannelView { secrets: Some(secrets(kind, &fields)), channel })
            }
            false => Err(ServiceError::WrongState("the limit of 100 channels is reached; remove one first")),
        }
    }

    /// Changes a channel; its kind stays. Fields are given anew, but for secrets, which stay when they are left out.
    ///
    /// # Errors
    /// As [`Self::add_channel`], or there is no such channel. A secret does not stay when it would be sent to another server than before.
    pub async fn change_channel(&self, principal: &Principal, id: ChannelId, request: ChannelRequest) -> Result<ChannelView, ServiceError> {
        self.authorize_channels(principal)?;
        let ChannelRequest { name, kind, fields, enabled } = request;
        let before = self.row(id).await?;
        if kind != before.channel.kind {
            let is = before.channel.kind.as_str();
            return Err(Invalid::new("kind", format!("the channel is of kind {is}, which stays: make another one")).into());
        }
        // With secrets that cannot be read, all of them have to be given anew.
        let known = self.notifier.open(&before).ok();
        let fields = notify::parse(kind, fields.0, known.as_ref(), self.notifier.has_mail_server())?;
        let has_secret = !fields.secrets.is_empty();
        let now = self.clock.now();
        let channel = Channel { id, name, kind, settings: fields.settings.clone(), has_secret, enabled, changed_at: now }.checked()?;
        let secret = match has_secret {
            true => NewSecret::Sealed(self.notifier.seal(id, &fields.secrets).map_err(unsealed)?),
            false => NewSecret::Removed,
        };
        let entry = AuditEntry::new(principal, AuditAction::AlertChannelChanged, target(&channel))
            .before(audited(&before.channel, known.as_ref().unwrap_or(&ChannelFields::default())))
            .after(audited(&channel, &fields));
        match self.store.update_alert_channel(&channel, &secret, &entry, now).await? {
            true => Ok(ChannelView { secrets: Some(secrets(kind, &fields)), channel }),
            false => Err(ServiceError::NotFound("channel")),
        }
    }

    /// Removes a channel with its routes and what waits for it.
    ///
    /// # Errors
    /// Forbidden, or there is no such channel.
    pub async fn remove_channel(&self, principal: &Principal, id: ChannelId) -> Result<(), ServiceError> {
        self.authorize_channels(principal)?;
        let before = self.row(id).await?;
        let fields = self.notifier.open(&before).unwrap_or_default();
        let entry =
            AuditEntry::new(principal, AuditAction::AlertChannelRemoved, target(&before.channel)).before(audited(&before.channel, &fields));
        match self.store.delete_alert_channel(id, &entry, self.clock.now()).await? {
            true => Ok(()),
            false => Err(ServiceError::NotFound("channel")),
        }
    }

    /// Sends a test over a channel at once, and returns the service's answer.
    ///
    /// # Errors
    /// Forbidden, or there is no such channel.
    pub async fn test_channel(&self, principal: &Principal, id: ChannelId) -> Result<ChannelTest, ServiceError> {
        self.authorize_channels(principal)?;
        let row = self.row(id).await?;
        let attempt = self.notifier.test(&row).await;
        let delivered = attempt.is_delivered();
        given(
            &self.store,
            principal,
            AuditAction::AlertChannelTested,
            target(&row.channel),
            json!({ "delivered": delivered }),
            self.clock.now(),
        )
        .await?;
        Ok(ChannelTest { delivered, answer: attempt.answer, took: attempt.took })
    }

    /// The newest deliveries of a channel; with `dead`, only those that were given up.
    ///
    /// # Errors
    /// Forbidden, the limit is out of its range, or there is no such channel.
    pub async fn deliveries(&self, principal: &Principal, id: ChannelId, dead: bool, limit: i64) -> Result<Vec<Delivery>, ServiceError> {
        self.authorize_channels(principal)?;
        let limit = in_range("limit", limit, 1, PAGE_MAX)?;
        let name = self.row(id).await?.channel.name;
        let _permit = self.tables.read(principal).await?;
        let deliveries = self.store.channel_deliveries(id, dead, limit).await?;
        Ok(deliveries.into_iter().map(|delivery| shown(id, name.clone(), delivery)).collect())
    }

    /// Queues a message for a channel again that was given up.
    ///
    /// # Errors
    /// Forbidden, or there is no such message that was given up.
    pub async fn resend(&self, principal: &Principal, message: NotificationId, id: ChannelId) -> Result<(), ServiceError> {
        self.authorize_channels(principal)?;
        let row = self.row(id).await?;
        let entry = AuditEntry::new(principal, AuditAction::AlertDeliveryResent, target(&row.channel))
            .after(json!({ "notification_id": message.to_string() }));
        match self.store.resend_delivery(message, id, &entry, self.clock.now()).await? {
            true => {
                self.notifier.wake();
                Ok(())
            }
            false => Err(ServiceError::NotFound("message of this channel that was given up")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_of_a_channel_names_its_secrets_and_has_none() {
        let values = BTreeMap::from([("url".to_owned(), "https://discord.com/api/webhooks/1/tok".to_owned())]);
        assert_eq!(format!("{:?}", ChannelValues(values.clone())), "{\"url\"}");
        let fields = notify::parse(ChannelKind::Discord, values, None, false).unwrap();
        let channel = Channel {
            id: ChannelId(uuid::Uuid::nil()),
            name: "Ops".into(),
            kind: ChannelKind::Discord,
            settings: fields.settings.clone(),
            has_secret: true,
            enabled: true,
            changed_at: chrono::DateTime::UNIX_EPOCH,
        };
        let audited = audited(&channel, &fields);
        assert_eq!((&audited["secrets"], &audited["settings"]), (&json!(["url"]), &json!({"host": "discord.com"})));
        assert!(!audited.to_string().contains("tok"), "{audited}");
    }
}
