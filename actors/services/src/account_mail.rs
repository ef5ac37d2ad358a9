//! Mail to accounts: links by which a password is set, for whoever has forgotten theirs and for new accounts.
//!
//! Whoever asks for a link gets the same answer, after as long, whether or not there is such an account. A link holds for a while and for one use; the
//! newest of its kind and account alone. Its token is in the mail and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use clock::Clock;
use domain::ServiceError;
use domain::access::{Origin, Permission, Principal};
use domain::account::possible_username;
use domain::permits::Claim;
use notify::{AccountMessage, Notifier};
use secrecy::{ExposeSecret, SecretString};
use store::{LinkKind, LinkedAccount, Store};
use tokio::sync::Semaphore;

use super::credential_cache::CredentialCache;
use super::passwords::{Passwords, check_password};
use super::sign_in_guard::SignInGuard;
use crate::crypto::{random_token, sha256};

/// How long a link holds that somebody asked for on the sign-in page.
const RESET_HOLDS: TimeDelta = TimeDelta::minutes(30);
/// How long an invitation holds.
const INVITATION_HOLDS: TimeDelta = TimeDelta::hours(72);
/// Shortest time between two links of an account that somebody asked for: mail is not a way to bother people, and a link that is replaced held for half
/// its time at least, whoever goes on asking.
const PAUSE: TimeDelta = TimeDelta::minutes(15);
/// Waits before a link that somebody asked for is sent again, where a mail server may accept it later: greylisting lasts some minutes.
const SEND_AGAIN: [Duration; 3] = [Duration::from_secs(30), Duration::from_secs(120), Duration::from_secs(300)];
/// Most links that are being sent, or wait to be sent again, because somebody asked; beyond it none is.
const SENDING_MAX: usize = 32;
/// Longest token that is looked up.
const TOKEN_MAX_BYTES: usize = 200;

/// Mail to accounts.
pub struct AccountMail {
    clock: Clock,
    store: Store,
    /// `None` on the command line, which sends nothing.
    notifier: Option<Notifier>,
    passwords: Arc<Passwords>,
    guard: Arc<SignInGuard>,
    credentials: Arc<CredentialCache>,
    sending: Arc<Semaphore>,
}

impl AccountMail {
    pub(crate) fn new(
        clock: Clock,
        store: Store,
        notifier: Option<Notifier>,
        passwords: Arc<Passwords>,
        guard: Arc<SignInGuard>,
        credentials: Arc<CredentialCache>,
    ) -> Self {
        Self { clock, store, notifier, passwords, guard, credentials, sending: Arc::new(Semaphore::new(SENDING_MAX)) }
    }

    /// Whether there is a mail server.
    pub fn is_on(&self) -> bool {
        self.mailer().is_some()
    }

    fn mailer(&self) -> Option<&Notifier> {
        self.notifier.as_ref().filter(|notifier| notifier.has_mail_server())
    }

    /// Sends a link to the address of the account with this name, if there is one, on a task of its own.
    pub fn request_link(&self, username: &str, origin: Origin) {
        let (Some(username), Some(notifier)) = (possible_username(username).map(str::to_owned), self.mailer().cloned()) else { return };
        let Ok(permit) = Arc::clone(&self.sending).try_acquire_owned() else {
            return tracing::warn!(event = "account.password_links_refused", cause = "too many are being sent");
        };
        let (clock, store) = (self.clock.clone(), self.store.clone());
        tokio::spawn(async move {
            let sender = LinkSender { clock: &clock, store: &store, notifier: &notifier };
            if let Err(cause) = sender.send_to(&username, &Principal::System { origin }).await {
                tracing::warn!(event = "account.password_link_not_sent", %cause);
            }
            drop(permit);
        });
    }

