//! Push: the real sender against a stand-in for Google's side, over sockets.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::Command;
use std::sync::Once;
use std::time::{Duration, Instant};

use chaos::fcm::{FakeFcm, FakeFcmOptions, Fault, FaultScope};
use chaos::harness::TempDir;
use clock::Clock;
use domain::DeviceId;
use domain::rate::RateLimit;
use push::FcmSettings;
use push::metrics::Metrics;
use push::{PushMessage, PushOutcome, PushSender};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::common::{Bench, DEADLINE, clock, eventually, options};

thread_local! {
    /// Log of this thread since its test began: a test runs in one thread.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct ThisThread;

impl Write for ThisThread {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.with_borrow_mut(|log| log.write(bytes))
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Begins the log of a test. One subscriber for all tests: whether an event is looked at at all is remembered for the process.
fn keep_log() {
    LOG.set(Vec::new());
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_ansi(false).with_writer(|| ThisThread).init();
    });
}

/// A sender and the fake that it speaks to.
struct Push {
    fake: FakeFcm,
    sender: PushSender,
    metrics: Metrics,
    tasks: JoinSet<()>,
    _folder: TempDir,
}

fn device(number: u128) -> DeviceId {
    DeviceId(Uuid::from_u128(number))
}

fn message(number: u128) -> PushMessage {
    PushMessage {
        device_id: device(number),
        token: format!("push-token-{number}").into(),
        data: BTreeMap::from([("action".into(), "ping".into()), ("signature".into(), "5ecret-signature".into())]),
        ttl_s: 600,
        collapse_key: None,
    }
}

impl Push {
    async fn start() -> Self {
        Self::with(FakeFcmOptions::default(), |_| {}).await
    }

    async fn with(fake: FakeFcmOptions, change: impl FnOnce(&mut FcmSettings)) -> Self {
        keep_log();
        let fake = FakeFcm::start(fake).await.unwrap();
        let folder = TempDir::new("push").unwrap();
        let file = folder.path().join("account.json");
        fake.write_account(&file).unwrap();
        let mut settings = FcmSettings {
            service_account_file: file,
            base_url: fake.url(),
            timeout: Duration::from_secs(10),
            concurrency: 16,
            rate: RateLimit { per_second: 10_000, burst: 10_000 },
            per_device_per_minute: 100,
            queue_max: 1000,
        };
        change(&mut settings);
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let mut tasks = JoinSet::new();
        let sender = PushSender::start(&mut tasks, &Clock::system(), Some(settings), None, &metrics).unwrap();
        Self { fake, sender, metrics, tasks, _folder: folder }
    }

    /// Queues a message; the receiver tells what became of it.
    fn submit(&self, message: PushMessage) -> oneshot::Receiver<PushOutcome> {
        let (told, outcome) = oneshot::channel();
        self.sender.submit(message, tell(told));
        outcome
    }

    async fn send(&self, message: PushMessage) -> PushOutcome {
        wait(self.submit(message)).await
    }

    fn counted(&self, outcome: &str) -> u64 {
        self.metrics.fcm_messages.with_label_values(&[outcome]).get()
    }

    fn misconfigured(&self) -> (i64, Option<&'static str>) {
        (self.metrics.fcm_misconfigured.get(), self.sender.status().misconfigured)
    }
}

fn tell(told: oneshot::Sender<PushOutcome>) -> impl FnOnce(PushOutcome) + Send + 'static {
    move |outcome| {
        // A test that is over waits for nothing.
        let _ = told.send(outcome);
    }
}

async fn wait(outcome: oneshot::Receiver<PushOutcome>) -> PushOutcome {
    tokio::time::timeout(DEADLINE, outcome).await.expect("no outcome in time").expect("dropped without an outcome")
}

