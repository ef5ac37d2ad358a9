//! API tokens: checks of requests, and status.

use chrono::TimeDelta;

use crate::access::{Forbidden, Principal, Role, Scopes};
use crate::enrollment::LifetimeLimits;
use crate::invalid::{Invalid, in_range};
use crate::{ApiTokenId, Timestamp, UserId, name};

/// Prefix of every API token, by which scanners for leaked secrets recognize it.
pub const TOKEN_START: &str = "nxm_";
/// Visible characters of a token, the prefix included.
pub const PREFIX_CHARS: usize = 10;
/// Longest name, in characters.
pub const NAME_MAX_CHARS: usize = 100;

/// Unchecked request for a token.
#[derive(Debug, Clone, Default)]
pub struct ApiTokenRequest {
    /// Name, which says what the token is for.
    pub name: String,
    /// Names of permissions.
    pub scopes: Vec<String>,
    /// Life, seconds.
    pub expires_in_s: Option<i64>,
}

/// Checked request for a token.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiTokenGrant {
    /// Name, which says what the token is for.
    pub name: String,
    /// Scopes.
    pub scopes: Scopes,
    /// Expiry.
    pub expires_at: Timestamp,
}

/// Reason for refusing a request for a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiTokenError {
    /// A value breaks its limits.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The creator lacks a requested permission.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
}

impl ApiTokenRequest {
    /// Checks the request: no token has more permissions or a longer life than its creator.
    ///
    /// # Errors
    /// Names the field that is out of its limits, or the permission that `maker` lacks.
    pub fn checked(self, maker: &Principal, limits: LifetimeLimits, now: Timestamp) -> Result<ApiTokenGrant, ApiTokenError> {
        let name = name::displayed("name", &self.name, NAME_MAX_CHARS)?;
        let scopes = Scopes::parse("scopes", &self.scopes)?;
        if let Some(lacking) = scopes.iter().find(|permission| !maker.may(*permission)) {
            return Err(Forbidden(lacking).into());
        }
        let left_s = match maker {
            Principal::Token { expires_at, .. } => (*expires_at - now).num_seconds().max(1),
            _ => limits.max_s,
        };
        let max_s = limits.max_s.min(left_s);
        let expires_in_s = in_range("expires_in_seconds", self.expires_in_s.unwrap_or(limits.default_s.min(max_s)), 1, max_s)?;
        Ok(ApiTokenGrant { name, scopes, expires_at: now + TimeDelta::seconds(expires_in_s) })
    }
}

/// Status of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ApiTokenStatus {
    /// Usable.
    Active,
    /// Expired.
    Expired,
    /// Revoked.
    Revoked,
}

named!(pub ApiTokenStatus);

