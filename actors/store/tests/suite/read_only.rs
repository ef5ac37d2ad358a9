//! Servers that only read, as a standby does: what was connected to one is not used again once another takes writes.

use std::time::Duration;

use domain::UserId;
use domain::access::Role;
use store::{NewUser, PoolOptions, Store, StoreError};
use test_database::TestDatabase;

use crate::common::{at, console, uuid};

fn store(url: &str) -> Store {
    waiting(url, Duration::from_secs(30))
}

/// A store that waits so long for a connection.
fn waiting(url: &str, acquire_timeout: Duration) -> Store {
    let timeout = Duration::from_secs(30);
    let options = PoolOptions { max_connections: 2, acquire_timeout, statement_timeout: timeout, answer_grace: timeout };
    Store::new(url, options).unwrap()
}

async fn write(store: &Store) -> Result<bool, StoreError> {
    let user = NewUser { id: UserId(uuid(1)), username: "ann", password_bcrypt: "x", role: Role::Viewer };
    store.insert_first_user(user, &console(), at(0)).await
}

/// The connections that are left once those that are not used again are closed.
async fn settled(store: &Store, open: u32) {
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while store.pool_use().open != open {
        assert!(std::time::Instant::now() < end, "{:?}", store.pool_use());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_database_that_only_reads_is_not_even_read() {
    let db = TestDatabase::new().await;
    let database: String = db.value("SELECT current_database()::text").await;
    db.execute(&format!("ALTER DATABASE {database} SET default_transaction_read_only = on")).await;
    let store = waiting(db.url(), Duration::from_millis(500));
    assert!(!store.reads_are_doubtful());
    for refused in [store.ping().await.unwrap_err(), write(&store).await.unwrap_err()] {
        assert!(refused.is_outage() && refused.to_string().contains("only reads"), "{refused}");
    }
    let refused = store.listen().await.err().unwrap();
    assert!(refused.is_outage(), "{refused}");
    assert!(store.reads_are_doubtful());
    settled(&store, 0).await;

    db.execute(&format!("ALTER DATABASE {database} RESET default_transaction_read_only")).await;
    let store = waiting(db.url(), Duration::from_secs(30));
    assert!(write(&store).await.unwrap(), "the next connection leads to where it now leads");
    assert_eq!((store.pool_use().open, store.pool_use().idle), (1, 1));
}

#[tokio::test]
async fn a_connection_that_turns_out_to_only_read_is_not_kept() {
    let db = TestDatabase::new().await;
    db.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'read-only' USING ERRCODE = 'read_only_sql_transaction'; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON app_user FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    .await;
    let store = store(db.url());
    store.ping().await.unwrap();
    assert_eq!(store.pool_use().idle, 1);
    let refused = write(&store).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert!(store.reads_are_doubtful());
    settled(&store, 0).await;
}

#[tokio::test]
async fn defaults_of_the_database_do_not_reach_transactions() {
    let db = TestDatabase::new().await;
    let database: String = db.value("SELECT current_database()::text").await;
    db.execute(&format!("ALTER DATABASE {database} SET default_transaction_isolation = 'serializable'")).await;
    db.execute(
        "CREATE TABLE seen (isolation text);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO seen VALUES (current_setting('transaction_isolation')); RETURN NEW; END $$;
         CREATE TRIGGER note BEFORE INSERT ON app_user FOR EACH ROW EXECUTE FUNCTION note()",
    )
    .await;
    assert!(write(&store(db.url())).await.unwrap());
    assert_eq!(db.value::<String>("SELECT isolation FROM seen").await, "read committed");
}

#[tokio::test]
async fn why_no_connection_is_made_is_told() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = PoolOptions {
        max_connections: 1,
        acquire_timeout: Duration::from_millis(200),
        statement_timeout: Duration::from_secs(1),
        answer_grace: Duration::from_secs(1),
    };
    let refused = Store::new(&format!("postgres://nobody@127.0.0.1:{port}/none"), options).unwrap().ping().await.unwrap_err();
    let told = refused.to_string();
    assert!(refused.is_outage() && told.contains("refused") && told.contains(&format!("127.0.0.1, port {port}")), "{told}");
}

#[tokio::test]
async fn what_may_be_tried_again_is_an_outage() {
    let db = TestDatabase::new().await;
    for code in ["40001", "55P03", "58030"] {
        db.execute(&format!(
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$;
             CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON app_user FOR EACH ROW EXECUTE FUNCTION refuse()"
        ))
        .await;
        let refused = write(db.store()).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{code}: {refused:?}");
    }
}