#[tokio::test]
async fn a_message_arrives_as_it_was_given() {
    let push = Push::start().await;
    let mut device_side = push.fake.subscribe("push-token-1");
    let sync = PushMessage { collapse_key: Some("sync"), ..message(1) };
    assert_eq!(push.send(sync).await, PushOutcome::Accepted);
    let got = device_side.recv().await.unwrap();
    assert_eq!(got.data, message(1).data);
    assert_eq!((got.ttl_s, got.high_priority, got.collapse_key.as_deref()), (600, true, Some("sync")));
    assert_eq!((push.counted("accepted"), push.metrics.fcm_seconds.get_sample_count()), (1, 1));
    assert_eq!(push.misconfigured(), (0, None));
    // Longer than FCM keeps anything.
    assert_eq!(push.send(PushMessage { ttl_s: u32::MAX, ..message(1) }).await, PushOutcome::Accepted);
    assert_eq!(device_side.recv().await.unwrap().ttl_s, 2_419_200);
    drop(device_side);
    assert_eq!(push.send(message(1)).await, PushOutcome::TokenGone, "the app is gone");
    let large = BTreeMap::from([("params".to_owned(), "x".repeat(4091))]);
    assert_eq!(push.send(PushMessage { data: large, ..message(1) }).await, PushOutcome::Refused("message_too_big"));
}

#[tokio::test]
async fn one_access_token_does_for_many_messages_until_fcm_refuses_it() {
    let push = Push::with(FakeFcmOptions { latency: Duration::from_millis(20), ..Default::default() }, |_| {}).await;
    for round in 1..=2 {
        let sent: Vec<_> = (0..40).map(|n| push.submit(message(n))).collect();
        for outcome in sent {
            assert_eq!(wait(outcome).await, PushOutcome::Accepted);
        }
        assert_eq!(push.fake.counts().token_requests, round, "in round {round}");
        push.fake.expire_access_tokens();
    }
    let counts = push.fake.counts();
    assert_eq!(counts.accepted, 80);
    assert!(counts.messages > 80, "the refused ones were tried once more");
    assert!((2..=16).contains(&counts.at_a_time_max), "{counts:?}");
}

#[tokio::test]
async fn an_access_token_is_renewed_before_it_ends() {
    let push = Push::with(FakeFcmOptions { token_life: Duration::from_secs(3), ..Default::default() }, |_| {}).await;
    eventually("a third token", async || {
        assert_eq!(push.send(message(rand::random())).await, PushOutcome::Accepted);
        (push.fake.counts().token_requests >= 3).then_some(())
    })
    .await;
    let counts = push.fake.counts();
    assert_eq!(counts.messages, counts.accepted, "none met an expired token");
}

#[tokio::test]
async fn each_fault_has_its_outcome() {
    for (fault, wanted, counted) in [
        (Fault::Unregistered, PushOutcome::TokenGone, "token_gone"),
        (Fault::InvalidToken, PushOutcome::TokenGone, "token_gone"),
        (Fault::SenderIdMismatch, PushOutcome::Refused("sender_id_mismatch"), "sender_id_mismatch"),
        (Fault::ThirdPartyAuth, PushOutcome::Refused("third_party_auth_error"), "third_party_auth_error"),
        (Fault::Unauthenticated, PushOutcome::Refused("unauthenticated"), "unauthenticated"),
        (Fault::PermissionDenied, PushOutcome::Refused("permission_denied"), "permission_denied"),
        (Fault::QuotaExceeded { retry_after: None }, PushOutcome::RetryAfter(Duration::from_secs(60)), "quota"),
        (Fault::DeviceQuotaExceeded, PushOutcome::RetryAfter(Duration::from_secs(60)), "device_quota"),
        (Fault::Unavailable { retry_after: None }, PushOutcome::RetryAfter(Duration::from_secs(1)), "unavailable"),
        (Fault::Internal, PushOutcome::RetryAfter(Duration::from_secs(1)), "internal"),
        (Fault::Garbage, PushOutcome::RetryAfter(Duration::from_secs(1)), "garbled_answer"),
        (Fault::Reset, PushOutcome::RetryAfter(Duration::from_secs(1)), "network"),
    ] {
        let push = Push::start().await;
        assert_eq!(push.send(message(2)).await, PushOutcome::Accepted);
        push.fake.fail(FaultScope::Token("push-token-1".into()), fault.clone(), None);
        match (push.send(message(1)).await, wanted) {
            // Up to half more, so that not all come back at once.
            (PushOutcome::RetryAfter(wait), PushOutcome::RetryAfter(least)) => {
                assert!(wait >= least && wait <= least.mul_f64(1.5), "{fault:?}: {wait:?}");
            }
            (outcome, wanted) => assert_eq!(outcome, wanted, "{fault:?}"),
        }
        assert_eq!((push.counted(counted), push.fake.counts().accepted), (1, 1), "{fault:?}");
        let alert = matches!(wanted, PushOutcome::Refused(_));
        assert_eq!(push.misconfigured(), (i64::from(alert), alert.then_some(counted)), "{fault:?}");
    }
}

