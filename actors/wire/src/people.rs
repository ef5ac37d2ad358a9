//! Accounts, sign-ins and API tokens.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An account, as `/v1/users` shows it.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct User {
    /// Identity.
    pub id: String,
    /// Name to sign in with.
    pub username: String,
    /// `admin`, `operator` or `viewer`.
    pub role: String,
    /// Whether it may not sign in.
    pub disabled: bool,
    /// Since when.
    pub disabled_at: Option<String>,
    /// When it was made.
    pub created_at: String,
    /// When its password was set last.
    pub password_changed_at: String,
    /// When one of its sign-ins was seen last, to the minute or so.
    pub last_seen_at: Option<String>,
}

/// Body of `POST /v1/users`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// Name to sign in with, 1..64 characters.
    pub username: String,
    /// `admin`, `operator` or `viewer`; `viewer` when absent.
    #[serde(default)]
    pub role: Option<String>,
    /// 10 characters to 72 bytes; a random one when absent.
    #[serde(default)]
    pub password: Option<String>,
}

/// 201 of `POST /v1/users`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct CreatedUser {
    /// The account.
    #[serde(flatten)]
    pub user: User,
    /// The random password, shown this once; null when one was given.
    pub password: Option<String>,
}

/// Body of `PATCH /v1/users/{id}`; what is absent stays as it is.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ChangeUser {
    /// `admin`, `operator` or `viewer`.
    pub role: Option<String>,
    /// Whether it may not sign in. Its sign-ins and API tokens end for good.
    pub disabled: Option<bool>,
}

/// Body of `POST /v1/users/{id}/reset-password`.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResetPassword {
    /// 10 characters to 72 bytes; a random one when absent.
    pub password: Option<String>,
}

/// 200 of `POST /v1/users/{id}/reset-password`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct PasswordReset {
    /// The random password, shown this once; null when one was given.
    pub password: Option<String>,
}

/// 200 of `GET /v1/me`: who calls, and what they may do.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Me {
    /// The account.
    pub user_id: String,
    /// Its name.
    pub username: String,
    /// Its role.
    pub role: String,
    /// What the call may do: what the role allows and, of that, what an API token is limited to.
    pub scopes: Vec<String>,
    /// The sign-in; null for an API token.
    pub session_id: Option<String>,
    /// The API token; null for a sign-in.
    pub api_token_id: Option<String>,
}

/// Body of `POST /v1/me/password`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The one in force. Wrong ones count as failed sign-ins.
    pub current_password: String,
    /// 10 characters to 72 bytes.
    pub new_password: String,
}

/// A sign-in that is in force.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Session {
    /// Identity.
    pub id: String,
    /// Whether it is the one that asks.
    pub current: bool,
    /// When it began.
    pub created_at: String,
    /// When it was seen last, to the minute or so.
    pub last_seen_at: String,
    /// When it ends at the latest.
    pub expires_at: String,
    /// Where it was seen last.
    pub address: Option<String>,
    /// What the client said of itself.
    pub user_agent: Option<String>,
}

/// 200 of calls that end several sign-ins.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct EndedSessions {
    /// How many.
    pub ended: u64,
}

/// An API token; its secret is not kept.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct ApiToken {
    /// Identity.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// Its first characters.
    pub prefix: String,
    /// Name of the account whose it is.
    pub owner: String,
    /// That account.
    pub owner_id: String,
    /// Role of that account: what the token is limited to as well.
    pub role: String,
    /// What it may do, e.g. `devices:read`.
    pub scopes: Vec<String>,
    /// `active`, `expired` or `revoked`.
    pub status: String,
    /// When it was made.
    pub created_at: String,
    /// When it stops working.
    pub expires_at: String,
    /// When it was used last, to the minute or so.
    pub last_used_at: Option<String>,
    /// Where it was used last.
    pub last_used_address: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<String>,
}

/// Body of `POST /v1/api-tokens`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApiToken {
    /// What it is for, 1..100 characters.
    pub name: String,
    /// What it may do: `devices:read`, `devices:write`, `enrollment:read`, `enrollment:write`, `users:manage`,
    /// `cluster:read`, `cluster:manage`, `tokens:manage`, `commands:read`, `commands:send`,
    /// `commands:sensitive`, `exec:manage`, `audit:read`, `deployments:read`, `deployments:write`, `apks:upload`,
    /// `packages:manage`, `agent_builds:manage`, `flags:manage`. Nothing that the caller may not do.
    pub scopes: Vec<String>,
    /// How long it works; not longer than the API token that makes it.
    #[serde(default)]
    pub expires_in_seconds: Option<i64>,
}

/// 201 of `POST /v1/api-tokens`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct CreatedApiToken {
    /// What lists show of it.
    #[serde(flatten)]
    pub shown: ApiToken,
    /// The bearer token, shown this once.
    pub token: String,
}
