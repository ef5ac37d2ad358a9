//! Reconcilers of accounts and of the audit trail: ended sign-ins and API tokens are removed, the head of the trail is logged.

use std::time::Duration;

use chrono::TimeDelta;
use domain::ServiceError;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::Store;

use crate::reconcile::{Reconcile, Reconciler, Run};

/// Retention of sign-ins and API tokens after their end.
const ENDED_KEPT: TimeDelta = TimeDelta::days(30);
/// Replaced refresh tokens that are kept for each sign-in, to know them when they come back: more than four weeks of
/// renewals at the usual lifetime of access tokens.
const REPLACED_TOKENS_KEPT: i64 = 3000;
/// Time between two removals. Failed sign-ins grow by what addresses are allowed to fail in between.
const SIGN_INS_INTERVAL: Duration = Duration::from_secs(300);
/// How often the head of the audit trail is logged.
const AUDIT_HEAD_INTERVAL: Duration = Duration::from_secs(3600);

/// Retention of failed sign-ins.
#[derive(Debug, Clone, Copy)]
pub struct FailuresKept {
    /// Retention after the last failure.
    pub age: TimeDelta,
    /// Most names that are kept.
    pub names_max: i64,
}

/// The reconcilers of accounts and of the audit trail. Every node runs both: what one node removed, another does not find.
pub(crate) fn reconcilers(store: &Store, failures: FailuresKept) -> [Reconciler; 2] {
    [
        Reconciler::per_node("sign_in_retention", SIGN_INS_INTERVAL, SignInRetention { store: store.clone(), failures }).at_start(),
        Reconciler::per_node("audit_head", AUDIT_HEAD_INTERVAL, AuditHead { store: store.clone() }).at_start(),
    ]
}

/// Removes ended sign-ins and API tokens, replaced refresh tokens, and old failures.
struct SignInRetention {
    store: Store,
    failures: FailuresKept,
}

impl Reconcile for SignInRetention {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let ended = run.now - ENDED_KEPT;
            let sign_ins = run.in_batches(|limit| self.store.purge_sessions(ended, limit)).await?;
            let replaced = run.in_batches(|limit| self.store.purge_replaced_refresh_tokens(REPLACED_TOKENS_KEPT, run.now, limit)).await?;
            let tokens = run.in_batches(|limit| self.store.purge_api_tokens(ended, limit)).await?;
            let (age, names_max) = (run.now - self.failures.age, self.failures.names_max);
            run.in_batches(|limit| self.store.purge_sign_in_failures(age, names_max, limit)).await?;
            Ok(sign_ins + replaced + tokens)
        }
        .boxed()
    }
}

/// Logs the head of the audit trail: a log that is kept elsewhere shows later whether the chain was written anew.
struct AuditHead {
    store: Store,
}

impl Reconcile for AuditHead {
    fn reconcile<'a>(&'a mut self, _run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let head = self.store.audit_head().await?;
            tracing::info!(event = "audit.head", expect = %head);
            Ok(0)
        }
        .boxed()
    }
}
