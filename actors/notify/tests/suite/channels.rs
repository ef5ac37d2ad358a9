//! What is posted to each kind of webhook, and what its answers mean.

use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use domain::notification::{AttemptOutcome, ChannelKind};
use notify::NotifySettings;

use crate::http_target::{Answer, Target};
use crate::setup::{channel, notifier, settings};

#[tokio::test]
async fn a_test_arrives_in_the_form_of_each_service() {
    let (target, notifier) = (Target::start(Answer::of(204)).await, notifier(settings()));
    let url = target.url("/api/webhooks/1/token");
    let attempt = notifier.test(&channel(&notifier, 1, ChannelKind::Discord, &[("url", &url)])).await;
    assert_eq!((attempt.is_delivered(), attempt.answer.as_str()), (true, "HTTP 204"));
    let discord = target.requests().remove(0);
    assert_eq!((discord.path.as_str(), discord.header("content-type")), ("/api/webhooks/1/token", Some("application/json")));
    let body = discord.json();
    assert_eq!(body["embeds"][0]["title"], "Test of this channel");
    assert_eq!(body["allowed_mentions"]["parse"], serde_json::json!([]));
    assert!(!body["embeds"][0]["footer"]["text"].as_str().unwrap().is_empty());

    target.answers(Answer::Status(200, &[], "ok".into()));
    let attempt = notifier.test(&channel(&notifier, 2, ChannelKind::Slack, &[("url", &url)])).await;
    assert_eq!(attempt.answer, "HTTP 200: ok");
    assert_eq!(target.requests()[1].json()["text"], "Test of this channel");

    let topic = target.url("/our-topic");
    let ntfy = channel(&notifier, 3, ChannelKind::Ntfy, &[("url", &topic), ("token", "tk_secret")]);
    assert!(notifier.test(&ntfy).await.is_delivered());
    let request = &target.requests()[2];
    assert_eq!((request.path.as_str(), request.header("authorization")), ("/", Some("Bearer tk_secret")));
    assert_eq!((&request.json()["topic"], &request.json()["title"]), (&"our-topic".into(), &"Test of this channel".into()));

    let (key, url) = ("k".repeat(32), target.url("/v2/enqueue"));
    let pagerduty = channel(&notifier, 4, ChannelKind::Pagerduty, &[("routing_key", &key), ("url", &url)]);
    assert!(notifier.test(&pagerduty).await.is_delivered());
    let (trigger, resolve) = (target.requests()[3].json(), target.requests()[4].json());
    assert_eq!((&trigger["event_action"], &resolve["event_action"]), (&"trigger".into(), &"resolve".into()));
    assert_eq!((&trigger["dedup_key"], &trigger["routing_key"]), (&resolve["dedup_key"], &key.into()));
}

#[tokio::test]
async fn a_webhook_is_signed_over_its_time_and_bytes() {
    let (target, notifier) = (Target::start(Answer::of(200)).await, notifier(settings()));
    let fields = [("url", &*target.url("/hook")), ("secret", "0123456789abcdef")];
    assert!(notifier.test(&channel(&notifier, 1, ChannelKind::Webhook, &fields)).await.is_delivered());
    let request = target.requests().remove(0);
    assert_eq!(request.header("content-type"), Some("application/cloudevents+json; charset=utf-8"));
    let event = request.json();
    assert_eq!((&event["specversion"], &event["type"]), (&"1.0".into(), &"nexmdm.alert.test".into()));
    assert_eq!((&event["source"], &event["data"]["count"]), (&"https://mdm.example.org".into(), &0.into()));
    let signed = format!("v1.{}.{}", request.header("x-nexmdm-timestamp").unwrap(), String::from_utf8(request.body.clone()).unwrap());
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef"), signed.as_bytes());
    assert_eq!(request.header("x-nexmdm-signature"), Some(&*format!("v1={}", hex::encode(tag.as_ref()))));
}

