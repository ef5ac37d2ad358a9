use domain::audit::AuditAction;
use domain::command::CommandState;
use domain::command::{CommandCursor, CommandQuery};
use domain::shard::{ShardId, shard_of};
use domain::{CommandBatchId, CommandId, DeviceId};
use store::{IdempotencyRecord, InsertOutcome, NewBatch, NewCommands, Notification, OpenCommandScope};
use test_database::TestDatabase;

use crate::common::{actions, at, delete_devices, enroll, enroll_many, entry, uuid};

pub(crate) fn command(number: u32) -> CommandId {
    CommandId(uuid(number))
}

/// Commands that are made at second 0 and run out at second 1000.
pub(crate) fn new_commands(action: &str, devices: &[(DeviceId, u32)]) -> NewCommands {
    NewCommands {
        action: action.into(),
        params: r#"{"pin":"1234"}"#.into(),
        params_shown: r#"{"pin":"..."}"#.into(),
        created_by: "anna".into(),
        created_at: at(0),
        expires_at: at(1000),
        devices: devices.iter().map(|(device, number)| (*device, command(*number), at(0))).collect(),
        batch: None,
        open_per_device_max: 50,
    }
}

fn of_batch(number: u32, new: NewCommands) -> NewCommands {
    let id = CommandBatchId(uuid(number));
    NewCommands { batch: Some(NewBatch { id, target: "{}".into(), rate_per_second: 10, refused: "[]".into(), refused_count: 0 }), ..new }
}

async fn insert(db: &TestDatabase, new: &NewCommands) -> InsertOutcome {
    db.store().insert_commands(new, None, &entry(AuditAction::CommandSent)).await.unwrap()
}

async fn state(db: &TestDatabase, number: u32) -> CommandState {
    db.store().command(command(number)).await.unwrap().unwrap().progress.state
}

fn all_shards() -> Vec<ShardId> {
    ShardId::all().collect()
}

async fn open(db: &TestDatabase, of: OpenCommandScope, after: Option<u32>, limit: i64) -> Vec<u32> {
    let open = db.store().open_commands(&all_shards(), of, after.map(command), limit).await.unwrap();
    open.iter().map(|command| command.id.0.as_u128() as u32).collect()
}

#[tokio::test]
async fn a_command_is_made_with_its_secret_and_told() {
    let db = TestDatabase::new().await;
    let id = enroll(&db, 1, "a").await;
    let mut listener = db.store().listen().await.unwrap();
    assert_eq!(insert(&db, &new_commands("ring", &[(id, 10)])).await, InsertOutcome::New(1));
    assert_eq!(listener.next().await.unwrap(), Notification::Command(id.to_string()));
    let open = db.store().open_commands(&[shard_of(id)], OpenCommandScope::Shards, None, 9).await.unwrap();
    assert_eq!((open.len(), open[0].params.as_str(), open[0].state), (1, r#"{"pin":"1234"}"#, CommandState::Queued));
    let shown = db.store().command(command(10)).await.unwrap().unwrap();
    assert_eq!((shown.params.as_str(), shown.alias.as_str(), shown.created_by.as_str()), (r#"{"pin":"..."}"#, "a", "anna"));
}

#[tokio::test]
async fn a_deleted_device_gets_no_command() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 3).await;
    delete_devices(&db, &ids[..1], at(1)).await;
    let before = actions(&db).await.len();
    assert_eq!(insert(&db, &new_commands("ring", &[(ids[0], 10)])).await, InsertOutcome::New(0));
    assert_eq!(actions(&db).await.len(), before, "nothing was sent");
    let batch = of_batch(50, new_commands("ring", &[(ids[0], 11), (ids[1], 12), (ids[2], 13)]));
    assert_eq!(insert(&db, &batch).await, InsertOutcome::New(2));
    assert_eq!(db.store().command_batch(CommandBatchId(uuid(50))).await.unwrap().unwrap().devices, 2, "the batch counts its commands");
    assert!(db.store().command(command(11)).await.unwrap().is_none());
}

#[tokio::test]
async fn however_many_call_at_once_a_device_has_no_more_open_commands_than_it_may() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    let of = |devices: &[(DeviceId, u32)]| NewCommands { open_per_device_max: 3, ..new_commands("ring", devices) };
    let calls = (0..8).map(|n| {
        let (store, new) = (db.store().clone(), of(&[(ids[0], 10 + n)]));
        tokio::spawn(async move { store.insert_commands(&new, None, &entry(AuditAction::CommandSent)).await.unwrap() })
    });
    let mut outcomes = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        outcomes.push(call.await.unwrap());
    }
    let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    assert_eq!((count(InsertOutcome::New(1)), count(InsertOutcome::TooManyOpen)), (3, 5), "{outcomes:?}");
    // A batch leaves out the device that is full, and counts it as refused.
    let batch = of_batch(50, of(&[(ids[0], 30), (ids[1], 31)]));
    assert_eq!(insert(&db, &batch).await, InsertOutcome::New(1));
    let batch = db.store().command_batch(CommandBatchId(uuid(50))).await.unwrap().unwrap();
    assert_eq!((batch.devices, batch.refused_count), (1, 1));
    db.execute(&format!("UPDATE command SET state = 'canceled', finished_at = now() WHERE device_id = '{}'", ids[0])).await;
    assert_eq!(insert(&db, &of(&[(ids[0], 40)])).await, InsertOutcome::New(1), "finished ones do not count");
}

