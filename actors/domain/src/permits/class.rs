//! How much callers matter.

use crate::access::{Principal, Role};

/// Class of a caller, the most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Class {
    /// Devices that hold a task, signed-in admins, sessions.
    Essential,
    /// Callers that have proved who they are before.
    Regular,
    /// Callers that nothing is known of.
    Stranger,
}

named!(pub Class);

impl Class {
    /// Number of classes.
    pub const COUNT: usize = 3;

    /// Class of a person, script or the server itself.
    pub fn of(principal: &Principal) -> Self {
        match principal {
            Principal::User { role: Role::Admin, .. } | Principal::Console { .. } | Principal::System { .. } => Self::Essential,
            Principal::User { .. } | Principal::Token { .. } => Self::Regular,
        }
    }
}
