//! Expiry of the certificate by which a node proves itself to the others: its links end once, and no new one is made until it is renewed.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{Fault, Healing, InForce, OutOfLimits, Scene, within};
use crate::clock::now;
use crate::harness::{ClusterOptions, Network};

/// Time by which clocks of certificates and of this process may differ.
const SURELY: Duration = Duration::from_secs(1);
/// Lifetime of the certificate that it is renewed by.
const RENEWED_FOR: Duration = Duration::from_secs(90 * 86_400);

/// Certificate that runs out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateExpiry {
    /// Node whose certificate it is; it is restarted with it, and with the renewed one
    pub node: String,
    /// Time for which it is valid, 5 to 600 s
    #[serde(default = "valid_s")]
    pub valid_s: u64,
}

fn valid_s() -> u64 {
    15
}

impl fmt::Display for CertificateExpiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "let the certificate of {}'s links expire after {} s", self.node, self.valid_s)
    }
}

impl Fault for CertificateExpiry {
    fn check(&self) -> Result<(), OutOfLimits> {
        within("valid_s", self.valid_s, 5, 600)
    }

    fn prepare(&self, options: &mut ClusterOptions) {
        options.certificates = true;
        if options.network == Network::Plain {
            options.network = Network::Proxies;
        }
    }

    fn node(&self) -> Option<&str> {
        Some(&self.node)
    }

    fn begin<'a>(&'a self, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<InForce>> {
        async move {
            let ends = now() + Duration::from_secs(self.valid_s);
            scene.cluster.renew_certificate(&self.node, ends).await?;
            let left = (ends - now()).to_std().unwrap_or_default();
            sleep(left + SURELY).await;
            // A certificate is looked at when a link is made.
            scene.cluster.reset_links_of(&self.node).await?;
            Ok(InForce::until(Expired { node: self.node.clone() }))
        }
        .boxed()
    }
}

struct Expired {
    node: String,
}

impl Healing for Expired {
    fn heal<'a>(self: Box<Self>, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<()>> {
        async move { scene.cluster.renew_certificate(&self.node, now() + RENEWED_FOR).await }.boxed()
    }
}
