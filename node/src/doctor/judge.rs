//! Judgements: pure functions of what was found.

use std::path::Path;

use chrono::TimeDelta;
use domain::Timestamp;
use domain::quantity;
use domain::rule::Rule;

use super::finding::Finding;
use crate::database::{CONNECTIONS_REMEDY, DurabilitySettings, ServerConnections};
use crate::disk;

/// File descriptors of a node beside its connections: database, links, files, timers.
const FILES_BESIDE: u64 = 512;
/// How long before its end a certificate is warned of.
const EXPIRY_WARNED: TimeDelta = TimeDelta::days(14);

/// A check of the configuration. Its error says what to do.
pub(super) fn configuration(check: &str, outcome: anyhow::Result<()>) -> Finding {
    match outcome {
        Ok(()) => Finding::ok(check, "valid"),
        Err(error) => {
            Finding::failed(check, format!("{error:#}"), "correct the setting or file that is named; `nexmdm config check` tries it")
        }
    }
}

/// The file descriptors that the process may open (`None`: no limit), and the connections that it may have.
pub(super) fn file_limit(limit: Option<u64>, connections_max: usize) -> Finding {
    let check = "file limit";
    let needed = u64::try_from(connections_max).unwrap_or(u64::MAX).saturating_add(FILES_BESIDE);
    match limit {
        Some(limit) if limit < needed => Finding::warning(
            check,
            format!("{} open files, fewer than the {} of http.connections_max", quantity::number(limit), quantity::number(needed)),
            "raise it (LimitNOFILE= of the systemd unit, ulimits of the container), or lower http.connections_max",
        ),
        Some(limit) => Finding::ok(check, format!("{} open files", quantity::number(limit))),
        None => Finding::ok(check, "no limit"),
    }
}

/// Free space of the data folder.
pub(super) fn disk(folder: &Path, free_mb: std::io::Result<u64>, min_mb: u64) -> Finding {
    let check = "disk";
    match free_mb {
        Ok(free_mb) if free_mb < min_mb => Finding::failed(
            check,
            format!("{free_mb} MiB are free in {}, less than data_dir_free_min_mb ({min_mb})", folder.display()),
            disk::REMEDY,
        ),
        Ok(free_mb) => Finding::ok(check, format!("{free_mb} MiB are free in {}", folder.display())),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Finding::warning(
            check,
            format!("there is no folder {} yet", folder.display()),
            "`nexmdm serve` makes it: run the doctor where the server is started, or name its data folder (NEXMDM__DATA_DIR)",
        ),
        Err(cause) => Finding::warning(check, format!("{}: {cause}", folder.display()), "watch the space of this disk by other means"),
    }
}

/// A certificate that ends at `ends`; `None`: it does not say.
pub(super) fn certificate(check: &str, ends: Option<Timestamp>, now: Timestamp) -> Finding {
    let remedy = "renew it; see the runbook certificate_expiring";
    match ends {
        Some(ends) if ends <= now => Finding::failed(check, format!("it has expired on {}", ends.date_naive()), remedy),
        Some(ends) if ends - now < EXPIRY_WARNED => Finding::warning(check, format!("it expires on {}", ends.date_naive()), remedy),
        Some(ends) => Finding::ok(check, format!("valid until {}", ends.date_naive())),
        None => Finding::warning(check, "its end cannot be read", "make another one"),
    }
}

/// Settings of the database server that decide whether what was acknowledged is kept.
pub(super) fn durability_settings(settings: &DurabilitySettings) -> Vec<Finding> {
    let DurabilitySettings { version, fsync, full_page_writes, synchronous_commit } = settings;
    let mut found = vec![Finding::ok("database version", format!("PostgreSQL {version}"))];
    let check = "database durability";
    let mut bad = |found_so: &str, remedy: &str| found.push(Finding::failed(check, found_so, remedy));
    if !fsync {
        bad(
            "fsync is off: a crash of its machine loses or damages the database",
            "set fsync = on in postgresql.conf and restart PostgreSQL",
        );
    }
    if !full_page_writes {
        let remedy = "set full_page_writes = on in postgresql.conf and reload PostgreSQL";
        bad("full_page_writes is off: a crash of its machine may damage pages", remedy);
    }
    if synchronous_commit == "off" {
        bad(
            "synchronous_commit is off: heartbeats and results that were acknowledged are lost when PostgreSQL crashes",
            "remove synchronous_commit = off from postgresql.conf, from the role and from the database",
        );
    }
    if found.len() == 1 {
        found.push(Finding::ok(check, format!("fsync, full_page_writes, synchronous_commit = {synchronous_commit}")));
    }
    found
}

