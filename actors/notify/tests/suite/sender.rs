//! The sender over a real database: channels independent of each other, retries, dead letters, and nodes that die.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use clock::SimulatedClock;
use domain::access::Principal;
use domain::audit::{AuditAction, Target as AuditTarget};
use domain::notification::{ChannelKind, NotificationKind};
use domain::{ChannelId, NotificationId};
use notify::{Notifier, NotifySettings};
use store::{AuditEntry, ChannelDelivery, ChannelRow};
use test_database::TestDatabase;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::http_target::{Answer, Request, Target};
use crate::mail_server::{Encryption, MailServer, Mode};
use crate::setup::{at, channel, message, notifier_with, report, settings};

/// Longest wait for what a sender does.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node's sender, on a clock that can be set forward.
struct Node {
    time: Arc<SimulatedClock>,
    notifier: Notifier,
    tasks: JoinSet<()>,
    closing: CancellationToken,
}

impl Node {
    fn start(db: &TestDatabase, second: i64, settings: NotifySettings) -> Self {
        let time = SimulatedClock::new(at(second));
        let notifier = notifier_with(settings, time.clock(1));
        let (mut tasks, closing) = (JoinSet::new(), CancellationToken::new());
        notify::start(&notifier, &mut tasks, db.another_store(4), closing.clone());
        Self { time, notifier, tasks, closing }
    }

    /// Lets time pass, for messages that wait to be tried again.
    fn pass(&self, time: TimeDelta) {
        self.time.jump(time);
        self.notifier.wake();
    }

    /// Ends as by kill -9.
    async fn kill(mut self) {
        self.tasks.shutdown().await;
    }

