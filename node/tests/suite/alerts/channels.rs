//! Channels: tried, changed, and never shown with their secrets.

use chaos::http::Call;
use chaos::sink::{Arrival, SinkMode};
use hyper::Method;
use serde_json::{Value, json};

use super::{HOOK, Watched, beat, ctl, made};
use crate::common::{Bench, api_token, eventually};

async fn patch(bench: &Bench, path: &str, body: &Value) -> chaos::http::Answer {
    let call = Call::post(path, body.to_string()).method(Method::PATCH).content_type("application/json").bearer(&bench.admin);
    bench.client.send(call).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_tells_what_the_service_answers_and_secrets_stay_inside() {
    let watched = Watched::start().await;
    let Watched { bench, sinks, channel } = &watched;
    let path = format!("/v1/alert-channels/{channel}");
    let test = async || bench.client.post(&format!("{path}/test"), Some(&bench.admin), &json!({})).await.unwrap().json();
    let tested = test().await;
    assert_eq!(tested["delivered"], true, "{tested}");
    // The start of the node is an alert as well.
    assert_eq!(sinks.arrivals().iter().filter(|arrival| arrival.kind.as_deref() == Some("test")).count(), 1);
    sinks.set_mode(HOOK, SinkMode::Status { status: 404 }, None);
    let tested = test().await;
    assert!(tested["delivered"] == false && tested["answer"].as_str().unwrap().contains("404"), "{tested}");
    let (ok, out) = ctl(bench, &["alerts", "channels", "test", HOOK]);
    assert!(!ok && out.contains("404"), "{out}");

    let url = sinks.webhook_url(HOOK);
    let changed = patch(bench, &path, &json!({"name": "other", "secret": "a key of signatures"})).await;
    assert_eq!((changed.status, &changed.json()["secrets"]), (200, &json!(["url", "secret"])), "{}", changed.detail());
    let changed = patch(bench, &path, &json!({"secret": null})).await;
    assert_eq!(changed.json()["secrets"], json!(["url"]), "{}", changed.detail());
    for shown in [path.as_str(), "/v1/alert-channels", "/v1/audit?action=alert_channel."] {
        let shown = bench.client.get_json(shown, &bench.admin).await.unwrap().to_string();
        assert!(!shown.contains("/webhook/") && !shown.contains("a key of signatures"), "{shown}");
    }
    let stored = bench.sql("SELECT channel::text || encode(sealed_secret, 'escape') FROM alert_channel channel");
    assert!(!stored.contains(&url), "{stored}");

    let (ok, out) = ctl(bench, &["alerts", "channels", "kinds"]);
    assert!(ok && out.contains("routing_key"), "{out}");
    for (body, field) in [
        (json!({"name": "x", "kind": "carrier_pigeon"}), "kind"),
        (json!({"name": "x", "kind": "discord"}), "url"),
        (json!({"name": "x", "kind": "discord", "url": "ftp://example.org/"}), "url"),
        (json!({"name": "x", "kind": "discord", "url": "https://example.org/", "colour": "red"}), "colour"),
        (json!({"name": "OTHER", "kind": "discord", "url": "https://example.org/"}), "name"),
        (json!({"name": "x", "kind": "email", "to": "a@b.c\r\nBcc: d@e.f"}), "to"),
    ] {
        let refused = bench.client.post("/v1/alert-channels", Some(&bench.admin), &body).await.unwrap();
        assert_eq!((refused.status, &refused.json()["field"]), (422, &json!(field)), "{body}: {}", refused.detail());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_leads_inward_is_refused_unless_it_is_allowed() {
    let bench = Bench::start().await;
    let hook = json!({"name": HOOK, "kind": "webhook", "url": "http://127.0.0.1:9/hook"});
    let channel = made(&bench, "/v1/alert-channels", &hook).await;
    let tested = bench.client.post(&format!("/v1/alert-channels/{channel}/test"), Some(&bench.admin), &json!({})).await.unwrap().json();
    assert_eq!(tested["delivered"], false);
    assert!(tested["answer"].as_str().unwrap().contains("allow_private_targets"), "{tested}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_was_given_up_is_sent_again() {
    let watched = Watched::start().await;
    let Watched { bench, sinks, channel } = &watched;
    let device = bench.enroll("kiosk").await;
    sinks.set_mode(HOOK, SinkMode::Status { status: 404 }, None);
    beat(bench, &device, 1, 9, true).await;
    let dead = format!("/v1/alert-channels/{channel}/deliveries?dead=true");
    let letter = eventually("it is a dead letter", async || watched.get(&dead).await["items"].as_array().unwrap().first().cloned()).await;
    assert_eq!((&letter["state"], &letter["attempts"]), (&json!("dead"), &json!(1)), "{letter}");
    assert!(letter["last_answer"].as_str().unwrap().contains("404"), "{letter}");
    // Who looks at alerts alone sees that it did not arrive, not what the service said.
    let alert = watched.alert(&format!("rule=low_battery&device_id={}", device.device_id)).await;
    let path = format!("/v1/alerts/{}", alert["id"].as_str().unwrap());
    let delivery = async |bearer: &str| bench.client.get_json(&path, bearer).await.unwrap()["deliveries"][0].clone();
    let known = eventually("it is given up", async || Some(delivery(&bench.admin).await).filter(|known| known["state"] == "dead")).await;
    assert!(known["last_answer"].as_str().unwrap().contains("404"), "{known}");
    let viewer = api_token(&bench.client, &bench.admin, &["alerts:read"]).await;
    let seen = delivery(viewer["token"].as_str().unwrap()).await;
    assert_eq!((&seen["state"], &seen["channel"], &seen["last_answer"]), (&json!("dead"), &json!(HOOK), &Value::Null), "{seen}");
    sinks.set_mode(HOOK, SinkMode::Accept, None);
    let (ok, out) = ctl(bench, &["alerts", "channels", "resend", HOOK, letter["notification_id"].as_str().unwrap()]);
    assert!(ok, "{out}");
    let again = |arrival: &Arrival| arrival.is_acknowledged() && arrival.notification.as_deref() == letter["notification_id"].as_str();
    eventually("it arrives", async || sinks.arrivals().into_iter().find(again)).await;
    let (ok, out) = ctl(bench, &["alerts", "channels", "resend", HOOK, letter["notification_id"].as_str().unwrap()]);
    assert!(!ok, "it is not given up any more: {out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_audited_is_sent_to_channels_that_subscribed_to_it() {
    let watched = Watched::start().await;
    let Watched { bench, sinks, .. } = &watched;
    let (ok, out) = ctl(bench, &["alerts", "subscriptions", "create", HOOK, "--action", "device.enrolled"]);
    assert!(ok, "{out}");
    bench.enroll("kiosk").await;
    let event =
        eventually("the event arrives", async || sinks.arrivals().into_iter().find(|arrival| arrival.title.starts_with("device.enrolled")));
    assert!(event.await.title.contains("kiosk"));
    let (ok, out) = ctl(bench, &["alerts", "subscriptions", "delete", out.trim()]);
    assert!(ok, "{out}");
    assert_eq!(watched.get("/v1/event-subscriptions").await["items"], json!([]));
}