#[tokio::test]
async fn the_same_call_again_makes_nothing() {
    let db = TestDatabase::new().await;
    let id = enroll(&db, 1, "a").await;
    let key = |owner, body| IdempotencyRecord { owner: uuid(owner), key: "k".into(), body_sha256: [body; 32] };
    let call = async |number, key: IdempotencyRecord| {
        db.store().insert_commands(&new_commands("ring", &[(id, number)]), Some(&key), &entry(AuditAction::CommandSent)).await.unwrap()
    };
    let both = tokio::join!(call(10, key(1, 7)), call(11, key(1, 7)));
    let made = match (both.0, both.1) {
        (InsertOutcome::New(1), InsertOutcome::Existing(known)) => (10, known),
        (InsertOutcome::Existing(known), InsertOutcome::New(1)) => (11, known),
        other => panic!("{other:?}"),
    };
    assert_eq!(made.1, uuid(made.0), "the second is answered with the first one's command");
    assert_eq!(call(12, key(1, 8)).await, InsertOutcome::OtherBody);
    assert_eq!(call(13, key(2, 8)).await, InsertOutcome::New(1), "somebody else's key is another one");
    assert_eq!(db.value::<i64>("SELECT count(*) FROM command").await, 2);
    assert_eq!(actions(&db).await.into_iter().filter(|action| action == "command.sent").count(), 2);
    // A call that made nothing does not use its key up.
    delete_devices(&db, &[id], at(1)).await;
    assert_eq!(call(14, key(3, 1)).await, InsertOutcome::New(0));
    assert_eq!(call(14, key(3, 2)).await, InsertOutcome::New(0));
}

#[tokio::test]
async fn a_key_rotation_names_each_devices_next_version() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    db.execute(&format!("UPDATE device SET key_version = 4 WHERE device_id = '{}'", ids[1])).await;
    insert(&db, &of_batch(50, new_commands("rotate_key", &[(ids[0], 10), (ids[1], 11)]))).await;
    let params: Vec<String> = db.values("SELECT params FROM command ORDER BY request_id").await;
    assert_eq!(params.iter().map(|params| store::key_version(params)).collect::<Vec<_>>(), [Some(2), Some(5)]);
}

