//! Accounts, sign-ins and API tokens.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An account, as `/v1/users` shows it.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct User {
    /// Identity.
    pub id: String,
    /// User name.
    pub username: String,
    /// Role.
    #[schema(value_type = crate::names::Role)]
    pub role: String,
    /// Whether the account is disabled.
    pub disabled: bool,
    /// Time of disabling.
    pub disabled_at: Option<String>,
    /// Time of creation.
    pub created_at: String,
    /// Time of the last password change.
    pub password_changed_at: String,
    /// Time of last activity, to about a minute.
    pub last_seen_at: Option<String>,
    /// Address of mail: where links to set a password are sent.
    #[serde(default)]
    pub email: Option<String>,
}

/// Body of `POST /v1/users`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// User name, 1..64 characters.
    pub username: String,
    /// Role; `viewer` when absent.
    #[serde(default)]
    #[schema(value_type = Option<crate::names::Role>)]
    pub role: Option<String>,
    /// Password of at least 10 characters and at most 72 bytes; generated when absent.
    #[serde(default)]
    pub password: Option<String>,
    /// Address of mail. Without a password, and with a mail server, it gets an invitation: a link by which the password is set.
    #[serde(default)]
    pub email: Option<String>,
}

/// 201 of `POST /v1/users`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct CreatedUser {
    /// The account.
    #[serde(flatten)]
    pub user: User,
    /// Generated password, returned only here; null when one was given, or an invitation was sent.
    pub password: Option<String>,
    /// Whether an invitation was sent.
    #[serde(default)]
    pub invited: bool,
}

/// Body of `PATCH /v1/users/{id}`; what is absent stays as it is.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ChangeUser {
    /// Role.
    #[schema(value_type = Option<crate::names::Role>)]
    pub role: Option<String>,
    /// Whether the account is disabled. Disabling ends its sessions and revokes its API tokens.
    pub disabled: Option<bool>,
    /// Address of mail; empty: none.
    pub email: Option<String>,
}

/// Body of `POST /v1/users/{id}/reset-password`.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResetPassword {
    /// Password of at least 10 characters and at most 72 bytes; generated when absent.
    pub password: Option<String>,
}

/// 200 of `POST /v1/users/{id}/reset-password`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct PasswordReset {
    /// Generated password, returned only here; null when one was given.
    pub password: Option<String>,
}

/// 200 of `GET /v1/me`: who calls, and what they may do.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Me {
    /// The account.
    pub user_id: String,
    /// Name.
    pub username: String,
    /// Role.
    #[schema(value_type = crate::names::Role)]
    pub role: String,
    /// Effective scopes: those of the role, limited by those of the API token.
    pub scopes: Vec<String>,
    /// Session; null for an API token.
    pub session_id: Option<String>,
    /// API token; null for a session.
    pub api_token_id: Option<String>,
}

/// Body of `POST /v1/me/password`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// Current password. Wrong ones count as failed sign-ins.
    pub current_password: String,
    /// At least 10 characters and at most 72 bytes.
    pub new_password: String,
}

/// An active session.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Session {
    /// Identity.
    pub id: String,
    /// Whether the session is the calling one.
    pub current: bool,
    /// Start time.
    pub created_at: String,
    /// Time of last activity, to about a minute.
    pub last_seen_at: String,
    /// Time of expiry.
    pub expires_at: String,
    /// Last client address.
    pub address: Option<String>,
    /// User agent.
    pub user_agent: Option<String>,
}

/// 200 of calls that end several sign-ins.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct EndedSessions {
    /// Number of ended sessions.
    pub ended: u64,
}

/// An API token, without its secret.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct ApiToken {
    /// Identity.
    pub id: String,
    /// Purpose.
    pub name: String,
    /// Prefix of the secret.
    pub prefix: String,
    /// User name of the owner.
    pub owner: String,
    /// Account id of the owner.
    pub owner_id: String,
    /// Role of the owner, which also limits the token.
    #[schema(value_type = crate::names::Role)]
    pub role: String,
    /// Scopes, e.g. `devices:read`.
    pub scopes: Vec<String>,
    /// State.
    #[schema(value_type = crate::names::ApiTokenStatus)]
    pub status: String,
    /// Time of creation.
    pub created_at: String,
    /// Time of expiry.
    pub expires_at: String,
    /// Time of last use, to about a minute.
    pub last_used_at: Option<String>,
    /// Client address of the last use.
    pub last_used_address: Option<String>,
    /// Time of revocation.
    pub revoked_at: Option<String>,
}

/// Body of `POST /v1/api-tokens`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApiToken {
    /// Purpose, 1..100 characters.
    pub name: String,
    /// Scopes: `devices:read`, `devices:write`, `enrollment:read`, `enrollment:write`, `users:manage`,
    /// `cluster:read`, `cluster:manage`, `tokens:manage`, `commands:read`, `commands:send`,
    /// `commands:sensitive`, `exec:manage`, `audit:read`, `deployments:read`, `deployments:write`, `apks:upload`,
    /// `packages:manage`, `agent_builds:manage`, `flags:manage`. Nothing that the caller may not do.
    pub scopes: Vec<String>,
    /// Lifetime, seconds; at most that of the creating API token.
    #[serde(default)]
    pub expires_in_seconds: Option<i64>,
}

/// 201 of `POST /v1/api-tokens`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct CreatedApiToken {
    /// Token as in lists.
    #[serde(flatten)]
    pub shown: ApiToken,
    /// Bearer token, returned only here.
    pub token: String,
}
