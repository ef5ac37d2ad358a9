//! Random tokens, hashes, key derivation and signed tokens.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::permits::Claim;
use domain::{ServiceError, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use permits::Pool;
use rand::TryRng;
use secrecy::{ExposeSecret, SecretBox};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Longest password, in bytes: bcrypt reads no further.
pub const PASSWORD_MAX_BYTES: usize = 72;
/// Shortest password, in characters.
pub const PASSWORD_MIN_CHARS: usize = 10;

/// 256 random bits as URL-safe text of 43 characters, the first of which is no hyphen: a command line would take the text for an option.
///
/// # Errors
/// The operating system gives no randomness.
pub fn random_token() -> Result<String, ServiceError> {
    let mut bytes = [0; 32];
    loop {
        rand::rngs::SysRng.try_fill_bytes(&mut bytes).map_err(|cause| {
            tracing::error!(event = "random.failed", %cause);
            ServiceError::Internal
        })?;
        let token = URL_SAFE_NO_PAD.encode(bytes);
        if !token.starts_with('-') {
            return Ok(token);
        }
    }
}

/// SHA-256 of a token, for looking it up without keeping it.
pub fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// bcrypt off the async threads, a few at a time: those that matter most first.
#[derive(Clone)]
pub struct Bcrypt {
    pool: Pool,
    wait: Duration,
}

impl Bcrypt {
    /// As many at a time as the pool lets; a caller waits up to `wait` for its permit.
    pub fn new(pool: Pool, wait: Duration) -> Self {
        Self { pool, wait }
    }

    async fn run<T: Send + 'static>(
        &self,
        claim: Claim,
        work: impl FnOnce() -> Result<T, bcrypt::BcryptError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let permit = self.pool.wait(claim, self.wait).await?;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        match done.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(cause)) => {
                tracing::error!(event = "bcrypt.failed", %cause);
                Err(ServiceError::Internal)
            }
            Err(_) => Err(ServiceError::Internal),
        }
    }

    /// Hashes a secret of at most 72 bytes.
    ///
    /// # Errors
    /// Overloaded, or the secret is too long.
    pub async fn hash(&self, claim: Claim, secret: String, cost: u32) -> Result<String, ServiceError> {
        if secret.len() > PASSWORD_MAX_BYTES {
            tracing::error!(event = "bcrypt.secret_too_long");
            return Err(ServiceError::Internal);
        }
        // Of 72 bytes all count: what bcrypt leaves out then is the NUL that ends a shorter one.
        self.run(claim, move || bcrypt::hash(secret, cost)).await
    }

    /// Whether `secret` is what `hash` was made of. Constant time.
    ///
    /// # Errors
    /// Overloaded, or the hash is not one.
    pub async fn verify(&self, claim: Claim, secret: String, hash: String) -> Result<bool, ServiceError> {
        if secret.len() > PASSWORD_MAX_BYTES {
            return Ok(false);
        }
        self.run(claim, move || bcrypt::verify(secret, &hash)).await
    }
}

/// Whom a signed token is for; a token of one audience is worthless for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// People and scripts.
    Admin,
    /// Devices.
    Agent,
}

impl Audience {
    fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "nexmdm-admin",
            Self::Agent => "nexmdm-agent",
        }
    }
}

const ISSUER: &str = "nexmdm";

#[derive(Serialize, Deserialize)]
struct Registered<C> {
    iss: String,
    aud: String,
    iat: i64,
    exp: i64,
    #[serde(flatten)]
    claims: C,
}

