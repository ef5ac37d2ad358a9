//! Whole backups between real databases.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use domain::access::Principal;
use domain::{ApkId, NodeId, Timestamp};
use futures_util::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectKey;
use object_store::{ObjectStore, ObjectStoreExt};
use secrecy::ExposeSecret;
use sha2::Digest as _;
use store::{JoinOutcome, NewNode, Store};
use test_database::TestDatabase;
use uuid::Uuid;

use super::*;

const APK: u128 = 0xa;
const APK_BYTES: &[u8] = b"PK and much more";
const ARCHIVE: &str = "heartbeats/2026-05-01.parquet";

fn now() -> Timestamp {
    Timestamp::from_timestamp(1_780_315_200, 0).unwrap()
}

fn silent() -> Progress {
    Arc::new(|_, _| ())
}

fn by() -> Principal {
    Principal::Console { os_user: "root".into() }
}

fn passphrase() -> Option<secrecy::SecretString> {
    Some("correct horse battery".into())
}

fn keys() -> Vec<crate::Key> {
    KEY_NAMES.into_iter().map(|name| crate::Key { name, hex: hex::encode(name.repeat(8)).into() }).collect()
}

/// A place with a database, stores and a data folder of its own.
struct Place {
    db: TestDatabase,
    apks: Arc<InMemory>,
    archives: Arc<InMemory>,
    folder: tempfile::TempDir,
}

impl Place {
    async fn new() -> Self {
        Self { db: TestDatabase::new().await, apks: Arc::default(), archives: Arc::default(), folder: tempfile::tempdir().unwrap() }
    }

    fn sources(&self) -> Sources {
        let apks: Arc<dyn ObjectStore> = self.apks.clone();
        let archives: Arc<dyn ObjectStore> = self.archives.clone();
        Sources { store: self.db.store().clone(), keys: keys(), apks, archives: Some(archives) }
    }

    fn target(&self) -> Target {
        let apks: Arc<dyn ObjectStore> = self.apks.clone();
        let archives: Arc<dyn ObjectStore> = self.archives.clone();
        let key = |name: &str| {
            let file = self.key_file(name);
            TargetKey { found: std::fs::read_to_string(&file).ok().map(Into::into), file, is_given: false }
        };
        let mark = self.mark();
        Target { store: self.db.store().clone(), keys: KEY_NAMES.map(key), apks, archives: Some(archives), mark }
    }

    fn mark(&self) -> std::path::PathBuf {
        self.folder.path().join("restore.unfinished")
    }

