//! Who may do what: roles, permissions, and the principal a service is called with.

use std::fmt;
use std::str::FromStr;

use crate::{Invalid, SessionId, UserId};

/// What a person's account allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything, including accounts.
    Admin,
    /// Runs the fleet: enrolls, edits, removes devices.
    Operator,
    /// Looks, changes nothing.
    Viewer,
}

/// One thing a service guards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// See devices and their state.
    ViewDevices,
    /// Revoke and delete devices.
    ManageDevices,
    /// See enrollment tokens, without their secrets.
    ViewEnrollment,
    /// Make and revoke enrollment tokens.
    ManageEnrollment,
    /// Manage accounts.
    ManageUsers,
    /// See nodes and shards.
    ViewCluster,
    /// Drain nodes.
    ManageCluster,
}

impl Role {
    /// Every role, strongest first.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Operator, Self::Viewer];

    /// Whether this role carries `permission`.
    pub fn allows(self, permission: Permission) -> bool {
        match permission {
            Permission::ViewDevices | Permission::ViewEnrollment | Permission::ViewCluster => true,
            Permission::ManageDevices | Permission::ManageEnrollment => matches!(self, Self::Admin | Self::Operator),
            Permission::ManageUsers | Permission::ManageCluster => self == Self::Admin,
        }
    }

    /// Its name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| Invalid::new("role", "not one of admin, operator, viewer"))
    }
}

/// On whose behalf a service acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A signed-in person.
    User {
        /// The account.
        user_id: UserId,
        /// Its name, for people.
        username: String,
        /// What it may do.
        role: Role,
        /// The sign-in that this call belongs to.
        session_id: SessionId,
    },
    /// The command line on the server itself.
    Console,
}

/// The principal lacks a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("your role does not allow this ({0:?})")]
pub struct Forbidden(pub Permission);

impl Principal {
    /// Lets the call go on only when `permission` is granted.
    ///
    /// # Errors
    /// [`Forbidden`] names the missing permission.
    pub fn require(&self, permission: Permission) -> Result<(), Forbidden> {
        if self.may(permission) { Ok(()) } else { Err(Forbidden(permission)) }
    }

    /// Whether `permission` is granted.
    pub fn may(&self, permission: Permission) -> bool {
        match self {
            Self::User { role, .. } => role.allows(permission),
            Self::Console => true,
        }
    }

    /// The account behind it, if any.
    pub fn user_id(&self) -> Option<UserId> {
        match self {
            Self::User { user_id, .. } => Some(*user_id),
            Self::Console => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Permission::*;

    #[test]
    fn the_permission_table() {
        let table = [
            (ViewDevices, [true, true, true]),
            (ManageDevices, [true, true, false]),
            (ViewEnrollment, [true, true, true]),
            (ManageEnrollment, [true, true, false]),
            (ManageUsers, [true, false, false]),
        ];
        for (permission, allowed) in table {
            for (role, want) in Role::ALL.into_iter().zip(allowed) {
                assert_eq!(role.allows(permission), want, "{role} {permission:?}");
            }
        }
    }

    #[test]
    fn role_names_read_back() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse::<Role>().unwrap(), role);
        }
        assert!("root".parse::<Role>().is_err());
    }
}