/// Signs and verifies JSON Web Tokens (RFC 7519), HS256 only.
pub struct TokenSigner {
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl TokenSigner {
    /// A signer with the cluster's JWT key.
    pub fn new(key: &SecretBox<Vec<u8>>) -> Self {
        Self { encoding: EncodingKey::from_secret(key.expose_secret()), decoding: DecodingKey::from_secret(key.expose_secret()) }
    }

    /// A token of `claims`, valid from `now` until `expires_at`.
    ///
    /// # Errors
    /// The claims cannot be written as JSON.
    pub fn sign<C: Serialize>(&self, audience: Audience, claims: C, now: Timestamp, expires_at: Timestamp) -> Result<String, ServiceError> {
        let registered = Registered {
            iss: ISSUER.to_owned(),
            aud: audience.as_str().to_owned(),
            iat: now.timestamp(),
            exp: expires_at.timestamp(),
            claims,
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &registered, &self.encoding).map_err(|cause| {
            tracing::error!(event = "jwt.sign_failed", %cause);
            ServiceError::Internal
        })
    }

    /// The claims of a token that is ours, for `audience` and not expired at `now`.
    ///
    /// # Errors
    /// [`ServiceError::Unauthorized`] for everything else, including other algorithms.
    pub fn verify<C: DeserializeOwned>(&self, audience: Audience, token: &str, now: Timestamp) -> Result<C, ServiceError> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[audience.as_str()]);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "aud", "iss"]);
        // The library reads the system clock; ours is handed in.
        validation.validate_exp = false;
        let token = jsonwebtoken::decode::<Registered<C>>(token, &self.decoding, &validation).map_err(|_| ServiceError::Unauthorized)?;
        if token.claims.exp <= now.timestamp() {
            return Err(ServiceError::Unauthorized);
        }
        Ok(token.claims.claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Claims {
        sub: String,
    }

    fn key(byte: u8) -> SecretBox<Vec<u8>> {
        SecretBox::new(Box::new(vec![byte; 32]))
    }
    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
    }

    #[test]
    fn a_token_holds_for_its_audience_key_and_time_only() {
        let signer = TokenSigner::new(&key(1));
        let token = signer.sign(Audience::Admin, Claims { sub: "a".into() }, at(0), at(60)).unwrap();
        let read = |signer: &TokenSigner, audience, now| signer.verify::<Claims>(audience, &token, now);
        assert_eq!(read(&signer, Audience::Admin, at(59)).unwrap().sub, "a");
        assert!(read(&signer, Audience::Admin, at(60)).is_err(), "expired");
        assert!(read(&signer, Audience::Agent, at(1)).is_err(), "other audience");
        assert!(read(&TokenSigner::new(&key(2)), Audience::Admin, at(1)).is_err(), "other key");
    }

    #[test]
    fn unsigned_and_altered_tokens_are_refused() {
        let signer = TokenSigner::new(&key(1));
        let token = signer.sign(Audience::Admin, Claims { sub: "a".into() }, at(0), at(60)).unwrap();
        let [header, body, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        let hs512 = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS512","typ":"JWT"}"#);
        let other = URL_SAFE_NO_PAD.encode(r#"{"iss":"nexmdm","aud":"nexmdm-admin","exp":9999999999,"iat":0,"sub":"b"}"#);
        for forged in [
            format!("{none}.{body}."),
            format!("{none}.{body}.{signature}"),
            format!("{hs512}.{body}.{signature}"),
            format!("{header}.{other}.{signature}"),
            format!("{header}.{body}."),
            "..".into(),
            String::new(),
        ] {
            assert!(matches!(signer.verify::<Claims>(Audience::Admin, &forged, at(1)), Err(ServiceError::Unauthorized)), "{forged}");
        }
    }

    #[tokio::test]
    async fn every_byte_of_a_secret_counts_up_to_the_limit() {
        let metrics = permits::metrics::PoolMetrics::register(&prometheus::Registry::new()).unwrap();
        let pool = Pool::new(domain::permits::PoolName::Passwords, domain::permits::PoolLimits::of_capacity(1), &metrics);
        let bcrypt = Bcrypt::new(pool, Duration::from_secs(60));
        let anybody = || Claim::new(domain::permits::Class::Regular);
        for length in [10, 71, PASSWORD_MAX_BYTES] {
            let secret = "x".repeat(length);
            let hash = bcrypt.hash(anybody(), secret.clone(), 4).await.unwrap();
            assert!(bcrypt.verify(anybody(), secret.clone(), hash.clone()).await.unwrap(), "{length} bytes");
            assert!(!bcrypt.verify(anybody(), "x".repeat(length - 1), hash.clone()).await.unwrap(), "{length} bytes, less one");
            assert!(!bcrypt.verify(anybody(), format!("{}y", "x".repeat(length - 1)), hash.clone()).await.unwrap(), "the last of {length}");
            assert!(!bcrypt.verify(anybody(), format!("{secret}x"), hash).await.unwrap(), "{length} bytes and one");
        }
        let hash = bcrypt::non_truncating_hash("x".repeat(71), 4).unwrap();
        assert!(bcrypt.verify(anybody(), "x".repeat(71), hash).await.unwrap(), "a hash of an earlier build");
        assert!(bcrypt.hash(anybody(), "x".repeat(PASSWORD_MAX_BYTES + 1), 4).await.is_err());
    }

    #[test]
    fn random_tokens_are_43_characters_and_differ() {
        let (a, b) = (random_token().unwrap(), random_token().unwrap());
        assert!(a.len() == 43 && a != b);
        assert!((0..2_000).all(|_| !random_token().unwrap().starts_with('-')), "no option of a command line");
    }
}
