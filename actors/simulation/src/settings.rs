//! Settings of a simulated node: the defaults, as far as they matter here.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actors::placement::ClusterOptions;
use actors::settings::{
    AgentUpdateSettings, AlertSettings, CertificateExpiry, DeploymentSettings, FailuresKept, HeartbeatSettings, HistorySettings,
    ReconcileSettings, ReconciliationSettings, ReportSettings, Settings,
};
use actors::{ClusterStart, NetworkStart};
use apk::ApkSettings;
use chrono::TimeDelta;
use domain::alert::{Rule, RuleSetting, ThresholdScope};
use domain::command::DispatchPolicy;
use domain::device::DevicePolicy;
use domain::notification::NotificationSettings;
use domain::partition::PartitionSettings;
use domain::rollout::HaltPolicy;
use link::protocol::PROTOCOL_MAX;
use link::{LinkSettings, Network};
use secrecy::SecretBox;
use store::{PoolOptions, Store};

/// Time to live of a lease.
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(5);
/// Most that the clocks of machines are off, and jump, s.
pub(crate) const MACHINE_OFF_S: i64 = 40 * 86_400;
/// Charge below which a battery counts as low.
pub(crate) const LOW_BATTERY_PCT: i16 = 15;
/// Silence after which a device counts as offline.
pub(crate) const OFFLINE_AFTER: TimeDelta = TimeDelta::seconds(10);
/// How long silence says nothing after a start or a failover.
pub(crate) const SETTLE: TimeDelta = TimeDelta::seconds(6);
/// Shortest time between two messages of a kind about the same rule and subject.
pub(crate) const COOLDOWN: TimeDelta = TimeDelta::seconds(5);
/// How long the owner of a device is waited for.
const OWNER_WAIT: Duration = Duration::from_millis(300);
/// Time for a commit.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(12);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn settings(folder: &Path) -> Settings {
    Settings {
        heartbeat: HeartbeatSettings {
            interval_s: 300,
            in_flight_max: 4096,
            writers: 2,
            writer_queue_max: 8192,
            batch_rows_max: 500,
            linger: Duration::ZERO,
            commit_timeout: COMMIT_TIMEOUT,
            retry_after_s: 2,
        },
        device: DevicePolicy {
            offline_after: OFFLINE_AFTER,
            low_battery_pct: LOW_BATTERY_PCT,
            app_stale_after_s: 600,
            ghost_after: TimeDelta::hours(24),
            events_per_hour: 60,
        },
        history: HistorySettings {
            restore_within: TimeDelta::days(7),
            events_kept: TimeDelta::days(90),
            hours_kept: TimeDelta::days(92),
            commands_kept: TimeDelta::days(90),
            idempotency_keys_kept: TimeDelta::hours(48),
            audit_kept: TimeDelta::days(365),
            enroll_tokens_kept: TimeDelta::days(90),
            interval: ms(60_000),
        },
        reports: ReportSettings { kept: TimeDelta::days(400), backfill: TimeDelta::days(35), groups_max: 500 },
        partition_interval: ms(600_000),
        reconciliation: ReconciliationSettings { interval: ms(20_000), ..ReconciliationSettings::default() },
        partition: PartitionSettings { kept_days: 90, restored_kept_days: 7 },
        pace: domain::pace::Pace::default(),
        archive: archive::ArchiveSettings::in_folder(folder),
        clock_offset_max: TimeDelta::milliseconds(500),
        reconcile: ReconcileSettings { run_timeout: ms(3_600_000), backoff_max: ms(300_000), batch_rows: 1_000 },
        fcm: None,
        legacy_push: true,
        unified_push: None,
        // Real services know no virtual time; what is judged is the outbox.
        notify: notify::NotifySettings { sends: false, ..notify::NotifySettings::default() },
        dispatch: DispatchPolicy {
            socket_wait: TimeDelta::seconds(5),
            push_wait: TimeDelta::seconds(30),
            heartbeat_wait: TimeDelta::seconds(10),
            pushes_max: 3,
        },
        sign_in_failures: FailuresKept { age: TimeDelta::days(1), names_max: 1_000 },
        agent_updates: AgentUpdateSettings {
            package: "com.nexmdm".into(),
            refresh_interval: ms(5_000),
            stale_after: ms(20_000),
            flush: ms(60_000),
            halt: HaltPolicy { verify_failures_max: 3, failure_rate_pct: 20, min_count: 10 },
            counters_kept: TimeDelta::days(92),
            outcomes_kept: TimeDelta::days(92),
        },
        deployments: DeploymentSettings {
            accept_within: TimeDelta::seconds(120),
            silent_within: TimeDelta::seconds(1_800),
            confirm_within: TimeDelta::seconds(900),
            devices_max: 1_000,
            open_max: 100,
            starts_per_second: 400,
            reconcile_interval: ms(500),
            kept: TimeDelta::days(365),
        },
        alerts: alerts(),
        apks: ApkSettings::in_folder(folder),
        storage_disk: actors::settings::StorageDisk::default(),
        backup: actors::settings::BackupSettings::default(),
    }
}

