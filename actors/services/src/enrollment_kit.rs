//! Enrollment in the field: scripts and codes for tokens at hand, the agent's APK, and the progress of a token.

use std::net::IpAddr;

use apk::signed_url::LinkHolder;
use domain::access::{Permission, Principal};
use domain::audit::{AuditAction, Target};
use domain::enrollment::{BATCH_MAX, TokenProgress, TokenStatus};
use domain::{EnrollTokenId, Invalid, ServiceError, Timestamp};
use enrollment_kit::agent_apk::ApkDownload;
use enrollment_kit::qr::{self, Provisioning, Wifi};
use enrollment_kit::quote::Shell;
use enrollment_kit::script::{self, ScriptRequest, ScriptToken};
use serde_json::json;
use store::PresentedToken;

use super::EnrollmentService;
use super::access_trail::given;
use crate::crypto::sha256;

/// Longest enrollment token, in bytes; ours have 43.
const TOKEN_MAX_BYTES: usize = 200;

const NO_SIGNER: ServiceError = ServiceError::WrongState(
    "the signer of the agent APK cannot be read from the file: set enrollment.agent_signer_sha256 to the SHA-256 of its certificate",
);

/// A script that is asked for.
#[derive(Debug, Clone)]
pub struct ScriptOptions {
    /// The tokens themselves, one per device.
    pub tokens: Vec<String>,
    /// For which shell.
    pub shell: Shell,
    /// Whether every device plugged in is enrolled.
    pub batch: bool,
    /// Whether the agent is installed.
    pub install: bool,
    /// URL of the server for devices, if not the configured one.
    pub server_url: Option<String>,
}

/// A script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// A name for its file.
    pub file_name: String,
    /// Text, with the tokens in it.
    pub text: String,
}

/// A provisioning code.
#[derive(Debug, Clone, PartialEq)]
pub struct EnrollmentCode {
    /// Content, with the token in it.
    pub payload: serde_json::Value,
    /// Image, SVG.
    pub svg: String,
    /// Expiry of the token and the download address.
    pub expires_at: Timestamp,
}

impl EnrollmentService {
    /// URL of the server for devices, where it is configured.
    pub fn public_url(&self) -> Option<&str> {
        self.kit.public_url.as_deref()
    }

    /// Reads the agent's APK ahead of its first use, and logs what is wrong with it.
    pub async fn prepare(&self) {
        if let Some(location) = self.kit.apk.location().await {
            // What is wrong is in the log; whoever needs the APK is told, and the rest of the node works.
            let _ = self.kit.apk.read(location).await;
        }
    }

    /// A script that enrolls a device per token.
    ///
    /// # Errors
    /// Forbidden; a value out of its limits; a token that cannot be used; or there is no APK to install.
    pub async fn script(&self, principal: &Principal, options: ScriptOptions) -> Result<Script, ServiceError> {
        principal.require(Permission::ManageEnrollment)?;
        if options.tokens.is_empty() || options.tokens.len() as i64 > BATCH_MAX {
            return Err(Invalid::new("tokens", format!("must have 1..{BATCH_MAX} tokens")).into());
        }
        if options.tokens.len() > 1 && !options.batch {
            return Err(Invalid::new("batch", "a script for a single device requires exactly one token; set it for several tokens").into());
        }
        let server_url = self.kit.server_url(options.server_url)?;
        let known = self.usable(&options.tokens).await?;
        let apk = if options.install {
            let expires_at = known.iter().map(|token| token.expires_at).max().unwrap_or_else(|| self.clock.now());
            Some((self.kit.apk_url(&server_url, expires_at), self.kit.apk.facts().await?.sha256.clone()))
        } else {
            None
        };
        let tokens: Vec<_> =
            options.tokens.into_iter().zip(&known).map(|(token, known)| ScriptToken { token, alias: known.alias.clone() }).collect();
        let text = script::render(&ScriptRequest {
            shell: options.shell,
            server_url: &server_url,
            apk: apk.as_ref().map(|(url, sha256)| (url.as_str(), sha256.as_str())),
            tokens: &tokens,
            batch: options.batch,
            install: options.install,
        })?;
        let ids: Vec<_> = known.iter().map(|token| token.id.to_string()).collect();
        let told = json!({ "ids": ids, "shell": options.shell.as_str() });
        given(&self.store, principal, AuditAction::EnrollScriptMade, Target::EnrollTokens(ids.len()), told, self.clock.now()).await?;
        let what = if options.batch { "enroll-batch" } else { "enroll" };
        Ok(Script { file_name: format!("{what}.{}", options.shell.extension()), text })
    }

