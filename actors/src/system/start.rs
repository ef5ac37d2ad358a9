//! Arguments of a node's start, and its errors.

use std::sync::Arc;
use std::time::Duration;

use link::tls::LinkTls;
use link::{LinkSettings, LinkStartError, Network};
use push::PushSetupError;
use secrecy::SecretBox;
use store::{Store, StoreError};
use tokio::net::TcpListener;

use crate::placement::{ClusterOptions, JoinError};

/// The keys of the cluster.
pub struct Secrets {
    /// Device keys are derived from it.
    pub master_key: SecretBox<Vec<u8>>,
    /// Signs access and session tokens.
    pub jwt_key: SecretBox<Vec<u8>>,
}

/// Arguments for taking part in a cluster.
pub struct ClusterStart {
    /// Options of the membership.
    pub options: ClusterOptions,
    /// Limits and deadlines of the link.
    pub link: LinkSettings,
    /// Network to the other nodes.
    pub network: NetworkStart,
    /// The database over connections of its own, so that a flood of heartbeats does not cost the lease.
    pub store: Store,
    /// How often the other nodes are asked what changed.
    pub feed_interval: Duration,
    /// How long the owner of a device is waited for.
    pub owner_wait: Duration,
}

/// Network to the other nodes, to be started or running.
pub enum NetworkStart {
    /// Sessions over TLS.
    Tls {
        /// Listener to which peers connect.
        listener: TcpListener,
        /// Certificates of the link: the one shown, and those accepted.
        tls: LinkTls,
    },
    /// One that runs already, as nodes in one process have it.
    Running(Arc<dyn Network>),
}

/// Error in starting a system.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An actor did not start.
    #[error("an actor did not start: {0}")]
    Actor(#[from] ractor::SpawnErr),
    /// The node cannot join its cluster.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The shards that this node may have could not be taken.
    #[error("the node cannot take its shards: {0}")]
    Placement(String),
    /// The link between nodes does not start.
    #[error(transparent)]
    Link(#[from] LinkStartError),
    /// Notifications do not start.
    #[error(transparent)]
    Notify(#[from] notify::NotifySetupError),
    /// Push is configured and does not start.
    #[error(transparent)]
    Push(#[from] PushSetupError),
    /// The store of APKs or archives does not do.
    #[error(transparent)]
    Apks(#[from] domain::Invalid),
}