/// The connections that the server takes, and those that nodes like this one open.
pub(super) fn connections(server: ServerConnections, per_node: i64) -> Finding {
    let ServerConnections { most, nodes } = server;
    let check = "database connections";
    let nodes = nodes.max(1);
    let found = format!(
        "the server takes {}, {} of up to {per_node} each",
        quantity::count(u64::try_from(most).unwrap_or_default(), "connection", "connections"),
        quantity::count(u64::try_from(nodes).unwrap_or_default(), "node", "nodes")
    );
    if nodes.saturating_mul(per_node) > most {
        Finding::failed(check, found, CONNECTIONS_REMEDY)
    } else if (nodes + 1).saturating_mul(per_node) > most {
        Finding::warning(check, format!("{found}: there is no room for a further node"), CONNECTIONS_REMEDY)
    } else {
        Finding::ok(check, found)
    }
}

/// How far the machine's clock is certainly ahead of the database's.
pub(super) fn clock(offset: TimeDelta, warned_ms: i64, refused_ms: i64) -> Finding {
    let (check, ms) = ("clock", offset.num_milliseconds());
    let remedy = "compare both clocks with the time (timedatectl, chronyc tracking), and let NTP set the one that is wrong";
    let direction = if ms < 0 { "behind" } else { "ahead of" };
    let found = format!("this machine's is {} ms {direction} the database's", ms.abs());
    match ms.abs() {
        off if off > refused_ms => Finding::failed(check, format!("{found}: no node starts with it"), remedy),
        off if off > warned_ms => Finding::warning(check, found, remedy),
        _ => Finding::ok(check, found),
    }
}

/// Whether a peer's address for the link takes connections.
pub(super) fn peer(name: &str, address: &str, connected: Result<(), String>) -> Finding {
    let check = format!("peer {name}");
    match connected {
        Ok(()) => Finding::ok(check, format!("{address} takes connections")),
        Err(cause) => Finding::failed(
            check,
            format!("{address}: {cause}"),
            "open the port between the nodes, or set cluster.advertise there or cluster.peer_addresses here to an address that leads to it",
        ),
    }
}