    /// The code that a factory-new device scans to enroll with a token.
    ///
    /// # Errors
    /// Forbidden; a value out of its limits; a token that cannot be used; there is no APK, or its
    /// signer is not known.
    pub async fn qr(
        &self,
        principal: &Principal,
        token: String,
        wifi: Option<Wifi>,
        server_url: Option<String>,
    ) -> Result<EnrollmentCode, ServiceError> {
        principal.require(Permission::ManageEnrollment)?;
        let server_url = self.kit.server_url(server_url)?;
        let tokens = [token];
        let Some(known) = self.usable(&tokens).await.map_err(|error| named(error, "token"))?.pop() else {
            return Err(ServiceError::Internal);
        };
        let facts = self.kit.apk.facts().await?;
        // What the operator states comes first: a file may carry signatures that this server does not read.
        let signer_sha256 = self.kit.configured_signer.or(facts.signer_sha256).ok_or(NO_SIGNER)?;
        let payload = qr::payload(&Provisioning {
            server_url: &server_url,
            apk_url: &self.kit.apk_url(&server_url, known.expires_at),
            signer_sha256: &signer_sha256,
            token: &tokens[0],
            wifi: wifi.as_ref(),
        });
        let told = json!({ "wifi": wifi.is_some() });
        given(&self.store, principal, AuditAction::EnrollCodeMade, Target::EnrollToken(known.id, known.alias), told, self.clock.now())
            .await?;
        Ok(EnrollmentCode { svg: qr::picture(&payload.to_string())?, payload, expires_at: known.expires_at })
    }

    /// Progress of a token, for its holder.
    ///
    /// # Errors
    /// Unauthorized for a token that is not known, throttled after too many of those from one address.
    pub async fn token_progress(&self, token: &str, address: IpAddr) -> Result<TokenProgress, ServiceError> {
        let found = match token.len() {
            1..=TOKEN_MAX_BYTES => self.store.enroll_token_progress(&sha256(token), self.clock.now()).await?,
            _ => None,
        };
        match found {
            Some(progress) => Ok(progress),
            None => self.throttle.failure(&address.to_string()).and(Err(ServiceError::Unauthorized)),
        }
    }

    /// Progress of tokens, in the order of the request.
    ///
    /// # Errors
    /// Forbidden, or too many at once.
    pub async fn batch_progress(&self, principal: &Principal, ids: &[EnrollTokenId]) -> Result<Vec<TokenProgress>, ServiceError> {
        principal.require(Permission::ViewEnrollment)?;
        if ids.len() as i64 > BATCH_MAX {
            return Err(Invalid::new("ids", format!("more than {BATCH_MAX}")).into());
        }
        let mut found = self.store.enroll_tokens_progress(ids, self.clock.now()).await?;
        found.sort_by_key(|progress| ids.iter().position(|id| *id == progress.id));
        Ok(found)
    }

    /// The agent's APK, for whoever has a signed address.
    ///
    /// # Errors
    /// Unauthorized when the address is not ours or has expired; not found when there is no APK;
    /// overloaded when too many downloads run, of all or of one link or address.
    pub async fn agent_apk(&self, expires: i64, signature: &str, address: IpAddr) -> Result<ApkDownload, ServiceError> {
        if !self.kit.signer.holds(apk::signed_url::AGENT_APK.1, expires, signature, self.clock.now()) {
            return Err(ServiceError::Unauthorized);
        }
        self.kit.apk.open(LinkHolder::claim(None, signature, Some(address))).await
    }

    /// The tokens, in the order given, each of which can be used.
    async fn usable(&self, tokens: &[String]) -> Result<Vec<PresentedToken>, ServiceError> {
        let mut secrets = Vec::with_capacity(tokens.len());
        for (index, token) in tokens.iter().enumerate() {
            let secret = sha256(token).to_vec();
            if token.len() > TOKEN_MAX_BYTES {
                return Err(Invalid::new(format!("tokens[{index}]"), format!("more than {TOKEN_MAX_BYTES} bytes")).into());
            }
            if secrets.contains(&secret) {
                return Err(Invalid::new(format!("tokens[{index}]"), "duplicate: a token enrolls one device").into());
            }
            secrets.push(secret);
        }
        let found = self.store.usable_enroll_tokens(&secrets, self.clock.now()).await?;
        let in_order = secrets.iter().enumerate().map(|(index, secret)| {
            let known = found.iter().find(|known| known.secret_sha256 == *secret).cloned();
            known.ok_or_else(|| Invalid::new(format!("tokens[{index}]"), "not a usable token").into())
        });
        in_order.collect()
    }
}

/// The refusal of the only token, under the name that the caller knows it by.
fn named(error: ServiceError, field: &str) -> ServiceError {
    match error {
        ServiceError::Invalid(invalid) => Invalid::new(field, invalid.problem).into(),
        other => other,
    }
}

/// Whether nothing more will come of a token.
pub fn is_settled(progress: &TokenProgress) -> bool {
    match progress.status {
        TokenStatus::Unused => false,
        TokenStatus::Used => progress.first_heartbeat_at.is_some(),
        TokenStatus::Expired | TokenStatus::Revoked => true,
    }
}
