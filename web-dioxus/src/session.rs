//! Live sessions of open pages: admission, limits and end.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::rejection::QueryRejection;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Query, State, WebSocketUpgrade};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use dioxus::prelude::VirtualDom;
use domain::UserId;
use domain::access::Principal;
use domain::permits::{Claim, Limit};
use domain::rate::RateLimit;
use permits::{Permit, Pool};
use prometheus::{IntCounterVec, IntGauge, Registry, register_int_counter_vec_with_registry, register_int_gauge_with_registry};
use serde::Deserialize;
use services::System;
use tokio_util::sync::CancellationToken;
use tokio_util::task::LocalPoolHandle;

use crate::context::{InitialPath, Session};
use crate::event_rate::EventRates;
use crate::signin::OriginExtension;
use crate::{Dashboard, app, signin, transport};

/// Largest message from a page.
const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// Small, because every open page has its own.
const BUFFER_BYTES: usize = 8 << 10;
/// Most unsent bytes per page.
const WRITE_BYTES_MAX: usize = 8 << 20;
/// Longest initial path.
const PATH_BYTES_MAX: usize = 16 << 10;
/// Check interval of the sign-in of an open page.
const SIGN_IN_CHECK: Duration = Duration::from_secs(15);
/// Pages that one account may open at once, and how fast that many come back.
/// A page that fails as soon as it is opened is opened again and again; this is
/// what that may cost.
const OPENINGS_MAX: f64 = 40.0;
const OPENINGS_PER_SECOND: f64 = 1.0;
/// Accounts whose rate is kept without an open page.
const ACCOUNTS_REMEMBERED: usize = 1000;

/// Metrics of open pages.
#[derive(Clone)]
pub struct DashboardMetrics {
    /// Open pages.
    pub sessions: IntGauge,
    /// Pages refused, by reason.
    pub refused: IntCounterVec,
}

impl DashboardMetrics {
    /// Creates and registers the metrics.
    ///
    /// # Errors
    /// A name is already registered.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            sessions: register_int_gauge_with_registry!("nexmdm_dashboard_sessions", "Open dashboard sessions", registry)?,
            refused: register_int_counter_vec_with_registry!(
                "nexmdm_dashboard_sessions_refused_total",
                "Dashboard sessions refused, by reason",
                &["reason"],
                registry
            )?,
        })
    }
}

/// The open pages of a node.
pub(crate) struct Sessions {
    /// Threads of the pages, each of which stays on one thread.
    pool: LocalPoolHandle,
    open: Pool,
    openings: Mutex<Openings>,
    events: EventRates,
    metrics: DashboardMetrics,
}

/// How fast accounts open pages.
#[derive(Default)]
struct Openings {
    by_user: HashMap<UserId, Account>,
}

struct Account {
    openings_left: f64,
    refilled: Instant,
}

/// Reason for refusing a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Origin,
    SignIn,
    Upgrade,
    Limit(Limit),
    Rate,
}

impl Refusal {
    fn reason(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::SignIn => "sign_in",
            Self::Upgrade => "not_a_websocket",
            Self::Limit(Limit::Principal) => "sessions_per_user_max",
            Self::Limit(Limit::Address) => "sessions_per_address_pct",
            Self::Limit(Limit::Reserve) => "sessions_reserved_pct",
            Self::Limit(_) => "sessions_max",
            Self::Rate => "rate",
        }
    }
}

impl Openings {
    /// Counts an opening of `user`; refused when they come too fast.
    fn admit(&mut self, user: UserId, now: Instant) -> Result<(), Refusal> {
        self.check(user, now)?;
        if let Some(account) = self.by_user.get_mut(&user) {
            account.openings_left -= 1.0;
        }
        Ok(())
    }

    /// Checks whether `user` may open one more page.
    fn check(&mut self, user: UserId, now: Instant) -> Result<(), Refusal> {
        let full = |account: &Account| {
            let refill = now.saturating_duration_since(account.refilled).as_secs_f64() * OPENINGS_PER_SECOND;
            (account.openings_left + refill).min(OPENINGS_MAX)
        };
        if self.by_user.len() > ACCOUNTS_REMEMBERED {
            self.by_user.retain(|_, account| full(account) < OPENINGS_MAX);
        }
        let account = self.by_user.entry(user).or_insert(Account { openings_left: OPENINGS_MAX, refilled: now });
        (account.openings_left, account.refilled) = (full(account), now);
        if account.openings_left < 1.0 { Err(Refusal::Rate) } else { Ok(()) }
    }
}