/// Age of the newest backup; `scheduled`: whether the server makes them.
pub(super) fn backups(scheduled: bool, newest: Option<Timestamp>, now: Timestamp) -> Finding {
    let check = "backups";
    let older_than = Rule::BackupOld.spec().thresholds.first().map_or(TimeDelta::days(1), |threshold| TimeDelta::hours(threshold.default));
    let remedy = "set backup.directory and backup.passphrase_file, or run `nexmdm backup create`; see the runbook backup_old";
    match newest {
        None => Finding::warning(check, "none was made yet", remedy),
        Some(newest) if now - newest > older_than => {
            let hours = (now - newest).num_hours();
            Finding::failed(
                check,
                format!("the newest is {} old", quantity::count(u64::try_from(hours).unwrap_or_default(), "hour", "hours")),
                remedy,
            )
        }
        Some(newest) => {
            let by = if scheduled { "on a schedule" } else { "by hand" };
            Finding::ok(check, format!("made {by}, the newest at {}", newest.format("%Y-%m-%d %H:%M UTC")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict::{self, Failed, Ok as Good, Warning};
    use super::*;

    fn verdict(finding: &Finding) -> Verdict {
        assert_eq!(finding.remedy.is_none(), finding.verdict == Good, "whatever is not good has a remedy: {finding:?}");
        assert!(!finding.found.is_empty() && !finding.check.is_empty(), "{finding:?}");
        finding.verdict
    }

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_timestamp(1_780_315_200 + hour * 3600, 0).unwrap()
    }

    #[test]
    fn limits_of_the_machine() {
        for (limit, connections, wanted) in
            [(Some(1024), 40_000, Warning), (Some(40_511), 40_000, Warning), (Some(40_512), 40_000, Good), (None, 40_000, Good)]
        {
            assert_eq!(verdict(&file_limit(limit, connections)), wanted, "{limit:?}");
        }
        let of = |free| verdict(&disk(Path::new("/srv"), free, 500));
        assert_eq!([of(Ok(499)), of(Ok(500))], [Failed, Good]);
        assert_eq!(of(Err(std::io::ErrorKind::NotFound.into())), Warning);
        assert_eq!(of(Err(std::io::ErrorKind::Unsupported.into())), Warning);
        for (ends, wanted) in [(Some(0), Failed), (Some(-1), Failed), (Some(14 * 24 - 1), Warning), (Some(14 * 24), Good), (None, Warning)]
        {
            assert_eq!(verdict(&certificate("HTTPS certificate", ends.map(at), at(0))), wanted, "{ends:?}");
        }
    }

    #[test]
    fn settings_that_lose_what_was_acknowledged_fail() {
        let good = DurabilitySettings { version: "15.8".into(), fsync: true, full_page_writes: true, synchronous_commit: "on".into() };
        for commit in ["on", "local", "remote_write", "remote_apply"] {
            let settings = DurabilitySettings { synchronous_commit: commit.into(), ..good.clone() };
            assert!(durability_settings(&settings).iter().all(|finding| verdict(finding) == Good), "{commit}");
        }
        let off = || "off".to_owned();
        for (settings, named) in [
            (DurabilitySettings { fsync: false, ..good.clone() }, "fsync"),
            (DurabilitySettings { full_page_writes: false, ..good.clone() }, "full_page_writes"),
            (DurabilitySettings { synchronous_commit: off(), ..good.clone() }, "synchronous_commit"),
        ] {
            let found = durability_settings(&settings);
            let failed: Vec<_> = found.iter().filter(|finding| verdict(finding) == Failed).collect();
            assert!(failed.len() == 1 && failed[0].found.contains(named), "{found:?}");
        }
        let all = DurabilitySettings { fsync: false, full_page_writes: false, synchronous_commit: off(), ..good };
        assert_eq!(durability_settings(&all).iter().filter(|finding| finding.verdict == Failed).count(), 3);
    }

    #[test]
    fn connections_are_for_all_nodes_and_one_more() {
        for (most, nodes, wanted) in
            [(112, 3, Good), (97, 3, Warning), (84, 3, Warning), (83, 3, Failed), (56, 1, Good), (28, 0, Warning), (27, 0, Failed)]
        {
            assert_eq!(verdict(&connections(ServerConnections { most, nodes }, 28)), wanted, "{most} {nodes}");
        }
    }

    #[test]
    fn clocks_peers_and_backups() {
        for (ms, wanted) in [(0, Good), (2000, Good), (-2001, Warning), (300_000, Warning), (-300_001, Failed), (300_001, Failed)] {
            assert_eq!(verdict(&clock(TimeDelta::milliseconds(ms), 2000, 300_000)), wanted, "{ms}");
        }
        assert_eq!(verdict(&peer("b", "10.0.0.2:8091", Ok(()))), Good);
        assert_eq!(verdict(&peer("b", "10.0.0.2:8091", Err("no answer within 2 s".into()))), Failed);
        for (newest, wanted) in [(None, Warning), (Some(-26), Good), (Some(-27), Failed), (Some(-1), Good)] {
            assert_eq!(verdict(&backups(true, newest.map(at), at(0))), wanted, "{newest:?}");
        }
        assert_eq!(verdict(&configuration("keys", Ok(()))), Good);
        let refused = configuration("keys", Err(anyhow::anyhow!("too short").context("secrets.jwt_key")));
        assert!(verdict(&refused) == Failed && refused.found.contains("secrets.jwt_key") && refused.found.contains("too short"));
    }
}
