//! The services of the command line: accounts and tokens, without running a node.

use std::sync::Arc;

use dashmap::DashMap;
use store::Store;

use crate::crypto::{Bcrypt, TokenSigner};
use crate::fleet_view::FleetView;
use crate::metrics::Metrics;
use crate::router::DeviceRouter;
use crate::services::{AuthService, EnrollmentService};
use crate::settings::Settings;
use crate::{Secrets, ServiceError};

/// Services that need no running devices.
pub struct Console {
    /// Sign-in and accounts.
    pub auth: AuthService,
    /// Enrollment tokens; no device of it runs here, so it cannot enroll any.
    pub enrollment: EnrollmentService,
}

impl Console {
    /// The services over a migrated database.
    ///
    /// # Errors
    /// The metrics cannot be made.
    pub fn new(store: Store, settings: Settings, secrets: Secrets) -> Result<Self, ServiceError> {
        let metrics = Metrics::register(&prometheus::Registry::new()).map_err(|cause| {
            tracing::error!(event = "metrics.failed", %cause);
            ServiceError::Internal
        })?;
        let bcrypt = Bcrypt::new(settings.auth.bcrypt_concurrency, settings.auth.bcrypt_wait);
        let signer = Arc::new(TokenSigner::new(&secrets.jwt_key));
        Ok(Self {
            enrollment: EnrollmentService::new(
                store.clone(),
                DeviceRouter::new(Arc::new(DashMap::new()), vec![]),
                FleetView::new(settings.device),
                bcrypt.clone(),
                Arc::new(secrets.master_key),
                &settings.auth,
                settings.enrollment,
                metrics.clone(),
            ),
            auth: AuthService::new(store, signer, bcrypt, settings.auth, metrics),
        })
    }
}
