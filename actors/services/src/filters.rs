//! Filters that people keep, and share if they like.

use clock::Clock;
use domain::access::{Permission, Principal};
use domain::query::DeviceFilter;
use domain::saved_filter::SavedFilter;
use domain::{Invalid, SavedFilterId, ServiceError, UserId, name};
use store::Store;

/// Most filters of one account.
const OWNED_MAX: i64 = 100;
/// Most filters of a list: an account's own and those that are shared.
const LISTED_MAX: i64 = 1000;
/// Longest name, in characters.
const NAME_MAX_CHARS: usize = 100;

/// A filter as its owner wants it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FilterRequest {
    /// Name, unique among those of the owner.
    pub name: String,
    /// Filter of the devices.
    pub filter: DeviceFilter,
    /// Whether others see it.
    pub shared: bool,
}

/// A change of a filter; what is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FilterPatch {
    /// Another name.
    pub name: Option<String>,
    /// Other devices.
    pub filter: Option<DeviceFilter>,
    /// Whether others see it.
    pub shared: Option<bool>,
}

/// Filters that people keep.
pub struct FilterService {
    clock: Clock,
    store: Store,
}

/// Filters belong to accounts.
fn account(principal: &Principal) -> Result<UserId, ServiceError> {
    principal.require(Permission::ViewDevices)?;
    principal.user_id().ok_or(ServiceError::WrongState("saved filters require a user account"))
}

/// People keep filters whatever their role, but a token that may only look changes nothing.
fn keeper(principal: &Principal) -> Result<UserId, ServiceError> {
    if matches!(principal, Principal::Token { .. }) {
        principal.require(Permission::ManageDevices)?;
    }
    account(principal)
}

impl FilterRequest {
    fn checked(self) -> Result<Self, Invalid> {
        let name = name::displayed("name", &self.name, NAME_MAX_CHARS)?;
        Ok(Self { name, filter: self.filter.checked()?, shared: self.shared })
    }
}

impl FilterService {
    /// The service over a store.
    pub fn new(clock: Clock, store: Store) -> Self {
        Self { clock, store }
    }

    /// The caller's filters, then those that others share, each by name.
    ///
    /// # Errors
    /// Forbidden, or the caller has no account.
    pub async fn list(&self, principal: &Principal) -> Result<Vec<SavedFilter>, ServiceError> {
        Ok(self.store.saved_filters(account(principal)?, LISTED_MAX).await?)
    }

    /// A filter that the caller sees.
    ///
    /// # Errors
    /// As [`Self::list`], or the caller sees no such filter.
    pub async fn one(&self, principal: &Principal, id: SavedFilterId) -> Result<SavedFilter, ServiceError> {
        self.store.saved_filter(id, account(principal)?).await?.ok_or(ServiceError::NotFound("filter"))
    }

    /// Saves a filter.
    ///
    /// # Errors
    /// Forbidden, a value is out of its limits, another filter of the caller has the name, or there are too many.
    pub async fn create(&self, principal: &Principal, request: FilterRequest) -> Result<SavedFilter, ServiceError> {
        let owner = keeper(principal)?;
        let FilterRequest { name, filter, shared } = request.checked()?;
        let (id, now) = (SavedFilterId(self.clock.new_id()), self.clock.now());
        let filter =
            SavedFilter { id, owner, owner_name: principal.username().to_owned(), name, filter, shared, created_at: now, changed_at: now };
        match self.store.insert_saved_filter(&filter, OWNED_MAX, principal).await? {
            true => Ok(filter),
            false => Err(ServiceError::WrongState("the limit of 100 saved filters is reached")),
        }
    }

    /// Changes a filter of the caller.
    ///
    /// # Errors
    /// As [`Self::create`]; not found when it is not the caller's, shared or not.
    pub async fn change(&self, principal: &Principal, id: SavedFilterId, patch: FilterPatch) -> Result<SavedFilter, ServiceError> {
        let owner = keeper(principal)?;
        let before = self.one(principal, id).await?;
        let request = FilterRequest {
            name: patch.name.unwrap_or(before.name),
            filter: patch.filter.unwrap_or(before.filter),
            shared: patch.shared.unwrap_or(before.shared),
        };
        let FilterRequest { name, filter, shared } = request.checked()?;
        let after = SavedFilter { owner, name, filter, shared, changed_at: self.clock.now(), ..before };
        match self.store.update_saved_filter(&after, principal).await? {
            true => Ok(after),
            false => Err(ServiceError::NotFound("filter")),
        }
    }

    /// Deletes a filter of the caller.
    ///
    /// # Errors
    /// Forbidden; not found when it is not the caller's, shared or not.
    pub async fn delete(&self, principal: &Principal, id: SavedFilterId) -> Result<(), ServiceError> {
        match self.store.delete_saved_filter(id, keeper(principal)?, principal, self.clock.now()).await? {
            true => Ok(()),
            false => Err(ServiceError::NotFound("filter")),
        }
    }
}
