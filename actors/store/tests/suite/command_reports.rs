use domain::audit::AuditAction;
use domain::command::{CommandOutcome, CommandState, Path, Report};
use domain::command::{CommandView, ResultPayload};
use domain::shard::shard_of;
use domain::{CommandBatchId, DeviceId};
use store::{CommandReport, CommandReportOutcome, NewBatch, NewCommands, Notification, Reporter};
use test_database::TestDatabase;

use crate::commands::{command, new_commands};
use crate::common::{actions_after, at, device, enroll, enroll_many, entry, lease, next_epoch, uuid};

async fn insert(db: &TestDatabase, new: NewCommands) {
    db.store().insert_commands(&new, None, &entry(AuditAction::CommandSent)).await.unwrap();
}

async fn report_all(db: &TestDatabase, reports: &[CommandReport]) -> Vec<CommandReportOutcome> {
    db.store().report_commands(reports).await.unwrap()
}

async fn report(db: &TestDatabase, report: CommandReport) -> CommandReportOutcome {
    report_all(db, &[report]).await.remove(0)
}

async fn by_owner(db: &TestDatabase, number: u32, device: DeviceId, report: Report, second: i64) -> CommandReport {
    let lease = lease(db, shard_of(device)).await;
    CommandReport { id: command(number), by: Reporter::Owner(lease), report, at: at(second) }
}

fn by_device(number: u32, device: DeviceId, report: Report, message: &str, second: i64) -> CommandReport {
    let payload = ResultPayload {
        action: None,
        message: Some(message.into()),
        code: Some("code".into()),
        data: Some("{}".into()),
        finished_at: Some(at(second - 1)),
    };
    CommandReport { id: command(number), by: Reporter::Device(device, payload), report, at: at(second) }
}

fn ended(outcome: CommandOutcome) -> Report {
    Report::Ended(outcome)
}

fn is_changed(outcome: &CommandReportOutcome) -> bool {
    matches!(outcome, CommandReportOutcome::Changed { .. })
}

