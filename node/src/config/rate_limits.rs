//! `[rate_limits]`: how much one address may ask for, by what it asks.

use domain::Invalid;
use domain::invalid::in_range;
use domain::rate::RateLimit;

use super::RateLimits;

/// What a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum RouteClass {
    /// Passwords and refresh tokens.
    SignIn,
    /// Devices with enrollment tokens.
    Enrollment,
    /// Devices with tokens of their own.
    Agent,
    /// People and scripts.
    Api,
    /// The dashboard, and the API's documentation.
    Page,
}

domain::named!(pub(crate) RouteClass);

impl RateLimits {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        let most = 10_000_000;
        in_range("rate_limits.addresses_max", self.addresses_max, 100, most)?;
        for (name, value) in [
            ("sign_in_per_second", self.sign_in_per_second),
            ("sign_in_burst", self.sign_in_burst),
            ("enrollment_per_second", self.enrollment_per_second),
            ("enrollment_burst", self.enrollment_burst),
            ("agent_per_second", self.agent_per_second),
            ("agent_burst", self.agent_burst),
            ("api_per_second", self.api_per_second),
            ("api_burst", self.api_burst),
            ("page_per_second", self.page_per_second),
            ("page_burst", self.page_burst),
        ] {
            in_range(&format!("rate_limits.{name}"), u64::from(value), 1, most)?;
        }
        Ok(())
    }

    /// The limit of a class.
    pub(crate) fn of(&self, class: RouteClass) -> RateLimit {
        let (per_second, burst) = match class {
            RouteClass::SignIn => (self.sign_in_per_second, self.sign_in_burst),
            RouteClass::Enrollment => (self.enrollment_per_second, self.enrollment_burst),
            RouteClass::Agent => (self.agent_per_second, self.agent_burst),
            RouteClass::Api => (self.api_per_second, self.api_burst),
            RouteClass::Page => (self.page_per_second, self.page_burst),
        };
        RateLimit { per_second, burst }
    }
}

#[cfg(test)]
impl RateLimits {
    /// The defaults.
    pub(crate) fn for_tests() -> Self {
        super::tests::parse(&[]).unwrap().rate_limits
    }
}
