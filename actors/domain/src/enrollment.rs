//! Enrollment tokens: what may be asked for, what each token fixes, which state it is in.

use chrono::TimeDelta;

use crate::invalid::{Invalid, in_range};
use crate::{DeviceId, EnrollTokenId, Timestamp, UserId, text};

/// Most tokens of one request.
pub const BATCH_MAX: i64 = 500;
/// Placeholder of the number in an alias pattern.
pub const NUMBER_PLACE: &str = "{n}";

/// Limits on a token's life; from configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LifetimeLimits {
    /// Default life.
    pub default_s: i64,
    /// Longest life.
    pub max_s: i64,
}

/// Unchecked request for tokens.
#[derive(Debug, Clone, Default)]
pub struct TokenRequest {
    /// Number of tokens; one when absent.
    pub count: Option<i64>,
    /// Life, seconds.
    pub expires_in_s: Option<i64>,
    /// Alias of the new device.
    pub alias: Option<String>,
    /// Alias with `{n}`.
    pub alias_pattern: Option<String>,
    /// First number of the pattern; one when absent.
    pub start_number: Option<i64>,
    /// Tags of the new device.
    pub tags: Vec<String>,
    /// Groups of the new device.
    pub groups: Vec<String>,
}

/// Checked request for tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenBatch {
    /// Aliases of the new devices, one entry per token.
    pub aliases: Vec<Option<String>>,
    /// Expiry.
    pub expires_at: Timestamp,
    /// Tags of the new devices.
    pub tags: Vec<String>,
    /// Groups of the new devices.
    pub groups: Vec<String>,
}

impl TokenRequest {
    /// Checks the request and spells out each token's alias.
    ///
    /// # Errors
    /// Names the field that is out of its limits or contradicts another.
    pub fn checked(self, limits: LifetimeLimits, now: Timestamp) -> Result<TokenBatch, Invalid> {
        let count = in_range("count", self.count.unwrap_or(1), 1, BATCH_MAX)?;
        let expires_in_s = in_range("expires_in_seconds", self.expires_in_s.unwrap_or(limits.default_s), 1, limits.max_s)?;
        let start = in_range("start_number", self.start_number.unwrap_or(1), 0, 1_000_000_000)?;
        let aliases = match (self.alias, self.alias_pattern) {
            (Some(_), Some(_)) => return Err(Invalid::new("alias_pattern", "give either an alias or an alias pattern")),
            (Some(_), None) if count > 1 => {
                return Err(Invalid::new("alias", "an alias is unique: use an alias pattern for several tokens"));
            }
            (Some(alias), None) => vec![Some(text::alias("alias", &alias)?)],
            (None, Some(pattern)) => {
                if !pattern.contains(NUMBER_PLACE) {
                    return Err(Invalid::new("alias_pattern", "contains no {n}, so all aliases would be equal"));
                }
                // Checked before it is repeated, so that a huge pattern is not copied 500 times.
                let pattern = text::alias("alias_pattern", &pattern)?;
                (start..start + count)
                    .map(|n| text::alias("alias_pattern", &pattern.replace(NUMBER_PLACE, &n.to_string())).map(Some))
                    .collect::<Result<_, _>>()?
            }
            (None, None) => vec![None; count as usize],
        };
        Ok(TokenBatch {
            aliases,
            expires_at: now + TimeDelta::seconds(expires_in_s),
            tags: text::labels("tags", self.tags)?,
            groups: text::labels("groups", self.groups)?,
        })
    }
}

/// Status of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum TokenStatus {
    /// Can enroll one device.
    Unused,
    /// Has enrolled its device.
    Used,
    /// Was not used in time.
    Expired,
    /// Revoked.
    Revoked,
}

named!(pub TokenStatus, parse -> Result);

impl TokenStatus {
    /// The state of a token at `now`. Use is final; revocation comes before expiry.
    pub fn of(used: bool, revoked: bool, expires_at: Timestamp, now: Timestamp) -> Self {
        if used {
            Self::Used
        } else if revoked {
            Self::Revoked
        } else if expires_at <= now {
            Self::Expired
        } else {
            Self::Unused
        }
    }
}