#[tokio::test]
async fn open_commands_are_read_in_steps_and_by_scope() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    insert(&db, &new_commands("ring", &[(ids[0], 10)])).await;
    insert(&db, &of_batch(50, new_commands("ring", &[(ids[0], 12), (ids[1], 11)]))).await;
    insert(&db, &new_commands("ring", &[(ids[1], 13)])).await;
    db.execute(&format!("UPDATE command SET state = 'canceled', finished_at = now() WHERE request_id = '{}'", uuid(13))).await;
    assert_eq!(open(&db, OpenCommandScope::Shards, None, 9).await, [10, 11, 12], "finished ones are not open");
    assert_eq!(open(&db, OpenCommandScope::Shards, Some(10), 1).await, [11]);
    assert_eq!(open(&db, OpenCommandScope::Device(ids[0]), None, 9).await, [10, 12]);
    assert_eq!(open(&db, OpenCommandScope::Batch(CommandBatchId(uuid(50))), None, 9).await, [11, 12]);
    let of_shard = db.store().open_commands(&[shard_of(ids[1])], OpenCommandScope::Shards, None, 9).await.unwrap();
    assert_eq!(of_shard.iter().map(|open| open.id).collect::<Vec<_>>(), [command(11)]);
    db.execute("UPDATE command SET expires_at = now() + interval '1 h'").await;
    db.execute(&format!("UPDATE command SET created_at = now() - interval '50 s' WHERE request_id = '{}'", uuid(12))).await;
    assert_eq!(open(&db, OpenCommandScope::MadeWithin(60), None, 9).await, [12]);
    assert!(open(&db, OpenCommandScope::MadeWithin(40), None, 9).await.is_empty());
    let counts = db.store().open_command_counts_of(&ids).await.unwrap();
    assert_eq!((counts[&ids[0]], counts[&ids[1]]), (2, 1));
    assert_eq!(db.store().open_command_counts().await.unwrap(), [(CommandState::Queued, 3)]);
}

#[tokio::test]
async fn commands_whose_time_is_over_expire_in_bounded_steps_without_their_secret() {
    let db = TestDatabase::new().await;
    let id = enroll(&db, 1, "a").await;
    for number in 10..13 {
        insert(&db, &NewCommands { expires_at: at(i64::from(number)), ..new_commands("ring", &[(id, number)]) }).await;
    }
    let before = actions(&db).await.len();
    assert_eq!(db.store().expire_commands(at(9), at(20), 9).await.unwrap(), 0);
    assert_eq!(actions(&db).await.len(), before, "nothing expired, nothing is told");
    assert_eq!(db.store().expire_commands(at(11), at(20), 1).await.unwrap(), 1);
    assert_eq!(db.store().expire_commands(at(11), at(20), 9).await.unwrap(), 1);
    assert_eq!(
        [state(&db, 10).await, state(&db, 11).await, state(&db, 12).await],
        [CommandState::Expired, CommandState::Expired, CommandState::Queued]
    );
    assert_eq!(db.value::<i64>("SELECT count(*) FROM command WHERE params LIKE '%1234%'").await, 1, "only the open one has its secret");
    assert_eq!(db.store().command(command(10)).await.unwrap().unwrap().progress.finished_at, Some(at(20)));
}

#[tokio::test]
async fn old_commands_are_removed_and_then_their_batch() {
    let db = TestDatabase::new().await;
    let id = enroll(&db, 1, "a").await;
    let key = IdempotencyRecord { owner: uuid(1), key: "k".into(), body_sha256: [1; 32] };
    let batch = of_batch(50, new_commands("ring", &[(id, 10), (id, 11)]));
    db.store().insert_commands(&batch, Some(&key), &entry(AuditAction::CommandSent)).await.unwrap();
    insert(&db, &NewCommands { created_at: at(5), ..new_commands("ring", &[(id, 12)]) }).await;
    let purge = async |before, keys, limit| db.store().purge_commands(at(before), at(keys), at(99), limit).await.unwrap();
    assert_eq!(purge(5, 0, 9).await, 0, "open ones stay, however old");
    db.execute("UPDATE command SET state = 'expired', finished_at = now()").await;
    assert_eq!(purge(0, 0, 9).await, 0);
    assert_eq!(purge(5, 0, 1).await, 1);
    assert!(db.store().command_batch(CommandBatchId(uuid(50))).await.unwrap().is_some(), "one of its commands is left");
    assert_eq!(purge(5, 0, 9).await, 1);
    assert!(db.store().command_batch(CommandBatchId(uuid(50))).await.unwrap().is_none());
    assert!(db.store().command(command(12)).await.unwrap().is_some());
    assert_eq!(db.value::<i64>("SELECT count(*) FROM command_idempotency").await, 1);
    purge(0, 1, 9).await;
    assert_eq!(db.value::<i64>("SELECT count(*) FROM command_idempotency").await, 0);
}

