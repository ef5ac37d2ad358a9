//! Limits requests per address by class of route; each node counts for itself.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::rate::{RateLimit, admit, counted_as};
use moka::sync::Cache;
use prometheus::{IntCounter, IntCounterVec};

use super::extract::ClientAddress;
use super::{ApiError, App, RouteClass};
use crate::config;

/// An address that was silent for this long has its whole burst again, whatever the limits.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// The addresses of one class.
struct Table {
    limit: RateLimit,
    /// Theoretical arrival time by address; an upper bound on addresses, so on memory.
    arrivals: Cache<IpAddr, Arc<AtomicU64>>,
    refused: IntCounter,
}

/// The limits of every class.
pub(crate) struct RateLimits {
    started: Instant,
    tables: [Table; RouteClass::ALL.len()],
}

impl RateLimits {
    /// The configured limits; refusals are counted by class.
    pub(crate) fn new(config: &config::RateLimits, refused: &IntCounterVec) -> Self {
        let tables = RouteClass::ALL.map(|class| Table {
            limit: config.of(class),
            arrivals: Cache::builder().max_capacity(config.addresses_max).time_to_idle(FORGOTTEN_AFTER).build(),
            refused: refused.with_label_values(&[class.as_str()]),
        });
        Self { started: Instant::now(), tables }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// 429, with the seconds until the next is let through.
    fn admit(&self, class: RouteClass, address: IpAddr) -> Result<(), ApiError> {
        let table = &self.tables[class as usize];
        let now_ns = self.started.elapsed().as_nanos() as u64;
        let arrival = table.arrivals.get_with(counted_as(address), Arc::default);
        let counted = arrival.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |arrival_ns| admit(arrival_ns, table.limit, now_ns).ok());
        let Err(arrival_ns) = counted else { return Ok(()) };
        table.refused.inc();
        let early_ns = admit(arrival_ns, table.limit, now_ns).err().unwrap_or(1);
        let RateLimit { per_second, burst } = table.limit;
        let class = class.as_str();
        let detail = format!(
            "more than {per_second} requests per second, or {burst} at once, from one address (rate_limits.{class}_per_second, rate_limits.{class}_burst)"
        );
        let retry_after_s = Duration::from_nanos(early_ns).as_secs_f64().ceil().max(1.0) as u32;
        Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).retry_after(retry_after_s))
    }
}

/// Refuses what comes too fast.
pub(crate) async fn check(
    State((app, class)): State<(Arc<App>, RouteClass)>,
    ClientAddress(address): ClientAddress,
    request: Request,
    next: Next,
) -> Response {
    let is_sign_in = request.method() == Method::POST
        && matches!(request.uri().path(), "/login" | "/live/refresh" | "/password/forgot" | "/password/new");
    let class = if class == RouteClass::Page && is_sign_in { RouteClass::SignIn } else { class };
    match app.rate_limits.admit(class, address) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::Opts;

    fn limits(addresses_max: u64) -> RateLimits {
        let mut config = config::RateLimits::for_tests();
        (config.api_per_second, config.api_burst, config.addresses_max) = (1, 2, addresses_max);
        RateLimits::new(&config, &IntCounterVec::new(Opts::new("t", "t"), &["class"]).unwrap())
    }

    #[test]
    fn each_address_and_each_class_is_counted_apart() {
        let limits = limits(1000);
        let [a, b] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse::<IpAddr>().unwrap());
        assert!(limits.admit(RouteClass::Api, a).is_ok() && limits.admit(RouteClass::Api, a).is_ok());
        let refused = limits.admit(RouteClass::Api, a).unwrap_err();
        assert_eq!((refused.status().as_u16(), refused.retry_after_s()), (429, Some(1)));
        assert!(refused.detail().contains("rate_limits.api_burst"), "{}", refused.detail());
        assert!(limits.admit(RouteClass::Api, b).is_ok());
        assert!(limits.admit(RouteClass::Page, a).is_ok());
        assert_eq!(limits.tables[RouteClass::Api as usize].refused.get(), 1);
    }

    #[test]
    fn a_flood_of_addresses_takes_no_more_than_its_room() {
        let limits = limits(100);
        for n in 0..5000_u32 {
            let _ = limits.admit(RouteClass::Api, IpAddr::V4(n.into()));
        }
        let arrivals = &limits.tables[RouteClass::Api as usize].arrivals;
        arrivals.run_pending_tasks();
        assert!(arrivals.entry_count() <= 100, "{}", arrivals.entry_count());
    }
}
