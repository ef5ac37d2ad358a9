//! Authorization: roles, permissions, scopes, and the principal that a service is called with.

use std::fmt;
use std::net::IpAddr;

use crate::{ApiTokenId, Invalid, SessionId, Timestamp, UserId};

/// Role of an account, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case", parse_err_ty = Invalid, parse_err_fn = not_a_role)]
pub enum Role {
    /// All permissions, including accounts.
    Admin,
    /// Manages the fleet: enrolls, edits, removes devices.
    Operator,
    /// Reads only.
    Viewer,
}

named!(pub Role);

/// Permission that services check, in display order; its name is also a scope of API tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[repr(u8)]
pub enum Permission {
    /// See devices and their state.
    #[strum(serialize = "devices:read")]
    ViewDevices,
    /// Revoke and delete devices.
    #[strum(serialize = "devices:write")]
    ManageDevices,
    /// See enrollment tokens, without their secrets.
    #[strum(serialize = "enrollment:read")]
    ViewEnrollment,
    /// Create and revoke enrollment tokens.
    #[strum(serialize = "enrollment:write")]
    ManageEnrollment,
    /// Manage accounts.
    #[strum(serialize = "users:manage")]
    ManageUsers,
    /// See nodes, shards and storage.
    #[strum(serialize = "cluster:read")]
    ViewCluster,
    /// Drain nodes; archive, verify and restore days of history.
    #[strum(serialize = "cluster:manage")]
    ManageCluster,
    /// Create, see and revoke one's own API tokens.
    #[strum(serialize = "tokens:manage")]
    ManageTokens,
    /// See commands and their outcomes.
    #[strum(serialize = "commands:read")]
    ViewCommands,
    /// Send and cancel commands.
    #[strum(serialize = "commands:send")]
    SendCommands,
    /// Send commands that destroy data, run programs or change keys.
    #[strum(serialize = "commands:sensitive")]
    SendSensitiveCommands,
    /// Manage the commands that may be run on devices.
    #[strum(serialize = "exec:manage")]
    ManageExec,
    /// Read the audit trail.
    #[strum(serialize = "audit:read")]
    ViewAudit,
    /// See APKs, deployments and agent builds.
    #[strum(serialize = "deployments:read")]
    ViewDeployments,
    /// Upload APKs: what a CI token needs.
    #[strum(serialize = "apks:upload")]
    UploadApks,
    /// Manage packages and their allowed signers; delete APKs.
    #[strum(serialize = "packages:manage")]
    ManagePackages,
    /// Deploy APKs, pause, cancel and roll back, and stop all deployments at once.
    #[strum(serialize = "deployments:write")]
    ManageDeployments,
    /// Promote builds of the agent.
    #[strum(serialize = "agent_builds:manage")]
    ManageAgentBuilds,
    /// Turn features of the server on and off.
    #[strum(serialize = "flags:manage")]
    ManageFlags,
    /// See alerts, their rules and silences.
    #[strum(serialize = "alerts:read")]
    ViewAlerts,
    /// Acknowledge and silence alerts, set their rules.
    #[strum(serialize = "alerts:write")]
    ManageAlerts,
    /// Manage the channels and routes of notifications.
    #[strum(serialize = "alert_channels:manage")]
    ManageAlertChannels,
}

named!(pub Permission);

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Set of permissions: those of a role, or of an API token within the role of its owner.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Scopes(u64);

impl Scopes {
    /// Every permission.
    pub fn all() -> Self {
        Permission::ALL.into_iter().collect()
    }

    /// Permissions of a role.
    pub fn of_role(role: Role) -> Self {
        Permission::ALL.into_iter().filter(|permission| role.allows(*permission)).collect()
    }

    /// Parses names of permissions.
    ///
    /// # Errors
    /// There is none, or one that is not a permission; the problem names them all.
    pub fn parse(field: &str, names: &[impl AsRef<str>]) -> Result<Self, Invalid> {
        if names.is_empty() {
            return Err(Invalid::new(field, format!("empty; requires one or more of {}", Self::all())));
        }
        let read = names.iter().enumerate().map(|(index, name)| crate::names::parse(&format!("{field}[{index}]"), name.as_ref()));
        read.collect()
    }

