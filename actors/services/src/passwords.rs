//! Passwords: their limits, hashing, and comparing without telling whether there is an account.

use domain::permits::Claim;
use domain::{Invalid, ServiceError};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OnceCell;

use crate::crypto::{Bcrypt, PASSWORD_MAX_BYTES, PASSWORD_MIN_CHARS, random_token};

/// Guesses, as a power of ten, that a password has to withstand: what sign-in lets through in years, and far more than
/// lists of common passwords hold.
const GUESSES_MIN_LOG10: f64 = 6.0;

/// Checks a new password of the account with this name.
///
/// # Errors
/// It is too short or too long, or one of the first that somebody would try.
pub fn check_password(field: &str, password: &str, username: &str) -> Result<(), Invalid> {
    if password.chars().count() < PASSWORD_MIN_CHARS || password.len() > PASSWORD_MAX_BYTES {
        return Err(Invalid::new(
            field,
            format!("must have at least {PASSWORD_MIN_CHARS} characters and at most {PASSWORD_MAX_BYTES} bytes"),
        ));
    }
    if password.contains('\0') {
        return Err(Invalid::new(field, "NUL is not allowed"));
    }
    if zxcvbn::zxcvbn(password, &[username, "nexmdm"]).guesses_log10() < GUESSES_MIN_LOG10 {
        return Err(Invalid::new(field, "too common or too easily guessed: take several words that do not belong together"));
    }
    Ok(())
}

/// Hashes and compares passwords.
pub(crate) struct Passwords {
    bcrypt: Bcrypt,
    cost: u32,
    /// Compared when there is no such account, so that its absence takes as long.
    decoy: OnceCell<String>,
}

impl Passwords {
    pub(crate) fn new(bcrypt: Bcrypt, cost: u32) -> Self {
        Self { bcrypt, cost, decoy: OnceCell::new() }
    }

    /// The hash of a new password of the account with this name.
    ///
    /// # Errors
    /// The password breaks its limits, named by `field`; or overloaded.
    pub(crate) async fn hash(&self, claim: Claim, field: &str, password: &SecretString, username: &str) -> Result<String, ServiceError> {
        let password = password.expose_secret();
        check_password(field, password, username)?;
        self.bcrypt.hash(claim, password.to_owned(), self.cost).await
    }

    /// Whether `password` is the one of this hash; without a hash it is not, after as long.
    ///
    /// # Errors
    /// Overloaded.
    pub(crate) async fn fits(&self, claim: Claim, password: &str, hash: Option<&str>) -> Result<bool, ServiceError> {
        let compared = match hash {
            Some(hash) => hash.to_owned(),
            None => self.decoy(&claim).await?,
        };
        Ok(self.bcrypt.verify(claim, password.to_owned(), compared).await? && hash.is_some())
    }

    async fn decoy(&self, claim: &Claim) -> Result<String, ServiceError> {
        let hash = || async { self.bcrypt.hash(claim.clone(), random_token()?, self.cost).await };
        Ok(self.decoy.get_or_try_init(hash).await?.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_first_is_no_password() {
        let refused = |password: &str| check_password("password", password, "anna.smith").is_err();
        for bad in ["1234567890", "password123", "qwertyuiop", "aaaaaaaaaaaa", "anna.smith1", "nexmdm2026", "iloveyou12", "Passw0rd1!"] {
            assert!(refused(bad), "{bad}");
        }
        for good in ["a long password", "correct horse battery", "kT9-xq2-Lm4", "Grüße aus Köln", &"kT9-xq2-Lm4 ".repeat(6)] {
            assert!(!refused(good), "{good}");
        }
        assert!(refused("short") && refused(&"kT9-xq2-Lm4".repeat(7)) && refused("kT9-xq2\0Lm4"));
    }
}