    async fn stop(mut self) {
        self.closing.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

fn by() -> AuditEntry {
    let console = Principal::Console { os_user: "root".into() };
    AuditEntry::new(&console, AuditAction::FlagSet, AuditTarget::Other { kind: "test", id: None, name: None })
}

async fn add(db: &TestDatabase, number: u128, kind: ChannelKind, fields: &[(&str, &str)]) -> ChannelId {
    let ChannelRow { channel, sealed_secret } =
        channel(&notifier_with(settings(), SimulatedClock::new(at(0)).clock(1)), number, kind, fields);
    assert!(db.store().insert_alert_channel(&channel, sealed_secret.as_deref(), 100, "ada", &by(), at(0)).await.unwrap());
    channel.id
}

async fn queue(db: &TestDatabase, number: u128, thread: &str, kind: NotificationKind, to: &[ChannelId], second: i64) {
    db.store().queue_message(NotificationId(Uuid::from_u128(number)), &message(thread, kind), to, at(second)).await.unwrap();
}

/// Waits until the deliveries of a channel are as wanted.
async fn settled(db: &TestDatabase, channel: ChannelId, wanted: impl Fn(&[ChannelDelivery]) -> bool) -> Vec<ChannelDelivery> {
    let reached = async {
        loop {
            let deliveries = db.store().channel_deliveries(channel, false, 1_000).await.unwrap();
            if wanted(&deliveries) {
                return deliveries;
            }
            tokio::task::yield_now().await;
        }
    };
    match tokio::time::timeout(PATIENCE, reached).await {
        Ok(deliveries) => deliveries,
        Err(_) => panic!("{:#?}", db.store().channel_deliveries(channel, false, 1_000).await.unwrap()),
    }
}

fn all_in(state: &'static str, count: usize) -> impl Fn(&[ChannelDelivery]) -> bool {
    move |deliveries| deliveries.iter().filter(|delivery| delivery.state == state).count() == count
}

fn tried(count: u32) -> impl Fn(&[ChannelDelivery]) -> bool {
    move |deliveries| deliveries.iter().all(|delivery| delivery.attempts >= count && delivery.last_answer.is_some())
}

fn ids(requests: &[Request]) -> Vec<String> {
    requests.iter().map(|request| request.json()["id"].as_str().unwrap().to_owned()).collect()
}

fn id(number: u128) -> String {
    Uuid::from_u128(number).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_reaches_each_channel_and_does_no_harm_there() {
    let db = TestDatabase::new().await;
    let (hooks, mail) = (Target::start(Answer::of(204)).await, MailServer::start(Encryption::None, Mode::Accepts, "localhost").await);
    let discord = add(&db, 1, ChannelKind::Discord, &[("url", &hooks.url("/discord"))]).await;
    let slack = add(&db, 2, ChannelKind::Slack, &[("url", &hooks.url("/slack"))]).await;
    let webhook = add(&db, 3, ChannelKind::Webhook, &[("url", &hooks.url("/webhook"))]).await;
    let server =
        [("to", "ops@example.org"), ("host", "localhost"), ("port", &*mail.port.to_string()), ("tls", "none"), ("from", "mdm@example.org")];
    let email = add(&db, 4, ChannelKind::Email, &server).await;
    let node = Node::start(&db, 60, settings());
    queue(&db, 7, "device_offline-1", NotificationKind::Raised, &[discord, slack, webhook, email], 30).await;
    queue(&db, 8, "device_offline-1", NotificationKind::Resolved, &[email], 40).await;
    node.notifier.wake();
    settled(&db, email, all_in("delivered", 2)).await;
    let requests = hooks.received(3).await;
    let of = |path: &str| requests.iter().find(|request| request.path == path).unwrap();
    let embed = of("/discord").json()["embeds"][0].clone();
    assert_eq!((&embed["footer"]["text"], &embed["color"]), (&id(7).into(), &0xd1_24_2f.into()));
    let text = of("/discord").json().to_string();
    assert!(!text.contains("@everyone") && text.contains("https://mdm.example.org/devices/00000000-0000-0000-0000-000000000005"), "{text}");
    let text = of("/slack").json().to_string();
    assert!(!text.contains("<!channel>") && !text.contains("<script>"), "{text}");
    let event = of("/webhook").json();
    assert_eq!((&event["id"], &event["type"]), (&id(7).into(), &"nexmdm.alert.raised".into()));
    assert_eq!(event["data"]["alerts"][0]["rule"], "device_offline");
    let [raised, resolved] = &*mail.received() else { panic!("{:?}", mail.received()) };
    for mail in [raised, resolved] {
        let head = mail.data.split("\r\n\r\n").next().unwrap();
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
        let (_, html) = mail.data.split_once("Content-Type: text/html").unwrap();
        assert!(!html.contains("<script>"), "{html}");
        assert_eq!(mail.to, ["ops@example.org"]);
    }
    assert!(raised.data.contains("Message-ID: <device_offline-1@example.org>"), "{}", raised.data);
    assert!(resolved.data.contains("References: <device_offline-1@example.org>"), "{}", resolved.data);
    assert!(resolved.data.contains("In-Reply-To: <device_offline-1@example.org>"));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_is_mailed_with_its_table_and_summed_up_elsewhere() {
    let db = TestDatabase::new().await;
    let (hooks, mail) = (Target::start(Answer::of(204)).await, MailServer::start(Encryption::None, Mode::Accepts, "localhost").await);
    let discord = add(&db, 1, ChannelKind::Discord, &[("url", &hooks.url("/discord"))]).await;
    let webhook = add(&db, 2, ChannelKind::Webhook, &[("url", &hooks.url("/webhook"))]).await;
    let pager =
        add(&db, 3, ChannelKind::Pagerduty, &[("routing_key", "0123456789abcdef0123456789abcdef"), ("url", &hooks.url("/pager"))]).await;
    let server =
        [("to", "ops@example.org"), ("host", "localhost"), ("port", &*mail.port.to_string()), ("tls", "none"), ("from", "mdm@example.org")];
    let email = add(&db, 4, ChannelKind::Email, &server).await;
    db.store().queue_message(NotificationId(Uuid::from_u128(7)), &report(), &[discord, webhook, pager, email], at(0)).await.unwrap();
    let node = Node::start(&db, 1, settings());
    for channel in [discord, webhook, pager, email] {
        settled(&db, channel, all_in("delivered", 1)).await;
    }
    let requests = hooks.requests();
    let of = |path: &str| requests.iter().find(|request| request.path == path).unwrap().json();
    assert!(!requests.iter().any(|request| request.path == "/pager"), "a report is no incident");
    let link = "https://mdm.example.org/reports?period=daily&date=2026-11-29";
    assert_eq!(of("/discord")["embeds"][0]["url"], link);
    let event = of("/webhook");
    assert_eq!((&event["type"], &event["data"]["link"]), (&"nexmdm.report".into(), &link.into()));
    assert_eq!(event["data"]["lines"][0], serde_json::json!({ "label": "Online", "value": "98.4 %", "change": "+1.5 points" }));

    let sent = mail.received().remove(0).data;
    // Long lines are folded as quoted-printable folds them.
    let unfolded = sent.replace("=\r\n", "");
    assert!(sent.contains("Content-Type: multipart/mixed") && sent.contains("Content-Type: multipart/alternative"), "{sent}");
    assert!(sent.contains("Content-Disposition: attachment; filename=\"report-daily-2026-11-29.csv\""), "{sent}");
    assert!(sent.contains("Content-Type: text/csv; charset=utf-8"), "{sent}");
    assert!(unfolded.contains("- Online: 98.4 % (+1.5 points)"), "{unfolded}");
    assert!(unfolded.contains("online_pct"), "{unfolded}");
    assert!(sent.contains("Message-ID: <00000000-0000-0000-0000-000000000007@example.org>"), "{sent}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_hangs_delays_no_other() {
    let db = TestDatabase::new().await;
    let (hanging, working) = (Target::start(Answer::Hang).await, Target::start(Answer::of(200)).await);
    let slow = add(&db, 1, ChannelKind::Webhook, &[("url", &hanging.url("/"))]).await;
    let good = add(&db, 2, ChannelKind::Webhook, &[("url", &working.url("/"))]).await;
    for number in 0..20 {
        queue(&db, number, &format!("thread-{number}"), NotificationKind::Raised, &[slow, good], 0).await;
    }
    let node = Node::start(&db, 1, settings());
    let mut arrived = ids(&working.received(20).await);
    arrived.sort();
    assert_eq!(arrived, (0..20).map(id).collect::<Vec<_>>());
    settled(&db, good, all_in("delivered", 20)).await;
    assert!(hanging.requests().len() <= 2, "as many at a time as may be");
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_is_down_for_an_hour_loses_nothing_and_keeps_the_order() {
    let db = TestDatabase::new().await;
    let (down, working) = (Target::start(Answer::of(500)).await, Target::start(Answer::of(200)).await);
    let late = add(&db, 1, ChannelKind::Webhook, &[("url", &down.url("/"))]).await;
    let good = add(&db, 2, ChannelKind::Webhook, &[("url", &working.url("/"))]).await;
    let node = Node::start(&db, 0, settings());
    queue(&db, 1, "storage_low-1", NotificationKind::Raised, &[late, good], 0).await;
    queue(&db, 2, "app_down-1", NotificationKind::Raised, &[late, good], 0).await;
    queue(&db, 3, "app_down-1", NotificationKind::Resolved, &[late, good], 1).await;
    node.pass(TimeDelta::seconds(2));
    settled(&db, good, all_in("delivered", 3)).await;
    settled(&db, late, |deliveries| deliveries.iter().filter(|delivery| delivery.last_answer.as_deref() == Some("HTTP 500")).count() == 2)
        .await;
    assert!(!ids(&down.requests()).contains(&id(3)), "the resolve waits for its raise");
    node.pass(TimeDelta::hours(1));
    settled(&db, late, |deliveries| deliveries.iter().map(|delivery| delivery.attempts).sum::<u32>() >= 4).await;
    down.answers(Answer::of(200));
    // Past the wait of the second failure.
    node.pass(TimeDelta::minutes(5));
    let deliveries = settled(&db, late, all_in("delivered", 3)).await;
    assert!(deliveries.iter().all(|delivery| delivery.last_answer.as_deref() == Some("HTTP 200")));
    let order = ids(&down.requests());
    let last = |number| order.iter().rposition(|other| *other == id(number)).unwrap();
    assert!(last(2) < last(3), "{order:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_between_the_sending_and_its_note_sends_again_under_the_same_id() {
    let db = TestDatabase::new().await;
    let target = Target::start(Answer::Hang).await;
    let to = add(&db, 1, ChannelKind::Webhook, &[("url", &target.url("/"))]).await;
    // Committed, and no sender was there.
    queue(&db, 1, "app_down-1", NotificationKind::Raised, &[to], 0).await;
    let first = Node::start(&db, 1, settings());
    target.received(1).await;
    first.kill().await;
    target.answers(Answer::of(200));
    let second = Node::start(&db, 2, settings());
    second.notifier.wake();
    settled(&db, to, |deliveries| deliveries[0].attempts == 1 && deliveries[0].state == "queued").await;
    assert_eq!(target.requests().len(), 1, "until its claim is over, it may be under way");
    second.pass(TimeDelta::minutes(2));
    settled(&db, to, all_in("delivered", 1)).await;
    assert_eq!(ids(&target.requests()), [id(1), id(1)], "the receiver knows the repeat by its id");
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_send_each_message_once() {
    let db = TestDatabase::new().await;
    let target = Target::start(Answer::of(200)).await;
    let to = add(&db, 1, ChannelKind::Webhook, &[("url", &target.url("/"))]).await;
    let nodes = [Node::start(&db, 1, settings()), Node::start(&db, 1, settings())];
    for number in 0..30 {
        queue(&db, number, &format!("thread-{number}"), NotificationKind::Raised, &[to], 0).await;
        nodes.iter().for_each(|node| node.notifier.wake());
    }
    settled(&db, to, all_in("delivered", 30)).await;
    let mut arrived = ids(&target.requests());
    arrived.sort();
    assert_eq!(arrived, (0..30).map(id).collect::<Vec<_>>());
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_or_tried_for_a_day_is_a_dead_letter_that_can_be_sent_again() {
    let db = TestDatabase::new().await;
    let target = Target::start(Answer::of(404)).await;
    let to = add(&db, 1, ChannelKind::Webhook, &[("url", &target.url("/"))]).await;
    let node = Node::start(&db, 1, settings());
    queue(&db, 1, "app_down-1", NotificationKind::Raised, &[to], 0).await;
    node.notifier.wake();
    let dead = settled(&db, to, all_in("dead", 1)).await;
    assert_eq!((dead[0].attempts, dead[0].last_answer.as_deref()), (1, Some("HTTP 404")));
    target.answers(Answer::of(500));
    assert!(db.store().resend_delivery(NotificationId(Uuid::from_u128(1)), to, &by(), at(10)).await.unwrap());
    node.pass(TimeDelta::seconds(20));
    settled(&db, to, |deliveries| deliveries[0].last_answer.as_deref() == Some("HTTP 500")).await;
    node.pass(TimeDelta::hours(25));
    let dead = settled(&db, to, all_in("dead", 1)).await.into_iter().find(|one| one.state == "dead").unwrap();
    // Not once more: a message of yesterday is no news.
    let answer = dead.last_answer.as_deref().unwrap_or_default();
    assert_eq!((dead.attempts, answer), (2, "HTTP 500; not sent within 24 h: the channel was off or did not answer"));
    target.answers(Answer::of(200));
    let now = at(10) + TimeDelta::hours(25);
    assert!(db.store().resend_delivery(NotificationId(Uuid::from_u128(1)), to, &by(), now).await.unwrap());
    node.pass(TimeDelta::seconds(20));
    settled(&db, to, all_in("delivered", 2)).await;
    let (first, summary): (Vec<_>, Vec<_>) = target.requests().into_iter().partition(|request| request.json()["id"] == id(1));
    assert!(!first.is_empty());
    // It says how many there were.
    let last = summary.last().unwrap().json();
    assert_eq!((last["type"].as_str(), last["data"]["count"].as_u64()), (Some("nexmdm.alert.missed"), Some(1)));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_of_the_service_pauses_the_channel_and_no_other() {
    let db = TestDatabase::new().await;
    let (limited, working) =
        (Target::start(Answer::Status(429, &[("retry-after", "600")], String::new())).await, Target::start(Answer::of(200)).await);
    let paused = add(&db, 1, ChannelKind::Discord, &[("url", &limited.url("/"))]).await;
    let good = add(&db, 2, ChannelKind::Webhook, &[("url", &working.url("/"))]).await;
    let node = Node::start(&db, 1, NotifySettings { per_channel: 1, ..settings() });
    queue(&db, 1, "thread-1", NotificationKind::Raised, &[paused, good], 0).await;
    node.notifier.wake();
    settled(&db, paused, tried(1)).await;
    queue(&db, 2, "thread-2", NotificationKind::Raised, &[paused, good], 1).await;
    node.notifier.wake();
    settled(&db, good, all_in("delivered", 2)).await;
    let deliveries = settled(&db, paused, |_| true).await;
    let next = deliveries.iter().find(|delivery| delivery.attempts == 1).unwrap().next_attempt_at.unwrap();
    assert!(next >= at(600), "{next}");
    assert_eq!(limited.requests().len(), 1, "the second message is not even tried");
    node.kill().await;
}
