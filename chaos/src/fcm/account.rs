//! Service account: key pair, file, and verification of assertions.

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::json;

/// Scope that access tokens are requested for.
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// Tolerated clock difference, seconds.
const LEEWAY_S: i64 = 60;

/// A service account and the public half of its key.
pub(super) struct Account {
    json: String,
    email: String,
    key_id: String,
    token_uri: String,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct Claims {
    scope: String,
    iat: i64,
    exp: i64,
}

impl Account {
    pub(super) fn new(project_id: &str, token_uri: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let pair = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)?;
        let email = format!("push@{project_id}.iam.gserviceaccount.com");
        let key_id = format!("{:040x}", rand::random::<u128>());
        let json = json!({
            "type": "service_account", "project_id": project_id, "private_key_id": key_id, "private_key": pair.serialize_pem(),
            "client_email": email, "client_id": "100000000000000000000", "auth_uri": token_uri, "token_uri": token_uri,
            "universe_domain": "googleapis.com",
        });
        let key = DecodingKey::from_rsa_pem(pair.public_key_pem().as_bytes())?;
        Ok(Self { json: json.to_string(), email, key_id, token_uri: token_uri.to_owned(), key })
    }

    /// Content of the service account file.
    pub(super) fn json(&self) -> &str {
        &self.json
    }

    /// Verifies a token request against RFC 7523 and the rules of Google.
    pub(super) fn verify(&self, form: &str, now: DateTime<Utc>) -> Result<(), String> {
        let field = |name: &str| form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let grant = field("grant_type").unwrap_or("").replace("%3A", ":").replace("%3a", ":");
        if grant != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
            return Err(format!("grant_type is {grant:?}"));
        }
        let assertion = field("assertion").ok_or("no assertion")?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&[&self.token_uri]);
        validation.set_issuer(&[&self.email]);
        validation.set_required_spec_claims(&["exp", "aud", "iss"]);
        // The library reads the system clock.
        validation.validate_exp = false;
        let token = jsonwebtoken::decode::<Claims>(assertion, &self.key, &validation).map_err(|error| error.to_string())?;
        let (Claims { scope, iat, exp }, now) = (token.claims, now.timestamp());
        if token.header.kid.as_deref() != Some(self.key_id.as_str()) {
            return Err("kid is not the key's".into());
        }
        if !scope.split(' ').any(|one| one == SCOPE) {
            return Err("scope lacks firebase.messaging".into());
        }
        if iat > now + LEEWAY_S || exp <= now || exp - iat > 3600 {
            return Err("not a short-lived token: check iat and exp".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::Value;

    use super::*;

    #[test]
    fn an_assertion_has_to_be_right_in_everything() {
        let account = Account::new("p", "http://127.0.0.1:1/token").unwrap();
        let file: Value = serde_json::from_str(account.json()).unwrap();
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let good = json!({
            "iss": file["client_email"], "aud": file["token_uri"], "scope": SCOPE, "iat": 1_800_000_000, "exp": 1_800_003_600_i64,
        });
        let form = |claims: &Value, key: &str, kid: &str| {
            let key = EncodingKey::from_rsa_pem(key.as_bytes()).unwrap();
            let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::RS256) };
            let assertion = jsonwebtoken::encode(&header, claims, &key).unwrap();
            format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}")
        };
        let (key, kid) = (file["private_key"].as_str().unwrap(), file["private_key_id"].as_str().unwrap());
        account.verify(&form(&good, key, kid), now).unwrap();
        for (claim, value) in [
            ("iss", json!("someone@else")),
            ("aud", json!("https://oauth2.googleapis.com/token")),
            ("scope", json!("https://www.googleapis.com/auth/cloud-platform.read-only")),
            ("iat", json!(1_800_000_061)),
            ("exp", json!(1_800_000_000)),
            ("exp", json!(1_800_003_601_i64)),
        ] {
            let mut claims = good.clone();
            claims[claim] = value;
            assert!(account.verify(&form(&claims, key, kid), now).is_err(), "{claims}");
        }
        let other = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap().serialize_pem();
        assert!(account.verify(&form(&good, &other, kid), now).is_err(), "another key");
        assert!(account.verify(&form(&good, key, "k2"), now).is_err(), "another kid");
        assert!(account.verify(&form(&good, key, kid).replace("jwt-bearer", "refresh"), now).is_err(), "another grant");
    }
}
