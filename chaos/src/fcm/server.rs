//! The HTTP side of the fake: `POST /token`, `POST /v1/projects/{id}/messages:send`, and `/fake/faults`.

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, sleep};

use super::account::Account;
use super::fault::{Fault, FaultAnswer, FaultScope, Faults, bad_request, error_body};
use super::message::{self, ValidMessage};
use super::{Counts, Delivery, FakeFcmOptions};
use crate::clock;
use crate::fake_server::{self, Reply};

/// Largest accepted body.
const BODY_MAX_BYTES: usize = 64 << 10;
/// Messages that are kept.
const DELIVERED_MAX: usize = 1000;

type Answer = Reply;

/// State that all connections share.
pub(super) struct State {
    pub(super) account: Account,
    pub(super) everybody: broadcast::Sender<Delivery>,
    options: FakeFcmOptions,
    inner: Mutex<Inner>,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) access_tokens: HashMap<String, Instant>,
    pub(super) faults: Faults,
    pub(super) counts: Counts,
    pub(super) delivered: VecDeque<Delivery>,
    subscribers: HashMap<String, mpsc::Sender<Delivery>>,
    at_a_time: u64,
}

impl State {
    pub(super) fn new(options: FakeFcmOptions, account: Account) -> Self {
        Self { account, everybody: broadcast::channel(DELIVERED_MAX).0, options, inner: Mutex::default() }
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn subscribe(&self, token: &str, sender: mpsc::Sender<Delivery>) {
        self.inner().subscribers.insert(token.to_owned(), sender);
    }
}

/// Serves until dropped; connections end with it.
pub(super) async fn serve(listener: TcpListener, state: Arc<State>) {
    let answer = move |request| {
        let state = Arc::clone(&state);
        async move { answer(&state, request).await }
    };
    fake_server::serve(listener, answer).await;
}

fn reply(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    answer
}

/// `None`: the connection is to be reset.
async fn fail(fault: &Fault) -> Option<Answer> {
    let Some(FaultAnswer { status, retry_after, body }) = fault.answer() else {
        return if *fault == Fault::Reset { None } else { pending().await };
    };
    let mut answer = reply(StatusCode::from_u16(status).unwrap_or_default(), body);
    if let Some(value) = retry_after.and_then(|text| HeaderValue::try_from(text).ok()) {
        answer.headers_mut().insert(RETRY_AFTER, value);
    }
    Some(answer)
}

async fn answer(state: &State, request: Request<Incoming>) -> Option<Answer> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_MAX_BYTES).collect().await else {
        return Some(reply(StatusCode::PAYLOAD_TOO_LARGE, "{}"));
    };
    let body = body.to_bytes();
    let send_path = format!("/v1/projects/{}/messages:send", state.options.project_id);
    match (&head.method, head.uri.path()) {
        (&Method::POST, "/token") => issue_token(state, &body).await,
        (&Method::POST, path) if path == send_path => {
            let _counted = ConcurrencyGuard::enter(state);
            let bearer = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
            let is_json = head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
            send(state, bearer, is_json, &body).await
        }
        (&Method::POST, "/fake/faults") => Some(set_fault(state, &body)),
        (&Method::DELETE, "/fake/faults") => {
            state.inner().faults.clear();
            Some(reply(StatusCode::OK, "{}"))
        }
        (&Method::GET, "/fake/counts") => {
            let counts = state.inner().counts;
            Some(reply(StatusCode::OK, serde_json::to_string(&counts).unwrap_or_default()))
        }
        // A page, as Google's own for what is not there.
        _ => Some(reply(StatusCode::NOT_FOUND, "<!DOCTYPE html><title>Error 404 (Not Found)!!1</title>")),
    }
}

/// Counts a message while it is processed.
struct ConcurrencyGuard<'a>(&'a State);

impl<'a> ConcurrencyGuard<'a> {
    fn enter(state: &'a State) -> Self {
        let mut inner = state.inner();
        inner.counts.messages += 1;
        inner.at_a_time += 1;
        inner.counts.at_a_time_max = inner.counts.at_a_time_max.max(inner.at_a_time);
        Self(state)
    }
}