#[tokio::test]
async fn the_alert_ends_with_the_next_message_that_is_taken() {
    let push = Push::start().await;
    push.fake.fail(FaultScope::Token("push-token-1".into()), Fault::SenderIdMismatch, None);
    assert_eq!(push.send(message(1)).await, PushOutcome::Refused("sender_id_mismatch"));
    assert_eq!(push.misconfigured(), (1, Some("sender_id_mismatch")));
    assert_eq!(push.send(message(2)).await, PushOutcome::Accepted, "another device is not held up");
    assert_eq!(push.misconfigured(), (0, None));
}

#[tokio::test]
async fn a_refused_account_is_asked_for_once_and_no_message_tried_with_it() {
    let push = Push::start().await;
    push.fake.fail(FaultScope::TokenEndpoint, Fault::InvalidGrant, None);
    let sent: Vec<_> = (0..30).map(|n| push.submit(message(n))).collect();
    for outcome in sent {
        assert_eq!(wait(outcome).await, PushOutcome::Refused("service_account_refused"));
    }
    let counts = push.fake.counts();
    assert_eq!((counts.token_requests, counts.messages), (1, 0));
    assert_eq!(push.misconfigured(), (1, Some("service_account_refused")));
}

#[tokio::test]
async fn an_outage_of_the_token_endpoint_is_no_misconfiguration() {
    let push = Push::start().await;
    push.fake.fail(FaultScope::TokenEndpoint, Fault::Unavailable { retry_after: Some("1".into()) }, Some(1));
    let PushOutcome::RetryAfter(pause) = push.send(message(1)).await else { panic!("not told to come back") };
    assert!(pause >= Duration::from_secs(1), "{pause:?}");
    assert_eq!(push.misconfigured(), (0, None));
    assert_eq!(push.send(message(1)).await, PushOutcome::Accepted);
}

#[tokio::test]
async fn retry_after_holds_up_everybody_and_nothing_is_sent_meanwhile() {
    let push = Push::start().await;
    assert!(!push.sender.status().quota_used_up);
    for as_date in [false, true] {
        let retry_after = if as_date { clock(3).format("%a, %d %b %Y %H:%M:%S GMT").to_string() } else { "1".to_owned() };
        let before = push.fake.counts();
        push.fake.fail(FaultScope::Everybody, Fault::QuotaExceeded { retry_after: Some(retry_after.clone()) }, Some(1));
        let PushOutcome::RetryAfter(wait_for) = push.send(message(1)).await else { panic!("not told to come back") };
        let refused = Instant::now();
        let paused_for = push.sender.status().paused_for.expect("no pause");
        assert!(push.sender.status().quota_used_up, "{retry_after}");
        assert!(wait_for <= Duration::from_millis(3300) && paused_for <= wait_for, "{retry_after}: {wait_for:?}, {paused_for:?}");
        let sent: Vec<_> = (10..20).map(|n| push.submit(message(n))).collect();
        assert!(push.sender.status().queued > 0);
        for outcome in sent {
            assert_eq!(wait(outcome).await, PushOutcome::Accepted);
        }
        assert!(refused.elapsed() >= paused_for, "{retry_after}: sent too early");
        assert_eq!(push.fake.counts().messages - before.messages, 11, "{retry_after}: nothing was sent in vain");
        assert_eq!(push.sender.status().queued, 0);
    }
}

#[tokio::test]
async fn after_a_pause_one_message_goes_ahead() {
    let push = Push::with(FakeFcmOptions { latency: Duration::from_millis(20), ..Default::default() }, |_| {}).await;
    assert_eq!(push.send(message(0)).await, PushOutcome::Accepted);
    push.fake.fail(FaultScope::Everybody, Fault::Unavailable { retry_after: Some("1".into()) }, None);
    assert!(matches!(push.send(message(1)).await, PushOutcome::RetryAfter(_)));
    let mut sent: Vec<_> = (10..30).map(|n| push.submit(message(n))).collect();
    assert!(matches!(wait(sent.remove(0)).await, PushOutcome::RetryAfter(_)));
    assert_eq!(push.fake.counts().messages, 3, "one of twenty was risked");
    push.fake.heal();
    for outcome in sent {
        assert_eq!(wait(outcome).await, PushOutcome::Accepted);
    }
    assert!(push.fake.counts().at_a_time_max > 1, "then all go on together");
}

