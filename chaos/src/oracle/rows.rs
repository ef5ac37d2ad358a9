//! Database rows of a history.

use std::collections::HashMap;

use anyhow::{Context, Result};

use super::{Claim, CommandRow, History};
use crate::harness::Psql;

/// Both tables in one statement, so that a concurrent heartbeat is in both or in neither.
const STORED: &str = "
    SELECT 'row', device_id, extract(epoch FROM bucket_at)::bigint, count(*), coalesce((extract(epoch FROM max(device_time)) * 1000000)::bigint::text, '')
      FROM heartbeats_unpacked GROUP BY 2, 3
    UNION ALL
    SELECT 'status', device_id, extract(epoch FROM bucket_at)::bigint, 1, '' FROM device_last_status";
const HAS_CLAIMS: &str = "SELECT count(*) FROM pg_class WHERE relname = 'shard_move' AND relkind = 'r'";
const CLAIMS: &str = "SELECT shard_id, epoch, (extract(epoch FROM moved_at) * 1000000)::bigint, to_node FROM shard_move";

const HAS_COMMANDS: &str = "SELECT count(*) FROM pg_class WHERE relname = 'command' AND relkind IN ('r', 'p')";
const COMMANDS: &str = "
    SELECT request_id, device_id, coalesce(batch_id::text, ''), state, coalesce(outcome, ''),
           (extract(epoch FROM expires_at) * 1000000)::bigint, (extract(epoch FROM statement_timestamp()) * 1000000)::bigint,
           coalesce(code, ''), action
      FROM command";

/// Reads heartbeats and last statuses of the recorded devices, and all claims, commands and deployments.
pub async fn read_rows(history: &mut History, psql: &Psql) -> Result<()> {
    for [what, device, bucket_s, copies, device_time_us] in columns(&psql.run(STORED, &[]).await?)? {
        // Rows of devices that are not in the record are not checked.
        let Some(device) = history.devices.find(device) else { continue };
        if what == "row" {
            let bucket = (device, bucket_s.parse()?);
            history.stored.heartbeats.insert(bucket, copies.parse()?);
            if !device_time_us.is_empty() {
                history.stored.device_times_us.insert(bucket, device_time_us.parse()?);
            }
        } else {
            history.stored.last_status_s.insert(device, bucket_s.parse()?);
        }
    }
    read_commands(history, psql).await?;
    super::host_agents::read_rows(history, psql).await?;
    super::deployments::read(&mut history.deployments, psql).await?;
    super::alerts::read(&mut history.alerts, psql).await?;
    if psql.run(HAS_CLAIMS, &[]).await?.trim() == "0" {
        return Ok(());
    }
    for [shard, epoch, moved_us, owner] in columns(&psql.run(CLAIMS, &[]).await?)? {
        let owner = history.names.number(owner);
        history.stored.claims.push(Claim { shard: shard.parse()?, epoch: epoch.parse()?, owner, moved_us: moved_us.parse()? });
    }
    Ok(())
}

async fn read_commands(history: &mut History, psql: &Psql) -> Result<()> {
    if psql.run(HAS_COMMANDS, &[]).await?.trim() == "0" {
        return Ok(());
    }
    let mut rows = HashMap::new();
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    for [request_id, device_id, batch_id, state, outcome, expires_us, read_us, code, action] in columns(&psql.run(COMMANDS, &[]).await?)? {
        history.stored.read_us = read_us.parse()?;
        let row = CommandRow {
            device_id: device_id.to_owned(),
            batch_id: given(batch_id),
            action: action.to_owned(),
            state: state.to_owned(),
            outcome: given(outcome),
            code: given(code),
            expires_us: expires_us.parse()?,
        };
        rows.insert(request_id.to_owned(), row);
    }
    history.stored.commands = Some(rows);
    Ok(())
}

/// Splits every line into `N` columns; only the last one may contain `|`.
pub(super) fn columns<const N: usize>(text: &str) -> Result<Vec<[&str; N]>> {
    text.lines()
        .map(|line| {
            let parts: Vec<&str> = line.splitn(N, '|').collect();
            parts.try_into().ok().with_context(|| format!("psql answered `{line}`, expected {N} columns"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        assert_eq!(columns::<3>("a|1|x\nb|2|y|z\n").unwrap(), [["a", "1", "x"], ["b", "2", "y|z"]]);
        assert!(columns::<3>("a|1\n").is_err());
    }
}