impl Drop for ConcurrencyGuard<'_> {
    fn drop(&mut self) {
        self.0.inner().at_a_time -= 1;
    }
}

async fn issue_token(state: &State, body: &[u8]) -> Option<Answer> {
    let fault = {
        let mut inner = state.inner();
        inner.counts.token_requests += 1;
        inner.faults.take(&FaultScope::TokenEndpoint)
    };
    if let Some(fault) = fault {
        return fail(&fault).await;
    }
    let form = std::str::from_utf8(body).unwrap_or("");
    if let Err(problem) = state.account.verify(form, clock::now()) {
        let body = json!({"error": "invalid_grant", "error_description": problem});
        return Some(reply(StatusCode::BAD_REQUEST, body.to_string()));
    }
    let token = format!("ya29.{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
    let (now, life) = (Instant::now(), state.options.token_life);
    let mut inner = state.inner();
    inner.access_tokens.retain(|_, ends_at| *ends_at > now);
    inner.access_tokens.insert(token.clone(), now + life);
    inner.counts.tokens_granted += 1;
    let body = json!({"access_token": token, "expires_in": life.as_secs(), "token_type": "Bearer"});
    Some(reply(StatusCode::OK, body.to_string()))
}

async fn send(state: &State, bearer: Option<&str>, is_json: bool, body: &[u8]) -> Option<Answer> {
    sleep(state.options.latency).await;
    let known = bearer.and_then(|token| state.inner().access_tokens.get(token).copied()).is_some_and(|ends_at| Instant::now() < ends_at);
    if !known {
        return fail(&Fault::Unauthenticated).await;
    }
    if !is_json {
        return Some(reply(StatusCode::BAD_REQUEST, bad_request("message", "Content-Type is not application/json")));
    }
    let message = match message::parse(body) {
        Ok(message) => message,
        Err((field, problem)) => return Some(reply(StatusCode::BAD_REQUEST, bad_request(field, &problem))),
    };
    let fault = {
        let faults = &mut state.inner().faults;
        faults.take(&FaultScope::Token(message.token.clone())).or_else(|| faults.take(&FaultScope::Everybody))
    };
    match fault.or_else(|| deliver(state, message).err()) {
        Some(fault) => fail(&fault).await,
        None => {
            let name = format!("projects/{}/messages/0:{:016x}", state.options.project_id, rand::random::<u64>());
            Some(reply(StatusCode::OK, json!({"name": name}).to_string()))
        }
    }
}

fn deliver(state: &State, message: ValidMessage) -> Result<(), Fault> {
    let ValidMessage { token, data, ttl_s, high_priority, collapse_key, validate_only } = message;
    let mut inner = state.inner();
    let subscriber = inner.subscribers.get(&token).cloned();
    if subscriber.as_ref().map_or(state.options.strict, mpsc::Sender::is_closed) {
        return Err(Fault::Unregistered);
    }
    if validate_only {
        return Ok(());
    }
    let delivery = Delivery { token, data, ttl_s, high_priority, collapse_key, at: clock::now() };
    inner.counts.accepted += 1;
    if inner.delivered.len() == DELIVERED_MAX {
        inner.delivered.pop_front();
    }
    inner.delivered.push_back(delivery.clone());
    // An accepted message may be lost: a device that does not read loses messages, and there may be no subscriber.
    if let Some(subscriber) = subscriber {
        let _ = subscriber.try_send(delivery.clone());
    }
    let _ = state.everybody.send(delivery);
    Ok(())
}

/// Body of a fault request, such as `{"place": "everybody", "fault": {"kind": "unavailable", "retry_after": "3"}, "times": 2}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultRequest {
    #[serde(rename = "place")]
    scope: FaultScope,
    fault: Fault,
    times: Option<u32>,
}

fn set_fault(state: &State, body: &[u8]) -> Answer {
    match serde_json::from_slice(body) {
        Ok(FaultRequest { scope, fault, times }) => {
            state.inner().faults.set(scope, fault, times);
            reply(StatusCode::OK, "{}")
        }
        Err(error) => reply(StatusCode::BAD_REQUEST, error_body(400, "INVALID_ARGUMENT", &error.to_string(), &json!([]))),
    }
}
