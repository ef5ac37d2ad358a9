//! Passwords: their limits, hashing, and comparing without telling whether there is an account.

use domain::{Invalid, ServiceError};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OnceCell;

use crate::crypto::{Bcrypt, PASSWORD_MAX_BYTES, PASSWORD_MIN_CHARS, random_token};

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

    /// The hash of a new password.
    ///
    /// # Errors
    /// The password breaks its limits, named by `field`; or overloaded.
    pub(crate) async fn hash(&self, field: &str, password: &SecretString) -> Result<String, ServiceError> {
        let password = password.expose_secret();
        if password.chars().count() < PASSWORD_MIN_CHARS || password.len() > PASSWORD_MAX_BYTES {
            let limits = format!("must have at least {PASSWORD_MIN_CHARS} characters and at most {PASSWORD_MAX_BYTES} bytes");
            return Err(Invalid::new(field, limits).into());
        }
        if password.contains('\0') {
            return Err(Invalid::new(field, "NUL is not allowed").into());
        }
        self.bcrypt.hash(password.to_owned(), self.cost).await
    }

    /// Whether `password` is the one of this hash; without a hash it is not, after as long.
    ///
    /// # Errors
    /// Overloaded.
    pub(crate) async fn fits(&self, password: &str, hash: Option<&str>) -> Result<bool, ServiceError> {
        let compared = match hash {
            Some(hash) => hash.to_owned(),
            None => self.decoy.get_or_try_init(|| async { self.bcrypt.hash(random_token()?, self.cost).await }).await?.clone(),
        };
        Ok(self.bcrypt.verify(password.to_owned(), compared).await? && hash.is_some())
    }
}
