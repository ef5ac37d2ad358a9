//! Settings of push messages.

use std::path::PathBuf;
use std::time::Duration;

use domain::rate::RateLimit;

/// Push over Firebase Cloud Messaging.
#[derive(Debug, Clone)]
pub struct FcmSettings {
    /// The service account, JSON as Google makes it.
    pub service_account_file: PathBuf,
    /// Base URL of FCM.
    pub base_url: String,
    /// How long a request may take, connecting included.
    pub timeout: Duration,
    /// Most requests at a time.
    pub concurrency: usize,
    /// Rate limit of sending of this node.
    pub rate: RateLimit,
    /// Most messages to one device within a minute.
    pub per_device_per_minute: u32,
    /// Most messages that wait to be sent.
    pub queue_max: usize,
}

/// Push messages to UnifiedPush endpoints.
#[derive(Debug, Clone)]
pub struct UnifiedPushSettings {
    /// Push servers that may be called, as origins: `https://push.example.com`.
    pub origins: Vec<String>,
    /// How long a request may take, connecting included.
    pub timeout: Duration,
    /// Most requests at a time.
    pub concurrency: usize,
    /// Most messages to one device within a minute.
    pub per_device_per_minute: u32,
}