#[tokio::test]
async fn targets_that_lead_inward_are_not_even_connected_to() {
    let target = Target::start(Answer::of(200)).await;
    let notifier = notifier(NotifySettings { allow_private_targets: false, ..settings() });
    for host in ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"] {
        let url = format!("http://{host}:{}/hook", target.port);
        let attempt = notifier.test(&channel(&notifier, 1, ChannelKind::Webhook, &[("url", &url)])).await;
        assert_eq!(attempt.outcome, AttemptOutcome::Refused, "{host}: {}", attempt.answer);
        assert!(attempt.answer.contains("alerts.allow_private_targets"), "{host}: {}", attempt.answer);
    }
    let mail =
        [("to", "a@example.org"), ("host", "localhost"), ("port", &*target.port.to_string()), ("tls", "none"), ("from", "b@example.org")];
    let attempt = notifier.test(&channel(&notifier, 2, ChannelKind::Email, &mail)).await;
    assert!(attempt.outcome == AttemptOutcome::Refused && attempt.answer.contains("a loopback address"), "{}", attempt.answer);
    assert!(target.requests().is_empty());
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (target, elsewhere) = (Target::start(Answer::of(200)).await, Target::start(Answer::of(200)).await);
    let location: &'static str = Box::leak(elsewhere.url("/").into_boxed_str());
    let headers: &'static [(&'static str, &'static str)] = Box::leak(Box::new([("location", location)]));
    let notifier = notifier(settings());
    for status in [301, 302, 303, 307, 308] {
        target.answers(Answer::Status(status, headers, String::new()));
        let attempt = notifier.test(&channel(&notifier, 1, ChannelKind::Discord, &[("url", &target.url("/"))])).await;
        assert_eq!(attempt.outcome, AttemptOutcome::Refused, "{status}");
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn answers_say_whether_and_when_to_try_again() {
    let (target, notifier) = (Target::start(Answer::of(200)).await, notifier(settings()));
    let row = channel(&notifier, 1, ChannelKind::Discord, &[("url", &target.url("/hook"))]);
    let later = |seconds: f64| AttemptOutcome::Later { retry_after: Some(Duration::from_secs_f64(seconds)) };
    let body = r#"{"message": "You are being rate limited.", "retry_after": 64.57, "global": false}"#;
    for (answer, outcome) in [
        (Answer::of(500), AttemptOutcome::Later { retry_after: None }),
        (Answer::of(503), AttemptOutcome::Later { retry_after: None }),
        (Answer::Status(503, &[("retry-after", "7")], String::new()), later(7.0)),
        (Answer::Status(429, &[("retry-after", "65")], body.to_owned()), later(64.57)),
        (Answer::of(404), AttemptOutcome::Refused),
        (Answer::of(401), AttemptOutcome::Refused),
        (Answer::Huge(200, 30 << 20), AttemptOutcome::Delivered),
        (Answer::Huge(500, 30 << 20), AttemptOutcome::Later { retry_after: None }),
    ] {
        target.answers(answer.clone());
        let attempt = notifier.test(&row).await;
        assert_eq!(attempt.outcome, outcome, "{answer:?}: {}", attempt.answer);
        assert!(attempt.answer.chars().count() <= 301, "{answer:?}");
    }
}

#[tokio::test]
async fn an_answer_that_repeats_the_token_does_not_show_it() {
    let (target, notifier) = (Target::start(Answer::of(200)).await, notifier(settings()));
    let url = target.url("/hooks/very-secret-token");
    target.answers(Answer::Status(404, &[], format!("no webhook {url} here\r\nand no very-secret-token at all")));
    let attempt = notifier.test(&channel(&notifier, 1, ChannelKind::Slack, &[("url", &url)])).await;
    assert_eq!(attempt.answer, "HTTP 404: no webhook (hidden) here and no (hidden) at all");
}

#[tokio::test]
async fn what_hangs_or_is_not_there_is_tried_again() {
    let target = Target::start(Answer::Hang).await;
    let notifier = notifier(NotifySettings { timeout: Duration::from_millis(300), ..settings() });
    let began = Instant::now();
    let attempt = notifier.test(&channel(&notifier, 1, ChannelKind::Webhook, &[("url", &target.url("/"))])).await;
    assert_eq!((attempt.outcome, attempt.answer.as_str()), (AttemptOutcome::Later { retry_after: None }, "no answer in time"));
    assert!(began.elapsed() < Duration::from_secs(10));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let attempt = notifier.test(&channel(&notifier, 1, ChannelKind::Webhook, &[("url", &format!("http://127.0.0.1:{free}/x"))])).await;
    assert_eq!(attempt.outcome, AttemptOutcome::Later { retry_after: None });
    assert!(attempt.answer.starts_with("no connection") && !attempt.answer.contains("/x"), "{}", attempt.answer);
}

#[tokio::test]
async fn a_channel_of_another_master_key_says_so() {
    let (target, own) = (Target::start(Answer::of(200)).await, notifier(settings()));
    let mut row = channel(&own, 1, ChannelKind::Discord, &[("url", &target.url("/"))]);
    row.channel.id = domain::ChannelId(uuid::Uuid::from_u128(2));
    let attempt = own.test(&row).await;
    assert_eq!(attempt.outcome, AttemptOutcome::Refused);
    assert!(attempt.answer.contains("enter it again"), "{}", attempt.answer);
}
