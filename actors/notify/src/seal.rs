//! Secrets of channels: kept sealed under a key derived from the master key, and bound to their channel.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hmac, rand};
use domain::ChannelId;
use secrecy::{ExposeSecret, SecretBox};

/// Form of what is sealed, its first byte.
const VERSION: u8 = 1;
/// Shortest part of a URL that is taken for a token.
const TOKEN_MIN_BYTES: usize = 8;
/// Label of the key, and beginning of the associated data.
const LABEL: &[u8] = b"nexmdm-channel-secret-v1";

/// Secret fields of a channel by name. Never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretFields(pub(crate) BTreeMap<String, String>);

impl SecretFields {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is one of this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Value of a field.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// `text` without any of the values, as an answer of a service could repeat one.
    pub(crate) fn scrubbed(&self, text: &str) -> String {
        let parts = self.0.values().flat_map(|value| std::iter::once(value.as_str()).chain(url_parts(value)));
        let forms = parts.flat_map(|part| [part.to_owned(), json_escaped(part), percent_decoded(part)]);
        forms.filter(|part| !part.is_empty()).fold(text.to_owned(), |text, part| text.replace(&part, "(hidden)"))
    }
}

/// A text as it stands within a string of JSON.
fn json_escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    // One quote on each side: those of the text are escaped.
    quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(&quoted).to_owned()
}

/// A part of a URL as a server reads it.
fn percent_decoded(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let code = behind.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match code.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Parts of a URL behind its host that are long enough to be a token.
fn url_parts(value: &str) -> impl Iterator<Item = &str> {
    let behind_host = value.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    behind_host.split(['/', '?', '&', '=']).filter(|part| part.len() >= TOKEN_MIN_BYTES)
}

impl fmt::Debug for SecretFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Error in opening or sealing secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// They were sealed under another key, for another channel, or changed since.
    #[error("the channel's secret cannot be read with this master key: enter it again")]
    Unreadable,
    /// The cryptography library refused.
    #[error("the channel's secret cannot be sealed")]
    Failed,
}

/// Seals and opens secrets of channels.
pub(crate) struct Sealer(LessSafeKey);

impl Sealer {
    /// A sealer whose key is derived from the master key.
    ///
    /// # Errors
    /// The cryptography library refuses the key.
    pub(crate) fn new(master_key: &SecretBox<Vec<u8>>) -> Result<Self, SealError> {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, master_key.expose_secret()), LABEL);
        let key = UnboundKey::new(&AES_256_GCM, derived.as_ref()).map_err(|_| SealError::Failed)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Seals the secrets of a channel.
    ///
    /// # Errors
    /// The machine has no randomness.
    pub(crate) fn seal(&self, channel: ChannelId, secrets: &SecretFields) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| SealError::Failed)?;
        let mut text = serde_json::to_vec(&secrets.0).map_err(|_| SealError::Failed)?;
        let sealed = self.0.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), associated(channel), &mut text);
        sealed.map_err(|_| SealError::Failed)?;
        Ok([&[VERSION], nonce.as_slice(), &text].concat())
    }

    /// Opens them.
    ///
    /// # Errors
    /// They were sealed under another key or for another channel, or changed since.
    pub(crate) fn open(&self, channel: ChannelId, sealed: &[u8]) -> Result<SecretFields, SealError> {
        let (version, rest) = sealed.split_first().ok_or(SealError::Unreadable)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Unreadable)?;
        if *version != VERSION {
            return Err(SealError::Unreadable);
        }
        let mut text = text.to_vec();
        let opened = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), associated(channel), &mut text);
        let opened = opened.map_err(|_| SealError::Unreadable)?;
        serde_json::from_slice(opened).map(SecretFields).map_err(|_| SealError::Unreadable)
    }
}

/// What is authenticated besides: the channel, so that no secret can be moved to another one.
fn associated(channel: ChannelId) -> Aad<Vec<u8>> {
    Aad::from([LABEL, channel.0.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(key: u8) -> Sealer {
        Sealer::new(&SecretBox::new(Box::new(vec![key; 32]))).unwrap()
    }

    fn channel(number: u128) -> ChannelId {
        ChannelId(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn only_the_same_key_and_channel_open_what_was_sealed() {
        let secrets = SecretFields(BTreeMap::from([("url".to_owned(), "https://discord.com/api/webhooks/1/token".to_owned())]));
        let sealed = sealer(1).seal(channel(1), &secrets).unwrap();
        assert_eq!(sealer(1).open(channel(1), &sealed), Ok(secrets.clone()));
        assert!(!sealed.windows(5).any(|part| part == b"token"), "sealed, not encoded");
        assert_ne!(sealed, sealer(1).seal(channel(1), &secrets).unwrap(), "a nonce of its own");
        assert_eq!(sealer(2).open(channel(1), &sealed), Err(SealError::Unreadable));
        assert_eq!(sealer(1).open(channel(2), &sealed), Err(SealError::Unreadable));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(sealer(1).open(channel(1), &changed), Err(SealError::Unreadable), "byte {at}");
            assert!(sealer(1).open(channel(1), &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn secrets_are_not_printed_and_taken_out_of_answers() {
        let secrets = SecretFields(BTreeMap::from([("token".to_owned(), "tk_abcdef".to_owned())]));
        assert_eq!(format!("{secrets:?}"), "{\"token\"}");
        assert_eq!(secrets.scrubbed("no access for tk_abcdef"), "no access for (hidden)");
        let url = SecretFields(BTreeMap::from([("url".to_owned(), "https://discord.com/api/webhooks/12345678/tok_abcdef".to_owned())]));
        assert_eq!(url.scrubbed("Unknown webhook tok_abcdef of /api"), "Unknown webhook (hidden) of /api");
        let coded = SecretFields([("url".to_owned(), "https://example.org/a%2Fb%22cdef".to_owned())].into());
        for text in ["no a%2Fb%22cdef", "no a/b\"cdef"] {
            assert_eq!(coded.scrubbed(text), "no (hidden)");
        }
        let quoted = SecretFields([("password".to_owned(), "pass\"word\\".to_owned())].into());
        assert_eq!(quoted.scrubbed(r#"{"sent":"pass\"word\\"}"#), r#"{"sent":"(hidden)"}"#);
        let ends_quoted = SecretFields([("password".to_owned(), "password\"".to_owned())].into());
        assert_eq!(ends_quoted.scrubbed(r#"{"sent":"password\""}"#), r#"{"sent":"(hidden)"}"#);
    }
}
