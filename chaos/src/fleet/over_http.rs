//! HTTP transport of a device: one request per heartbeat, lists for a backlog.

use tokio::time::{Instant, sleep_until};
use wire::agent::{HeartbeatResponse, HeartbeatsResponse};

use super::agent::Agent;
use super::commands::Path;
use super::queue::Batch;
use super::{EndReason, LIST_BYTES, LIST_ITEMS};
use crate::http::{Answer, Call};
use crate::identity::RequestFailure;
use crate::signals::stopped;

/// Header that names the owner that decided about a heartbeat, and its epoch.
const OWNER_HEADER: &str = "x-nexmdm-owner";

/// Runs the device until it ends or the run does.
pub(super) async fn run(agent: &mut Agent) -> EndReason {
    let mut stop = agent.fleet.stop.clone();
    loop {
        let wake = agent.next_wakeup(Instant::now(), !agent.queue.is_empty());
        let connected = agent.is_connected();
        tokio::select! {
            biased;
            () = stopped(&mut stop) => return EndReason::Stopped,
            item = agent.next_inbox_item(), if connected => agent.handle_inbox_item(item),
            () = sleep_until(wake) => {}
        }
        agent.create_due_heartbeats(Instant::now());
        while agent.may_send(Instant::now()) && !*stop.borrow() {
            // Boxed, to keep the task small between heartbeats. Heartbeats come first, as a server may refuse results.
            let step = if !agent.queue.is_empty() {
                Box::pin(send_heartbeats(agent)).await
            } else if agent.commands.results.ready(Instant::now()) {
                Box::pin(send_result(agent)).await
            } else if agent.installations.reports.ready() {
                Box::pin(send_report(agent)).await
            } else {
                break;
            };
            if let Err(ending) = step {
                return ending;
            }
        }
    }
}

/// Sends a command result in one request; backs off on failure.
pub(super) async fn send_result(agent: &mut Agent) -> Result<(), EndReason> {
    let Some(token) = agent.session_token().await? else { return Ok(()) };
    let sent = Instant::now();
    let Some(pending) = agent.commands.results.next_to_send(sent) else { return Ok(()) };
    let (id, lose) = (pending.id, pending.lose);
    // Serialization cannot fail: text, numbers and a map with text keys.
    let Ok(body) = serde_json::to_vec(&pending.result) else { return Ok(()) };
    agent.count_result_sent();
    let outcome = agent.http().send(Call::post("/v1/action-result", body).bearer(&token)).await;
    if lose {
        agent.result_ack_lost(id, sent);
        return Ok(());
    }
    match outcome {
        Ok(answer) if answer.status == 200 => drop(agent.result_acknowledged(id, sent)),
        Ok(answer) => return agent.result_refused(id, answer.status, answer.retry_after(), sent).unwrap_or(Ok(())),
        Err(error) => {
            agent.fleet.stats.error(error.kind());
            agent.commands.results.requeue(Some(id));
            agent.change_server();
            agent.back_off(None);
        }
    }
    Ok(())
}

/// Sends a deployment report in one request; backs off on failure.
pub(super) async fn send_report(agent: &mut Agent) -> Result<(), EndReason> {
    let Some(token) = agent.session_token().await? else { return Ok(()) };
    let Some(outgoing) = agent.installations.reports.next_to_send(Instant::now()) else { return Ok(()) };
    let id = outgoing.id();
    // Serialization cannot fail: text and numbers.
    let Ok(body) = serde_json::to_vec(outgoing.report()) else { return Ok(()) };
    let path = outgoing.path(&agent.identity.device_id);
    match agent.http().send(Call::post(&path, body).bearer(&token)).await {
        Ok(answer) if answer.status == 200 => drop(agent.report_acknowledged(id)),
        Ok(answer) => return agent.report_refused(id, answer.status, answer.retry_after()).unwrap_or(Ok(())),
        Err(error) => {
            agent.fleet.stats.error(error.kind());
            agent.installations.reports.requeue(Some(id));
            agent.change_server();
            agent.back_off(None);
        }
    }
    Ok(())
}

/// Sends the oldest heartbeats in one request; backs off on failure.
pub(super) async fn send_heartbeats(agent: &mut Agent) -> Result<(), EndReason> {
    let Some(token) = agent.session_token().await? else { return Ok(()) };
    let items = if agent.single_sends > 0 { 1 } else { LIST_ITEMS };
    let Some(Batch { ids, body }) = agent.queue.batch(items, LIST_BYTES) else { return Ok(()) };
    agent.single_sends = agent.single_sends.saturating_sub(1);
    let sent = Instant::now();
    agent.count_sent(agent.queue.oldest(ids.len()), sent);
    let path = if ids.len() == 1 { "/v1/heartbeat" } else { "/v1/heartbeats" };
    let answer = match agent.http().send(Call::post(path, body).bearer(&token)).await {
        Ok(answer) => answer,
        Err(error) => return agent.failed(&error.into(), sent),
    };
    match (answer.status, &ids[..]) {
        (200, [id]) => single_acknowledged(agent, *id, &answer, sent),
        (200, _) => return handle_list_response(agent, &ids, &answer, sent),
        _ => return refused(agent, &ids, &answer, sent),
    }
    Ok(())
}

fn single_acknowledged(agent: &mut Agent, id: u64, answer: &Answer, sent: Instant) {
    agent.acknowledged(id, sent, answer.header(OWNER_HEADER));
    match answer.read::<HeartbeatResponse>() {
        Ok(response) => {
            agent.receive_commands(&response.commands, Path::Heartbeat);
            agent.set_next_heartbeat(response.next_heartbeat_seconds);
        }
        Err(_) => agent.fleet.stats.error("answer_not_understood"),
    }
}

fn handle_list_response(agent: &mut Agent, ids: &[u64], answer: &Answer, sent: Instant) -> Result<(), EndReason> {
    let Ok(response) = answer.read::<HeartbeatsResponse>() else {
        agent.fleet.stats.error("answer_not_understood");
        agent.back_off(None);
        return Ok(());
    };
    agent.receive_commands(&response.commands, Path::Heartbeat);
    let mut kept = ids.len();
    for outcome in &response.results {
        let Some(id) = ids.get(outcome.index) else { continue };
        match outcome.status {
            200 => agent.acknowledged(*id, sent, answer.header(OWNER_HEADER)),
            410 => return Err(EndReason::Deleted),
            status => {
                agent.record_failure(sent, Some(status), &format!("item_{status}"));
                if matches!(status, 429 | 500..=599) {
                    continue;
                }
                agent.drop_heartbeat(*id);
            }
        }
        kept -= 1;
    }
    agent.set_next_heartbeat(response.next_heartbeat_seconds);
    if kept > 0 {
        agent.back_off(answer.retry_after());
    }
    Ok(())
}

fn refused(agent: &mut Agent, ids: &[u64], answer: &Answer, sent: Instant) -> Result<(), EndReason> {
    let failure = RequestFailure::from_answer(answer);
    if failure.is_temporary() || matches!(answer.status, 401 | 410) {
        return agent.failed(&failure, sent);
    }
    agent.record_failure(sent, Some(answer.status), &failure.kind());
    match ids {
        // The heartbeat itself is refused for good.
        [id] => agent.drop_heartbeat(*id),
        // Any of them may be the cause: they are sent one by one.
        _ => agent.single_sends = ids.len(),
    }
    Ok(())
}
