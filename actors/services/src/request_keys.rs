//! Keys by which a call that creates something is carried out once.

use std::sync::Arc;

use clock::Clock;
use domain::ServiceError;
use domain::access::{Permission, Principal};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretBox};
use sha2::Sha256;
use store::{IdempotencyRecord, KeyClaim, Store};

use super::commands::IdempotencyKey;

/// Label of the key that digests of bodies are made under.
const LABEL: &[u8] = b"nexmdm-request-body-v1";

/// Keys of calls.
#[derive(Clone)]
pub struct RequestKeys {
    clock: Clock,
    store: Store,
    digest_key: Arc<SecretBox<Vec<u8>>>,
}

/// End of a call that came with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallEnd {
    /// It was carried out: its status, and its answer, if that is kept.
    CarriedOut(u16, Option<Vec<u8>>),
    /// It was refused, and nothing was done.
    Refused,
    /// It failed on the server's side: it may have been carried out.
    Unclear,
}

/// A key that a call has taken; it is released or finished once the call has ended.
#[derive(Debug)]
pub struct TakenKey(IdempotencyRecord);

/// What a key stands for.
#[derive(Debug)]
pub enum RequestKey {
    /// This call, which is to be carried out.
    Taken(TakenKey),
    /// The same call before, with its status and answer.
    Done(u16, Vec<u8>),
}

impl RequestKeys {
    pub(crate) fn new(clock: Clock, store: Store, master_key: &SecretBox<Vec<u8>>) -> Self {
        let derived = mac(master_key.expose_secret(), LABEL);
        Self { clock, store, digest_key: Arc::new(SecretBox::new(Box::new(derived.to_vec()))) }
    }

    /// Checks that a caller may make a call, before anything of it is read or an earlier answer is given again.
    ///
    /// # Errors
    /// Forbidden.
    pub fn authorize(&self, principal: &Principal, permission: Permission) -> Result<(), ServiceError> {
        Ok(principal.require(permission)?)
    }

    /// Takes the key of a caller for a call.
    ///
    /// # Errors
    /// The key stands for another call, for one that is under way, or for one whose answer is not kept.
    pub async fn take(&self, principal: &Principal, key: IdempotencyKey) -> Result<RequestKey, ServiceError> {
        // Bodies have passwords: without the master key nobody tries them out on what the database has.
        let body_sha256 = mac(self.digest_key.expose_secret(), &key.body_sha256);
        let record = IdempotencyRecord { owner: principal.caller(), key: key.key, body_sha256 };
        match self.store.claim_request(&record, self.clock.now()).await? {
            KeyClaim::New => Ok(RequestKey::Taken(TakenKey(record))),
            KeyClaim::Done(status, Some(answer)) => Ok(RequestKey::Done(status, answer)),
            KeyClaim::Done(_, None) => Err(ServiceError::WrongState(
                "the call with this Idempotency-Key was carried out; its answer is not kept: it had a secret, which is shown once, or was too long",
            )),
            KeyClaim::Open => Err(ServiceError::WrongState(
                "the call with this Idempotency-Key is under way, or nobody knows how it ended: look whether it was carried out",
            )),
            KeyClaim::OtherCall => Err(ServiceError::WrongState("this Idempotency-Key was used for another call")),
        }
    }

    /// Notes how the call of a key has ended: one that was refused leaves its key free, and one whose end is unclear leaves it open.
    pub async fn ended(&self, key: &TakenKey, end: &CallEnd) {
        let noted = match end {
            CallEnd::CarriedOut(status, answer) => self.store.finish_request(&key.0, *status, answer.as_deref()).await,
            CallEnd::Refused => self.store.release_request(&key.0).await,
            CallEnd::Unclear => Ok(()),
        };
        if let Err(cause) = noted {
            // Whoever repeats the call is told that it may have been carried out.
            tracing::warn!(event = "request_key.not_noted", %cause);
        }
    }
}

fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    #[allow(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2.
    #[test]
    fn digests_of_bodies_are_keyed() {
        let known = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex::encode(mac(b"Jefe", b"what do ya want for nothing?")), known);
        assert_ne!(mac(b"one master key", LABEL), mac(b"another", LABEL));
    }
}
