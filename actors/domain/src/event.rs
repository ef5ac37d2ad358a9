//! Kinds of events of a device.

use crate::Timestamp;

/// A kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum EventKind {
    /// The device enrolled.
    Enrolled,
    /// The device registered again with the same enrollment token, since the answer was lost.
    RegistrationRetried,
    /// The same hardware enrolled as another device.
    SameHardware,
    /// Two devices report as this one.
    IdentityConflictBegan,
    /// A person said that it is one device.
    IdentityConflictDismissed,
    /// This device replaced another of the same hardware, or was replaced by it.
    Replaced,
    /// The device came online, for the first time or again.
    CameOnline,
    /// No heartbeat came within the offline limit.
    WentOffline,
    /// The device restarted.
    Rebooted,
    /// The version of the agent changed.
    AgentVersionChanged,
    /// The version of the monitored app changed.
    AppVersionChanged,
    /// The battery level fell below the limit.
    LowBatteryBegan,
    /// The battery level is well above the limit again.
    LowBatteryEnded,
    /// The monitored app is down.
    AppDownBegan,
    /// The monitored app is up again.
    AppDownEnded,
    /// The device caused more events than are recorded in an hour.
    EventsLeftOut,
    /// Alias, tags, groups or monitored app edited by a person.
    Edited,
    /// Credentials revoked by a person.
    CredentialsRevoked,
    /// Deleted by a person.
    Deleted,
    /// Restored by a person.
    Restored,
}

named!(pub EventKind, parse -> Result);

/// Cursor of a page of events: the last one of the page before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventCursor {
    /// Time of the event.
    pub at: Timestamp,
    /// Number of the event.
    pub id: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_others_are_refused() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::parse("kind", kind.as_str()).unwrap(), kind);
        }
        assert!(EventKind::parse("kind", "exploded").unwrap_err().problem.contains("went_offline"));
    }
}
