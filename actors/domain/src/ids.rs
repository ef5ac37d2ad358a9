//! Identities as newtypes, so that one cannot stand where another belongs.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

id!(
    /// A device. UUIDv7 when this server made it; a device moved over from
    /// elsewhere keeps the UUID it brings.
    DeviceId
);
id!(
    /// A device's bearer token; the public half of `<token id>.<secret>`.
    DeviceTokenId
);
id!(
    /// A single-use enrollment token.
    EnrollTokenId
);
id!(
    /// A person's account.
    UserId
);
id!(
    /// One sign-in of a person.
    SessionId
);
id!(
    /// A script's API token.
    ApiTokenId
);
id!(
    /// One start of a node; the same machine started again has another.
    NodeId
);
id!(
    /// A filter that somebody keeps.
    SavedFilterId
);
id!(
    /// A command to one device: its `request_id`.
    CommandId
);
id!(
    /// A command to many devices.
    CommandBatchId
);
id!(
    /// An uploaded APK.
    ApkId
);
id!(
    /// An upload that is under way.
    ApkUploadId
);
id!(
    /// An APK on its way to devices.
    DeploymentId
);
id!(
    /// A build of the agent that may be promoted.
    AgentBuildId
);
id!(
    /// An alert: one period in which a rule fired for a subject.
    AlertId
);
id!(
    /// A silence of notifications.
    SilenceId
);
id!(
    /// A recurring maintenance window of notifications.
    AlertWindowId
);
id!(
    /// A channel that notifications are sent to.
    ChannelId
);
id!(
    /// A route from alerts to a channel.
    RouteId
);
id!(
    /// A subscription of a channel to events.
    SubscriptionId
);
id!(
    /// Work on partitions that a person started.
    PartitionWorkId
);
id!(
    /// A backup, or the attempt to make one.
    BackupId
);
id!(
    /// A notification about alerts.
    NotificationId
);
id!(
    /// A schedule of reports.
    ReportScheduleId
);
