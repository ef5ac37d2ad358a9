//! Requests and answers of the agent API over HTTP.

use std::collections::BTreeMap;

use domain::telemetry::{OptIn, Telemetry, WatchedApp};
use domain::{Invalid, telemetry};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::lenient::{Float, Int, object};
use crate::reading::{received, sent};

/// Body of `POST /v1/register`. All but `alias` is optional, and so is `alias`
/// when the token fixes it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct RegisterRequest {
    /// Name of the device for people, 1..200 characters.
    pub alias: Option<String>,
    /// Serial number or other hardware identity; never authenticates.
    pub hardware_id: Option<String>,
    /// Marketing or build model.
    pub model: Option<String>,
    /// Manufacturer.
    pub manufacturer: Option<String>,
    /// Android release, e.g. `13`.
    pub android_version: Option<String>,
    /// Android API level.
    pub sdk_int: Option<Int>,
    /// Agent version name.
    pub app_version: Option<String>,
    /// Agent version code.
    pub app_version_code: Option<Int>,
    /// Push token.
    pub fcm_token: Option<String>,
}

/// 200 of `POST /v1/register`. The secrets are shown this once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct RegisterResponse {
    /// Identity of the device.
    pub device_id: String,
    /// `<token id>.<secret>`, the bearer token of every later call.
    pub device_token: String,
    /// Key of command signatures, hex.
    pub device_key: String,
    /// The server's clock.
    pub server_time: String,
    /// Heartbeat interval, until a response changes it.
    pub heartbeat_interval_seconds: u32,
    /// URL of the agent socket.
    pub socket_url: String,
}

/// Body of `POST /v1/devices/fcm-token`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct FcmTokenRequest {
    /// The push token that holds from now on.
    pub fcm_token: String,
}

/// 200 of `POST /v1/agent/session`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct SessionResponse {
    /// Short-lived JWT that any node verifies on its own.
    pub session_token: String,
    /// Time of expiry.
    pub expires_at: String,
}

macro_rules! object {
    ({ $Object:ident $about:tt } $( { $field:ident [$($type:tt)*] $api:tt [$($attribute:tt)*] $key:ident $doc:tt $range:tt } )*) => {
        #[doc = $about]
        #[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
        #[serde(default)]
        pub struct $Object {
            $(#[doc = $doc] $($attribute)* pub $key: Option<$($type)*>,)*
        }
    };
}
macro_rules! heartbeat {
    (
        { $( { $object:ident $Object:ident $object_about:tt { $( { $part:ident $part_type:ident $part_key:ident $part_doc:tt $part_range:tt } )* } } )* }
        $( { $field:ident [$($type:tt)*] $api:tt [$($attribute:tt)*] $key:ident $doc:tt $range:tt } )*
    ) => {
        /// Body of `POST /v1/heartbeat`; one element of `POST /v1/heartbeats`.
        #[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
        #[serde(default)]
        pub struct Heartbeat {
            /// If given, must be the caller's own.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub device_id: Option<String>,
            /// Informational; the server's alias is what counts.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub alias: Option<String>,
            /// The device's clock.
            pub timestamp_utc: Option<String>,
            /// Monitored packages.
            #[serde(deserialize_with = "object")]
            #[schema(value_type = Option<BTreeMap<String, AppVersion>>)]
            pub app_versions: Option<BTreeMap<String, Option<AppVersion>>>,
            /// Push token, when it changed.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub fcm_token: Option<String>,
            /// Whether this heartbeat answers a ping.
            pub is_ping_response: Option<bool>,
            /// The ping it answers.
            pub ping_request_id: Option<String>,
            $(
                #[doc = $object_about]
                #[serde(deserialize_with = "object")]
                pub $object: Option<$Object>,
            )*
            $(#[doc = $doc] $($attribute)* pub $key: Option<$($type)*>,)*
        }

        impl Heartbeat {
            /// The readings that are kept, each checked against its range.
            ///
            /// # Errors
            /// Names the first field that breaks its limit, and the limit.
            pub fn telemetry(self, kept: &OptIn) -> Result<Telemetry, Invalid> {
                $(let $object = self.$object.unwrap_or_default();)*
                let apps = self.app_versions.unwrap_or_default().into_iter().map(|(package, app)| app.unwrap_or_default().watched(package));
                let mut telemetry = Telemetry {
                    $($($part: received(concat!(stringify!($object), ".", stringify!($part_key)), known!($part_range $object.$part_key))?,)*)*
                    $($field: received(stringify!($key), known!($range self.$key))?,)*
                    apps: apps.collect(),
                };
                telemetry.drop_unless(kept);
                telemetry.checked()
            }

            /// The heartbeat of a device with these readings.
            pub fn of(telemetry: &Telemetry) -> Self {
                let apps = telemetry.apps.iter().map(|app| (app.package.clone(), Some(AppVersion::of(app))));
                Self {
                    app_versions: Some(apps.collect()),
                    $($object: [$(telemetry.$part.is_some()),*].contains(&true).then(|| $Object { $($part_key: sent(&telemetry.$part),)* }),)*
                    $($key: sent(&telemetry.$field),)*
                    ..Self::default()
                }
            }
        }
    };
}
macro_rules! agent_types {
    ({} objects { $( { $object:ident $Object:ident $about:tt { $($rows:tt)* } } )* } top { $($top:tt)* }) => {
        $(typed! { object { $Object $about } [] $($rows)* })*
        typed! { heartbeat { $( { $object $Object $about { $($rows)* } } )* } [] $($top)* }
    };
}
telemetry! { wire => agent_types {} }

/// A monitored package.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct AppVersion {
    /// Whether it is installed.
    pub installed: Option<bool>,
    /// Version name.
    pub version_name: Option<String>,
    /// Version code.
    pub version_code: Option<Int>,
}

impl AppVersion {
    fn watched(self, package: String) -> WatchedApp {
        let Self { installed, version_name, version_code } = self;
        WatchedApp { package, installed, version_name, version_code: version_code.map(|Int(code)| code) }
    }

    fn of(app: &WatchedApp) -> Self {
        Self { installed: app.installed, version_name: app.version_name.clone(), version_code: app.version_code.map(Int) }
    }
}

/// A command as the device receives it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Command {
    /// Identity of the command; the device runs each once.
    pub request_id: String,
    /// Target device.
    pub device_id: String,
    /// Action.
    pub action: String,
    /// Time of issue.
    pub ts: String,
    /// Time of expiry; the command must not run afterwards.
    pub expires_at: String,
    /// JSON text whose exact bytes are signed.
    pub params: String,
    /// Hex HMAC-SHA256.
    pub signature: String,
    /// Version of the signature, `1`.
    pub v: String,
}

