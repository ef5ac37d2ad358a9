//! Shards: claimed under a lease, each claim in an epoch of its own.

use domain::NodeId;
use domain::shard::{Epoch, ShardId};
use store::ClaimedShard;
use test_database::TestDatabase;

use crate::common::{at, console, new_node, uuid};

async fn join(db: &TestDatabase, number: u32) -> NodeId {
    let node = new_node(number, &format!("n{number}"));
    db.store().join_cluster(&node, 60_000).await.unwrap();
    node.id
}

async fn run_out(db: &TestDatabase, id: NodeId) {
    db.execute(&format!("UPDATE cluster_node SET expires_at = clock_timestamp() - interval '1 s' WHERE node_id = '{id}'")).await;
}

fn shards(ids: &[u16]) -> Vec<ShardId> {
    ids.iter().copied().map(ShardId).collect()
}

async fn claim(db: &TestDatabase, node: NodeId, ids: &[u16], may_expire: bool) -> Vec<ClaimedShard> {
    let mut claimed = db.store().claim_shards(node, &shards(ids), may_expire).await.unwrap();
    claimed.sort_by_key(|claimed| claimed.shard);
    claimed
}

fn claimed(shard: u16, epoch: i64) -> ClaimedShard {
    ClaimedShard { shard: ShardId(shard), epoch: Epoch(epoch) }
}

/// Owner and epoch of a shard.
async fn owner(db: &TestDatabase, shard: usize) -> (Option<NodeId>, i64) {
    let row = db.store().shards().await.unwrap()[shard];
    (row.owner, row.epoch.0)
}

/// The journal of moves: from, to, reason.
async fn journal(db: &TestDatabase) -> Vec<String> {
    db.values("SELECT concat_ws(' ', shard_id, epoch, coalesce(from_node, '-'), to_node, reason) FROM shard_move ORDER BY shard_id, epoch")
        .await
}

#[tokio::test]
async fn there_are_as_many_shards_as_the_domain_knows() {
    let db = TestDatabase::new().await;
    let rows = db.store().shards().await.unwrap();
    assert_eq!(rows.iter().map(|row| row.shard).collect::<Vec<_>>(), ShardId::all().collect::<Vec<_>>());
    assert!(rows.iter().all(|row| row.owner.is_none() && row.epoch == Epoch(0)));
}

#[tokio::test]
async fn a_free_shard_is_claimed_once() {
    let db = TestDatabase::new().await;
    let (a, b) = (join(&db, 1).await, join(&db, 2).await);
    assert_eq!(claim(&db, a, &[3, 4], true).await, [claimed(3, 1), claimed(4, 1)]);
    assert_eq!(claim(&db, b, &[4, 5], true).await, [claimed(5, 1)], "a living owner keeps its shard");
    assert!(claim(&db, a, &[3], true).await.is_empty(), "not even the owner claims it again");
    assert_eq!(owner(&db, 4).await, (Some(a), 1));
    assert_eq!(journal(&db).await, ["3 1 - n1 free", "4 1 - n1 free", "5 1 - n2 free"]);
}

#[tokio::test]
async fn nodes_that_claim_at_once_share_without_overlap() {
    let db = TestDatabase::new().await;
    let (a, b) = (join(&db, 1).await, join(&db, 2).await);
    let all: Vec<_> = (0..256).collect();
    let backwards: Vec<_> = (0..256).rev().collect();
    let both = tokio::join!(claim(&db, a, &all, true), claim(&db, b, &backwards, true));
    assert_eq!(both.0.len() + both.1.len(), 256);
    assert!(db.store().shards().await.unwrap().iter().all(|row| row.epoch == Epoch(1)));
}

