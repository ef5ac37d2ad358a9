//! What device actors are given: dependencies that all of a node share, and their supervisor.

use std::sync::Arc;

use clock::Clock;
use domain::command::DispatchPolicy;
use domain::device::DevicePolicy;
use domain::{DeviceId, Timestamp};
use push::PushSender;
use secrecy::SecretBox;
use store::Store;

#[cfg(doc)]
use super::DeviceMsg;
use crate::agent_updates::Offers;
use crate::alert::AlertRules;
use crate::fleet_view::FleetView;
use crate::messages::SocketPort;
use crate::metrics::Metrics;
use crate::ownership::Ownership;
use crate::writers::{AlertWriter, CommandWriter, EventWriter, HeartbeatWriters};

/// Dependencies that all device actors of a node share.
pub struct DeviceContext {
    /// Clock of the node.
    pub clock: Clock,
    /// Fleet view to which the state is published.
    pub view: Arc<FleetView>,
    /// Writers of heartbeats.
    pub writers: HeartbeatWriters,
    /// Writer of events.
    pub events: EventWriter,
    /// Writer of alerts.
    pub alerts: AlertWriter,
    /// Settings of the rules of alerts.
    pub rules: Arc<AlertRules>,
    /// Builds of the agent that are offered.
    pub offers: Arc<Offers>,
    /// Shards and lease of this node.
    pub ownership: Arc<Ownership>,
    /// Sends to sockets of any node.
    pub sockets: Arc<dyn SocketPort>,
    /// Sends push messages.
    pub push: PushSender,
    /// Thresholds of the status of a device.
    pub policy: DevicePolicy,
    /// Whether push messages are also signed for agents of the earlier server.
    pub legacy_push: bool,
    /// Timeouts of the paths of commands.
    pub dispatch: DispatchPolicy,
    /// Writer of command reports.
    pub commands: CommandWriter,
    /// Master key, from which the keys of devices are derived.
    pub master_key: Arc<SecretBox<Vec<u8>>>,
    /// Metrics.
    pub metrics: Metrics,
    /// Store, for deleting invalid push tokens.
    pub store: Store,
}

/// Supervisor of devices: watches their deadlines, and reads them from the store.
///
/// A supervisor that has stopped does nothing; its devices are about to stop as well.
pub trait DeviceSupervisor: Send + Sync {
    /// Sends [`DeviceMsg::DeadlinePassed`] to a device once this time has passed.
    fn watch_until(&self, device: DeviceId, deadline: Timestamp);
    /// Sends [`DeviceMsg::Refresh`] with the stored device.
    fn reload(&self, device: DeviceId);
    /// Sends [`DeviceMsg::OpenAlerts`] with the stored open alerts.
    fn read_open_alerts(&self, device: DeviceId);
    /// Since when this node hears of the devices of the shard.
    fn judged_since(&self) -> Timestamp;
}