/// 200 of `POST /v1/heartbeat`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatResponse {
    /// Always true.
    pub ok: bool,
    /// Time until the next heartbeat, jittered.
    pub next_heartbeat_seconds: u32,
    /// Commands waiting for the device.
    pub commands: Vec<Command>,
    /// The server's clock.
    pub server_time: String,
}

/// 200 of `POST /v1/heartbeats`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatsResponse {
    /// One outcome per heartbeat, in the order they were sent.
    pub results: Vec<HeartbeatOutcome>,
    /// Time until the next heartbeat, jittered.
    pub next_heartbeat_seconds: u32,
    /// Commands waiting for the device.
    pub commands: Vec<Command>,
    /// The server's clock.
    pub server_time: String,
}

/// Outcome of one heartbeat of a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatOutcome {
    /// Index in the list, from 0.
    pub index: usize,
    /// 200 stored or already there; 422 keep out of later lists; 503 keep and retry.
    pub status: u16,
    /// Problem, if the status is not 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::telemetry::FIELDS;

    #[test]
    fn every_field_arrives_and_goes_back() {
        let reported: Heartbeat = serde_json::from_str(include_str!("../fixtures/heartbeat-full.json")).unwrap();
        let telemetry = reported.telemetry(&OptIn::all()).unwrap();
        for field in FIELDS {
            assert!((field.get)(&telemetry).is_some(), "heartbeat-full.json lacks {}", field.path);
        }
        assert_eq!((telemetry.battery_temperature_c, telemetry.foreground_recent_s), (Some(31.1), Some(12)));
        let text = serde_json::to_string(&Heartbeat::of(&telemetry)).unwrap();
        assert_eq!(serde_json::from_str::<Heartbeat>(&text).unwrap().telemetry(&OptIn::all()).unwrap(), telemetry, "{text}");
    }

    #[test]
    fn an_object_without_a_reading_is_left_out() {
        let reported = Heartbeat::of(&Telemetry { battery_pct: Some(50), ..Telemetry::default() });
        assert!(reported.battery.is_some() && reported.memory.is_none() && reported.location.is_none());
    }

    #[test]
    fn a_number_that_means_unknown_is_none() {
        let telemetry = |text: &str| serde_json::from_str::<Heartbeat>(text).unwrap().telemetry(&OptIn::default());
        assert_eq!(telemetry(r#"{"monitored_foreground_recent_s":-1}"#).unwrap().foreground_recent_s, None);
        assert_eq!(telemetry(r#"{"monitored_foreground_recent_s":-2}"#).unwrap_err().field, "monitored_foreground_recent_s");
        assert_eq!(telemetry(r#"{"seq":-1}"#).unwrap_err().field, "seq");
    }
}