impl Sessions {
    pub(crate) fn new(open: Pool, events: RateLimit, metrics: DashboardMetrics) -> Arc<Self> {
        // Made for its side effect: it registers how events are read. Its threads end with it.
        drop(dioxus_liveview::LiveViewPool::new());
        let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get().min(4));
        Arc::new(Self { pool: LocalPoolHandle::new(threads), open, openings: Mutex::default(), events: EventRates::new(events), metrics })
    }

    fn openings(&self) -> MutexGuard<'_, Openings> {
        // Counters are whole after every statement, so a poisoned lock guards good data.
        self.openings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, principal: &Principal, user: UserId) -> Result<SessionPermit, Refusal> {
        self.openings().admit(user, Instant::now())?;
        let permit = self.open.try_take(Claim::of(principal)).map_err(Refusal::Limit)?;
        self.metrics.sessions.inc();
        Ok(SessionPermit { _permit: permit, open: self.metrics.sessions.clone() })
    }

    /// Message if `principal` cannot open one more page right now.
    pub(crate) fn refusal(&self, principal: &Principal) -> Option<String> {
        let user = principal.user_id()?;
        let rate = self.openings().check(user, Instant::now());
        let checked = rate.and_then(|()| self.open.check(&Claim::of(principal)).map_err(Refusal::Limit));
        checked.err().map(|refusal| self.explain(refusal))
    }

    fn explain(&self, refusal: Refusal) -> String {
        match refusal {
            Refusal::Origin => "This request has no Origin header.".into(),
            Refusal::SignIn => "Sign in first.".into(),
            Refusal::Upgrade => {
                "This is no WebSocket upgrade: a proxy in between has to pass it on (nginx: proxy_http_version 1.1 and the headers \
                                 Upgrade and Connection)."
                    .into()
            }
            Refusal::Limit(limit) => {
                let limits = self.open.limits();
                match limit {
                    Limit::Principal => format!("You have {} pages open, which is the limit. Close one.", limits.per_principal),
                    Limit::Address => format!("{} pages are open from your network address, which is the limit.", limits.per_address),
                    Limit::Reserve => "The pages that are left on this server are reserved for admins.".into(),
                    _ => format!("{} pages are open on this server, which is the limit.", limits.capacity),
                }
            }
            Refusal::Rate => "Too many pages were opened in a short time. Retrying in a moment.".into(),
        }
    }

    fn refuse(&self, refusal: Refusal, status: StatusCode) -> Response {
        self.metrics.refused.with_label_values(&[refusal.reason()]).inc();
        let text = self.explain(refusal);
        let mut response = (status, text).into_response();
        if status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

/// Permit of one open page; returned when dropped.
struct SessionPermit {
    _permit: Permit,
    open: IntGauge,
}

impl Drop for SessionPermit {
    fn drop(&mut self) {
        self.open.dec();
    }
}

#[derive(Deserialize)]
pub(crate) struct Mount {
    #[serde(default)]
    path: String,
}

/// `GET /live/ws`
pub(crate) async fn upgrade(
    State(dashboard): State<Arc<Dashboard>>,
    request_origin: OriginExtension,
    headers: HeaderMap,
    mount: Result<Query<Mount>, QueryRejection>,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let sessions = &dashboard.sessions;
    // A browser names it with every socket; the node has refused those of other sites.
    let Some(origin) = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok()).map(str::to_owned) else {
        return sessions.refuse(Refusal::Origin, StatusCode::FORBIDDEN);
    };
    let principal = match signin::principal(&dashboard, request_origin, &headers).await {
        Ok(principal) => principal,
        Err(error) => return sessions.refuse(Refusal::SignIn, signin::status_of(&error)),
    };
    let (Principal::User { user_id: user, .. }, Ok(fleet)) = (&principal, dashboard.system.devices.fleet(&principal)) else {
        return sessions.refuse(Refusal::SignIn, StatusCode::FORBIDDEN);
    };
    let Ok(Query(mount)) = mount else { return StatusCode::BAD_REQUEST.into_response() };
    let Ok(socket) = socket else {
        // A browser asks for nothing else here, so that a proxy has changed it; no page opens.
        tracing::warn!(event = "dashboard.not_a_websocket", problem = sessions.explain(Refusal::Upgrade));
        return sessions.refuse(Refusal::Upgrade, StatusCode::UPGRADE_REQUIRED);
    };
    let local = mount.path.starts_with('/') && !mount.path.starts_with("//") && mount.path.len() <= PATH_BYTES_MAX;
    let path = if local { mount.path } else { "/".into() };
    let place = match sessions.admit(&principal, *user) {
        Ok(place) => place,
        Err(refusal) => return sessions.refuse(refusal, StatusCode::TOO_MANY_REQUESTS),
    };

    let page = Session {
        clock: dashboard.system.clock.clone(),
        system: Arc::downgrade(&dashboard.system),
        runtime: tokio::runtime::Handle::current(),
        fleet,
        policy: dashboard.system.devices.policy(),
        watch: Arc::clone(&dashboard.watch),
        principal: principal.clone(),
        origin,
        address: principal.origin().address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        limits: Arc::clone(&dashboard.limits),
        uploads: Arc::clone(&dashboard.uploads),
        alert_counts: Arc::clone(&dashboard.alert_counts),
    };
    let ended = dashboard.shutdown.child_token();
    let pool = sessions.pool.clone();
    let events = sessions.events.of(*user);
    let system = Arc::clone(&dashboard.system);
    socket
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BYTES_MAX)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .on_upgrade(move |socket| async move {
            let _place = place;
            let watching = tokio::spawn(watch_sign_in(system, principal, ended.clone()));
            let running = pool.spawn_pinned(move || async move {
                let document = VirtualDom::new(app::app).with_root_context(page).with_root_context(InitialPath(path));
                transport::run(document, socket, &events, ended).await
            });
            match running.await {
                Ok(end) => tracing::debug!(event = "dashboard.session_ended", ?end),
                Err(cause) => tracing::error!(event = "dashboard.session_failed", %cause),
            }
            watching.abort();
        })
}

