//! The service account: who sends, as the JSON file that Google makes says.
//!
//! <https://cloud.google.com/iam/docs/keys-create-delete> shows the file.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use domain::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Url;
use serde::Serialize;
use serde_json::{Map, Value};

use super::PushSetupError;

/// Scope of an access token (<https://firebase.google.com/docs/cloud-messaging/auth-server>).
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// Life of an assertion, seconds: the most that Google takes.
const ASSERTION_LIFE_S: i64 = 3600;
/// Google refuses assertions from the future; clocks differ by seconds.
const CLOCK_SKEW_S: i64 = 10;
/// A service account's file has 2 to 3 KiB.
const FILE_MAX_BYTES: u64 = 65_536;

/// A service account and its key.
pub(super) struct ServiceAccount {
    pub(super) project_id: String,
    pub(super) client_email: String,
    pub(super) token_uri: Url,
    key_id: Option<String>,
    key: EncodingKey,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'static str,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

impl ServiceAccount {
    /// Reads the account from its file.
    ///
    /// # Errors
    /// Names the file and the field, and nothing of what stands in them.
    pub(super) fn read(file: &Path) -> Result<Self, PushSetupError> {
        let unreadable = |cause| PushSetupError::Unreadable { file: file.to_owned(), cause };
        let metadata = fs::metadata(file).map_err(unreadable)?;
        if !metadata.is_file() || metadata.len() > FILE_MAX_BYTES {
            return Err(unreadable(std::io::Error::other("not a file of at most 64 KiB")));
        }
        if domain::secret_file::is_open_to_others(metadata.mode(), metadata.uid()) {
            return Err(PushSetupError::Open { file: file.to_owned() });
        }
        Self::parse(file, &fs::read(file).map_err(unreadable)?)
    }