#[tokio::test]
async fn shards_of_a_node_whose_lease_ran_out_are_taken_when_that_may_be_noted() {
    let db = TestDatabase::new().await;
    let (a, b) = (join(&db, 1).await, join(&db, 2).await);
    claim(&db, a, &[3], true).await;
    run_out(&db, a).await;
    assert!(claim(&db, b, &[3], false).await.is_empty(), "nobody has noted that the lease ran out");
    assert_eq!(claim(&db, b, &[3], true).await, [claimed(3, 2)]);
    assert_eq!(owner(&db, 3).await, (Some(b), 2));
    assert_eq!(journal(&db).await, ["3 1 - n1 free", "3 2 n1 n2 expired"]);
}

#[tokio::test]
async fn a_node_without_a_lease_claims_nothing_and_ends_nobody() {
    let db = TestDatabase::new().await;
    let (a, b) = (join(&db, 1).await, join(&db, 2).await);
    claim(&db, a, &[3], true).await;
    run_out(&db, a).await;
    run_out(&db, b).await;
    assert!(claim(&db, b, &[3, 4], true).await.is_empty());
    assert_eq!(db.store().renew_lease(a, 60_000).await.unwrap().map(|state| state.is_live()), Some(true));
    db.store().leave_cluster(b).await.unwrap();
    assert!(claim(&db, b, &[4], true).await.is_empty(), "it has left");
    assert!(claim(&db, NodeId(uuid(9)), &[4], true).await.is_empty(), "it never joined");
}

#[tokio::test]
async fn a_node_whose_renewal_is_under_way_is_not_ended() {
    let db = TestDatabase::new().await;
    let (a, b) = (join(&db, 1).await, join(&db, 2).await);
    claim(&db, a, &[3], true).await;
    run_out(&db, a).await;
    let mut renewal = db.pool().begin().await.unwrap();
    sqlx::query("UPDATE cluster_node SET expires_at = clock_timestamp() + interval '1 min' WHERE node_id = $1")
        .bind(a.0)
        .execute(&mut *renewal)
        .await
        .unwrap();
    assert!(claim(&db, b, &[3], true).await.is_empty());
    renewal.commit().await.unwrap();
    assert!(claim(&db, b, &[3], true).await.is_empty());
    assert_eq!(owner(&db, 3).await, (Some(a), 1));
}

#[tokio::test]
async fn a_claim_leaves_out_what_a_frozen_node_holds_and_lets_its_own_node_renew() {
    let db = TestDatabase::new().await;
    let (a, b) = (join(&db, 1).await, join(&db, 2).await);
    claim(&db, a, &[3, 4], true).await;
    run_out(&db, a).await;
    // As a writer of the owner holds it, between two statements.
    let mut frozen = db.pool().begin().await.unwrap();
    sqlx::query("SELECT epoch FROM shard WHERE shard_id = 3 FOR SHARE").execute(&mut *frozen).await.unwrap();
    assert_eq!(claim(&db, b, &[3, 4], true).await, [claimed(4, 2)]);
    assert!(db.store().renew_lease(b, 60_000).await.unwrap().is_some());
    frozen.rollback().await.unwrap();
    assert_eq!(claim(&db, b, &[3], true).await, [claimed(3, 2)]);
}

#[tokio::test]
async fn a_deposed_owner_neither_activates_nor_releases() {
    let db = TestDatabase::new().await;
    let (a, b) = (join(&db, 1).await, join(&db, 2).await);
    let old = claim(&db, a, &[3, 4], true).await;
    assert_eq!(db.store().report_activated(a, &old).await.unwrap(), 2);
    db.store().leave_cluster(a).await.unwrap();
    let new = claim(&db, b, &[3], true).await;
    assert_eq!(db.value::<i64>("SELECT count(*) FROM shard WHERE activated_at IS NOT NULL").await, 1, "a claim begins anew");
    assert_eq!(db.store().report_activated(a, &old).await.unwrap(), 1);
    assert_eq!(db.store().report_activated(b, &[claimed(3, 1)]).await.unwrap(), 0, "of an epoch that is over");
    assert_eq!(db.store().release_shards(a, &old).await.unwrap(), 1);
    assert_eq!(db.store().release_shards(b, &[claimed(3, 1)]).await.unwrap(), 0);
    assert_eq!((owner(&db, 3).await, owner(&db, 4).await), ((Some(b), 2), (None, 1)));
    assert_eq!(db.store().report_activated(b, &new).await.unwrap(), 1);
    assert_eq!(journal(&db).await[1], "3 2 n1 n2 left");
}