    /// Parses stored names. A name that this build does not know grants nothing.
    pub fn stored(names: &[String]) -> Self {
        Permission::ALL.into_iter().filter(|permission| names.iter().any(|name| name == permission.as_str())).collect()
    }

    /// Whether `permission` is in the set.
    pub fn contains(self, permission: Permission) -> bool {
        self.0 & bit(permission) != 0
    }

    /// Intersection.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The permissions, in the order of [`Permission::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(move |permission| self.contains(*permission))
    }

    /// Names of the permissions.
    pub fn names(self) -> Vec<String> {
        self.iter().map(|permission| permission.as_str().to_owned()).collect()
    }
}

fn bit(permission: Permission) -> u64 {
    1 << permission as u8
}

impl FromIterator<Permission> for Scopes {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Self(permissions.into_iter().fold(0, |bits, permission| bits | bit(permission)))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(", "))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scopes({self})")
    }
}

impl Role {
    /// Whether this role carries `permission`.
    pub fn allows(self, permission: Permission) -> bool {
        match permission {
            Permission::ViewDevices
            | Permission::ViewEnrollment
            | Permission::ViewCluster
            | Permission::ManageTokens
            | Permission::ViewCommands
            | Permission::ViewDeployments
            | Permission::ViewAlerts => true,
            Permission::ManageDevices
            | Permission::ManageEnrollment
            | Permission::SendCommands
            | Permission::UploadApks
            | Permission::ManageDeployments
            | Permission::ManageAlerts => matches!(self, Self::Admin | Self::Operator),
            Permission::ManageUsers
            | Permission::ManageCluster
            | Permission::SendSensitiveCommands
            | Permission::ManageExec
            | Permission::ViewAudit
            | Permission::ManagePackages
            | Permission::ManageAgentBuilds
            | Permission::ManageFlags
            | Permission::ManageAlertChannels => self == Self::Admin,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn not_a_role(_: &str) -> Invalid {
    Invalid::new("role", format!("not one of {}", crate::names::list::<Role>()))
}

/// Origin of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Address of the client, behind trusted proxies.
    pub address: Option<IpAddr>,
    /// Request id, as in the log and the response.
    pub request_id: Option<String>,
}

/// Caller on whose behalf a service acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A signed-in person.
    User {
        /// The account.
        user_id: UserId,
        /// Name for display.
        username: String,
        /// Role.
        role: Role,
        /// Sign-in of the call.
        session_id: SessionId,
        /// Origin of the request, or of the one that opened the page.
        origin: Origin,
    },
    /// A script with an API token.
    Token {
        /// The token.
        token_id: ApiTokenId,
        /// Owner of the token.
        user_id: UserId,
        /// Owner's name for display.
        username: String,
        /// Owner's role.
        role: Role,
        /// Scopes of the token.
        scopes: Scopes,
        /// Expiry.
        expires_at: Timestamp,
        /// Origin of the request.
        origin: Origin,
    },
    /// The command line on the server itself.
    Console {
        /// Operating system user.
        os_user: String,
    },
    /// The server itself.
    System {
        /// Origin of the request that caused it, if any.
        origin: Origin,
    },
}

/// The principal lacks a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this requires the permission {0}, which your role or token lacks")]
pub struct Forbidden(pub Permission);

impl Principal {
    /// Requires a permission.
    ///
    /// # Errors
    /// [`Forbidden`] names the missing permission.
    pub fn require(&self, permission: Permission) -> Result<(), Forbidden> {
        if self.may(permission) { Ok(()) } else { Err(Forbidden(permission)) }
    }

    /// Whether `permission` is granted.
    pub fn may(&self, permission: Permission) -> bool {
        self.permissions().contains(permission)
    }

    /// All granted permissions.
    pub fn permissions(&self) -> Scopes {
        match self {
            Self::User { role, .. } => Scopes::of_role(*role),
            Self::Token { role, scopes, .. } => Scopes::of_role(*role).and(*scopes),
            Self::Console { .. } | Self::System { .. } => Scopes::all(),
        }
    }