#[tokio::test]
async fn a_message_whose_life_ends_in_the_queue_is_not_sent() {
    let push = Push::start().await;
    push.fake.fail(FaultScope::Everybody, Fault::Unavailable { retry_after: Some("2".into()) }, Some(1));
    assert!(matches!(push.send(message(1)).await, PushOutcome::RetryAfter(_)));
    let short = push.submit(PushMessage { ttl_s: 1, ..message(2) });
    let long = push.submit(PushMessage { ttl_s: 60, ..message(3) });
    assert_eq!(wait(short).await, PushOutcome::Refused("expired"));
    assert_eq!(wait(long).await, PushOutcome::Accepted);
    let delivered = push.fake.delivered();
    assert!(delivered.len() == 1 && delivered[0].ttl_s <= 58, "what it waited is taken off: {delivered:?}");
}

#[tokio::test]
async fn a_device_gets_so_many_a_minute_and_others_are_not_touched() {
    let push = Push::with(FakeFcmOptions::default(), |settings| settings.per_device_per_minute = 3).await;
    for _ in 0..3 {
        assert_eq!(push.send(message(1)).await, PushOutcome::Accepted);
    }
    let PushOutcome::RetryAfter(limit) = push.send(message(1)).await else { panic!("more than the limit") };
    assert!(limit <= Duration::from_secs(60) && limit > Duration::from_secs(30), "{limit:?}");
    assert_eq!(push.send(message(2)).await, PushOutcome::Accepted);
    assert_eq!((push.counted("device_limit"), push.fake.counts().accepted), (1, 4));
}

#[tokio::test]
async fn no_more_than_so_many_a_second_go_out() {
    let push = Push::with(FakeFcmOptions::default(), |settings| settings.rate = RateLimit { per_second: 10, burst: 2 }).await;
    let began = Instant::now();
    let sent: Vec<_> = (0..8).map(|n| push.submit(message(n))).collect();
    for outcome in sent {
        assert_eq!(wait(outcome).await, PushOutcome::Accepted);
    }
    assert!(began.elapsed() >= Duration::from_millis(590), "two at once, six at 100 ms each: {:?}", began.elapsed());
}

#[tokio::test]
async fn a_hanging_answer_ends_with_the_timeout_and_the_next_goes_through() {
    let push = Push::with(FakeFcmOptions::default(), |settings| settings.timeout = Duration::from_millis(400)).await;
    for (n, place) in [(1, FaultScope::TokenEndpoint), (2, FaultScope::Everybody)] {
        push.fake.fail(place.clone(), Fault::Hang, Some(1));
        let PushOutcome::RetryAfter(wait) = push.send(message(n)).await else { panic!("{place:?}") };
        assert!(wait >= Duration::from_secs(1) && push.counted("timeout") == u64::try_from(n).unwrap(), "{place:?}: {wait:?}");
        assert_eq!(push.send(message(n)).await, PushOutcome::Accepted, "{place:?}");
    }
}

#[tokio::test]
async fn an_outage_stops_the_hammering() {
    let push = Push::start().await;
    assert_eq!(push.send(message(0)).await, PushOutcome::Accepted);
    push.fake.fail(FaultScope::Everybody, Fault::Internal, None);
    let sent: Vec<_> = (0..200).map(|n| push.submit(message(1000 + n))).collect();
    eventually("a pause", async || push.sender.status().paused_for).await;
    let tried = push.fake.counts().messages;
    assert!(tried <= 1 + 5 + 16, "{tried} tried");
    assert!(push.sender.status().queued > 100);
    drop(sent);
}

