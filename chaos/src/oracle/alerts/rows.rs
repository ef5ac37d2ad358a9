//! Rows of alerts and notifications.

use anyhow::Result;

use super::{AlertFacts, ChangeRow, DeliveryRow, NotificationRow};
use crate::harness::Psql;
use crate::oracle::rows::columns;

const HAS_ALERTS: &str = "SELECT count(*) FROM pg_class WHERE relname = 'alert_notice' AND relkind = 'r'";

/// All of it in one statement, as of one moment. Free texts come last or not at all.
const ROWS: &str = "
    SELECT 'change', t.alert_id::text, a.rule, a.subject_kind || ':' || a.subject_id, t.kind, (extract(epoch FROM t.at) * 1000000)::bigint::text,
           coalesce(t.suppressed_by, ''), concat_ws(',', t.notification_id::text, array_to_string(t.further_notifications, ',')),
           coalesce((SELECT held FROM alert_notice n WHERE n.unsettled = t.transition_id), '')
      FROM alert_transition t JOIN alert a USING (alert_id) WHERE t.kind IN ('raised', 'resolved')
    UNION ALL
    SELECT 'notification', notification_id::text, kind, thread, begins_thread::text, (extract(epoch FROM created_at) * 1000000)::bigint::text, '', '', ''
      FROM notification
    UNION ALL
    SELECT 'delivery', d.notification_id::text, d.state, '', '', (extract(epoch FROM d.queued_at) * 1000000)::bigint::text, '', '', c.name
      FROM notification_delivery d JOIN alert_channel c USING (channel_id)
    UNION ALL
    SELECT 'now', '', '', '', '', (extract(epoch FROM statement_timestamp()) * 1000000)::bigint::text, '', '', ''";

/// Open alerts of devices that are heard, and were so for a while.
const STILL_OPEN: &str = "
    SELECT a.subject_id, a.rule FROM alert a JOIN device_last_status s ON s.device_id::text = a.subject_id
     WHERE a.state <> 'resolved' AND a.rule = 'device_offline' AND a.subject_kind = 'device'
       AND s.received_at > statement_timestamp() - interval '20 seconds'
       AND EXISTS (SELECT FROM heartbeats_unpacked h WHERE h.device_id = s.device_id AND h.received_at > a.opened_at
                     AND h.received_at BETWEEN statement_timestamp() - interval '90 seconds' AND statement_timestamp() - interval '30 seconds')
     ORDER BY 1";

/// Reads the rows of alerts; nothing of a build that has none.
pub(in crate::oracle) async fn read(facts: &mut AlertFacts, psql: &Psql) -> Result<()> {
    if psql.run(HAS_ALERTS, &[]).await?.trim() == "0" {
        return Ok(());
    }
    (facts.changes, facts.notifications, facts.deliveries) = Default::default();
    take(facts, &psql.run(ROWS, &[]).await?)?;
    facts.still_open.clear();
    for [device, rule] in columns(&psql.run(STILL_OPEN, &[]).await?)? {
        facts.still_open.push((device.to_owned(), rule.to_owned()));
    }
    Ok(())
}

fn take(facts: &mut AlertFacts, rows: &str) -> Result<()> {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    for [what, id, a, b, c, at_us, suppressed_by, notification, last] in columns(rows)? {
        let (id, at_us) = (id.to_owned(), at_us.parse()?);
        match what {
            "change" => facts.changes.push(ChangeRow {
                alert: id,
                rule: a.to_owned(),
                subject: b.to_owned(),
                kind: c.to_owned(),
                at_us,
                suppressed_by: given(suppressed_by),
                notification: notification.split(',').next().and_then(given),
                further: notification.split(',').skip(1).map(str::to_owned).collect(),
                held: given(last),
            }),
            "notification" => {
                let row = NotificationRow { kind: a.to_owned(), thread: b.to_owned(), begins_thread: c == "true", created_us: at_us };
                facts.notifications.insert(id, row);
            }
            "delivery" => {
                facts.deliveries.push(DeliveryRow { notification: id, channel: last.to_owned(), state: a.to_owned(), queued_us: at_us });
            }
            _ => facts.read_us = at_us,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_each_kind_are_told_apart() {
        let mut facts = AlertFacts::default();
        let rows = "change|a1|device_offline|device:d1|raised|5||n1,n2|\nchange|a1|device_offline|device:d1|resolved|9|||cooldown\n\
                    notification|n1|raised|device_offline-1|true|6|||\ndelivery|n1|delivered|||6|||ops | pager\nnow|||||99|||\n";
        take(&mut facts, rows).unwrap();
        assert_eq!((facts.changes[0].notification.as_deref(), facts.changes[0].further.as_slice()), (Some("n1"), &["n2".to_owned()][..]));
        assert_eq!((facts.changes[1].notification.as_deref(), facts.changes[1].further.len()), (None, 0));
        assert_eq!((facts.changes[1].held.as_deref(), facts.changes[1].suppressed_by.as_deref()), (Some("cooldown"), None));
        assert!(facts.notifications["n1"].begins_thread);
        assert_eq!((facts.deliveries[0].channel.as_str(), facts.read_us), ("ops | pager", 99));
    }
}
