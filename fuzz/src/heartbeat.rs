//! Heartbeats: any JSON object of a known device that claims no other identity counts, whatever its values are.

use domain::DeviceId;
use domain::heartbeat::{Heartbeat, LIST_MAX, bucket_start};
use domain::telemetry::{APPS_MAX, FIELDS, OptIn, VALUE_MAX_CHARS};
use serde_json::{Map, Value};
use wire::heartbeat_body::{self, Refusal, Reported};
use wire::tolerant;

use crate::samples::{DEVICE, now};

pub(super) fn run(data: &[u8]) {
    for kept in [OptIn::default(), OptIn::all()] {
        match heartbeat_body::heartbeat(DEVICE, data, &kept, now()) {
            Ok(Reported { heartbeat, .. }) => assert_storable(&heartbeat),
            Err(refusal) => assert_refusable(data, &refusal),
        }
    }
}

/// Lists: taken apart, whatever their elements are.
pub(super) fn run_list(data: &[u8]) {
    let strict: Option<Vec<Value>> = serde_json::from_slice(data).ok();
    let elements = tolerant::elements(data, LIST_MAX);
    if let Some(strict) = strict.filter(|strict| strict.len() <= LIST_MAX) {
        let count = elements.as_ref().map(Vec::len);
        assert_eq!(count, Some(strict.len()), "a list that reads as a whole is taken apart into as many");
    }
    for element in elements.unwrap_or_default() {
        run(element);
    }
}

/// Every value is within the limits of its column, and what is kept of unusable ones is short.
pub(super) fn assert_storable(heartbeat: &Heartbeat) {
    let telemetry = &heartbeat.telemetry;
    if let Err(invalid) = telemetry.clone().checked() {
        panic!("{} is not within its limits: {}", invalid.field, invalid.problem);
    }
    assert!(telemetry.apps.len() <= APPS_MAX);
    for noted in &telemetry.unusable {
        assert!(noted.value.chars().count() <= VALUE_MAX_CHARS && !noted.value.contains(char::is_control), "{noted:?}");
        assert!(!noted.problem.contains('\0') && !noted.field.contains('\0'), "{noted:?}");
    }
    // One per path, so as many as there are paths: rows, their objects, and four that are none of the table.
    assert!(telemetry.unusable.len() <= 2 * FIELDS.len());
    assert_eq!(heartbeat.bucket_at, bucket_start(heartbeat.bucket_at));
    assert_eq!(heartbeat.device_id, DEVICE);
}

/// Only what is no object, and what claims to be another device's, is refused.
fn assert_refusable(data: &[u8], refusal: &Refusal) {
    let Ok(object) = serde_json::from_slice::<Map<String, Value>>(data) else { return };
    let claimed = object.get("device_id").and_then(Value::as_str).and_then(|claimed| claimed.parse::<DeviceId>().ok());
    let is_foreign = *refusal == Refusal::ForeignDevice && claimed.is_some_and(|claimed| claimed != DEVICE);
    assert!(is_foreign, "{refusal:?} of an object");
}