#[tokio::test]
async fn a_full_queue_says_so_at_once_and_a_stop_tells_all_that_wait() {
    let mut push = Push::with(FakeFcmOptions::default(), |settings| (settings.concurrency, settings.queue_max) = (1, 3)).await;
    push.fake.fail(FaultScope::Everybody, Fault::Hang, None);
    let first = push.submit(message(0));
    eventually("the first on its way", async || (push.fake.counts().messages == 1).then_some(())).await;
    // One more is held by the dispatcher, three wait.
    let mut waiting = vec![first];
    let refused = eventually("a full queue", async || {
        let mut outcome = push.submit(message(rand::random()));
        match outcome.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(_) => {
                waiting.push(outcome);
                None
            }
        }
    })
    .await;
    assert!(matches!(refused, PushOutcome::RetryAfter(_)), "{refused:?}");
    assert_eq!((waiting.len(), push.counted("queue_full"), push.sender.status().queued), (5, 1, 4));
    push.tasks.shutdown().await;
    for outcome in waiting {
        assert!(matches!(wait(outcome).await, PushOutcome::RetryAfter(_)));
    }
    assert_eq!((push.counted("unfinished"), push.sender.status().queued), (5, 0));
    assert!(matches!(push.send(message(9)).await, PushOutcome::RetryAfter(_)), "after the stop");
}

#[tokio::test]
async fn without_settings_push_is_off() {
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let sender = PushSender::start(&mut JoinSet::new(), &Clock::system(), None, None, &metrics).unwrap();
    let (told, outcome) = oneshot::channel();
    sender.submit(message(1), tell(told));
    assert_eq!(wait(outcome).await, PushOutcome::Off);
    assert!(!sender.reaches("push-token-1") && !sender.status().on);
}

#[tokio::test]
async fn no_secret_is_logged_and_an_alert_once_a_minute() {
    let push = Push::start().await;
    let account: serde_json::Value = serde_json::from_str(push.fake.account_json()).unwrap();
    assert_eq!(push.send(message(1)).await, PushOutcome::Accepted);
    for fault in [Fault::SenderIdMismatch, Fault::ThirdPartyAuth, Fault::Reset, Fault::Garbage, Fault::Unauthenticated] {
        push.fake.fail(FaultScope::Everybody, fault, None);
        push.send(message(1)).await;
    }
    let log = LOG.with_borrow(|log| String::from_utf8(log.clone()).unwrap());
    assert_eq!(log.matches("fcm.misconfigured").count(), 1, "{log}");
    let key = account["private_key"].as_str().unwrap().lines().nth(3).unwrap();
    for secret in ["push-token-1", "5ecret-signature", "ya29.", "Bearer", key] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
    assert!(!format!("{:?}", message(1)).contains("push-token-1"));
}

#[tokio::test]
async fn a_node_starts_with_a_good_account_and_names_what_is_wrong_with_a_bad_one() {
    let fake = FakeFcm::start(FakeFcmOptions::default()).await.unwrap();
    let folder = TempDir::new("push").unwrap();
    let file = folder.path().join("account.json");
    fake.write_account(&file).unwrap();
    let file_text = file.to_str().unwrap();
    let on = options().env("NEXMDM__FCM__SERVICE_ACCOUNT_FILE", file_text).env("NEXMDM__FCM__BASE_URL", fake.url());
    let bench = Bench::with(on).await;
    let answer = bench.client.get("/metrics", None).await.unwrap();
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(text.contains("\nnexmdm_fcm_misconfigured 0\n") && text.contains("\nnexmdm_fcm_queue_messages 0\n"), "{text}");
    assert!(bench.node.log().contains("fcm.on"));

    let mut account: serde_json::Value = serde_json::from_str(fake.account_json()).unwrap();
    account["private_key"] = "5ecret".into();
    std::fs::write(&file, account.to_string()).unwrap();
    let data_dir = TempDir::new("push-data").unwrap();
    for arguments in [&["config", "check"][..], &["serve"]] {
        let out = Command::new(env!("CARGO_BIN_EXE_nexmdm"))
            .args(arguments)
            .env("NEXMDM__FCM__SERVICE_ACCOUNT_FILE", file_text)
            .env("NEXMDM__DATA_DIR", data_dir.path())
            .env("NEXMDM__HTTP__LISTEN", "127.0.0.1:0")
            .env("NEXMDM__DATABASE__SHARED_BUFFERS_MB", "32")
            .env_remove("DATABASE_URL")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success(), "{arguments:?}");
        assert!(said.contains(file_text) && said.contains("field private_key: not an RSA private key"), "{arguments:?}: {said}");
        assert!(!said.contains("5ecret"), "{said}");
    }
}