    fn parse(file: &Path, text: &[u8]) -> Result<Self, PushSetupError> {
        // The parser's own words may cite the text, which holds the key.
        let not_json =
            |error: serde_json::Error| PushSetupError::NotJson { file: file.to_owned(), line: error.line(), column: error.column() };
        let fields: Map<String, Value> = serde_json::from_slice(text).map_err(not_json)?;
        let wrong = |field, problem| PushSetupError::Field { file: file.to_owned(), field, problem };
        let text_of = |field: &'static str| match fields.get(field) {
            None => Err(wrong(field, "missing")),
            Some(Value::String(text)) if !text.is_empty() => Ok(text.as_str()),
            Some(_) => Err(wrong(field, "not a text, or empty")),
        };
        if text_of("type")? != "service_account" {
            return Err(wrong("type", "not \"service_account\": this is another kind of credentials"));
        }
        let project_id = text_of("project_id")?;
        // It becomes a part of a path.
        if !project_id.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c)) {
            return Err(wrong("project_id", "has other characters than letters, digits and - _ . :"));
        }
        let token_uri = Url::parse(text_of("token_uri")?).map_err(|_| wrong("token_uri", "not a URL"))?;
        if !matches!(token_uri.scheme(), "https" | "http") || !token_uri.has_host() {
            return Err(wrong("token_uri", "begins with neither https:// nor http://"));
        }
        let key = EncodingKey::from_rsa_pem(text_of("private_key")?.as_bytes())
            .map_err(|_| wrong("private_key", "not an RSA private key in PEM form"))?;
        let account = Self {
            project_id: project_id.to_owned(),
            client_email: text_of("client_email")?.to_owned(),
            token_uri,
            key_id: fields.get("private_key_id").and_then(Value::as_str).map(ToOwned::to_owned),
            key,
        };
        // A key that is read but cannot sign would be found out only when the first command is due.
        account.assertion(Timestamp::UNIX_EPOCH).map_err(|_| wrong("private_key", "does not sign: damaged, or shorter than 2048 bits"))?;
        Ok(account)
    }

    /// The assertion that the token endpoint takes for an access token: a JWT signed with RS256 (RFC 7523, section 2.1;
    /// <https://developers.google.com/identity/protocols/oauth2/service-account>).
    pub(super) fn assertion(&self, now: Timestamp) -> Result<String, jsonwebtoken::errors::Error> {
        let iat = now.timestamp() - CLOCK_SKEW_S;
        let claims = Claims { iss: &self.client_email, scope: SCOPE, aud: self.token_uri.as_str(), iat, exp: iat + ASSERTION_LIFE_S };
        jsonwebtoken::encode(&Header { kid: self.key_id.clone(), ..Header::new(Algorithm::RS256) }, &claims, &self.key)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use jsonwebtoken::{DecodingKey, Validation};
    use serde_json::json;

    /// A service account's file, and the public key that belongs to it.
    pub(crate) fn file(token_uri: &str) -> (Value, String) {
        let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        let file = json!({
            "type": "service_account", "project_id": "kiosks-1", "private_key_id": "k1", "private_key": key.serialize_pem(),
            "client_email": "push@kiosks-1.iam.gserviceaccount.com", "client_id": "1", "token_uri": token_uri,
        });
        (file, key.public_key_pem())
    }

    fn parse(file: &Value) -> Result<ServiceAccount, PushSetupError> {
        ServiceAccount::parse(Path::new("/etc/account.json"), file.to_string().as_bytes())
    }

    #[test]
    fn an_assertion_says_who_asks_whom_for_what() {
        let (file, public_key) = file("https://oauth2.example/token");
        let now = chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let assertion = parse(&file).unwrap().assertion(now).unwrap();
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&["https://oauth2.example/token"]);
        validation.set_issuer(&["push@kiosks-1.iam.gserviceaccount.com"]);
        validation.validate_exp = false;
        let key = DecodingKey::from_rsa_pem(public_key.as_bytes()).unwrap();
        let token = jsonwebtoken::decode::<Value>(&assertion, &key, &validation).unwrap();
        assert_eq!(token.header.kid.as_deref(), Some("k1"));
        assert_eq!(token.claims["scope"], SCOPE);
        assert_eq!((token.claims["iat"].as_i64(), token.claims["exp"].as_i64()), (Some(1_799_999_990), Some(1_800_003_590)));
    }

    #[test]
    fn a_wrong_field_is_named_and_not_cited() {
        let (good, _) = file("https://oauth2.example/token");
        for (field, value, problem) in [
            ("type", json!("authorized_user"), "another kind"),
            ("type", Value::Null, "not a text"),
            ("project_id", json!("a/../b"), "other characters"),
            ("project_id", json!(""), "empty"),
            ("private_key", json!("s3cret"), "PEM"),
            ("private_key", json!("-----BEGIN PRIVATE KEY-----\ns3cret+A\n-----END PRIVATE KEY-----\n"), "RSA"),
            ("client_email", json!(7), "not a text"),
            ("token_uri", json!("ftp://s3cret"), "begins with neither"),
            ("token_uri", json!("s3cret"), "not a URL"),
        ] {
            let mut file = good.clone();
            file[field] = value;
            let error = parse(&file).err().unwrap().to_string();
            assert!(error.contains(&format!("/etc/account.json: field {field}: ")) && error.contains(problem), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        let mut file = good;
        file.as_object_mut().unwrap().remove("client_email");
        assert!(parse(&file).err().unwrap().to_string().ends_with("field client_email: missing"));
        let error = ServiceAccount::parse(Path::new("/x"), b"{\n\"private_key\": s3cret").err().unwrap().to_string();
        assert_eq!(error, "fcm.service_account_file /x: not a JSON object, at line 2, column 16");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let path = std::env::temp_dir().join(format!("nexmdm-account-{}.json", std::process::id()));
        fs::write(&path, file("https://oauth2.example/token").0.to_string()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(ServiceAccount::read(&path).err().unwrap().to_string().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(ServiceAccount::read(&path).map(|account| account.project_id).unwrap(), "kiosks-1");
        fs::remove_file(&path).unwrap();
        assert!(ServiceAccount::read(&path).err().unwrap().to_string().contains(path.to_str().unwrap()));
    }
}
