//! Sources of push messages for simulated devices, and one in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use crate::fcm::FakeFcm;
use tokio::sync::mpsc;
use wire::agent::Command;

/// Queued messages per device; further ones are lost, as push messages may be.
const WAITING_LIMIT: usize = 64;

/// The `data` of a push message.
pub type PushData = BTreeMap<String, String>;

/// Source of push messages, such as a fake FCM.
pub trait PushSource: Send + Sync {
    /// Subscribes to messages for `push_token`.
    fn subscribe(&self, push_token: &str) -> mpsc::Receiver<PushData>;
}

impl PushSource for FakeFcm {
    fn subscribe(&self, push_token: &str) -> mpsc::Receiver<PushData> {
        let (sender, receiver) = mpsc::channel(WAITING_LIMIT);
        let mut deliveries = Self::subscribe(self, push_token);
        tokio::spawn(async move {
            while let Some(delivery) = deliveries.recv().await {
                if sender.send(delivery.data).await.is_err() {
                    return;
                }
            }
        });
        receiver
    }
}

/// The push token of a simulated device.
pub fn push_token(alias: &str) -> String {
    format!("sim-{alias}")
}

/// Command in push data; missing fields are empty, so that it is refused.
pub fn command_of(data: &PushData) -> Command {
    let field = |name: &str| data.get(name).cloned().unwrap_or_default();
    Command {
        request_id: field("request_id"),
        device_id: field("device_id"),
        action: field("action"),
        ts: field("ts"),
        expires_at: field("expires_at"),
        params: field("params"),
        signature: field("signature"),
        v: field("v"),
    }
}

/// Push data of a command, without the `hmac` of earlier agents.
pub fn data_of(command: &Command) -> PushData {
    let Command { request_id, device_id, action, ts, expires_at, params, signature, v } = command;
    let fields = [
        ("request_id", request_id),
        ("device_id", device_id),
        ("action", action),
        ("ts", ts),
        ("expires_at", expires_at),
        ("params", params),
        ("signature", signature),
        ("v", v),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value.clone())).collect()
}

/// Source in memory.
#[derive(Default)]
pub struct PushHub {
    devices: Mutex<HashMap<String, mpsc::Sender<PushData>>>,
}

impl PushHub {
    /// Pushes to a device; false without a subscriber or when its queue is full.
    pub fn push(&self, push_token: &str, data: PushData) -> bool {
        let devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        devices.get(push_token).is_some_and(|device| device.try_send(data).is_ok())
    }
}

impl PushSource for PushHub {
    fn subscribe(&self, push_token: &str) -> mpsc::Receiver<PushData> {
        let (sender, receiver) = mpsc::channel(WAITING_LIMIT);
        self.devices.lock().unwrap_or_else(PoisonError::into_inner).insert(push_token.to_owned(), sender);
        receiver
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_pushed_arrives_as_it_was_signed() {
        let hub = PushHub::default();
        assert!(!hub.push("sim-a", PushData::new()), "nobody listens yet");
        let mut device = hub.subscribe("sim-a");
        let command = Command { request_id: "r1".into(), params: "{ \"a\":1 }".into(), v: "1".into(), ..command_of(&PushData::new()) };
        assert!(hub.push("sim-a", data_of(&command)));
        let arrived = command_of(&device.recv().await.unwrap());
        assert_eq!((arrived.request_id, arrived.params, arrived.signature), ("r1".into(), "{ \"a\":1 }".into(), String::new()));
    }
}
