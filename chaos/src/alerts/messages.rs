//! Waits for messages at sinks, and for everything about alerts to be settled.

use std::time::Duration;

use anyhow::{Result, bail};
use domain::alert::Rule;
use tokio::time::{Instant, sleep};

use crate::harness::Psql;
use crate::sink::{AlertSinks, Arrival};

const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Raises and resolves until a moment that wait for nothing that has a name, and messages of until then on their way.
const UNSETTLED: &str = "
    SELECT (SELECT count(*) FROM alert_transition t WHERE t.kind IN ('raised', 'resolved') AND t.settled_at IS NULL AND t.at <= :'until'::timestamptz
              AND NOT EXISTS (SELECT FROM alert_notice n WHERE n.unsettled = t.transition_id AND n.held IS NOT NULL)),
           (SELECT count(*) FROM notification_delivery WHERE state = 'queued' AND queued_at <= :'until'::timestamptz)";

/// Waits until every change that there is now is settled or held, and every message delivered; what is left after `within`.
pub(crate) async fn until_settled(psql: &Psql, within: Duration) -> Result<Option<String>> {
    let deadline = Instant::now() + within;
    let until = psql.run("SELECT statement_timestamp()", &[]).await?.trim().to_owned();
    loop {
        let row = psql.run(UNSETTLED, &[("until", &until)]).await?;
        match row.trim() {
            "0|0" => return Ok(None),
            left if Instant::now() > deadline => {
                return Ok(left.split_once('|').map(|(changes, messages)| {
                    format!("after {within:?}: {changes} changes of alerts are not settled, {messages} messages not delivered")
                }));
            }
            _ => sleep(POLL_INTERVAL).await,
        }
    }
}

/// Messages of a kind about a rule that a generic webhook has received.
pub(super) fn about(sinks: &AlertSinks, sink: &str, kind: &str, rule: Rule) -> Vec<Arrival> {
    let wanted = |arrival: &Arrival| arrival.sink == sink && arrival.kind.as_deref() == Some(kind) && arrival.is_about(rule);
    sinks.arrivals().into_iter().filter(wanted).collect()
}

/// Messages that a sink has received for the notifications of others.
pub(super) fn copies(sinks: &AlertSinks, sink: &str, of: &[Arrival]) -> usize {
    let wanted = |arrival: &Arrival| arrival.sink == sink && of.iter().any(|other| other.notification == arrival.notification);
    sinks.arrivals().into_iter().filter(wanted).count()
}

/// Waits until the messages of a kind about a rule are about so many alerts together.
pub(super) async fn until_about(
    sinks: &AlertSinks,
    sink: &str,
    kind: &str,
    rule: Rule,
    alerts: usize,
    within: Duration,
) -> Result<Vec<Arrival>> {
    let deadline = Instant::now() + within;
    loop {
        let found = about(sinks, sink, kind, rule);
        let count: usize = found.iter().map(|arrival| arrival.count.unwrap_or_default()).sum();
        if count >= alerts {
            return Ok(found);
        }
        if Instant::now() > deadline {
            let titles: Vec<_> = found.iter().map(|arrival| arrival.title.as_str()).collect();
            bail!("not within {within:?}: {alerts} of {} {kind}, but {count} in {titles:?}", rule.as_str());
        }
        sleep(POLL_INTERVAL).await;
    }
}