    fn key_file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("secrets").join(format!("{name}.key"))
    }

    async fn create(&self, file: &Path) -> Result<Created, BackupError> {
        let options = CreateOptions { work_factor: 2, verify: true, ..CreateOptions::new(passphrase(), "1.2.3") };
        create(&self.sources(), file, &options, silent()).await
    }

    async fn restore(&self, file: &Path, force: bool) -> Result<Restored, BackupError> {
        let options = RestoreOptions { passphrase: passphrase(), force, by: by(), now: now() };
        restore(file, &self.target(), &options, silent()).await
    }

    async fn refusal(&self, file: &Path, force: bool) -> String {
        self.restore(file, force).await.unwrap_err().to_string()
    }

    /// Rows of every kind of value and relation.
    async fn fill(&self) {
        // By hand: on an older schema as well.
        for (day, next) in [("2026-05-31", "2026-06-01"), ("2026-06-01", "2026-06-02")] {
            let table = format!("heartbeats_p{}", day.replace('-', ""));
            let range = format!("FROM ('{day}T00:00:00Z') TO ('{next}T00:00:00Z')");
            self.db.execute(&format!("CREATE TABLE {table} PARTITION OF heartbeats FOR VALUES {range}")).await;
        }
        self.db.execute("CREATE TABLE heartbeats_p20260510 (LIKE heartbeats INCLUDING ALL)").await;
        let sha256 = hex::encode(sha2::Sha256::digest(APK_BYTES));
        let (apk, size) = (Uuid::from_u128(APK), APK_BYTES.len());
        self.db
            .execute(&format!(
                r#"
            INSERT INTO app_user (user_id, username, password_bcrypt, role, created_at, password_changed_at)
                VALUES ('00000000-0000-7000-8000-000000000001', 'ann', 'bcrypt', 'admin', now(), now()),
                       ('00000000-0000-7000-8000-000000000002', 'bob', 'bcrypt', 'viewer', now(), now());
            INSERT INTO user_session (session_id, user_id, refresh_sha256, created_at, rotated_at, expires_at, address)
                VALUES (gen_random_uuid(), '00000000-0000-7000-8000-000000000001', '\x01', now(), now(), now() + interval '1 day', '192.0.2.1');
            INSERT INTO device (device_id, alias, tags, groups, model, enrolled_at)
                VALUES ('00000000-0000-7000-8000-000000000011', E'tab\there\nand \\. line', ARRAY['a,b', '{{c}}', 'NULL', ''], ARRAY[]::text[], NULL, now()),
                       ('00000000-0000-7000-8000-000000000012', 'Gerät ☃ 🦀', '{{}}', ARRAY['shop'], '', now());
            INSERT INTO device_token (device_token_id, device_id, secret_bcrypt, generation, created_at)
                VALUES (gen_random_uuid(), '00000000-0000-7000-8000-000000000011', 'b', 1, now());
            INSERT INTO device_last_status (device_id, bucket_at, received_at, last_seen_at, clock_rejected, battery_temperature_c, details)
                VALUES ('00000000-0000-7000-8000-000000000011', now(), now(), now(), false, 36.6, '{{"a": "b\\nc", "d": [1, null]}}');
            INSERT INTO heartbeats (device_id, bucket_at, received_at, clock_rejected, battery_pct)
                SELECT '00000000-0000-7000-8000-000000000011', '2026-05-31T22:00:00Z'::timestamptz + n * interval '10 s', now(), false, n % 100
                FROM generate_series(0, 1999) n;
            INSERT INTO heartbeats (device_id, bucket_at, received_at, clock_rejected) VALUES
                ('00000000-0000-7000-8000-000000000012', '1999-01-01T00:00:00Z', now(), true);
            INSERT INTO device_event (device_id, kind, at, detail) SELECT '00000000-0000-7000-8000-000000000012', 'online', now(), '{{}}'
                FROM generate_series(1, 5);
            INSERT INTO managed_package (package, signers_sha256, note, updated_by, updated_at)
                VALUES ('org.example', ARRAY[repeat('ab', 32)], '', 'ann', now());
            INSERT INTO apk (apk_id, package, version_code, version_name, label, sha256, size_bytes, signers_sha256, icon, icon_type, uploaded_by, uploaded_at)
                VALUES ('{apk}', 'org.example', 1, '1', 'x', '{sha256}', {size}, ARRAY[repeat('ab', 32)], '\x0009ff5c', 'image/png', 'ann', now())
            "#
            ))
            .await;
        self.apks.put(&ObjectKey::from(format!("apks/{}.apk", ApkId(apk))), Bytes::from_static(APK_BYTES).into()).await.unwrap();
        // Not a multiple of a block, and several pieces.
        self.archives.put(&ObjectKey::from(ARCHIVE), Bytes::from(vec![7_u8; 3_000_001]).into()).await.unwrap();
        self.archives.put(&ObjectKey::from("incoming/half"), Bytes::from_static(b"half").into()).await.unwrap();
    }

    /// Rows of a table as one text.
    async fn rows(&self, table: &str) -> String {
        self.db
            .value(&format!("SELECT count(*)::text || ' ' || coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM {table} t"))
            .await
    }

    async fn tables(&self) -> Vec<String> {
        let tables = "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname";
        self.db.values(tables).await
    }

    fn files(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.folder.path()).unwrap();
        names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }
}

