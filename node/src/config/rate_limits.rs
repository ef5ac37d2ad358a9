//! `[rate_limits]`: how much one address may ask for, by what it asks.

use domain::rate::RateLimit;

use super::RateLimits;

/// Classes of routes.
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
