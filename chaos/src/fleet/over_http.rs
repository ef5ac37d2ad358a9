//! A device that talks HTTP: one request per heartbeat, lists for a backlog.

use tokio::time::{Instant, sleep_until};
use wire::agent::{HeartbeatResponse, HeartbeatsResponse};

use super::agent::Agent;
use super::commands::Path;
use super::queue::Batch;
use super::{Ending, LIST_BYTES, LIST_ITEMS};
use crate::http::{Answer, Call};
use crate::identity::Trouble;
use crate::signals::stopped;

/// Names the node that decided about a heartbeat as its owner, and the epoch.
const OWNER_HEADER: &str = "x-nexmdm-owner";

/// Lives until the run ends or the device does.
pub(super) async fn run(agent: &mut Agent) -> Ending {
    let mut stop = agent.fleet.stop.clone();
    loop {
        let wake = agent.wakes_at(Instant::now(), !agent.queue.is_empty());
        let connected = agent.is_connected();
        tokio::select! {
            biased;
            () = stopped(&mut stop) => return Ending::Stopped,
            news = agent.news(), if connected => agent.heard(news),
            () = sleep_until(wake) => {}
        }
        agent.make_due(Instant::now());
        while agent.may_talk(Instant::now()) && !*stop.borrow() {
            // Boxed: between heartbeats the task is as small as it can be.
            // Heartbeats first: a server that takes no results still hears them.
            let step = if !agent.queue.is_empty() {
                Box::pin(deliver(agent)).await
            } else if agent.commands.answers.ready(Instant::now()) {
                Box::pin(answer(agent)).await
            } else if agent.deploys.reports.ready() {
                Box::pin(report(agent)).await
            } else {
                break;
            };
            if let Err(ending) = step {
                return ending;
            }
        }
    }
}

/// Says how a command went, in one request; on trouble the agent is blocked for a
/// while.
pub(super) async fn answer(agent: &mut Agent) -> Result<(), Ending> {
    let Some(token) = agent.session_token().await? else { return Ok(()) };
    let sent = Instant::now();
    let Some(answer) = agent.commands.answers.launch(sent) else { return Ok(()) };
    let (id, lose) = (answer.id, answer.lose);
    // A result is text, numbers and a map with text keys: it always serialises.
    let Ok(body) = serde_json::to_vec(&answer.result) else { return Ok(()) };
    agent.answering();
    let outcome = agent.http().send(Call::post("/v1/action-result", body).bearer(&token)).await;
    if lose {
        agent.answer_lost(id, sent);
        return Ok(());
    }
    match outcome {
        Ok(answer) if answer.status == 200 => drop(agent.answer_acknowledged(id, sent)),
        Ok(answer) => return agent.answer_refused(id, answer.status, answer.retry_after(), sent).unwrap_or(Ok(())),
        Err(error) => {
            agent.fleet.stats.error(error.kind());
            agent.commands.answers.land(Some(id));
            agent.change_server();
            agent.block(None);
        }
    }
    Ok(())
}

/// Says how an installation goes, in one request; on trouble the agent is blocked for
/// a while.
pub(super) async fn report(agent: &mut Agent) -> Result<(), Ending> {
    let Some(token) = agent.session_token().await? else { return Ok(()) };
    let Some(outgoing) = agent.deploys.reports.launch(Instant::now()) else { return Ok(()) };
    let id = outgoing.id();
    // Text and numbers: it always serialises.
    let Ok(body) = serde_json::to_vec(outgoing.report()) else { return Ok(()) };
    let path = outgoing.path(&agent.identity.device_id);
    match agent.http().send(Call::post(&path, body).bearer(&token)).await {
        Ok(answer) if answer.status == 200 => drop(agent.report_acknowledged(id)),
        Ok(answer) => return agent.report_refused(id, answer.status, answer.retry_after()).unwrap_or(Ok(())),
        Err(error) => {
            agent.fleet.stats.error(error.kind());
            agent.deploys.reports.land(Some(id));
            agent.change_server();
            agent.block(None);
        }
    }
    Ok(())
}

/// Sends the oldest heartbeats in one request; on trouble the agent is blocked
/// for a while.
pub(super) async fn deliver(agent: &mut Agent) -> Result<(), Ending> {
    let Some(token) = agent.session_token().await? else { return Ok(()) };
    let items = if agent.alone > 0 { 1 } else { LIST_ITEMS };
    let Some(Batch { ids, body }) = agent.queue.batch(items, LIST_BYTES) else { return Ok(()) };
    agent.alone = agent.alone.saturating_sub(1);
    let sent = Instant::now();
    agent.sending(agent.queue.oldest(ids.len()), sent);
    let path = if ids.len() == 1 { "/v1/heartbeat" } else { "/v1/heartbeats" };
    let answer = match agent.http().send(Call::post(path, body).bearer(&token)).await {
        Ok(answer) => answer,
        Err(error) => return agent.failed(&error.into(), sent),
    };
    match (answer.status, &ids[..]) {
        (200, [id]) => single_stored(agent, *id, &answer, sent),
        (200, _) => return list_answered(agent, &ids, &answer, sent),
        _ => return refused(agent, &ids, &answer, sent),
    }
    Ok(())
}

fn single_stored(agent: &mut Agent, id: u64, answer: &Answer, sent: Instant) {
    agent.acknowledged(id, sent, answer.header(OWNER_HEADER));
    match answer.read::<HeartbeatResponse>() {
        Ok(told) => {
            agent.commanded(&told.commands, Path::Heartbeat);
            agent.told(told.next_heartbeat_seconds);
        }
        Err(_) => agent.fleet.stats.error("answer_not_understood"),
    }
}

fn list_answered(agent: &mut Agent, ids: &[u64], answer: &Answer, sent: Instant) -> Result<(), Ending> {
    let Ok(told) = answer.read::<HeartbeatsResponse>() else {
        agent.fleet.stats.error("answer_not_understood");
        agent.block(None);
        return Ok(());
    };
    agent.commanded(&told.commands, Path::Heartbeat);
    let mut kept = ids.len();
    for outcome in &told.results {
        let Some(id) = ids.get(outcome.index) else { continue };
        match outcome.status {
            200 => agent.acknowledged(*id, sent, answer.header(OWNER_HEADER)),
            410 => return Err(Ending::Deleted),
            status => {
                agent.note_failure(sent, Some(status), &format!("item_{status}"));
                if matches!(status, 429 | 500..=599) {
                    continue;
                }
                agent.give_up(*id);
            }
        }
        kept -= 1;
    }
    agent.told(told.next_heartbeat_seconds);
    if kept > 0 {
        agent.block(answer.retry_after());
    }
    Ok(())
}

fn refused(agent: &mut Agent, ids: &[u64], answer: &Answer, sent: Instant) -> Result<(), Ending> {
    let trouble = Trouble::from_answer(answer);
    if trouble.passes() || matches!(answer.status, 401 | 410) {
        return agent.failed(&trouble, sent);
    }
    agent.note_failure(sent, Some(answer.status), &trouble.kind());
    match ids {
        // This very heartbeat will never be taken.
        [id] => agent.give_up(*id),
        // One of them is the culprit: they go one by one.
        _ => agent.alone = ids.len(),
    }
    Ok(())
}
