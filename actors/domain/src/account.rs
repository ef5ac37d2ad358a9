//! Accounts of people, and their sign-ins, as lists show them.

use crate::access::Role;
use crate::invalid::Invalid;
use crate::{SessionId, Timestamp, UserId, text};

/// Longest name of an account, in characters.
pub const USERNAME_MAX_CHARS: usize = 64;
/// Longest part of a client's own description that is kept, in characters.
pub const USER_AGENT_MAX_CHARS: usize = 200;

/// An account; its password is not part of what is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Identity.
    pub id: UserId,
    /// Name to sign in with.
    pub username: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its password was set last.
    pub password_changed_at: Timestamp,
    /// When it was disabled; `None` = it is active.
    pub disabled_at: Option<Timestamp>,
    /// When one of its sign-ins was seen last, to the minute or so.
    pub last_seen_at: Option<Timestamp>,
}

/// What is to change of an account; `None` leaves it as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AccountChange {
    /// What it may do.
    pub role: Option<Role>,
    /// Whether it may sign in.
    pub disabled: Option<bool>,
}

/// One sign-in that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIn {
    /// Identity.
    pub id: SessionId,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was seen last, to the minute or so.
    pub last_seen_at: Timestamp,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
    /// Where it was seen last.
    pub address: Option<String>,
    /// What the client said of itself when it signed in.
    pub user_agent: Option<String>,
}

/// A name for an account, trimmed: 1..64 characters on one line.
///
/// # Errors
/// Empty, too long, or with control characters.
pub fn checked_username(username: &str) -> Result<String, Invalid> {
    let username = text::alias("username", username)?;
    let chars = username.chars().count();
    if chars > USERNAME_MAX_CHARS {
        return Err(Invalid::new("username", format!("{chars} characters are more than the {USERNAME_MAX_CHARS} allowed")));
    }
    Ok(username)
}

/// What is kept of a client's description of itself: printable, and not endless.
pub fn kept_user_agent(told: &str) -> Option<String> {
    let kept: String = told.trim().chars().filter(|c| !c.is_control()).take(USER_AGENT_MAX_CHARS).collect();
    (!kept.is_empty()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_1_to_64_characters() {
        assert_eq!(checked_username(" ann ").unwrap(), "ann");
        assert!(checked_username(&"ä".repeat(64)).is_ok());
        for bad in ["", " ", "a\nb", "a\0", &"x".repeat(65)] {
            assert_eq!(checked_username(bad).unwrap_err().field, "username");
        }
    }

    #[test]
    fn a_client_cannot_make_its_description_long_or_unprintable() {
        assert_eq!(kept_user_agent(&"x".repeat(5000)).unwrap().len(), USER_AGENT_MAX_CHARS);
        assert_eq!(kept_user_agent("a\u{1b}[31mb\0").as_deref(), Some("a[31mb"));
        assert_eq!(kept_user_agent(" \n"), None);
    }
}