    /// Account of the principal, if any.
    pub fn user_id(&self) -> Option<UserId> {
        match self {
            Self::User { user_id, .. } | Self::Token { user_id, .. } => Some(*user_id),
            Self::Console { .. } | Self::System { .. } => None,
        }
    }

    /// Name of the account for display.
    pub fn username(&self) -> &str {
        match self {
            Self::User { username, .. } | Self::Token { username, .. } => username,
            Self::Console { .. } => "console",
            Self::System { .. } => "server",
        }
    }

    /// Id of the caller: the account, or the API token.
    pub fn caller(&self) -> uuid::Uuid {
        match self {
            Self::User { user_id, .. } => user_id.0,
            Self::Token { token_id, .. } => token_id.0,
            Self::Console { .. } | Self::System { .. } => uuid::Uuid::nil(),
        }
    }

    /// Role of the account; what a token may do of it is in [`Self::permissions`].
    pub fn role(&self) -> Role {
        match self {
            Self::User { role, .. } | Self::Token { role, .. } => *role,
            Self::Console { .. } | Self::System { .. } => Role::Admin,
        }
    }

    /// Principal of the server itself.
    pub fn system() -> Self {
        Self::System { origin: Origin::default() }
    }

    /// Origin of the request; the command line has none.
    pub fn origin(&self) -> Origin {
        match self {
            Self::User { origin, .. } | Self::Token { origin, .. } | Self::System { origin } => origin.clone(),
            Self::Console { .. } => Origin::default(),
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
            (ViewCluster, [true, true, true]),
            (ManageCluster, [true, false, false]),
            (ManageTokens, [true, true, true]),
            (ViewCommands, [true, true, true]),
            (SendCommands, [true, true, false]),
            (SendSensitiveCommands, [true, false, false]),
            (ManageExec, [true, false, false]),
            (ViewAudit, [true, false, false]),
            (ViewDeployments, [true, true, true]),
            (UploadApks, [true, true, false]),
            (ManagePackages, [true, false, false]),
            (ManageDeployments, [true, true, false]),
            (ManageAgentBuilds, [true, false, false]),
            (ManageFlags, [true, false, false]),
            (ViewAlerts, [true, true, true]),
            (ManageAlerts, [true, true, false]),
            (ManageAlertChannels, [true, false, false]),
        ];
        assert_eq!(table.len(), Permission::ALL.len());
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

    fn token(role: Role, scopes: Scopes) -> Principal {
        Principal::Token {
            token_id: ApiTokenId(uuid::Uuid::nil()),
            user_id: UserId(uuid::Uuid::nil()),
            username: "ann".into(),
            role,
            scopes,
            expires_at: chrono::DateTime::from_timestamp(1_780_000_000, 0).unwrap(),
            origin: Origin::default(),
        }
    }

    #[test]
    fn a_token_never_does_more_than_its_owner_nor_than_its_scopes() {
        for role in Role::ALL {
            // Every pair of permissions, and everything but each pair.
            let pairs = Permission::ALL.into_iter().flat_map(|one| Permission::ALL.map(|other| bit(one) | bit(other)));
            for bits in pairs.flat_map(|bits| [bits, Scopes::all().0 & !bits]).chain([0]) {
                let scopes = Scopes(bits);
                for permission in Permission::ALL {
                    let may = token(role, scopes).may(permission);
                    assert_eq!(may, role.allows(permission) && scopes.contains(permission), "{role} {scopes} {permission}");
                }
            }
        }
        let refused = token(Role::Admin, Scopes::parse("scopes", &["devices:read"]).unwrap()).require(ManageUsers).unwrap_err();
        assert!(refused.to_string().contains("users:manage"), "{refused}");
    }

    #[test]
    fn scopes_read_back_and_unknown_ones_are_named() {
        assert_eq!(Scopes::parse("scopes", &Scopes::all().names()).unwrap(), Scopes::all());
        assert_eq!(Scopes::stored(&["devices:read".into(), "of a later build".into()]), [ViewDevices].into_iter().collect());
        assert_eq!(Scopes::parse("scopes", &["devices:read", "devices"]).unwrap_err().field, "scopes[1]");
        assert_eq!(Scopes::parse("scopes", &[] as &[&str]).unwrap_err().field, "scopes");
    }
}