async fn stored(db: &TestDatabase, number: u32) -> CommandView {
    db.store().command(command(number)).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_command_goes_its_way_to_the_devices_word() {
    let db = TestDatabase::new().await;
    let id = enroll(&db, 1, "a").await;
    insert(&db, new_commands("ring", &[(id, 10)])).await;
    let before = db.store().audit_head().await.unwrap().seq;
    let sent = by_owner(&db, 10, id, Report::Sent(Path::Push), 1).await;
    assert!(is_changed(&report(&db, sent.clone()).await) && is_changed(&report(&db, sent).await), "each attempt counts");
    assert!(is_changed(&report(&db, by_device(10, id, Report::Received, "", 2)).await));
    assert!(is_changed(&report(&db, by_device(10, id, ended(CommandOutcome::Failed), "no speaker", 3)).await));
    let row = stored(&db, 10).await;
    let progress = row.progress;
    assert_eq!((progress.state, progress.attempts, progress.path), (CommandState::Failed, 2, Some(Path::Push)));
    assert_eq!((progress.sent_at, progress.delivered_at, progress.finished_at), (Some(at(1)), Some(at(2)), Some(at(3))));
    assert_eq!((row.message.as_deref(), row.code.as_deref(), row.device_finished_at), (Some("no speaker"), Some("code"), Some(at(2))));
    // The device's word is taken once.
    let again = report(&db, by_device(10, id, ended(CommandOutcome::Failed), "other words", 4)).await;
    assert_eq!(again, CommandReportOutcome::Nothing(CommandState::Failed));
    let other = report(&db, by_device(10, id, ended(CommandOutcome::Success), "", 4)).await;
    assert_eq!(other, CommandReportOutcome::Conflict(CommandOutcome::Failed));
    assert_eq!(stored(&db, 10).await, row);
    assert_eq!(actions_after(&db, before).await, ["command.failed"]);
}

#[tokio::test]
async fn a_result_of_another_action_is_not_taken() {
    let db = TestDatabase::new().await;
    let id = enroll(&db, 1, "a").await;
    insert(&db, new_commands("ring", &[(id, 10)])).await;
    let named = |action: &str| {
        let payload = ResultPayload { action: Some(action.into()), ..ResultPayload::default() };
        CommandReport { id: command(10), by: Reporter::Device(id, payload), report: ended(CommandOutcome::Success), at: at(1) }
    };
    assert_eq!(report(&db, named("ping")).await, CommandReportOutcome::OtherAction);
    assert_eq!(stored(&db, 10).await.progress.state, CommandState::Queued);
    assert!(is_changed(&report(&db, named("ring")).await));
    assert_eq!(report(&db, named("ping")).await, CommandReportOutcome::OtherAction, "also once it is over");
}

#[tokio::test]
async fn a_secret_is_kept_as_long_as_the_command_is_open() {
    let db = TestDatabase::new().await;
    let id = enroll(&db, 1, "a").await;
    insert(&db, new_commands("ring", &[(id, 10)])).await;
    let params = async || db.value::<String>("SELECT params FROM command").await;
    let sent = by_owner(&db, 10, id, Report::Sent(Path::Socket), 1).await;
    report(&db, sent).await;
    assert!(params().await.contains("1234"));
    report(&db, by_device(10, id, ended(CommandOutcome::Success), "", 2)).await;
    assert!(!params().await.contains("1234"));
}

#[tokio::test]
async fn a_deposed_owner_is_not_heard_and_a_foreign_device_knows_no_command() {
    let db = TestDatabase::new().await;
    let id = enroll(&db, 1, "a").await;
    insert(&db, new_commands("ring", &[(id, 10)])).await;
    let sent = by_owner(&db, 10, id, Report::Sent(Path::Push), 1).await;
    next_epoch(&db, shard_of(id)).await;
    assert_eq!(report(&db, sent).await, CommandReportOutcome::NotOwner);
    assert_eq!(report(&db, by_device(10, device(2), ended(CommandOutcome::Success), "", 1)).await, CommandReportOutcome::Unknown);
    assert_eq!(report(&db, by_device(11, id, ended(CommandOutcome::Success), "", 1)).await, CommandReportOutcome::Unknown);
    assert_eq!(stored(&db, 10).await.progress.state, CommandState::Queued);
    let sent = by_owner(&db, 10, id, Report::Sent(Path::Push), 1).await;
    assert!(is_changed(&report(&db, sent).await), "its present owner is");
}

#[tokio::test]
async fn reports_of_one_batch_are_answered_in_their_order() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 3).await;
    insert(&db, new_commands("ring", &[(ids[0], 12)])).await;
    insert(&db, new_commands("ring", &[(ids[1], 11)])).await;
    insert(&db, new_commands("ring", &[(ids[2], 10)])).await;
    let stale = by_owner(&db, 11, ids[1], Report::Expired, 1).await;
    assert!(shard_of(ids[1]) != shard_of(ids[0]) && shard_of(ids[1]) != shard_of(ids[2]), "the test needs devices of other shards");
    next_epoch(&db, shard_of(ids[1])).await;
    let reports = [
        by_device(12, ids[0], Report::Received, "", 1),
        by_device(99, ids[0], Report::Received, "", 1),
        by_device(12, ids[0], ended(CommandOutcome::Success), "done", 2),
        stale,
        by_device(12, ids[0], ended(CommandOutcome::Timeout), "late", 3),
        by_owner(&db, 10, ids[2], Report::Expired, 4).await,
        by_device(12, ids[0], Report::Received, "", 4),
    ];
    let outcomes = report_all(&db, &reports).await;
    assert!(is_changed(&outcomes[0]) && is_changed(&outcomes[2]) && is_changed(&outcomes[5]), "{outcomes:?}");
    assert_eq!(outcomes[1], CommandReportOutcome::Unknown);
    assert_eq!(outcomes[3], CommandReportOutcome::NotOwner);
    assert_eq!(outcomes[4], CommandReportOutcome::Conflict(CommandOutcome::Success));
    assert_eq!(outcomes[6], CommandReportOutcome::Nothing(CommandState::Succeeded));
    let CommandReportOutcome::Changed { before, after, device_id, .. } = &outcomes[2] else { panic!() };
    assert_eq!((before.state, after.state, *device_id), (CommandState::Delivered, CommandState::Succeeded, ids[0]));
    let rows = [stored(&db, 12).await, stored(&db, 11).await, stored(&db, 10).await];
    assert_eq!(rows.each_ref().map(|row| row.progress.state), [CommandState::Succeeded, CommandState::Queued, CommandState::Expired]);
    assert_eq!(rows.each_ref().map(|row| row.message.as_deref()), [Some("done"), None, None], "each row gets its own values");
}

