use domain::action::ExecCommand;
use test_database::TestDatabase;

use crate::common::{actions, at, console, strings};

fn command(name: &str, argv: &[&str]) -> ExecCommand {
    ExecCommand { name: name.into(), argv: strings(argv), description: format!("what {name} does") }
}

async fn put(db: &TestDatabase, command: &ExecCommand, second: i64, most: i64) -> bool {
    db.store().put_exec_command(command, &console(), at(second), most).await.unwrap()
}

#[tokio::test]
async fn commands_are_allowed_up_to_the_limit_and_changed_beyond_it() {
    let db = TestDatabase::new().await;
    assert!(put(&db, &command("b", &["id"]), 1, 2).await);
    assert!(put(&db, &command("a", &["ls", "-l"]), 2, 2).await);
    assert!(!put(&db, &command("c", &["ps"]), 3, 2).await);
    let changed = command("a", &["ls", "a b", ""]);
    assert!(put(&db, &changed, 4, 2).await);
    let rows = db.store().exec_commands().await.unwrap();
    assert_eq!(rows.iter().map(|row| (row.command.name.as_str(), row.updated_at)).collect::<Vec<_>>(), [("a", at(4)), ("b", at(1))]);
    assert_eq!(db.store().exec_command("a").await.unwrap(), Some(changed), "arguments stay apart");
    assert_eq!(db.store().exec_command("c").await.unwrap(), None);
    assert_eq!(actions(&db).await, ["exec_command.allowed"; 3]);
}

#[tokio::test]
async fn a_removed_command_is_allowed_no_more() {
    let db = TestDatabase::new().await;
    put(&db, &command("a", &["id"]), 1, 9).await;
    let remove = async || db.store().delete_exec_command("a", &console(), at(2)).await.unwrap();
    assert_eq!([remove().await, remove().await], [true, false]);
    assert_eq!(db.store().exec_command("a").await.unwrap(), None);
    assert_eq!(actions(&db).await, ["exec_command.allowed", "exec_command.removed"]);
    let before: Vec<Option<String>> = db.values("SELECT before FROM audit_entry WHERE action = 'exec_command.removed'").await;
    assert_eq!(before[0].as_deref(), Some(r#"{"argv":["id"],"description":"what a does"}"#));
}
