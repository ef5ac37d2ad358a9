//! Kinds of events of a device.

use crate::{Invalid, Timestamp};

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// A kind of event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum EventKind { $($(#[$doc])* $kind,)* }

        impl EventKind {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// Name in the API and the database.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }
        }
    };
}

kinds! {
    /// The device enrolled.
    Enrolled = "enrolled",
    /// The device came online, for the first time or again.
    CameOnline = "came_online",
    /// No heartbeat came within the offline limit.
    WentOffline = "went_offline",
    /// The device restarted.
    Rebooted = "rebooted",
    /// The version of the agent changed.
    AgentVersionChanged = "agent_version_changed",
    /// The version of the monitored app changed.
    AppVersionChanged = "app_version_changed",
    /// The battery level fell below the limit.
    LowBatteryBegan = "low_battery_began",
    /// The battery level is well above the limit again.
    LowBatteryEnded = "low_battery_ended",
    /// The monitored app is down.
    AppDownBegan = "app_down_began",
    /// The monitored app is up again.
    AppDownEnded = "app_down_ended",
    /// Alias, tags, groups or monitored app edited by a person.
    Edited = "edited",
    /// Credentials revoked by a person.
    CredentialsRevoked = "credentials_revoked",
    /// Deleted by a person.
    Deleted = "deleted",
    /// Restored by a person.
    Restored = "restored",
}

impl EventKind {
    /// Parses a name.
    ///
    /// # Errors
    /// The name is not a kind.
    pub fn parse(field: &str, name: &str) -> Result<Self, Invalid> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|kind| kind.as_str()).collect();
            Invalid::new(field, format!("not one of {}", names.join(", ")))
        })
    }
}

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
            assert_eq!(EventKind::parse("kind", kind.as_str()).unwrap(), *kind);
        }
        assert!(EventKind::parse("kind", "exploded").unwrap_err().problem.contains("went_offline"));
    }
}