/// Waits that fit into a run.
fn alerts() -> AlertSettings {
    let setting = |rule, values: &[(&str, i64)]| RuleSetting {
        rule,
        scope: ThresholdScope::Default,
        enabled: None,
        severity: None,
        values: values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
    };
    AlertSettings {
        notification: NotificationSettings {
            group_wait: TimeDelta::seconds(1),
            group_interval: TimeDelta::seconds(2),
            cooldown: COOLDOWN,
            flap_limit: 19,
            per_minute_max: 10_000,
            inhibition_tail: TimeDelta::seconds(2),
            ..NotificationSettings::default()
        },
        defaults: vec![
            // The clocks of devices are a day late.
            RuleSetting { enabled: Some(false), ..setting(Rule::ClockWrong, &[]) },
            setting(Rule::DeviceOffline, &[("offline_after_seconds", OFFLINE_AFTER.num_seconds())]),
            setting(Rule::LowBattery, &[("raise_below_pct", LOW_BATTERY_PCT.into()), ("clear_at_pct", (LOW_BATTERY_PCT + 5).into())]),
        ],
        settle: SETTLE,
        data_dir: None,
        certificates: CertificateExpiry::default(),
        open_commands_max: 100,
        kept: TimeDelta::days(90),
    }
}

pub(crate) fn master_key() -> SecretBox<Vec<u8>> {
    SecretBox::new(Box::new(vec![1; 32]))
}

pub(crate) fn store(url: &str, max_connections: u32) -> Store {
    let options =
        PoolOptions { max_connections, acquire_timeout: ms(2_000), statement_timeout: ms(60_000), answer_grace: Duration::from_secs(2) };
    Store::new(url, options).expect("a URL of ours")
}

/// How a start of a node takes part in the cluster. Its URL is another one at each start.
pub(crate) fn cluster(name: &str, http_url: &str, store: Store, network: Arc<dyn Network>) -> ClusterStart {
    ClusterStart {
        options: ClusterOptions {
            cluster: "simulated".into(),
            node: name.to_owned(),
            cluster_addr: name.to_owned(),
            http_url: http_url.to_owned(),
            version: "simulated".into(),
            lock_identity: format!("lock of {name}"),
            key_fingerprint: vec![7; 32],
            master_digest: vec![8; 32],
            lease_ttl: LEASE_TTL,
            renew_interval: ms(1_000),
            fence_after: ms(3_500),
            steady_after: ms(3_000),
            protocol_max: PROTOCOL_MAX,
        },
        link: LinkSettings {
            handshakes: domain::permits::PoolLimits::of_capacity(64),
            handshake_timeout: ms(2_000),
            idle_after: ms(2_000),
            ping_interval: ms(400),
            taken_timeout: OWNER_WAIT,
            commit_timeout: COMMIT_TIMEOUT,
            calls_max: 1_024,
            bytes_max: 8 << 20,
            queue_max: 8_192,
            batch_max: 100,
            taken_max: 4_096,
            redial: (ms(200), ms(5_000)),
            addresses: vec![],
            protocol_max: PROTOCOL_MAX,
        },
        network: NetworkStart::Running(network),
        store,
        feed_interval: ms(500),
        owner_wait: OWNER_WAIT,
    }
}
