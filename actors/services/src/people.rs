//! Builds the services for people over what they share.

use std::sync::Arc;

use clock::Clock;
use store::Store;

use super::access_trail::AccessTrail;
use super::account_mail::AccountMail;
use super::credential_cache::CredentialCache;
use super::passwords::Passwords;
use super::settings::AuthSettings;
use super::sign_in_guard::SignInGuard;
use super::standing::Standing;
use super::token_guard::TokenGuard;
use super::{AccountService, ApiTokenService, AuthService};
use crate::crypto::{Bcrypt, TokenSigner};
use crate::metrics::Metrics;

/// Dependencies of the services for people.
pub(crate) struct PeopleParts {
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) signer: Arc<TokenSigner>,
    pub(crate) bcrypt: Bcrypt,
    pub(crate) settings: AuthSettings,
    pub(crate) credentials: Arc<CredentialCache>,
    pub(crate) tokens: TokenGuard,
    pub(crate) trail: Arc<AccessTrail>,
    pub(crate) standing: Standing,
    /// `None`: no mail is sent.
    pub(crate) notifier: Option<notify::Notifier>,
    pub(crate) metrics: Metrics,
}

/// The services for people.
pub(crate) struct People {
    pub(crate) auth: AuthService,
    pub(crate) accounts: AccountService,
    pub(crate) api_tokens: ApiTokenService,
    pub(crate) account_mail: AccountMail,
}

impl PeopleParts {
    /// The services; all of them count the same failures and forget at the same moment.
    pub(crate) fn services(self) -> People {
        let Self { clock, store, signer, bcrypt, settings, credentials, tokens, trail, standing, notifier, metrics } = self;
        let passwords = Arc::new(Passwords::new(bcrypt, settings.password_bcrypt_cost));
        let guard = Arc::new(SignInGuard::new(clock.clone(), store.clone(), &settings, metrics.clone()));
        let account_mail =
            AccountMail::new(clock.clone(), store.clone(), notifier, Arc::clone(&passwords), Arc::clone(&guard), Arc::clone(&credentials));
        People {
            account_mail,
            accounts: AccountService::new(
                clock.clone(),
                store.clone(),
                Arc::clone(&passwords),
                Arc::clone(&guard),
                Arc::clone(&credentials),
                Arc::clone(&trail),
                settings.sessions_per_user_max,
            ),
            api_tokens: ApiTokenService::new(
                clock.clone(),
                store.clone(),
                Arc::clone(&credentials),
                settings.api_token_lifetime,
                settings.api_tokens_per_user_max,
            ),
            auth: AuthService::new(clock, store, signer, settings, passwords, guard, credentials, tokens, trail, standing, metrics),
        }
    }
}
