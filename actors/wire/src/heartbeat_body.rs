//! A device's heartbeat from the bytes of a body or a frame: whatever its values are, it counts.

use domain::heartbeat::Heartbeat;
use domain::telemetry::OptIn;
use domain::{DeviceId, Invalid, Timestamp, text};

use crate::agent;
use crate::device_body::{self, Unreadable};
use crate::heartbeat_values::{self, Values};
use crate::tolerant;

/// A heartbeat as far as it is usable.
#[derive(Debug, Clone)]
pub struct Reported {
    /// The heartbeat; what is unusable of it is noted in it.
    pub heartbeat: Heartbeat,
    /// A push token that it carried.
    pub fcm_token: Option<String>,
}

/// Why a heartbeat is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It is no JSON object.
    Unreadable(Unreadable),
    /// It claims to be another device's.
    ForeignDevice,
}

/// A heartbeat of `device_id`, received at `now`, without opt-in readings that are not kept.
///
/// # Errors
/// It is no JSON object, or another device's.
pub fn heartbeat(device_id: DeviceId, body: &[u8], kept: &OptIn, now: Timestamp) -> Result<Reported, Refusal> {
    // Nearly all of them read as a whole, which is faster.
    if let Some(reported) = device_body::whole(body).and_then(|reported| whole(device_id, reported, kept, now).ok()) {
        return Ok(reported);
    }
    let mut object = device_body::object(body).map_err(Refusal::Unreadable)?;
    heartbeat_values::prefer_usable(&mut object, tolerant::earlier(body));
    let Values { device_id: claimed, device_time, clock_unreadable, fcm_token, telemetry } = heartbeat_values::values(&object, kept, now);
    if claimed.is_some_and(|claimed| claimed != device_id) {
        return Err(Refusal::ForeignDevice);
    }
    let mut heartbeat = Heartbeat::new(device_id, device_time, telemetry, now);
    heartbeat.clock_rejected |= clock_unreadable;
    Ok(Reported { heartbeat, fcm_token })
}

/// A heartbeat in which everything is usable.
fn whole(device_id: DeviceId, mut reported: agent::Heartbeat, kept: &OptIn, now: Timestamp) -> Result<Reported, Invalid> {
    if let Some(claimed) = reported.device_id.as_deref().filter(|claimed| !claimed.is_empty())
        && claimed.parse::<DeviceId>().ok() != Some(device_id)
    {
        return Err(Invalid::new("device_id", "not this device's"));
    }
    let device_time = reported.timestamp_utc.as_deref().map(time).transpose()?;
    let fcm_token = text::optional("fcm_token", reported.fcm_token.take(), text::FCM_TOKEN_MAX_CHARS)?;
    let telemetry = reported.telemetry(kept)?;
    Ok(Reported { heartbeat: Heartbeat::new(device_id, device_time, telemetry, now), fcm_token })
}

fn time(text: &str) -> Result<Timestamp, Invalid> {
    domain::time::parse(text).ok_or_else(|| Invalid::new("timestamp_utc", "not a time as in 2026-11-21T15:36:17Z"))
}