#[tokio::test]
async fn a_canceled_command_names_who_did_it_and_ends_once() {
    let db = TestDatabase::new().await;
    let id = enroll(&db, 1, "a").await;
    insert(&db, new_commands("ring", &[(id, 10)])).await;
    let before = db.store().audit_head().await.unwrap().seq;
    let cancel = |name: &str, second| {
        let by = Reporter::Person(name.into(), Some(Box::new(entry(AuditAction::CommandCanceled))));
        CommandReport { id: command(10), by, report: Report::Canceled, at: at(second) }
    };
    assert!(is_changed(&report(&db, cancel("anna", 1)).await));
    assert_eq!(report(&db, cancel("bob", 2)).await, CommandReportOutcome::Nothing(CommandState::Canceled));
    assert_eq!(stored(&db, 10).await.canceled_by.as_deref(), Some("anna"));
    // The device had it already: what it says is the truth.
    assert!(is_changed(&report(&db, by_device(10, id, ended(CommandOutcome::Success), "", 3)).await));
    let row = stored(&db, 10).await;
    assert_eq!((row.progress.state, row.canceled_by.as_deref()), (CommandState::Succeeded, Some("anna")));
    assert_eq!(actions_after(&db, before).await, ["command.canceled", "command.succeeded"]);
}

#[tokio::test]
async fn commands_of_a_batch_leave_no_entry_each() {
    let db = TestDatabase::new().await;
    let ids = enroll_many(&db, 2).await;
    let batch = NewBatch { id: CommandBatchId(uuid(50)), target: "{}".into(), rate_per_second: 1, refused: "[]".into(), refused_count: 0 };
    insert(&db, NewCommands { batch: Some(batch), ..new_commands("ring", &[(ids[0], 10), (ids[1], 11)]) }).await;
    let before = db.store().audit_head().await.unwrap().seq;
    let reports = [(10, ids[0]), (11, ids[1])].map(|(number, id)| by_device(number, id, ended(CommandOutcome::Success), "", 1));
    assert!(report_all(&db, &reports).await.iter().all(is_changed));
    assert!(actions_after(&db, before).await.is_empty());
}

#[tokio::test]
async fn a_device_that_has_taken_a_key_is_signed_for_with_it_and_never_with_an_older_one() {
    let db = TestDatabase::new().await;
    let id = enroll(&db, 1, "a").await;
    let version = async || db.store().device(id).await.unwrap().unwrap().key_version;
    for number in [10, 11] {
        insert(&db, new_commands("rotate_key", &[(id, number)])).await;
    }
    let mut listener = db.store().listen().await.unwrap();
    report(&db, by_device(10, id, ended(CommandOutcome::Failed), "", 1)).await;
    assert_eq!(version().await, 1);
    report(&db, by_device(11, id, ended(CommandOutcome::Success), "", 2)).await;
    assert_eq!((version().await, listener.next().await.unwrap()), (2, Notification::Device(id.to_string())));
    // Made while the device had the first key, told after it had the third.
    insert(&db, new_commands("rotate_key", &[(id, 12)])).await;
    db.execute("UPDATE device SET key_version = 5").await;
    report(&db, by_device(12, id, ended(CommandOutcome::Success), "", 3)).await;
    assert_eq!(version().await, 5);
}
