//! Accounts and sign-ins.

use crate::access::Role;
use crate::invalid::Invalid;
use crate::text::fit_line;
use crate::{SessionId, Timestamp, UserId, name};

/// Longest name of an account, in characters.
pub const USERNAME_MAX_CHARS: usize = 64;
/// Longest stored user agent, in characters.
pub const USER_AGENT_MAX_CHARS: usize = 200;

/// Account, without its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Id.
    pub id: UserId,
    /// Username.
    pub username: String,
    /// Role.
    pub role: Role,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Time of the last password change.
    pub password_changed_at: Timestamp,
    /// When it was disabled; `None` = it is active.
    pub disabled_at: Option<Timestamp>,
    /// Time of last use of a sign-in, to about a minute.
    pub last_seen_at: Option<Timestamp>,
}

/// Change of an account; `None`: unchanged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AccountChange {
    /// Role.
    pub role: Option<Role>,
    /// Whether the account is disabled.
    pub disabled: Option<bool>,
}

/// Active sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIn {
    /// Id.
    pub id: SessionId,
    /// Time of the sign-in.
    pub created_at: Timestamp,
    /// Time of last use, to about a minute.
    pub last_seen_at: Timestamp,
    /// Expiry.
    pub expires_at: Timestamp,
    /// Address of last use.
    pub address: Option<String>,
    /// User agent at the sign-in.
    pub user_agent: Option<String>,
}

/// Name of a new account as it is displayed: 1..64 characters.
///
/// # Errors
/// As [`name::account`].
pub fn checked_username(username: &str) -> Result<String, Invalid> {
    name::account("username", username, USERNAME_MAX_CHARS)
}

/// Name that an account may have, also one of an earlier build; `None`: no account has it.
pub fn possible_username(username: &str) -> Option<&str> {
    let username = username.trim();
    // A composed letter may be written as three characters. PostgreSQL takes no NUL.
    let possible = !username.is_empty() && username.len() <= USERNAME_MAX_CHARS * 12 && !username.contains('\0');
    possible.then_some(username)
}

/// Stored form of a user agent: printable and bounded.
pub fn kept_user_agent(reported: &str) -> Option<String> {
    let mut kept = reported.trim().to_owned();
    fit_line(&mut kept, USER_AGENT_MAX_CHARS);
    (!kept.is_empty()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_1_to_64_characters() {
        assert_eq!(checked_username(" ann ").unwrap(), "ann");
        assert!(checked_username(&"ä".repeat(64)).is_ok());
        for bad in ["", " ", "a\nb", "a\0", "admin\u{200b}", "\u{430}dmin", "admin\u{202e}", &"x".repeat(65)] {
            assert_eq!(checked_username(bad).unwrap_err().field, "username");
        }
    }

    #[test]
    fn a_name_of_an_earlier_build_can_still_be_asked_for() {
        assert_eq!(possible_username(" \u{430}dmin\u{200b} "), Some("\u{430}dmin\u{200b}"));
        assert!(["", " ", "a\0", &"x".repeat(1000)].into_iter().all(|name| possible_username(name).is_none()));
    }

    #[test]
    fn a_client_cannot_make_its_description_long_or_unprintable() {
        assert_eq!(kept_user_agent(&"x".repeat(5000)).unwrap().len(), USER_AGENT_MAX_CHARS);
        assert_eq!(kept_user_agent("a\u{1b}[31mb\0\u{202e}").as_deref(), Some("a[31mb"));
        assert_eq!(kept_user_agent(" \n"), None);
    }
}