async fn object(store: &InMemory, key: &str) -> Bytes {
    let pieces: Vec<Bytes> = store.get(&ObjectKey::from(key)).await.unwrap().into_stream().try_collect().await.unwrap();
    pieces.concat().into()
}

fn node(number: u128, name: &str) -> NewNode {
    NewNode {
        id: NodeId(Uuid::from_u128(number)),
        name: name.into(),
        cluster_addr: "127.0.0.1:1".into(),
        http_url: "http://127.0.0.1:1".into(),
        version: "1".into(),
        protocol_min: 1,
        protocol_max: 2,
        lock_identity: name.into(),
    }
}

#[tokio::test]
async fn everything_comes_back_and_nothing_of_before_owns_anything() {
    let (from, to) = (Place::new().await, Place::new().await);
    from.fill().await;
    let store = from.db.store();
    store.join_cluster(&node(1, "old"), 60_000).await.unwrap();
    let shards: Vec<_> = (0..4).map(domain::shard::ShardId).collect();
    assert_eq!(store.claim_shards(NodeId(Uuid::from_u128(1)), &shards, false).await.unwrap().len(), 4);
    let file = from.folder.path().join("a.backup");
    let created = from.create(&file).await.unwrap();
    assert!(created.is_verified && created.digest.problems.is_empty(), "{:?}", created.digest.problems);
    assert_eq!((created.manifest.devices, created.digest.count_in("apks"), created.digest.count_in("archives")), (2, 1, 1));

    let restored = to.restore(&file, false).await.unwrap();
    assert_eq!((restored.sign_ins_ended, restored.tables_left_out.len()), (1, 0));
    assert_eq!(to.tables().await, from.tables().await, "partitions by day as well");
    // What a restore changes, and says.
    let changed = ["audit_entry", "audit_head", "audit_name", "cluster_node", "shard", "user_session", "_sqlx_migrations"];
    for table in from.tables().await.iter().filter(|table| !changed.contains(&table.as_str())) {
        assert_eq!(to.rows(table).await, from.rows(table).await, "{table}");
    }
    assert_eq!(to.db.value::<i64>("SELECT count(*) FROM heartbeats_p20260531").await, 720);
    assert_eq!(to.db.value::<i64>("SELECT count(*) FROM heartbeats_default").await, 1);
    assert_eq!(object(&to.apks, &format!("apks/{}.apk", Uuid::from_u128(APK))).await, APK_BYTES);
    assert_eq!(object(&to.archives, ARCHIVE).await.len(), 3_000_001);
    assert!(to.archives.get(&ObjectKey::from("incoming/half")).await.is_err());
    for key in keys() {
        assert_eq!(std::fs::read_to_string(to.key_file(key.name)).unwrap(), key.hex.expose_secret());
    }

    // Keys, triggers and sequences work as before.
    let keys = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated";
    assert_eq!(to.db.value::<i64>(keys).await, from.db.value::<i64>(keys).await);
    assert_eq!(to.db.value::<i64>("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgenabled = 'D'").await, 0);
    to.db.execute("INSERT INTO device_event (device_id, kind, at) VALUES ('00000000-0000-7000-8000-000000000012', 'online', now())").await;
    assert_eq!(to.db.values::<String>("SELECT action FROM audit_entry ORDER BY seq DESC LIMIT 1").await, ["backup.restored"]);

    // A node of before that still lives owns nothing, and none of its epochs is ever given out again.
    let to_store = to.db.store();
    assert_eq!(to_store.renew_lease(NodeId(Uuid::from_u128(1)), 60_000).await.unwrap(), None);
    assert_eq!(to.db.value::<i64>("SELECT count(*) FROM shard WHERE owner IS NOT NULL").await, 0);
    assert!(to.db.value::<bool>("SELECT min(epoch) > 1000000000 FROM shard").await);
    assert_eq!(to_store.join_cluster(&node(2, "old"), 60_000).await.unwrap(), JoinOutcome::Joined);
    assert_eq!(to_store.claim_shards(NodeId(Uuid::from_u128(2)), &shards, false).await.unwrap().len(), 4);
    assert!(!to.mark().exists() && to_store.unfinished_restore().await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_committed_before_it_began_is_in_it_and_what_comes_later_is_not() {
    let place = Place::new().await;
    place.fill().await;
    let mut snapshot = place.db.store().snapshot().await.unwrap();
    let late = "INSERT INTO device (device_id, alias, enrolled_at) VALUES (gen_random_uuid(), 'late', now())";
    place.db.execute(late).await;
    place.db.execute("DELETE FROM heartbeats WHERE battery_pct < 50").await;
    // The table of a day cannot go meanwhile, and whoever tries does not wait for long.
    let day = domain::partition::day_of("heartbeats_p20260510").unwrap();
    let dropped = place.db.store().drop_detached(day, "", now()).await;
    assert!(dropped.as_ref().is_err_and(store::StoreError::is_lock_timeout), "{dropped:?}");
    let mut connection = place.db.pool().acquire().await.unwrap();
    let mut rows = std::collections::BTreeMap::new();
    for table in snapshot.tables.clone() {
        let lines: Vec<Bytes> = snapshot.rows(&table).await.unwrap().try_collect().await.unwrap();
        rows.insert(table.name, lines.concat().iter().filter(|byte| **byte == b'\n').count());
    }
    // Tables are locked only while they are read: a migration of the heartbeats and all of their days goes on at once.
    let last = snapshot.tables.last().unwrap().name.clone();
    assert!(!last.starts_with("heartbeats"), "{last}");
    let alter =
        "SET LOCAL lock_timeout = '50ms'; ALTER TABLE heartbeats ADD COLUMN x int; LOCK TABLE heartbeats_p20260510, device, apk, cluster";
    sqlx_raw(&mut connection, &format!("BEGIN; {alter}; ROLLBACK")).await.unwrap();
    snapshot.end().await.unwrap();
    assert!(!place.db.store().drop_detached(day, "", now()).await.unwrap(), "only what is archived goes, and nothing holds it any more");
    assert_eq!((rows["device"], rows["heartbeats_p20260531"] + rows["heartbeats_p20260601"], rows["heartbeats_default"]), (2, 2000, 1));
}

async fn sqlx_raw(connection: &mut sqlx::PgConnection, sql: &str) -> Result<(), String> {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(connection).await.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_restore_refuses_to_lose_anything_and_live_nodes() {
    let (from, to) = (Place::new().await, Place::new().await);
    from.fill().await;
    let file = from.folder.path().join("a.backup");
    from.create(&file).await.unwrap();
    to.fill().await;
    to.db.execute("UPDATE device SET alias = 'mine' WHERE model IS NULL").await;
    let error = to.refusal(&file, false).await;
    assert!(error.contains("2 devices") && error.contains("--force"), "{error}");
    to.db.store().join_cluster(&node(9, "alive"), 60_000).await.unwrap();
    for force in [false, true] {
        let error = to.refusal(&file, force).await;
        assert!(error.contains("alive"), "{error}");
    }
    assert_eq!(to.db.value::<i64>("SELECT count(*) FROM device WHERE alias = 'mine'").await, 1, "nothing was changed");
    assert!(!to.mark().exists(), "and nothing stays marked");
    to.db.store().leave_cluster(NodeId(Uuid::from_u128(9))).await.unwrap();
    // Another key is as much a loss.
    std::fs::create_dir_all(to.folder.path().join("secrets")).unwrap();
    std::fs::write(to.key_file("master"), "aa".repeat(32)).unwrap();
    to.db.execute("DELETE FROM device; DELETE FROM app_user").await;
    let error = to.refusal(&file, false).await;
    assert!(error.contains("master.key") && error.contains("--force"), "{error}");
    assert!(!to.mark().exists());
    to.restore(&file, true).await.unwrap();
    assert_eq!(to.rows("device").await, from.rows("device").await);
    assert_eq!(std::fs::read_to_string(to.key_file("master")).unwrap(), keys()[0].hex.expose_secret());
    // Twice is the same again.
    to.restore(&file, true).await.unwrap();
    assert_eq!(to.rows("heartbeats").await, from.rows("heartbeats").await);
}

#[tokio::test]
async fn a_restore_that_does_not_end_is_known_and_can_be_repeated() {
    let (from, to) = (Place::new().await, Place::new().await);
    from.fill().await;
    let file = from.folder.path().join("a.backup");
    from.create(&file).await.unwrap();
    // What a kill leaves: the mark, and an empty schema.
    drop(to.db.store().begin_restore("a.backup", Store::newest_migration()).await.unwrap().unwrap());
    assert_eq!(to.db.store().unfinished_restore().await.unwrap().as_deref(), Some("a.backup"));
    to.restore(&file, false).await.unwrap();
    assert_eq!(to.db.store().unfinished_restore().await.unwrap(), None);
    assert_eq!(to.rows("device").await, from.rows("device").await);
}

#[tokio::test]
async fn the_database_of_something_else_stays() {
    let (from, to) = (Place::new().await, Place::new().await);
    let file = from.folder.path().join("a.backup");
    from.create(&file).await.unwrap();
    to.db.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE orders AS SELECT 1 AS id").await;
    assert!(to.refusal(&file, true).await.contains("1 tables or views that are none of NexMDM's (orders)"));
    to.db.execute("DROP TABLE orders").await;
    to.restore(&file, false).await.unwrap();
    assert!(to.db.store().is_migrated().await.unwrap());
    // Beside tables of NexMDM as well.
    to.db.execute("CREATE TABLE orders AS SELECT 1 AS id; CREATE VIEW order_ids AS SELECT id FROM orders").await;
    for force in [false, true] {
        let error = to.refusal(&file, force).await;
        assert!(error.contains("2 tables or views") && error.contains("order_ids, orders"), "{error}");
    }
    assert_eq!(to.db.value::<i64>("SELECT count(*) FROM order_ids").await, 1);
    assert!(!to.mark().exists());
    to.db.execute("DROP VIEW order_ids; DROP TABLE orders; CREATE FUNCTION vat() RETURNS int LANGUAGE sql AS 'SELECT 19'").await;
    to.restore(&file, true).await.unwrap();
    assert_eq!(to.db.value::<i32>("SELECT vat()").await, 19, "nor are its functions");
}

#[tokio::test]
async fn archives_that_others_may_use_are_not_replaced() {
    let (from, to) = (Place::new().await, Place::new().await);
    from.fill().await;
    let file = from.folder.path().join("a.backup");
    from.create(&file).await.unwrap();
    // Of the same size: a newer version in a store that a living cluster uses.
    let newer = Bytes::from(vec![8_u8; 3_000_001]);
    to.archives.put(&ObjectKey::from(ARCHIVE), newer.clone().into()).await.unwrap();
    let error = to.refusal(&file, false).await;
    assert!(error.contains(ARCHIVE) && error.contains("--force"), "{error}");
    assert_eq!(object(&to.archives, ARCHIVE).await, newer);
    assert!(!to.mark().exists() && to.db.store().unfinished_restore().await.unwrap().is_none(), "nothing was begun");
    // Whoever means it, replaces it; the same bytes are left as they are.
    to.restore(&file, true).await.unwrap();
    assert_eq!(object(&to.archives, ARCHIVE).await, object(&from.archives, ARCHIVE).await);
    let version = |place: &Place| {
        let store = place.archives.clone();
        async move { store.head(&ObjectKey::from(ARCHIVE)).await.unwrap().e_tag }
    };
    let before = version(&to).await;
    to.restore(&file, true).await.unwrap();
    assert_eq!(version(&to).await, before, "it was not written again");
}

#[tokio::test]
async fn a_file_comes_before_its_manifest() {
    let place = Place::new().await;
    place.fill().await;
    let manifest = ARCHIVE.replace(".parquet", ".json");
    place.archives.put(&ObjectKey::from(manifest.as_str()), Bytes::from_static(b"{}").into()).await.unwrap();
    let created = place.create(&place.folder.path().join("a.backup")).await.unwrap();
    let archives: Vec<&str> = created.digest.entries.iter().filter_map(|entry| entry.name.strip_prefix("archives/")).collect();
    assert_eq!(archives, [ARCHIVE, manifest.as_str()]);
    assert!(created.digest.problems.is_empty(), "{:?}", created.digest.problems);
    // One that is replaced between the two is told.
    for (sha256, problems) in [(hex::encode(sha2::Sha256::digest(vec![7_u8; 3_000_001])), 0), ("ab".repeat(32), 1)] {
        let json = Bytes::from(format!(r#"{{"sha256": "{sha256}"}}"#));
        place.archives.put(&ObjectKey::from(manifest.as_str()), json.into()).await.unwrap();
        let created = place.create(&place.folder.path().join(format!("{problems}.backup"))).await.unwrap();
        assert_eq!(created.digest.problems.len(), problems, "{:?}", created.digest.problems);
        assert!(created.digest.problems.iter().all(|problem| problem.contains(ARCHIVE)), "{:?}", created.digest.problems);
    }
}

#[tokio::test]
async fn a_backup_from_the_future_says_nothing_of_how_old_the_newest_is() {
    let db = TestDatabase::new().await;
    let made = |hours: i64, id: u128| store::NewBackup {
        record: domain::backup::BackupRecord {
            id: domain::BackupId(Uuid::from_u128(id)),
            started_at: now() + chrono::TimeDelta::hours(hours),
            finished_at: Some(now()),
            file: "/backups/x".to_owned(),
            bytes: 1,
            rows: 1,
            origin: domain::backup::BackupOrigin::Schedule,
            node: "node-1".to_owned(),
            verified_at: None,
            error: None,
        },
        is_encrypted: true,
    };
    for (hours, id) in [(-1, 1), (500, 2)] {
        db.store().record_backup(&made(hours, id), &by(), now()).await.unwrap();
    }
    let newest = db.store().newest_backup(now()).await.unwrap().unwrap();
    assert_eq!(newest.started_at, now() - chrono::TimeDelta::hours(1));
    assert!(!is_due(Some(newest.started_at), chrono::TimeDelta::hours(24), now()), "no backup after the other");
    assert_eq!(db.store().backup_age(now()).await.unwrap(), Some(domain::backup::BackupAge::Made(newest.started_at)));
}

#[tokio::test]
async fn an_older_schema_is_restored_and_brought_up_to_date() {
    const OLDER: i64 = 31;
    let (from, to) = (Place::new().await, Place::new().await);
    let begun = from.db.store().begin_restore("older", OLDER).await.unwrap().unwrap();
    drop(begun);
    from.db.store().end_restore().await.unwrap();
    from.fill().await;
    let file = from.folder.path().join("older.backup");
    assert_eq!(from.create(&file).await.unwrap().manifest.schema, OLDER);
    to.restore(&file, false).await.unwrap();
    assert!(to.db.store().is_migrated().await.unwrap());
    assert_eq!(to.db.value::<i64>("SELECT count(*) FROM backup").await, 0, "tables of later migrations are there");
    assert_eq!(to.db.value::<i64>("SELECT count(*) FROM heartbeats").await, 2001);
}

#[tokio::test]
async fn a_newer_schema_and_damage_are_named_before_anything_changes() {
    let (from, to) = (Place::new().await, Place::new().await);
    from.fill().await;
    let file = from.folder.path().join("a.backup");
    from.create(&file).await.unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let damaged = from.folder.path().join("damaged.backup");
    std::fs::write(&damaged, &bytes).unwrap();
    assert!(to.refusal(&damaged, true).await.contains("damaged"));
    std::fs::write(&damaged, &bytes[..middle]).unwrap();
    assert!(to.refusal(&damaged, true).await.contains("damaged"));
    from.db
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'x', true, '\\x00', 1)",
        )
        .await;
    let newer = from.folder.path().join("newer.backup");
    let options = CreateOptions { work_factor: 2, ..CreateOptions::new(passphrase(), "9.9.9") };
    create(&from.sources(), &newer, &options, silent()).await.unwrap();
    let error = to.refusal(&newer, true).await;
    assert!(error.contains("9999") && error.contains("9.9.9"), "{error}");
    assert_eq!(to.db.store().unfinished_restore().await.unwrap(), None);
    assert!(!to.mark().exists());
}

#[tokio::test]
async fn files_that_are_missing_or_damaged_are_told_and_the_rest_is_there() {
    let place = Place::new().await;
    place.fill().await;
    let apk = ObjectKey::from(format!("apks/{}.apk", Uuid::from_u128(APK)));
    place.apks.put(&apk, Bytes::from_static(b"another file").into()).await.unwrap();
    let created = place.create(&place.folder.path().join("a.backup")).await.unwrap();
    assert_eq!(created.digest.problems.len(), 1, "{:?}", created.digest.problems);
    place.apks.delete(&apk).await.unwrap();
    let created = place.create(&place.folder.path().join("b.backup")).await.unwrap();
    assert!(created.digest.problems[0].contains("no file of APK"), "{:?}", created.digest.problems);
}

#[tokio::test]
async fn a_name_appears_only_for_a_whole_file_and_is_never_taken_twice() {
    let place = Place::new().await;
    place.fill().await;
    let file = place.folder.path().join("a.backup");
    place.create(&file).await.unwrap();
    let before = std::fs::read(&file).unwrap();
    assert!(matches!(place.create(&file).await, Err(BackupError::Exists(_))));
    assert_eq!(std::fs::read(&file).unwrap(), before);
    // One that is given up in the middle leaves nothing.
    let seen = Arc::new(AtomicU64::new(0));
    let noted = Arc::clone(&seen);
    let options = CreateOptions { work_factor: 2, ..CreateOptions::new(passphrase(), "1") };
    let other = place.folder.path().join("b.backup");
    let sources = place.sources();
    let work = create(&sources, &other, &options, Arc::new(move |_, bytes| noted.store(bytes, Ordering::Relaxed)));
    let begun = async {
        while seen.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = begun => {}
        made = work => drop(made),
    }
    assert!(!other.exists());
    assert_eq!(place.files().iter().filter(|name| name.ends_with(".partial")).count(), 0, "{:?}", place.files());
    let absent = place.folder.path().join("absent/c.backup");
    assert!(place.create(&absent).await.unwrap_err().to_string().contains("absent"));
}

#[tokio::test]
async fn a_full_disk_is_named_and_leaves_nothing() {
    // Every write to it fails for want of space.
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut pipe = crate::pipe::WritePipe::begin(std::io::BufWriter::new(full), passphrase(), 2, silent());
    let sent = async {
        pipe.member(crate::member::Member::Key("jwt"), 64 << 20).await?;
        for piece in 0..64_u8 {
            // Not to be compressed to nothing.
            let noise: Vec<u8> = (0..1 << 20_u32).map(|i: u32| (i.wrapping_mul(2_654_435_761 + u32::from(piece)) >> 13) as u8).collect();
            pipe.data(noise.into()).await?;
        }
        Ok::<_, BackupError>(())
    };
    let error = tokio::time::timeout(Duration::from_secs(60), sent).await.unwrap().unwrap_err().to_string();
    assert!(error.contains("No space left"), "{error}");
}