/// API token, without its secret.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiToken {
    /// Id.
    pub id: ApiTokenId,
    /// Owner of the token.
    pub user_id: UserId,
    /// Name of the owner.
    pub username: String,
    /// Role of the owner.
    pub role: Role,
    /// Name, which says what the token is for.
    pub name: String,
    /// First characters.
    pub prefix: String,
    /// Scopes, within the role of the owner.
    pub scopes: Scopes,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Expiry.
    pub expires_at: Timestamp,
    /// Time of last use, to about a minute.
    pub last_used_at: Option<Timestamp>,
    /// Address of last use.
    pub last_used_address: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl ApiToken {
    /// Status at `now`. Revocation comes before expiry.
    pub fn status(&self, now: Timestamp) -> ApiTokenStatus {
        if self.revoked_at.is_some() {
            ApiTokenStatus::Revoked
        } else if self.expires_at <= now {
            ApiTokenStatus::Expired
        } else {
            ApiTokenStatus::Active
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SessionId;
    use crate::access::{Origin, Permission};
    use proptest::prelude::*;

    const LIMITS: LifetimeLimits = LifetimeLimits { default_s: 1000, max_s: 10_000 };

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
    }

    fn user(role: Role) -> Principal {
        Principal::User {
            user_id: UserId(uuid::Uuid::nil()),
            username: "ann".into(),
            role,
            session_id: SessionId(uuid::Uuid::nil()),
            origin: Origin::default(),
        }
    }

    fn token(role: Role, scopes: Scopes, expires_at: Timestamp) -> Principal {
        Principal::Token {
            token_id: ApiTokenId(uuid::Uuid::nil()),
            user_id: UserId(uuid::Uuid::nil()),
            username: "ann".into(),
            role,
            scopes,
            expires_at,
            origin: Origin::default(),
        }
    }

    fn request(scopes: &[&str]) -> ApiTokenRequest {
        ApiTokenRequest { name: "ci".into(), scopes: scopes.iter().map(|&name| name.to_owned()).collect(), expires_in_s: None }
    }

    #[test]
    fn what_is_out_of_limits_names_its_field() {
        let refused = |change: fn(&mut ApiTokenRequest)| {
            let mut request = request(&["devices:read"]);
            change(&mut request);
            match request.checked(&user(Role::Admin), LIMITS, at(0)) {
                Err(ApiTokenError::Invalid(invalid)) => invalid.field,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refused(|r| r.name = " ".into()), "name");
        assert_eq!(refused(|r| r.name = "x".repeat(101)), "name");
        assert_eq!(refused(|r| r.scopes = vec![]), "scopes");
        assert_eq!(refused(|r| r.scopes = vec!["root".into()]), "scopes[0]");
        assert_eq!(refused(|r| r.expires_in_s = Some(0)), "expires_in_seconds");
        assert_eq!(refused(|r| r.expires_in_s = Some(10_001)), "expires_in_seconds");
    }

    #[test]
    fn a_person_hands_on_no_more_than_their_role() {
        let made = request(&["devices:read"]).checked(&user(Role::Viewer), LIMITS, at(0)).unwrap();
        assert_eq!(made.expires_at, at(1000));
        let refused = request(&["devices:read", "devices:write"]).checked(&user(Role::Viewer), LIMITS, at(0));
        assert_eq!(refused, Err(Forbidden(Permission::ManageDevices).into()));
    }

    fn scopes() -> impl Strategy<Value = Scopes> {
        proptest::collection::vec(0..Permission::ALL.len(), 1..8).prop_map(|places| places.iter().map(|&n| Permission::ALL[n]).collect())
    }

    proptest! {
        #[test]
        fn a_token_makes_none_that_does_more_or_lives_longer(
            own in scopes(), asked in scopes(), role in 0..3usize, left_s in 2..20_000i64, life_s in proptest::option::of(1..20_000i64),
        ) {
            let maker = token(Role::ALL[role], own, at(left_s));
            let request = ApiTokenRequest { name: "ci".into(), scopes: asked.names(), expires_in_s: life_s };
            if let Ok(made) = request.checked(&maker, LIMITS, at(0)) {
                prop_assert!(made.scopes.iter().all(|permission| maker.may(permission)));
                prop_assert!(made.expires_at <= at(left_s) && made.expires_at > at(0));
            } else {
                let fits = life_s.is_none_or(|life_s| life_s <= left_s.min(LIMITS.max_s));
                prop_assert!(!fits || asked.iter().any(|permission| !maker.may(permission)));
            }
        }
    }

    #[test]
    fn revocation_comes_before_expiry() {
        let token = ApiToken {
            id: ApiTokenId(uuid::Uuid::nil()),
            user_id: UserId(uuid::Uuid::nil()),
            username: "ann".into(),
            role: Role::Viewer,
            name: "ci".into(),
            prefix: "nxm_abcdef".into(),
            scopes: Scopes::all(),
            created_at: at(0),
            expires_at: at(100),
            last_used_at: None,
            last_used_address: None,
            revoked_at: None,
        };
        assert_eq!(token.status(at(99)), ApiTokenStatus::Active);
        assert_eq!(token.status(at(100)), ApiTokenStatus::Expired);
        let revoked = ApiToken { revoked_at: Some(at(1)), ..token };
        assert_eq!(revoked.status(at(200)), ApiTokenStatus::Revoked);
    }
}