    /// Sends an invitation to the address of an account.
    ///
    /// # Errors
    /// Forbidden, there is no such account, it has no address or is disabled, there is no mail server, or it does not accept the mail.
    pub async fn invite(&self, principal: &Principal, id: domain::UserId) -> Result<(), ServiceError> {
        principal.require(Permission::ManageUsers)?;
        let notifier = self.mailer().ok_or(ServiceError::WrongState("no mail server is configured ([smtp])"))?;
        let account = self.store.account(id).await?.ok_or(ServiceError::NotFound("account"))?;
        let email = account.email.ok_or(ServiceError::WrongState("the account has no e-mail address"))?;
        let linked = LinkedAccount { id, username: account.username };
        let sender = LinkSender { clock: &self.clock, store: &self.store, notifier };
        match sender.send(&linked, &email, AccountMessage::Invitation, (INVITATION_HOLDS, TimeDelta::zero()), principal).await? {
            Sent::Accepted => Ok(()),
            Sent::NotStored => Err(ServiceError::WrongState("the account is disabled")),
            Sent::NotAccepted => Err(ServiceError::WrongState("the mail server did not accept the invitation; the log has its answer")),
        }
    }

    /// Name of the account that a link is for.
    ///
    /// # Errors
    /// The link does not hold.
    pub async fn account_of(&self, token: &str) -> Result<String, ServiceError> {
        Ok(self.linked(token).await?.username)
    }

    /// Sets the password of the account that a link is for, unlocks it, and ends its sign-ins and API tokens.
    ///
    /// # Errors
    /// The link does not hold, the password breaks its limits, or overloaded.
    pub async fn redeem(&self, token: &str, password: &SecretString, origin: Origin) -> Result<(), ServiceError> {
        let account = self.linked(token).await?;
        // Before bcrypt is spent on it.
        check_password("password", password.expose_secret(), &account.username)?;
        let by = Principal::System { origin };
        let hash = self.passwords.hash(Claim::of(&by), "password", password, &account.username).await?;
        let redeemed = self.store.redeem_password_link(&sha256(token), &hash, &by, self.clock.now()).await?;
        self.credentials.forget();
        let account = redeemed.ok_or(ServiceError::NotFound("link"))?;
        self.guard.unlock(&account.username).await?;
        tracing::info!(event = "account.password_reset", username = account.username, by = "link");
        Ok(())
    }

    async fn linked(&self, token: &str) -> Result<LinkedAccount, ServiceError> {
        if token.is_empty() || token.len() > TOKEN_MAX_BYTES {
            return Err(ServiceError::NotFound("link"));
        }
        self.store.password_link_account(&sha256(token), self.clock.now()).await?.ok_or(ServiceError::NotFound("link"))
    }
}

/// Outcome of sending a link.
enum Sent {
    /// The mail server accepted it.
    Accepted,
    /// It did not.
    NotAccepted,
    /// One was sent a moment ago, the account is disabled, or has another address by now.
    NotStored,
}

/// Stores and sends links.
struct LinkSender<'a> {
    clock: &'a Clock,
    store: &'a Store,
    notifier: &'a Notifier,
}

impl LinkSender<'_> {
    async fn send_to(&self, username: &str, by: &Principal) -> Result<(), ServiceError> {
        let Some(user) = self.store.user_by_name(username).await? else { return Ok(()) };
        let Some(email) = self.store.account(user.id).await?.and_then(|account| account.email) else { return Ok(()) };
        let linked = LinkedAccount { id: user.id, username: user.username };
        self.send(&linked, &email, AccountMessage::PasswordReset, (RESET_HOLDS, PAUSE), by).await.map(drop)
    }

    async fn send(
        &self,
        account: &LinkedAccount,
        email: &str,
        message: AccountMessage,
        (holds, pause): (TimeDelta, TimeDelta),
        by: &Principal,
    ) -> Result<Sent, ServiceError> {
        let (token, now) = (random_token()?, self.clock.now());
        let kind = match message {
            AccountMessage::PasswordReset => LinkKind::Reset,
            AccountMessage::Invitation => LinkKind::Invitation,
        };
        // Who invites is answered at once, and can invite again.
        let waits: &[Duration] = if kind == LinkKind::Reset { &SEND_AGAIN } else { &[] };
        if !self.store.put_password_link((account, email), kind, &sha256(&token), (now + holds, pause), by, now).await? {
            return Ok(Sent::NotStored);
        }
        let attempt = self.notifier.send_link(email, &account.username, message, &token, waits).await;
        if attempt.is_delivered() {
            tracing::info!(event = "account.password_link_sent", username = account.username);
            return Ok(Sent::Accepted);
        }
        tracing::warn!(event = "account.password_link_not_sent", username = account.username, answer = attempt.answer);
        self.store.end_link_pause(&sha256(&token)).await?;
        Ok(Sent::NotAccepted)
    }
}