#[tokio::test]
async fn a_released_shard_is_free_and_its_journal_knows_the_last_owner() {
    let db = TestDatabase::new().await;
    let (a, b) = (join(&db, 1).await, join(&db, 2).await);
    let held = claim(&db, a, &[3], true).await;
    assert_eq!(db.store().release_shards(a, &held).await.unwrap(), 1);
    assert_eq!(claim(&db, b, &[3], true).await, [claimed(3, 2)]);
    assert_eq!(journal(&db).await[1], "3 2 n1 n2 released");
}

#[tokio::test]
async fn shards_of_living_nodes_are_counted() {
    let db = TestDatabase::new().await;
    let a = join(&db, 1).await;
    claim(&db, a, &[1, 2, 3], true).await;
    assert_eq!(db.store().shards_of("n1").await.unwrap(), Some(3));
    db.store().set_draining("n1", true, &console(), at(0)).await.unwrap();
    assert_eq!(db.store().shards_of("n1").await.unwrap(), Some(3));
    db.store().leave_cluster(a).await.unwrap();
    assert_eq!(db.store().shards_of("n1").await.unwrap(), None);
}

#[tokio::test]
async fn moves_of_one_second_are_notified_together_newest_first() {
    let db = TestDatabase::new().await;
    let a = join(&db, 1).await;
    claim(&db, a, &[1, 2, 3], true).await;
    db.execute("UPDATE shard_move SET moved_at = date_trunc('second', now()) - interval '1 h' + shard_id * interval '1 ms'").await;
    db.store().leave_cluster(a).await.unwrap();
    let b = join(&db, 2).await;
    claim(&db, b, &[1], true).await;
    let notified = db.store().shard_moves(9).await.unwrap();
    let notified: Vec<_> =
        notified.iter().map(|moves| (moves.from.as_deref(), moves.to.as_str(), moves.reason.as_str(), moves.shards)).collect();
    assert_eq!(notified, [(Some("n1"), "n2", "left", 1), (None, "n1", "free", 3)]);
    assert_eq!(db.store().shard_moves(1).await.unwrap().len(), 1);
    db.execute("UPDATE shard_move SET moved_at = now() - interval '8 days' WHERE epoch = 1").await;
    assert_eq!(db.store().shard_moves(9).await.unwrap().len(), 1, "of the last week");
    db.execute("UPDATE shard_move SET moved_at = now() - interval '31 days' WHERE epoch = 1").await;
    assert_eq!(db.store().purge_shard_moves(2).await.unwrap(), 2, "no more than are asked for");
    assert_eq!(db.store().purge_shard_moves(2).await.unwrap(), 1);
    assert_eq!(journal(&db).await.len(), 1);
}

#[tokio::test]
async fn an_ended_node_stays_while_shards_name_it() {
    let db = TestDatabase::new().await;
    let a = join(&db, 1).await;
    claim(&db, a, &[1], true).await;
    db.store().leave_cluster(a).await.unwrap();
    db.execute("UPDATE cluster_node SET ended_at = now() - interval '31 days'").await;
    db.store().purge_ended_nodes(9).await.unwrap();
    assert_eq!(db.value::<i64>("SELECT count(*) FROM cluster_node").await, 1);
    let b = join(&db, 2).await;
    assert_eq!(claim(&db, b, &[1], true).await, [claimed(1, 2)]);
    db.store().purge_ended_nodes(9).await.unwrap();
    assert_eq!(db.values::<String>("SELECT name FROM cluster_node").await, ["n2"]);
}
