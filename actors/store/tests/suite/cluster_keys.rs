//! Replacing the keys that the nodes of a cluster share.

use store::Rekeyed;
use test_database::TestDatabase;

use crate::common::{at, console};

#[tokio::test]
async fn keys_are_replaced_while_no_node_runs_and_the_master_key_never() {
    let db = TestDatabase::new().await;
    let store = db.store();
    let rekey = async |name: &str, keys: &[u8], master: &[u8]| store.rekey_cluster(name, keys, master, &console(), at(0)).await.unwrap();
    assert_eq!(rekey("one", b"keys 2", b"master").await, Rekeyed::NoCluster);
    store.cluster_identity("one", b"keys 1").await.unwrap();
    assert_eq!(rekey("two", b"keys 2", b"master").await, Rekeyed::OtherCluster("one".into()));
    assert_eq!(rekey("one", b"keys 2", b"master").await, Rekeyed::MasterKeyUnknown);
    store.keep_master_digest(b"master").await.unwrap();
    store.keep_master_digest(b"another").await.unwrap();
    assert_eq!(store.master_digest().await.unwrap().as_deref(), Some(&b"master"[..]), "the first one stays");
    assert_eq!(rekey("one", b"keys 2", b"another").await, Rekeyed::OtherMasterKey);
    db.execute(
        "INSERT INTO cluster_node (node_id, name, cluster_addr, http_url, version, protocol_min, protocol_max, lock_identity, state, expires_at)
         VALUES (gen_random_uuid(), 'a', '', '', '', 1, 1, '', 'active', clock_timestamp() + interval '1 hour')",
    )
    .await;
    assert_eq!(rekey("one", b"keys 2", b"master").await, Rekeyed::LiveNodes(1));
    db.execute("UPDATE cluster_node SET expires_at = clock_timestamp() - interval '1 second'").await;
    assert_eq!(rekey("one", b"keys 1", b"master").await, Rekeyed::Unchanged);
    assert_eq!(db.value::<i64>("SELECT count(*) FROM audit_entry").await, 0, "nothing has changed yet");
    assert_eq!(rekey("one", b"keys 2", b"master").await, Rekeyed::Replaced);
    assert_eq!(store.cluster_identity("one", b"keys 3").await.unwrap().1, b"keys 2");
    assert_eq!(db.value::<String>("SELECT action FROM audit_entry").await, "node.keys_replaced");
}
