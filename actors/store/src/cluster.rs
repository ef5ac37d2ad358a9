//! Nodes, their leases, and the owners of the shards.
//!
//! ```text
//! node row   active -> draining -> left          by the node itself
//!            active | draining  -> expired       by the node that finds its lease expired
//! shard row  owner, epoch                        claimed when free or its owner's row has ended
//! ```
//! No node claims a shard of a node whose row has not ended, and a row that has ended is never
//! renewed: both lock the row. All times are the database's own.

use domain::access::Principal;
use domain::audit::{AuditAction, Target};
use domain::cluster::{Node, NodeState, ShardMoves};
use domain::shard::{Epoch, ShardId};
use domain::{NodeId, Timestamp};
use serde_json::json;
use sqlx::postgres::PgNotification;
use sqlx::postgres::types::PgInterval;

use crate::audit::{AuditEntry, append};
use crate::channels;
use crate::pool::PoolListener;
use crate::{Store, StoreError};

/// New node.
#[derive(Debug, Clone)]
pub struct NewNode {
    /// Id of this start of the node.
    pub id: NodeId,
    /// Name of the node.
    pub name: String,
    /// Address that other nodes dial.
    pub cluster_addr: String,
    /// URL for devices and people.
    pub http_url: String,
    /// Version of the build.
    pub version: String,
    /// Oldest node protocol that it speaks.
    pub protocol_min: i32,
    /// Newest node protocol that it speaks.
    pub protocol_max: i32,
    /// Identity of the lock file in its data folder.
    pub lock_identity: String,
}

/// Outcome of joining.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinOutcome {
    /// The node is a member.
    Joined,
    /// A live node has this name.
    NameTaken {
        /// Address of that node.
        cluster_addr: String,
        /// Remaining time of its lease, ms.
        lease_left_ms: i64,
    },
}

/// Stored shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardRow {
    /// The shard.
    pub shard: ShardId,
    /// Owner, whether or not that node is live.
    pub owner: Option<NodeId>,
    /// Epoch of the last claim.
    pub epoch: Epoch,
}

/// Claimed shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimedShard {
    /// The shard.
    pub shard: ShardId,
    /// The epoch that began with the claim.
    pub epoch: Epoch,
}

/// Listener for notifications of other nodes.
pub struct Listener(PoolListener);

/// Notification of another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notification {
    /// Placement may have changed.
    Placement,
    /// This device was changed; text of its id.
    Device(String),
    /// A command was created for this device; text of its id.
    Command(String),
    /// A batch of commands was created; text of its id.
    CommandBatch(String),
    /// Commands of a deployment were created; text of its id.
    DeploymentCommands(String),
    /// A deployment was changed; text of its id, empty when it may be any.
    Deployment(String),
    /// An account, a sign-in or an API token lost rights.
    Account,
    /// Alerts were changed, or what decides about their notifications; whether it was the setting of a rule.
    Alert {
        /// The setting of a rule, or whatever else of rules every node keeps.
        rules: bool,
    },
    /// The connection was lost: notifications may have been missed.
    Missed,
}

impl Listener {
    /// Waits for the next notification.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn next(&mut self) -> Result<Notification, StoreError> {
        loop {
            match self.0.next().await? {
                None => return Ok(Notification::Missed),
                Some(notified) => {
                    if let Some(notice) = notice(&notified) {
                        return Ok(notice);
                    }
                }
            }
        }
    }

    /// Returns a notification that has arrived already.
    pub fn waiting(&mut self) -> Option<Notification> {
        std::iter::from_fn(|| self.0.waiting()).find_map(|notified| notice(&notified))
    }
}

fn notice(notified: &PgNotification) -> Option<Notification> {
    match notified.channel() {
        channels::PLACEMENT => Some(Notification::Placement),
        channels::DEVICE => Some(Notification::Device(notified.payload().to_owned())),
        channels::ACCOUNT => Some(Notification::Account),
        channels::COMMAND => Some(match notified.payload().split_once(':') {
            Some(("deployment", id)) => Notification::DeploymentCommands(id.to_owned()),
            Some((_, batch)) => Notification::CommandBatch(batch.to_owned()),
            None => Notification::Command(notified.payload().to_owned()),
        }),
        channels::DEPLOYMENT => Some(Notification::Deployment(notified.payload().to_owned())),
        channels::ALERT => Some(Notification::Alert { rules: notified.payload() == channels::RULES }),
        _ => None,
    }
}

fn interval(ms: i64) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: ms.saturating_mul(1000) }
}

fn node_state(name: &str) -> Result<NodeState, StoreError> {
    NodeState::parse(name).ok_or(StoreError::Corrupt("cluster_node.state"))
}