/// Enrollment token, without its secret.
#[derive(Debug, Clone, PartialEq)]
pub struct EnrollToken {
    /// Id.
    pub id: crate::EnrollTokenId,
    /// Alias of the new device.
    pub alias: Option<String>,
    /// Tags of the new device.
    pub tags: Vec<String>,
    /// Groups of the new device.
    pub groups: Vec<String>,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Creator; `None`: the command line of the server.
    pub created_by: Option<UserId>,
    /// Name of the creator.
    pub created_by_name: Option<String>,
    /// Expiry.
    pub expires_at: Timestamp,
    /// Time of use.
    pub used_at: Option<Timestamp>,
    /// Device that enrolled with the token.
    pub device_id: Option<DeviceId>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl EnrollToken {
    /// Status at `now`.
    pub fn status(&self, now: Timestamp) -> TokenStatus {
        TokenStatus::of(self.used_at.is_some(), self.revoked_at.is_some(), self.expires_at, now)
    }
}

/// Registration of a device.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Registration {
    /// Name for people; required unless the token fixes it.
    pub alias: Option<String>,
    /// Hardware identity; never authenticates.
    pub hardware_id: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Manufacturer.
    pub manufacturer: Option<String>,
    /// Android release.
    pub android_version: Option<String>,
    /// Android API level.
    pub sdk_int: Option<i32>,
    /// Agent version name.
    pub app_version: Option<String>,
    /// Agent version code.
    pub app_version_code: Option<i64>,
    /// Push token.
    pub fcm_token: Option<String>,
}

impl Registration {
    /// Drops what is unusable beside the alias, so that it does not cost the enrollment. Names the fields that were changed.
    pub fn drop_unusable(&mut self) -> Vec<&'static str> {
        let mut dropped = vec![];
        let texts = [
            ("hardware_id", &mut self.hardware_id, 128),
            ("model", &mut self.model, 128),
            ("manufacturer", &mut self.manufacturer, 128),
            ("android_version", &mut self.android_version, 64),
            ("app_version", &mut self.app_version, 128),
            ("fcm_token", &mut self.fcm_token, text::FCM_TOKEN_MAX_CHARS),
        ];
        for (field, value, max_chars) in texts {
            let was_changed = value.as_mut().is_some_and(|value| text::fit_line(value, usize::MAX));
            let is_unusable = |value: &mut String| (was_changed && value.is_empty()) || text::line(field, value, max_chars).is_err();
            let is_gone = value.take_if(is_unusable).is_some();
            dropped.extend((was_changed || is_gone).then_some(field));
        }
        dropped.extend(self.sdk_int.take_if(|sdk_int| !(1..=10_000).contains(sdk_int)).map(|_| "sdk_int"));
        dropped.extend(self.app_version_code.take_if(|code| *code < 0).map(|_| "app_version_code"));
        dropped
    }

    /// Checks every value against its limits.
    ///
    /// # Errors
    /// Names the first field that breaks its limit.
    pub fn checked(self) -> Result<Self, Invalid> {
        if let Some(sdk_int) = self.sdk_int {
            in_range("sdk_int", sdk_int, 1, 10_000)?;
        }
        if let Some(code) = self.app_version_code {
            in_range("app_version_code", code, 0, i64::MAX)?;
        }
        Ok(Self {
            alias: self.alias.as_deref().map(|alias| text::alias("alias", alias)).transpose()?,
            hardware_id: text::optional("hardware_id", self.hardware_id, 128)?,
            model: text::optional("model", self.model, 128)?,
            manufacturer: text::optional("manufacturer", self.manufacturer, 128)?,
            android_version: text::optional("android_version", self.android_version, 64)?,
            app_version: text::optional("app_version", self.app_version, 128)?,
            fcm_token: text::optional("fcm_token", self.fcm_token, text::FCM_TOKEN_MAX_CHARS)?,
            ..self
        })
    }
}

/// Which tokens to list: newest first, behind `after`.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokenQuery {
    /// Status.
    pub status: Option<TokenStatus>,
    /// Cursor: the last token of the page before.
    pub after: Option<EnrollTokenId>,
    /// Most rows.
    pub limit: i64,
}