#[tokio::test]
async fn pages_hold_every_command_once_newest_first() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    for (number, second) in [(10, 5), (11, 5), (12, 3), (13, 9)] {
        let new = new_commands(if number == 12 { "lock" } else { "ring" }, &[(ids[number as usize % 2], number)]);
        insert(&db, &NewCommands { created_at: at(second), created_by: format!("p{second}"), ..new }).await;
    }
    insert(&db, &of_batch(50, new_commands("ring", &[(ids[0], 14)]))).await;
    db.execute(&format!("UPDATE command SET state = 'canceled', finished_at = now() WHERE request_id = '{}'", uuid(13))).await;
    let page = async |query: &CommandQuery, after, limit| db.store().commands_page(query, after, limit).await.unwrap();
    let numbers =
        async |query: CommandQuery| page(&query, None, 99).await.iter().map(|command| command.id.0.as_u128() as u32).collect::<Vec<_>>();
    let all = CommandQuery::default;
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let rows = page(&all(), after, 2).await;
        let Some(last) = rows.last() else { break };
        after = Some(CommandCursor { created_at: last.created_at, id: last.id });
        paged.extend(rows.iter().map(|command| command.id.0.as_u128() as u32));
    }
    assert_eq!(paged, [13, 11, 10, 12, 14]);
    assert_eq!(numbers(CommandQuery { device: Some(ids[0]), ..all() }).await, [10, 12, 14]);
    assert_eq!(numbers(CommandQuery { batch: Some(CommandBatchId(uuid(50))), ..all() }).await, [14]);
    assert_eq!(numbers(CommandQuery { single: true, ..all() }).await, [13, 11, 10, 12]);
    assert_eq!(numbers(CommandQuery { state: Some(CommandState::Canceled), ..all() }).await, [13]);
    assert_eq!(numbers(CommandQuery { action: Some("lock".into()), ..all() }).await, [12]);
    assert_eq!(numbers(CommandQuery { created_by: Some("p5".into()), ..all() }).await, [11, 10]);
}

#[tokio::test]
async fn a_batch_is_canceled_once_and_names_what_is_still_open() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 3).await;
    let commands = [(ids[0], 10), (ids[1], 11), (ids[2], 12)];
    insert(&db, &of_batch(50, new_commands("ring", &commands))).await;
    insert(&db, &of_batch(51, NewCommands { created_at: at(1), ..new_commands("ring", &[(ids[0], 13)]) })).await;
    db.execute(&format!("UPDATE command SET state = 'sent', path = 'push', attempts = 1 WHERE request_id = '{}'", uuid(10))).await;
    db.execute(&format!("UPDATE command SET state = 'expired', finished_at = now() WHERE request_id = '{}'", uuid(11))).await;
    let cancel = async |number, second| {
        db.store().cancel_batch(CommandBatchId(uuid(number)), &entry(AuditAction::CommandBatchCanceled), at(second)).await.unwrap()
    };
    assert_eq!(cancel(50, 7).await, Some(vec![command(10), command(12)]));
    cancel(50, 8).await;
    assert_eq!(cancel(59, 7).await, None);
    let batches = db.store().command_batches(None, None, 9).await.unwrap();
    assert_eq!(
        batches.iter().map(|batch| (batch.id.0, batch.canceled_at)).collect::<Vec<_>>(),
        [(uuid(51), None), (uuid(50), Some(at(7)))]
    );
    let after = Some((batches[0].created_at, batches[0].id));
    assert_eq!(db.store().command_batches(None, after, 9).await.unwrap(), batches[1..]);
    let counts = db.store().batch_counts(&[batches[1].id]).await.unwrap();
    let mut counts: Vec<_> =
        counts.iter().map(|count| (count.state.as_str(), count.path.map(|path| path.as_str()), count.commands)).collect();
    counts.sort();
    assert_eq!(counts, [("expired", None, 1), ("queued", None, 1), ("sent", Some("push"), 1)]);
}
