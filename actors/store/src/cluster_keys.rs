//! Digests of the keys that the nodes of a cluster share, by which a node with others is told.

use domain::Timestamp;
use domain::access::Principal;
use domain::audit::{AuditAction, Target};
use serde_json::json;

use crate::audit::{AuditEntry, append};
use crate::{Store, StoreError};

/// Outcome of replacing the keys of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rekeyed {
    /// They are the cluster's from now on.
    Replaced,
    /// They were before.
    Unchanged,
    /// No node has made the cluster yet.
    NoCluster,
    /// The database is that of the cluster of this name.
    OtherCluster(String),
    /// The master key is another one, by which no device would take a command.
    OtherMasterKey,
    /// The digest of the master key is not known yet: a node of this build has to start once with the keys of before.
    MasterKeyUnknown,
    /// Nodes whose lease has not expired go on with the keys of before.
    LiveNodes(i64),
}

impl Store {
    /// Notes the digest of the master key, once it is known that it is the cluster's.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn keep_master_digest(&self, digest: &[u8]) -> Result<(), StoreError> {
        sqlx::query!("UPDATE cluster SET master_digest = $1 WHERE master_digest IS NULL", digest).execute(&self.pool).await?;
        Ok(())
    }

    /// The digest of the master key, if it is known.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn master_digest(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(sqlx::query_scalar!("SELECT master_digest FROM cluster").fetch_optional(&self.pool).await?.flatten())
    }

    /// Makes keys those of the cluster of this name, while no node runs. The master key stays.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn rekey_cluster(
        &self,
        name: &str,
        key_fingerprint: &[u8],
        master_digest: &[u8],
        by: &Principal,
        now: Timestamp,
    ) -> Result<Rekeyed, StoreError> {
        let mut tx = self.begin().await?;
        let found = sqlx::query!("SELECT name, key_fingerprint, master_digest FROM cluster FOR UPDATE").fetch_optional(&mut *tx).await?;
        let Some(found) = found else { return Ok(Rekeyed::NoCluster) };
        if found.name != name {
            return Ok(Rekeyed::OtherCluster(found.name));
        }
        if found.key_fingerprint == key_fingerprint {
            return Ok(Rekeyed::Unchanged);
        }
        match found.master_digest {
            None => return Ok(Rekeyed::MasterKeyUnknown),
            Some(known) if known != master_digest => return Ok(Rekeyed::OtherMasterKey),
            Some(_) => {}
        }
        let live = sqlx::query_scalar!(
            r#"SELECT count(*) AS "live!" FROM cluster_node WHERE state IN ('active', 'draining') AND expires_at > clock_timestamp()"#
        );
        let live = live.fetch_one(&mut *tx).await?;
        if live > 0 {
            return Ok(Rekeyed::LiveNodes(live));
        }
        sqlx::query!("UPDATE cluster SET key_fingerprint = $1", key_fingerprint).execute(&mut *tx).await?;
        let target = Target::Other { kind: "cluster", id: None, name: Some(name.to_owned()) };
        let entry = AuditEntry::new(by, AuditAction::KeysReplaced, target);
        // Digests say nothing of the keys; a person tells by them whether two nodes have the same.
        let shown = |digest: &[u8]| json!({ "keys_sha256": hex(digest.get(..8).unwrap_or(digest)) });
        append(&mut tx, &entry.before(shown(&found.key_fingerprint)).after(shown(key_fingerprint)), now).await?;
        tx.commit().await?;
        Ok(Rekeyed::Replaced)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