impl Store {
    /// Stores the name of the cluster and the digest of its keys on the first start. Returns the stored
    /// ones.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn cluster_identity(&self, name: &str, key_fingerprint: &[u8]) -> Result<(String, Vec<u8>), StoreError> {
        sqlx::query!("INSERT INTO cluster (name, key_fingerprint) VALUES ($1, $2) ON CONFLICT DO NOTHING", name, key_fingerprint)
            .execute(&self.pool)
            .await?;
        let row = sqlx::query!("SELECT name, key_fingerprint FROM cluster").fetch_one(&self.pool).await?;
        Ok((row.name, row.key_fingerprint))
    }

    /// Joins with a lease of `ttl_ms`. An earlier start that held the same lock is dead, whatever
    /// its lease says, and ends here.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn join_cluster(&self, node: &NewNode, ttl_ms: i64) -> Result<JoinOutcome, StoreError> {
        sqlx::query!(
            "UPDATE cluster_node SET state = 'expired', ended_at = clock_timestamp()
             WHERE state IN ('active', 'draining') AND (lock_identity = $1 OR (name = $2 AND expires_at <= clock_timestamp()))",
            node.lock_identity,
            node.name
        )
        .execute(&self.pool)
        .await?;
        let entered = sqlx::query!(
            "INSERT INTO cluster_node (node_id, name, cluster_addr, http_url, version, protocol_min, protocol_max, lock_identity,
                 reads_narrow, state, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, true, 'active', clock_timestamp() + $9)
             ON CONFLICT (name) WHERE state IN ('active', 'draining') DO NOTHING",
            node.id.0,
            node.name,
            node.cluster_addr,
            node.http_url,
            node.version,
            node.protocol_min,
            node.protocol_max,
            node.lock_identity,
            interval(ttl_ms)
        )
        .execute(&self.pool)
        .await?
        .rows_affected();
        if entered == 1 {
            self.notify_placement().await?;
            return Ok(JoinOutcome::Joined);
        }
        let taken = sqlx::query!(
            r#"SELECT cluster_addr, (extract(epoch FROM expires_at - clock_timestamp()) * 1000)::bigint AS "lease_left_ms!"
               FROM cluster_node WHERE name = $1 AND state IN ('active', 'draining')"#,
            node.name
        )
        .fetch_optional(&self.pool)
        .await?;
        // Gone in between: as good as about to run out.
        Ok(taken.map_or(JoinOutcome::NameTaken { cluster_addr: String::new(), lease_left_ms: 0 }, |row| JoinOutcome::NameTaken {
            cluster_addr: row.cluster_addr,
            lease_left_ms: row.lease_left_ms,
        }))
    }

    /// Renews a lease. A lease that ran out can be renewed as long as nobody noted that it did.
    /// Returns the node's state; `None` when its row has ended.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn renew_lease(&self, node: NodeId, ttl_ms: i64) -> Result<Option<NodeState>, StoreError> {
        let state = sqlx::query_scalar!(
            "UPDATE cluster_node SET renewed_at = clock_timestamp(), expires_at = clock_timestamp() + $2
             WHERE node_id = $1 AND state IN ('active', 'draining') RETURNING state",
            node.0,
            interval(ttl_ms)
        )
        .fetch_optional(&self.pool)
        .await?;
        state.as_deref().map(node_state).transpose()
    }

    /// The database's clock.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn database_clock(&self) -> Result<Timestamp, StoreError> {
        Ok(sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#).fetch_one(&self.pool).await?)
    }

    /// The nodes: those that live, and those that ended within the last hour.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn cluster_nodes(&self) -> Result<Vec<Node>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT node_id, name, cluster_addr, http_url, version, protocol_min, protocol_max, state, joined_at, ended_at,
                   (extract(epoch FROM expires_at - clock_timestamp()) * 1000)::bigint AS "lease_left_ms!"
               FROM cluster_node WHERE ended_at IS NULL OR ended_at > clock_timestamp() - interval '1 hour'
               ORDER BY name, joined_at"#
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(Node {
                    id: NodeId(row.node_id),
                    name: row.name,
                    cluster_addr: row.cluster_addr,
                    http_url: row.http_url,
                    version: row.version,
                    protocols: (row.protocol_min, row.protocol_max),
                    state: node_state(&row.state)?,
                    joined_at: row.joined_at,
                    ended_at: row.ended_at,
                    lease_left_ms: row.lease_left_ms,
                })
            })
            .collect()
    }

    /// Every shard, in the order of their ids.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn shards(&self) -> Result<Vec<ShardRow>, StoreError> {
        let rows = sqlx::query!("SELECT shard_id, owner, epoch FROM shard ORDER BY shard_id").fetch_all(&self.pool).await?;
        Ok(rows
            .into_iter()
            .map(|row| ShardRow { shard: ShardId(row.shard_id as u16), owner: row.owner.map(NodeId), epoch: Epoch(row.epoch) })
            .collect())
    }

    /// Claims those of `shards` that are free or whose owner has ended. With `may_expire`, notes
    /// first which leases ran out. Claims nothing unless the node's own lease holds.
    ///
    /// It waits for no lock but that of the node's own row: what another transaction holds, such as one of a node that froze, is left to
    /// the next claim. While it waited, it would hold its own row, so that this node could not renew its lease.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn claim_shards(&self, node: NodeId, shards: &[ShardId], may_expire: bool) -> Result<Vec<ClaimedShard>, StoreError> {
        let wanted: Vec<i32> = shards.iter().map(|shard| i32::from(shard.0)).collect();
        let mut tx = self.begin().await?;
        // Held until the claim is committed: nobody can end this node in between.
        let me = sqlx::query!(
            "SELECT name FROM cluster_node
             WHERE node_id = $1 AND state IN ('active', 'draining') AND expires_at > clock_timestamp() FOR SHARE",
            node.0
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(me) = me else { return Ok(Vec::new()) };
        if may_expire {
            // Of a lease whose renewal is under way, nothing is known yet. A statement of its own: the claim has to see what it changed.
            sqlx::query!(
                "UPDATE cluster_node SET state = 'expired', ended_at = clock_timestamp()
                 WHERE node_id IN (SELECT node_id FROM cluster_node
                     WHERE state IN ('active', 'draining') AND expires_at <= clock_timestamp() AND node_id <> $1
                     FOR NO KEY UPDATE SKIP LOCKED)",
                node.0
            )
            .execute(&mut *tx)
            .await?;
        }
        let rows = sqlx::query!(
            r#"WITH free AS (
                 SELECT shard_id, owner, last_owner FROM shard
                 WHERE shard_id = ANY($2)
                   AND (owner IS NULL OR owner IN (SELECT node_id FROM cluster_node WHERE state IN ('expired', 'left')))
                 ORDER BY shard_id FOR NO KEY UPDATE SKIP LOCKED
             ), claimed AS (
                 UPDATE shard s SET owner = $1, last_owner = $1, epoch = s.epoch + 1, claimed_at = clock_timestamp(), activated_at = NULL
                 FROM free WHERE s.shard_id = free.shard_id
                 RETURNING s.shard_id, s.epoch, free.owner AS from_owner, free.last_owner, s.claimed_at
             ), journal AS (
                 INSERT INTO shard_move (shard_id, epoch, from_node, to_node, reason, moved_at)
                 SELECT c.shard_id, c.epoch, n.name, $3,
                     coalesce(e.state, CASE WHEN c.last_owner IS NULL THEN 'free' ELSE 'released' END), c.claimed_at
                 FROM claimed c
                 LEFT JOIN cluster_node e ON e.node_id = c.from_owner AND e.state IN ('expired', 'left')
                 LEFT JOIN cluster_node n ON n.node_id = c.last_owner
             )
             SELECT shard_id AS "shard_id!", epoch AS "epoch!" FROM claimed, (SELECT pg_notify('nexmdm_placement', 'claimed')) notified"#,
            node.0,
            &wanted,
            me.name
        )
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(rows.into_iter().map(|row| ClaimedShard { shard: ShardId(row.shard_id as u16), epoch: Epoch(row.epoch) }).collect())
    }

    /// Notes that the owner of these shards has their devices running. Answers for how many that
    /// is still so: for a deposed owner it is none.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn report_activated(&self, node: NodeId, shards: &[ClaimedShard]) -> Result<u64, StoreError> {
        let (ids, epochs) = columns(shards);
        Ok(sqlx::query!(
            "UPDATE shard s SET activated_at = clock_timestamp() FROM UNNEST($2::integer[], $3::bigint[]) AS a(shard_id, epoch)
             WHERE s.shard_id = a.shard_id AND s.owner = $1 AND s.epoch = a.epoch",
            node.0,
            &ids,
            &epochs
        )
        .execute(&self.pool)
        .await?
        .rows_affected())
    }

    /// Lets drained shards go, and tells the others.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn release_shards(&self, node: NodeId, shards: &[ClaimedShard]) -> Result<u64, StoreError> {
        let (ids, epochs) = columns(shards);
        let released = sqlx::query!(
            "UPDATE shard s SET owner = NULL FROM UNNEST($2::integer[], $3::bigint[]) AS a(shard_id, epoch)
             WHERE s.shard_id = a.shard_id AND s.owner = $1 AND s.epoch = a.epoch",
            node.0,
            &ids,
            &epochs
        )
        .execute(&self.pool)
        .await?
        .rows_affected();
        self.notify_placement().await?;
        Ok(released)
    }

    /// Makes a live node drain, or take shards again. Returns whether there is such a node.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn set_draining(&self, name: &str, draining: bool, by: &Principal, now: Timestamp) -> Result<bool, StoreError> {
        let state = if draining { "draining" } else { "active" };
        let mut tx = self.begin().await?;
        let before = sqlx::query_scalar!(
            "UPDATE cluster_node n SET state = $2
             FROM (SELECT node_id, state FROM cluster_node WHERE name = $1 AND state IN ('active', 'draining') FOR NO KEY UPDATE) b
             WHERE n.node_id = b.node_id RETURNING b.state",
            name,
            state
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(before) = before else { return Ok(false) };
        if before != state {
            let action = if draining { AuditAction::NodeDrained } else { AuditAction::NodeResumed };
            let entry = AuditEntry::new(by, action, Target::Node(name.to_owned()));
            append(&mut tx, &entry.before(json!({ "state": before })).after(json!({ "state": state })), now).await?;
        }
        tx.commit().await?;
        self.notify_placement().await?;
        Ok(true)
    }

    /// How many shards the live node of this name owns; `None` when there is none.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn shards_of(&self, name: &str) -> Result<Option<i64>, StoreError> {
        Ok(sqlx::query_scalar!(
            r#"SELECT (SELECT count(*) FROM shard s WHERE s.owner = n.node_id) AS "shards!"
               FROM cluster_node n WHERE n.name = $1 AND n.state IN ('active', 'draining')"#,
            name
        )
        .fetch_optional(&self.pool)
        .await?)
    }

    /// Says goodbye: whatever the node still owns is free from now on.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn leave_cluster(&self, node: NodeId) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE cluster_node SET state = 'left', ended_at = clock_timestamp()
             WHERE node_id = $1 AND state IN ('active', 'draining')",
            node.0
        )
        .execute(&self.pool)
        .await?;
        self.notify_placement().await
    }

    /// The newest moves of shards, those of one second together.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn shard_moves(&self, limit: i64) -> Result<Vec<ShardMoves>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT from_node, to_node, reason, count(*) AS "shards!", max(moved_at) AS "at!"
               FROM shard_move WHERE moved_at > clock_timestamp() - interval '7 days'
               GROUP BY date_trunc('second', moved_at), from_node, to_node, reason ORDER BY max(moved_at) DESC LIMIT $1"#,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| ShardMoves { from: row.from_node, to: row.to_node, reason: row.reason, shards: row.shards, at: row.at })
            .collect())
    }

    /// Forgets at most `limit` moves of shards that were 30 days ago. Answers how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_shard_moves(&self, limit: i64) -> Result<u64, StoreError> {
        let purged = sqlx::query!(
            "DELETE FROM shard_move WHERE shard_move_id = ANY(ARRAY(
                 SELECT shard_move_id FROM shard_move WHERE moved_at < clock_timestamp() - interval '30 days' LIMIT $1))",
            limit
        );
        Ok(purged.execute(&self.pool).await?.rows_affected())
    }

    /// Forgets at most `limit` nodes that ended 30 days ago and own nothing. Answers how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_ended_nodes(&self, limit: i64) -> Result<u64, StoreError> {
        let purged = sqlx::query!(
            "DELETE FROM cluster_node WHERE node_id = ANY(ARRAY(
                 SELECT node_id FROM cluster_node n WHERE ended_at < clock_timestamp() - interval '30 days'
                   AND NOT EXISTS (SELECT FROM shard s WHERE s.owner = n.node_id) LIMIT $1))",
            limit
        );
        Ok(purged.execute(&self.pool).await?.rows_affected())
    }

    /// Listens to what other nodes tell; holds a connection of its own.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn listen(&self) -> Result<Listener, StoreError> {
        let all = [channels::PLACEMENT, channels::DEVICE, channels::ACCOUNT, channels::COMMAND, channels::DEPLOYMENT, channels::ALERT];
        Ok(Listener(self.pool.listen(&all).await?))
    }

    async fn notify_placement(&self) -> Result<(), StoreError> {
        sqlx::query!("SELECT pg_notify($1, '')", channels::PLACEMENT).execute(&self.pool).await?;
        Ok(())
    }
}

fn columns(shards: &[ClaimedShard]) -> (Vec<i32>, Vec<i64>) {
    shards.iter().map(|claimed| (i32::from(claimed.shard.0), claimed.epoch.0)).unzip()
}
