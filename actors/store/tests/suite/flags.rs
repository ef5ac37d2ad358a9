use domain::flag::{Flag, Flags};
use store::Notification;
use test_database::TestDatabase;

use crate::common::{actions, at, console};

#[tokio::test]
async fn a_flag_is_off_until_it_is_set() {
    let db = TestDatabase::new().await;
    let store = db.store();
    assert_eq!((store.flags().await.unwrap(), store.flag_rows().await.unwrap()), (Flags::default(), vec![]));
    let mut listener = store.listen().await.unwrap();
    store.set_flag(Flag::DeploymentsKillSwitch, true, &console(), at(1)).await.unwrap();
    assert_eq!(listener.next().await.unwrap(), Notification::Deployment(String::new()), "any deployment may be concerned");
    store.set_flag(Flag::DeploymentsEnabled, true, &console(), at(2)).await.unwrap();
    assert_eq!(store.flags().await.unwrap(), Flags { deployments_enabled: true, kill_switch: true });
    store.set_flag(Flag::DeploymentsKillSwitch, false, &console(), at(3)).await.unwrap();
    assert_eq!(store.flags().await.unwrap(), Flags { deployments_enabled: true, kill_switch: false });
    let rows = store.flag_rows().await.unwrap();
    let notified: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.enabled, row.updated_at, row.updated_by.as_str())).collect();
    assert_eq!(notified, [("deployments.enabled", true, at(2), "console"), ("deployments.kill_switch", false, at(3), "console")]);
    assert_eq!(actions(&db).await, ["flag.set"; 3]);
    let notified: Vec<Option<String>> = db.values("SELECT before || after FROM audit_entry ORDER BY seq").await;
    assert_eq!(notified[2].as_deref(), Some(r#"{"enabled":true}{"enabled":false}"#));
}

#[tokio::test]
async fn a_flag_of_a_later_build_does_not_matter() {
    let db = TestDatabase::new().await;
    db.execute("INSERT INTO feature_flag VALUES ('something.later', true, 'x', now())").await;
    assert_eq!(db.store().flags().await.unwrap(), Flags::default());
    assert_eq!(db.store().flag_rows().await.unwrap().len(), 1);
}
