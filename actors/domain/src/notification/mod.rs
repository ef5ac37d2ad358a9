//! Notifications: which changes of alerts people are notified of, over which channel, when and in which words.

mod channel;
mod decide;
mod delivery;
mod message;
pub mod render;
mod report;
mod route;
mod setup;
mod state;
mod subscription;
mod target;

pub use channel::{CHANNEL_NAME_MAX_CHARS, CHANNEL_SETTING_MAX_CHARS, CHANNEL_SETTINGS_MAX, CHANNELS_MAX, Channel};
pub use decide::{Decision, Settled, decide};
pub use delivery::{
    AttemptOutcome, ChannelKind, DeliveryStep, GIVE_UP_AFTER, RETRY_AFTER_MAX, judge_smtp, judge_status, next_step, parse_retry_after,
};
pub use message::{LISTED_MAX, Message, Notification, NotificationKind, NotifiedAlert, ThreadMark};
pub use report::ReportMessage;
pub use route::{DigestTime, LEVEL_MAX, ROUTES_MAX, Route};
pub use setup::{ChannelSets, NotificationSetup};
pub use state::{
    AlertEvent, CoordinatorState, NotificationSettings, Notified, Suppression, Surroundings, Thread, Tracked, TransitionId,
    coordinator_shard,
};
pub use subscription::{
    AuditedEvent, DEVICE_EVENT_PREFIX, DEVICE_EVENTS_PER_MINUTE, EventSubscription, SUBSCRIBED_ACTIONS_MAX, SUBSCRIPTIONS_MAX,
    device_event_kinds,
};
pub use target::{InwardAddress, inward};
