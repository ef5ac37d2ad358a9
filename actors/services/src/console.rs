//! The services of the command line: accounts and tokens, without running a node.

use std::sync::Arc;
use std::time::Duration;

use actors::Secrets;
use actors::fleet_view::FleetView;
use actors::ownership::Ownership;
use actors::router::{DeviceRouter, RouterParts};
use clock::Clock;
use domain::permits::PoolName;
use domain::{NodeId, ServiceError};
use link::cluster_view::ClusterView;
use permits::Pool;
use store::Store;
use tokio::sync::watch;
use uuid::Uuid;

use crate::access_trail::AccessTrail;
use crate::credential_cache::CredentialCache;
use crate::crypto::{Bcrypt, TokenSigner};
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::standing::Standing;
use crate::token_guard::TokenGuard;
use crate::{AccountService, EnrollmentService, People, PeopleParts};

/// Services that need no running devices.
pub struct Console {
    /// Accounts.
    pub accounts: AccountService,
    /// Enrollment tokens; no device of it runs here, so it cannot enroll any.
    pub enrollment: EnrollmentService,
}

impl Console {
    /// The services over a migrated database.
    ///
    /// # Errors
    /// The metrics cannot be made.
    pub fn new(store: Store, settings: Settings, secrets: Secrets, clock: Clock) -> Result<Self, ServiceError> {
        let metrics = Metrics::register(&prometheus::Registry::new()).map_err(|cause| {
            tracing::error!(event = "metrics.failed", %cause);
            ServiceError::Internal
        })?;
        let ownership = Arc::new(Ownership::new(clock.clone()));
        // Nothing runs here and nobody is reached from here.
        let router = DeviceRouter::new(RouterParts {
            ownership: Arc::clone(&ownership),
            directory: Arc::default(),
            shards: Arc::default(),
            view: watch::channel(ClusterView::unknown(NodeId(Uuid::nil()))).1,
            links: None,
            writers: None,
            store: store.clone(),
            name: "console".into(),
            owner_wait: Duration::ZERO,
            metrics: metrics.actors.clone(),
        });
        let trail = Arc::new(AccessTrail::new(clock.clone(), store.clone(), settings.auth.refusals_audited_per_minute, metrics.clone()));
        let pool = Pool::new(PoolName::Passwords, settings.auth.bcrypt, &metrics.actors.pools);
        let bcrypt = Bcrypt::new(pool, settings.auth.bcrypt_wait);
        let credentials = Arc::new(CredentialCache::new(settings.auth.session_cache_ttl));
        let People { accounts, .. } = PeopleParts {
            clock: clock.clone(),
            store: store.clone(),
            signer: Arc::new(TokenSigner::new(&secrets.jwt_key)),
            bcrypt: bcrypt.clone(),
            standing: Standing::new(clock.clone(), store.clone(), Arc::clone(&credentials), ownership),
            credentials,
            tokens: TokenGuard::new(clock.clone(), &settings.auth),
            trail,
            settings: settings.auth.clone(),
            notifier: None,
            metrics: metrics.clone(),
        }
        .services();
        Ok(Self {
            accounts,
            enrollment: EnrollmentService::new(
                clock.clone(),
                store,
                router,
                FleetView::new(settings.runtime.device, clock),
                bcrypt,
                Arc::new(secrets.master_key),
                &settings.auth,
                settings.enrollment,
                settings.kit,
                metrics,
            ),
        })
    }
}