/// Ends a page once its sign-in is no longer valid.
async fn watch_sign_in(system: Arc<System>, principal: Principal, ended: CancellationToken) {
    let mut changes = system.auth.changes();
    loop {
        // At once when any account lost something, and now and then in case nobody could tell.
        let _ = tokio::time::timeout(SIGN_IN_CHECK, changes.changed()).await;
        // Without the database nobody knows; the page goes on until somebody does.
        if let Ok(false) = system.auth.still_holds(&principal).await {
            return ended.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::access::{Origin, Role};
    use domain::permits::{PoolLimits, PoolName};
    use permits::metrics::PoolMetrics;

    const ANN: UserId = UserId(uuid::Uuid::from_u128(1));
    const BOB: UserId = UserId(uuid::Uuid::from_u128(2));

    fn person(user_id: UserId, role: Role, address: u8) -> Principal {
        Principal::User {
            user_id,
            username: "ann".into(),
            role,
            session_id: domain::SessionId(uuid::Uuid::nil()),
            origin: Origin { address: Some(IpAddr::from([192, 0, 2, address])), request_id: None },
        }
    }

    #[test]
    fn who_opens_all_pages_it_can_leaves_others_and_admins_theirs() {
        let registry = Registry::new();
        let limits = PoolLimits { per_principal: 2, ..PoolLimits::of_capacity(5) }.with_parts(60, 20);
        let pool = Pool::new(PoolName::DashboardSessions, limits, &PoolMetrics::register(&registry).unwrap());
        let events = RateLimit { per_second: 1, burst: 1 };
        let sessions = Sessions::new(pool, events, DashboardMetrics::register(&registry).unwrap());
        let open = |user: u128, role, address| {
            let user = UserId(uuid::Uuid::from_u128(user));
            sessions.admit(&person(user, role, address), user)
        };
        let refused = |user, role, address| open(user, role, address).err();
        let ann: Vec<_> = (0..2).map(|_| open(1, Role::Viewer, 1).ok().unwrap()).collect();
        assert_eq!(refused(1, Role::Viewer, 1), Some(Refusal::Limit(Limit::Principal)));
        let bob = open(2, Role::Viewer, 1).ok().unwrap();
        assert_eq!(refused(3, Role::Viewer, 1), Some(Refusal::Limit(Limit::Address)));
        let eve = open(3, Role::Viewer, 2).ok().unwrap();
        assert_eq!(refused(4, Role::Viewer, 3), Some(Refusal::Limit(Limit::Reserve)));
        let admin = open(4, Role::Admin, 3).ok().unwrap();
        assert_eq!(refused(5, Role::Admin, 4), Some(Refusal::Limit(Limit::Capacity)));
        assert_eq!(sessions.metrics.sessions.get(), 5);
        drop((ann, bob, eve, admin));
        assert_eq!(sessions.metrics.sessions.get(), 0);
        assert!(open(5, Role::Viewer, 1).is_ok());
    }

    #[test]
    fn a_page_that_keeps_failing_is_slowed_down() {
        let (mut openings, now) = (Openings::default(), Instant::now());
        for _ in 0..OPENINGS_MAX as usize {
            assert_eq!(openings.admit(ANN, now), Ok(()));
        }
        assert_eq!(openings.admit(ANN, now), Err(Refusal::Rate));
        let later = now + Duration::from_millis(1100);
        assert_eq!(openings.admit(ANN, later), Ok(()));
        assert_eq!(openings.admit(ANN, later), Err(Refusal::Rate));
        assert_eq!(openings.admit(BOB, now), Ok(()), "others are not slowed down");
    }
}
