//! Accounts: made, listed, changed, and their sign-ins seen and ended.

use std::net::IpAddr;
use std::sync::Arc;

use clock::Clock;
use domain::access::{Origin, Permission, Principal, Role, Scopes};
use domain::account::{Account, AccountChange, SignIn, checked_email, checked_username, possible_username};
use domain::invalid::in_range;
use domain::name::{Skeleton, same};
use domain::permits::{Claim, Class};
use domain::query::PAGE_MAX;
use domain::{Invalid, ServiceError, SessionId, UserId};
use secrecy::{ExposeSecret, SecretString};
use store::{AccountOutcome, NewUser, Store, StoreError};

use super::access_trail::AccessTrail;
use super::credential_cache::CredentialCache;
use super::passwords::{Passwords, check_password};
use super::sign_in_guard::SignInGuard;
use crate::crypto::random_token;

/// A page of accounts.
pub struct AccountPage {
    /// The accounts, by name.
    pub accounts: Vec<Account>,
    /// Cursor of the next page; `None`: this is the last one.
    pub next: Option<String>,
}

/// Error in adding the first admin.
#[derive(Debug, thiserror::Error)]
pub enum FirstAdminError {
    /// The password is refused, or cannot be hashed.
    #[error(transparent)]
    Refused(#[from] ServiceError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Accounts and their sign-ins.
pub struct AccountService {
    clock: Clock,
    store: Store,
    passwords: Arc<Passwords>,
    guard: Arc<SignInGuard>,
    credentials: Arc<CredentialCache>,
    trail: Arc<AccessTrail>,
    sessions_per_user_max: i64,
}

impl AccountService {
    pub(crate) fn new(
        clock: Clock,
        store: Store,
        passwords: Arc<Passwords>,
        guard: Arc<SignInGuard>,
        credentials: Arc<CredentialCache>,
        trail: Arc<AccessTrail>,
        sessions_per_user_max: i64,
    ) -> Self {
        Self { clock, store, passwords, guard, credentials, trail, sessions_per_user_max }
    }

    /// A page of accounts by name, behind the name `after`.
    ///
    /// # Errors
    /// Forbidden, or the limit is out of its range.
    pub async fn accounts(&self, principal: &Principal, after: Option<&str>, limit: i64) -> Result<AccountPage, ServiceError> {
        principal.require(Permission::ManageUsers)?;
        let limit = in_range("limit", limit, 1, PAGE_MAX)?;
        let mut accounts = self.store.accounts(after, limit + 1).await?;
        let more = accounts.len() as i64 > limit;
        accounts.truncate(limit as usize);
        let next = if more { accounts.last().map(|account| account.username.clone()) } else { None };
        Ok(AccountPage { accounts, next })
    }

    /// One account.
    ///
    /// # Errors
    /// Forbidden, or there is no such account.
    pub async fn account(&self, principal: &Principal, id: UserId) -> Result<Account, ServiceError> {
        principal.require(Permission::ManageUsers)?;
        self.store.account(id).await?.ok_or(ServiceError::NotFound("account"))
    }

    /// The account with a name, however it is written.
    ///
    /// # Errors
    /// Forbidden, or there is no such account.
    pub async fn account_named(&self, principal: &Principal, username: &str) -> Result<Account, ServiceError> {
        principal.require(Permission::ManageUsers)?;
        // Also one of an earlier build, whose name would not be taken today.
        let username = possible_username(username).ok_or(ServiceError::NotFound("account"))?;
        let found = self.store.user_by_name(username).await?.ok_or(ServiceError::NotFound("account"))?;
        self.account(principal, found.id).await
    }

    /// The account that acts.
    ///
    /// # Errors
    /// The command line has none.
    pub async fn own_account(&self, principal: &Principal) -> Result<Account, ServiceError> {
        let id = principal.user_id().ok_or(ServiceError::NotFound("account"))?;
        self.store.account(id).await?.ok_or(ServiceError::Unauthorized)
    }

    /// Creates an account.
    ///
    /// # Errors
    /// Forbidden, a value out of its limits, or the name is taken.
    pub async fn add(&self, principal: &Principal, username: &str, password: &SecretString, role: Role) -> Result<Account, ServiceError> {
        principal.require(Permission::ManageUsers)?;
        covers(principal, role)?;
        let username = checked_username(username)?;
        self.refuse_look_alike(&username).await?;
        let hash = self.passwords.hash(session(principal), "password", password, &username).await?;
        let id = UserId(self.clock.new_id());
        self.store.insert_user(NewUser { id, username: &username, password_bcrypt: &hash, role }, principal, self.clock.now()).await?;
        tracing::info!(event = "account.added", username, %role, by = principal.username());
        self.account(principal, id).await
    }

    /// Refuses a name that looks like another account's, such as one of Cyrillic letters that are drawn as Latin ones. Among
    /// names in ASCII that is no reason: `user1` and `userl` are told apart by those who type them.
    async fn refuse_look_alike(&self, username: &str) -> Result<(), ServiceError> {
        let skeleton = Skeleton::of(username);
        let mut after: Option<String> = None;
        loop {
            let accounts = self.store.accounts(after.as_deref(), PAGE_MAX).await?;
            let others = accounts.iter().map(|account| account.username.as_str()).filter(|other| !same(username, other));
            let mut alike = others.filter(|other| !(other.is_ascii() && username.is_ascii()) && skeleton.looks_like(other));
            if let Some(other) = alike.next() {
                return Err(Invalid::new("username", format!("easily mistaken for the account {other}")).into());
            }
            match accounts.last() {
                Some(last) if accounts.len() as i64 == PAGE_MAX => after = Some(last.username.clone()),
                _ => return Ok(()),
            }
        }
    }

    /// Creates the first account, an admin, unless there is any. Returns whether it was created.
    ///
    /// # Errors
    /// A value out of its limits.
    pub async fn add_first_admin(&self, username: &str, password: &SecretString) -> Result<bool, FirstAdminError> {
        if self.store.any_user().await? {
            return Ok(false);
        }
        let hash = self.passwords.hash(session(&Principal::system()), "admin.initial_password", password, username).await?;
        let username = checked_username(username).map_err(ServiceError::from)?;
        let user = NewUser { id: UserId(self.clock.new_id()), username: &username, password_bcrypt: &hash, role: Role::Admin };
        Ok(self.store.insert_first_user(user, &Principal::system(), self.clock.now()).await?)
    }

    /// Changes role or life of an account; it takes effect on every node at once. Who is disabled
    /// loses sign-ins and API tokens for good.
    ///
    /// # Errors
    /// Forbidden, there is no such account, or it is the last active admin.
    pub async fn change(&self, principal: &Principal, id: UserId, change: AccountChange) -> Result<Account, ServiceError> {
        principal.require(Permission::ManageUsers)?;
        if change == AccountChange::default() {
            return Err(Invalid::new("body", "no changes: give role or disabled").into());
        }
        // To take away is always allowed; to give is what may be more than one has.
        if let Some(role) = change.role {
            covers(principal, role)?;
        }
        if change.disabled == Some(false) {
            covers(principal, self.account(principal, id).await?.role)?;
        }
        let outcome = self.store.change_account(id, change, principal, self.clock.now()).await?;
        self.credentials.forget();
        match outcome {
            AccountOutcome::Changed(account) => {
                let disabled = account.disabled_at.is_some();
                tracing::info!(event = "account.changed", username = account.username, role = %account.role, disabled, by = principal.username());
                Ok(account)
            }
            AccountOutcome::LastAdmin => Err(ServiceError::LastAdmin),
            AccountOutcome::Unknown => Err(ServiceError::NotFound("account")),
        }
    }

    /// Sets the address of mail of an account; an empty one removes it. Links that were sent to the one before end.
    ///
    /// # Errors
    /// Forbidden, it is no address, or there is no such account.
    pub async fn set_email(&self, principal: &Principal, id: UserId, email: &str) -> Result<Account, ServiceError> {
        let account = self.account(principal, id).await?;
        // Whoever gets the mail of an account can take it over.
        covers(principal, account.role)?;
        let email = checked_email(email)?;
        if !self.store.set_account_email(id, email.as_deref(), principal, self.clock.now()).await? {
            return Err(ServiceError::NotFound("account"));
        }
        Ok(Account { email, ..account })
    }

    /// Sets a new password, the given one or a random one, unlocks the account and ends every
    /// sign-in and API token of it. Returns the random one, this once.
    ///
    /// # Errors
    /// Forbidden, a value out of its limits, or there is no such account.
    pub async fn reset_password(
        &self,
        principal: &Principal,
        id: UserId,
        password: Option<SecretString>,
    ) -> Result<Option<SecretString>, ServiceError> {
        let account = self.account(principal, id).await?;
        covers(principal, account.role)?;
        let (password, made_up) = match password {
            Some(password) => (password, false),
            None => (random_token()?.into(), true),
        };
        self.set_password(principal, (id, &account.username), "password", &password, None).await?;
        self.guard.unlock(&account.username).await?;
        tracing::info!(event = "account.password_reset", username = account.username, by = principal.username());
        Ok(made_up.then_some(password))
    }

    /// Replaces the password of the person who acts, and ends their other sign-ins. Wrong guesses
    /// of the current one count as failed sign-ins.
    ///
    /// # Errors
    /// Not a person's sign-in, throttled, the current password is wrong, or the new one breaks its limits.
    pub async fn change_own_password(
        &self,
        principal: &Principal,
        current: &SecretString,
        new: &SecretString,
        address: IpAddr,
    ) -> Result<(), ServiceError> {
        let (user_id, session_id) = person(principal)?;
        let username = principal.username();
        // Before bcrypt is spent on the current one, which is free of charge as long as it is right.
        check_password("new_password", new.expose_secret(), username)?;
        let counted = self.guard.attempt(username, Origin { address: Some(address), ..principal.origin() }).await?;
        match self.is_password_of(principal, user_id, current).await {
            Ok(true) => self.guard.succeeded(counted).await?,
            Ok(false) => {
                counted.failed();
                self.trail.sign_in_failed(username, Origin { address: Some(address), ..principal.origin() }).await;
                return Err(Invalid::new("current_password", "wrong password").into());
            }
            Err(error) => {
                self.guard.not_checked(counted).await;
                return Err(error);
            }
        }
        self.set_password(principal, (user_id, username), "new_password", new, Some(session_id)).await?;
        tracing::info!(event = "account.password_changed", username);
        Ok(())
    }

    async fn is_password_of(&self, principal: &Principal, id: UserId, password: &SecretString) -> Result<bool, ServiceError> {
        let known = self.store.user_by_name(principal.username()).await?.filter(|user| user.id == id);
        self.passwords.fits(session(principal), password.expose_secret(), known.as_ref().map(|user| user.password_bcrypt.as_str())).await
    }

    async fn set_password(
        &self,
        by: &Principal,
        (id, username): (UserId, &str),
        field: &str,
        password: &SecretString,
        kept: Option<SessionId>,
    ) -> Result<(), ServiceError> {
        let hash = self.passwords.hash(session(by), field, password, username).await?;
        let known = self.store.set_password(id, &hash, kept, by, self.clock.now()).await?;
        self.credentials.forget();
        if known { Ok(()) } else { Err(ServiceError::NotFound("account")) }
    }

    /// The sign-ins of the person who acts; which of them is this one, the principal tells.
    ///
    /// # Errors
    /// Not a person's sign-in.
    pub async fn own_sign_ins(&self, principal: &Principal) -> Result<Vec<SignIn>, ServiceError> {
        let (user_id, _) = person(principal)?;
        Ok(self.store.sign_ins(user_id, self.sessions_per_user_max, self.clock.now()).await?)
    }

    /// Ends a sign-in of the person who acts.
    ///
    /// # Errors
    /// Not a person's sign-in, or there is no such sign-in of theirs.
    pub async fn end_own_sign_in(&self, principal: &Principal, id: SessionId) -> Result<(), ServiceError> {
        let (user_id, _) = person(principal)?;
        self.end(principal, user_id, id).await
    }

    /// Ends every sign-in of the person who acts but this one. Returns how many.
    ///
    /// # Errors
    /// Not a person's sign-in.
    pub async fn end_other_sign_ins(&self, principal: &Principal) -> Result<u64, ServiceError> {
        let (user_id, session_id) = person(principal)?;
        let ended = self.store.end_sign_ins(user_id, Some(session_id), principal, self.clock.now()).await?;
        self.credentials.forget();
        Ok(ended)
    }

    /// The sign-ins of an account.
    ///
    /// # Errors
    /// Forbidden, or there is no such account.
    pub async fn sign_ins(&self, principal: &Principal, id: UserId) -> Result<Vec<SignIn>, ServiceError> {
        self.account(principal, id).await?;
        Ok(self.store.sign_ins(id, self.sessions_per_user_max, self.clock.now()).await?)
    }

    /// Ends a sign-in of an account.
    ///
    /// # Errors
    /// Forbidden, or there is no such sign-in.
    pub async fn end_sign_in(&self, principal: &Principal, user: UserId, id: SessionId) -> Result<(), ServiceError> {
        principal.require(Permission::ManageUsers)?;
        self.end(principal, user, id).await?;
        tracing::info!(event = "account.sign_in_ended", user_id = %user, by = principal.username());
        Ok(())
    }

    /// Ends every sign-in of an account. Returns how many.
    ///
    /// # Errors
    /// Forbidden, or there is no such account.
    pub async fn end_sign_ins(&self, principal: &Principal, user: UserId) -> Result<u64, ServiceError> {
        let account = self.account(principal, user).await?;
        let ended = self.store.end_sign_ins(user, None, principal, self.clock.now()).await?;
        self.credentials.forget();
        tracing::info!(event = "account.sign_ins_ended", username = account.username, ended, by = principal.username());
        Ok(ended)
    }

    async fn end(&self, by: &Principal, user: UserId, id: SessionId) -> Result<(), ServiceError> {
        let ended = self.store.end_sign_in(user, id, by, self.clock.now()).await?;
        self.credentials.forget();
        if ended { Ok(()) } else { Err(ServiceError::NotFound("session")) }
    }
}

/// Whoever hands out an account of this role, or its password, must be allowed all that it is: a
/// script's token must not make itself an account that does more than the token.
fn covers(principal: &Principal, role: Role) -> Result<(), ServiceError> {
    Ok(Scopes::of_role(role).iter().try_for_each(|permission| principal.require(permission))?)
}

/// At bcrypt, whoever is signed in goes before whoever signs in.
fn session(principal: &Principal) -> Claim {
    Claim { class: Class::Essential, ..Claim::of(principal) }
}

/// The account and the sign-in of a person; a script has no say in these things.
fn person(principal: &Principal) -> Result<(UserId, SessionId), ServiceError> {
    match principal {
        Principal::User { user_id, session_id, .. } => Ok((*user_id, *session_id)),
        Principal::Token { .. } | Principal::Console { .. } | Principal::System { .. } => Err(ServiceError::SignInRequired),
    }
}
