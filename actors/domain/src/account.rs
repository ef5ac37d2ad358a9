//! Accounts and sign-ins.

use crate::access::Role;
use crate::invalid::Invalid;
use crate::text::fit_line;
use crate::{SessionId, Timestamp, UserId, name};

/// Longest name of an account, in characters.
pub const USERNAME_MAX_CHARS: usize = 64;
/// Longest address of mail (RFC 5321, section 4.5.3.1.3, without its brackets).
pub const EMAIL_MAX_BYTES: usize = 254;
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
    /// Address of mail: where links to set a password are sent.
    pub email: Option<String>,
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

/// Address of mail of an account; `None`: an empty one, which is none.
///
/// # Errors
/// It is no address, or longer than 254 characters.
pub fn checked_email(email: &str) -> Result<Option<String>, Invalid> {
    let email = email.trim();
    if email.is_empty() {
        return Ok(None);
    }
    if email.len() > EMAIL_MAX_BYTES {
        return Err(Invalid::new("email", format!("{} bytes are more than the {EMAIL_MAX_BYTES} allowed", email.len())));
    }
    let is_address = email.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'));
    if !is_address || !email.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b',' | b';' | b'"' | b'\\')) {
        return Err(Invalid::new("email", "not an address of mail such as ada@example.org"));
    }
    Ok(Some(email.to_owned()))
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
    fn an_address_is_one_that_a_header_can_hold() {
        assert_eq!(checked_email(" ada@example.org ").unwrap().as_deref(), Some("ada@example.org"));
        assert_eq!(checked_email(" ").unwrap(), None);
        for bad in ["ada", "@example.org", "ada@", "a@b@c", "a b@c", "a@b\r\nBcc: c@d", "Ada <ada@example.org>", "a@b,c@d", "ü@example.org"]
        {
            assert_eq!(checked_email(bad).unwrap_err().field, "email", "{bad:?}");
        }
        assert!(checked_email(&format!("{}@example.org", "x".repeat(250))).is_err());
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
