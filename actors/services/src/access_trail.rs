//! What leaves no change behind and is audited all the same: refusals, failed sign-ins, and what somebody was given to take away.

use std::sync::{Mutex, PoisonError};

use clock::Clock;
use domain::access::{Origin, Principal};
use domain::account::USERNAME_MAX_CHARS;
use domain::audit::{AuditAction, EntryCap, Target};
use domain::rate::counted_as;
use domain::text::excerpt;
use domain::{DeviceId, ServiceError, Timestamp};
use serde_json::{Value, json};
use store::{AuditEntry, Store};

use crate::metrics::Metrics;

/// Writes the entries that anybody can cause, up to a number per minute and node.
pub struct AccessTrail {
    clock: Clock,
    store: Store,
    per_minute: u32,
    cap: Mutex<EntryCap>,
    metrics: Metrics,
}

impl AccessTrail {
    pub(crate) fn new(clock: Clock, store: Store, per_minute: u32, metrics: Metrics) -> Self {
        Self { clock, store, per_minute, cap: Mutex::default(), metrics }
    }

    /// Records that `by` was refused what `request` asks for. The refusal stands, whether or not it can be recorded.
    pub async fn refused(&self, by: &Principal, request: &str, problem: &str) {
        let target = Target::Other { kind: "request", id: None, name: Some(request.to_owned()) };
        let entry = AuditEntry::new(by, AuditAction::AccessRefused, target);
        self.capped(&caller_of(by), entry, json!({ "problem": problem })).await;
    }

    /// Records that a device was refused what `request` asks for.
    pub async fn device_refused(&self, device: DeviceId, origin: Origin, request: &str, problem: &str) {
        let target = Target::Other { kind: "request", id: None, name: Some(request.to_owned()) };
        let id = device.to_string();
        let entry = AuditEntry::of_device(device, &id, origin, AuditAction::AccessRefused, target);
        self.capped(&id, entry, json!({ "problem": problem })).await;
    }

    /// Records a failed sign-in under the name that was typed.
    pub(crate) async fn sign_in_failed(&self, username: &str, origin: Origin) {
        let target = Target::Other { kind: "account", id: None, name: Some(excerpt(username, USERNAME_MAX_CHARS)) };
        let by = Principal::System { origin };
        self.capped(&caller_of(&by), AuditEntry::new(&by, AuditAction::SignInFailed, target), json!({})).await;
    }

    async fn capped(&self, caller: &str, entry: AuditEntry, mut after: Value) {
        let now = self.clock.now();
        // The counters are whole after every statement, so a poisoned lock guards good data.
        let admitted = self.cap.lock().unwrap_or_else(PoisonError::into_inner).admit(caller, self.per_minute, now);
        let Some(left_out) = admitted else {
            self.metrics.audit_left_out.inc();
            return;
        };
        if left_out > 0
            && let Some(after) = after.as_object_mut()
        {
            after.insert("left_out_before".into(), left_out.into());
        }
        let empty = after.as_object().is_some_and(serde_json::Map::is_empty);
        let entry = if empty { entry } else { entry.after(after) };
        if let Err(cause) = self.store.record(&entry, now).await {
            tracing::warn!(event = "audit.refusal_not_recorded", %cause);
        }
    }
}

/// Whom an entry counts for: the account, whatever token of it is used, else the address.
fn caller_of(by: &Principal) -> String {
    match by {
        Principal::Console { .. } | Principal::System { .. } => {
            by.origin().address.map_or_else(String::new, |address| counted_as(address).to_string())
        }
        Principal::User { .. } | Principal::Token { .. } => by.user_id().map_or_else(String::new, |id| id.to_string()),
    }
}

/// Records that `by` is given something to take away; without the entry there is nothing to be given.
///
/// # Errors
/// The database is unavailable.
pub(crate) async fn given(
    store: &Store,
    by: &Principal,
    action: AuditAction,
    target: Target,
    told: Value,
    now: Timestamp,
) -> Result<(), ServiceError> {
    Ok(store.record(&AuditEntry::new(by, action, target).after(told), now).await?)
}