/// Progress of a token.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenProgress {
    /// Id.
    pub id: EnrollTokenId,
    /// Status of the token.
    pub status: TokenStatus,
    /// Device that enrolled with the token.
    pub device_id: Option<DeviceId>,
    /// Alias of the device, unless the device was deleted.
    pub device_alias: Option<String>,
    /// When the oldest stored heartbeat of the device was received.
    pub first_heartbeat_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: LifetimeLimits = LifetimeLimits { default_s: 86_400, max_s: 2_592_000 };

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
    }
    fn refused(request: TokenRequest) -> String {
        request.checked(LIMITS, at(0)).unwrap_err().field
    }

    #[test]
    fn a_pattern_counts_from_its_start() {
        let request = TokenRequest { count: Some(3), alias_pattern: Some("shop-{n}".into()), start_number: Some(9), ..Default::default() };
        let batch = request.checked(LIMITS, at(0)).unwrap();
        assert_eq!(batch.aliases, [Some("shop-9".into()), Some("shop-10".into()), Some("shop-11".into())]);
        assert_eq!(batch.expires_at, at(86_400));
    }

    #[test]
    fn what_is_out_of_limits_or_contradicts_itself_names_its_field() {
        let with = |f: fn(&mut TokenRequest)| {
            let mut request = TokenRequest::default();
            f(&mut request);
            refused(request)
        };
        assert_eq!(with(|r| r.count = Some(0)), "count");
        assert_eq!(with(|r| r.count = Some(501)), "count");
        assert_eq!(with(|r| r.expires_in_s = Some(0)), "expires_in_seconds");
        assert_eq!(with(|r| r.expires_in_s = Some(i64::MAX)), "expires_in_seconds");
        assert_eq!(with(|r| r.start_number = Some(i64::MAX)), "start_number");
        assert_eq!(with(|r| (r.count, r.alias) = (Some(2), Some("a".into()))), "alias");
        assert_eq!(with(|r| r.alias_pattern = Some("shop".into())), "alias_pattern");
        assert_eq!(with(|r| (r.alias, r.alias_pattern) = (Some("a".into()), Some("{n}".into()))), "alias_pattern");
        assert_eq!(with(|r| r.alias_pattern = Some(format!("{{n}}{}", "x".repeat(300)))), "alias_pattern");
        assert_eq!(with(|r| r.tags = vec!["\0".into()]), "tags[0]");
    }

    proptest! {
        #[test]
        fn a_batch_has_as_many_tokens_as_asked_for_and_no_alias_twice(count in 1i64..=BATCH_MAX, start in 0i64..1000) {
            let request = TokenRequest { count: Some(count), alias_pattern: Some("{n}-x".into()), start_number: Some(start), ..Default::default() };
            let mut aliases = request.checked(LIMITS, at(0)).unwrap().aliases;
            aliases.sort();
            aliases.dedup();
            prop_assert_eq!(aliases.len() as i64, count);
        }
    }

    #[test]
    fn use_is_final_and_revocation_comes_before_expiry() {
        let token = EnrollToken {
            id: crate::EnrollTokenId(uuid::Uuid::nil()),
            alias: None,
            tags: vec![],
            groups: vec![],
            created_at: at(0),
            created_by: None,
            created_by_name: None,
            expires_at: at(100),
            used_at: None,
            device_id: None,
            revoked_at: None,
        };
        assert_eq!(token.status(at(99)), TokenStatus::Unused);
        assert_eq!(token.status(at(100)), TokenStatus::Expired);
        let revoked = EnrollToken { revoked_at: Some(at(1)), ..token.clone() };
        assert_eq!(revoked.status(at(200)), TokenStatus::Revoked);
        let used = EnrollToken { used_at: Some(at(1)), ..revoked };
        assert_eq!(used.status(at(200)), TokenStatus::Used);
    }

    #[test]
    fn a_registration_names_the_field_that_is_wrong() {
        let wrong = Registration { model: Some("a\0".into()), ..Default::default() };
        assert_eq!(wrong.checked().unwrap_err().field, "model");
        let wrong = Registration { alias: Some(" ".into()), ..Default::default() };
        assert_eq!(wrong.checked().unwrap_err().field, "alias");
        let wrong = Registration { sdk_int: Some(-1), ..Default::default() };
        assert_eq!(wrong.checked().unwrap_err().field, "sdk_int");
    }

    #[test]
    fn what_is_unusable_of_a_registration_is_dropped_beside_the_alias() {
        let mut told = Registration {
            alias: Some("kiosk\0".into()),
            hardware_id: Some("x".repeat(129)),
            model: Some("a\0".into()),
            manufacturer: Some("Orbic".into()),
            sdk_int: Some(-1),
            app_version_code: Some(i64::MIN),
            ..Default::default()
        };
        assert_eq!(told.drop_unusable(), ["hardware_id", "model", "sdk_int", "app_version_code"]);
        assert_eq!(told.manufacturer.as_deref(), Some("Orbic"));
        assert_eq!(told.checked().unwrap_err().field, "alias");
    }
}
