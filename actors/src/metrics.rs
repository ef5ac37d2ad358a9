//! Prometheus metrics of the runtime. No device id is ever a label.

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, register_gauge_vec_with_registry,
    register_gauge_with_registry, register_histogram_vec_with_registry, register_histogram_with_registry,
    register_int_counter_vec_with_registry, register_int_counter_with_registry, register_int_gauge_vec_with_registry,
    register_int_gauge_with_registry,
};

use crate::write_times::WriteTimes;

/// Every metric of this crate, and of the crates below it.
#[derive(Clone)]
pub struct Metrics {
    /// Metrics of pools.
    pub pools: permits::metrics::PoolMetrics,
    /// Metrics of push messages.
    pub push: push::metrics::Metrics,
    /// Metrics of notifications.
    pub notify: notify::Metrics,
    /// Metrics of the link between nodes.
    pub link: link::metrics::Metrics,
    /// Heartbeats by outcome.
    pub heartbeats: IntCounterVec,
    /// Heartbeats between intake and commit.
    pub heartbeats_in_flight: IntGauge,
    /// Rows of one dual write.
    pub batch_rows: Histogram,
    /// Duration of one dual write.
    pub commit_seconds: Histogram,
    /// Duration of one batch, by writer.
    pub writer_seconds: HistogramVec,
    /// Duration of the batches lately, of all writers: the alert of a slow database goes by them.
    pub(crate) write_times: WriteTimes,
    /// Items of the writers, by writer and outcome.
    pub writer_items: IntCounterVec,
    /// Events of devices beyond their budget.
    pub events_left_out: IntCounter,
    /// Identity conflicts noticed.
    pub identity_conflicts: IntCounter,
    /// Device actors that panicked or failed.
    pub device_restarts: IntCounter,
    /// Batches of heartbeats that a defect kept from being written.
    pub writer_panics: IntCounter,
    /// Shards that this node owns.
    pub shards_owned: IntGauge,
    /// Whether this node's lease holds.
    pub lease_holds: IntGauge,
    /// Claims and releases of shards by this node.
    pub shard_moves: IntCounterVec,
    /// Duration of taking shards over: devices loaded and running.
    pub activation_seconds: Histogram,
    /// Open agent sockets.
    pub agent_sockets: IntGauge,
    /// Open commands of devices that this node owns.
    pub open_commands: IntGauge,
    /// Times commands were given to a path, by action and path.
    pub command_attempts: IntCounterVec,
    /// Commands that are over, by action, path of the last attempt and state.
    pub commands_finished: IntCounterVec,
    /// Time from making a command until it was delivered, and until the device was done.
    pub command_seconds: HistogramVec,
    /// Runs of reconcilers by outcome.
    pub reconciler_runs: IntCounterVec,
    /// Duration of their runs.
    pub reconciler_seconds: HistogramVec,
    /// Things that they changed.
    pub reconciler_changes: IntCounterVec,
    /// Failed runs since the last one that succeeded.
    pub reconciler_failures_in_a_row: IntGaugeVec,
    /// Start of the run that is under way, Unix time; 0: none is.
    pub reconciler_running_since: IntGaugeVec,
    /// Start of the last run that succeeded, Unix time.
    pub reconciler_last_success: IntGaugeVec,
    /// Deployments that this node drives.
    pub deployments_open: IntGauge,
    /// Their tasks by state and reason.
    pub deployment_tasks: IntGaugeVec,
    /// Their tasks that have yet to start.
    pub deployment_backlog: IntGauge,
    /// How long the longest pause lasts, by reason.
    pub deployments_paused_seconds: IntGaugeVec,
    /// Installations that were started.
    pub deployment_starts: IntCounter,
    /// Installations that devices ended, by what their task became and by error.
    pub deployment_attempts_finished: IntCounterVec,
    /// Time from the start of an installation until the device's report of success.
    pub deployment_install_seconds: Histogram,
    /// Tasks that have finished, by state and reason.
    pub deployment_tasks_finished: IntCounterVec,
    /// Changes of alerts that were recorded, by rule and kind.
    pub alert_changes: IntCounterVec,
    /// Time from the judgement of a change until its record.
    pub alert_record_seconds: Histogram,
    /// Open alerts of the cluster by rule, severity and state, on the node that coordinates.
    pub alerts_open: IntGaugeVec,
    /// Changes of alerts with which the coordinator is done: notified, or the cause for which they are not.
    pub alert_changes_settled: IntCounterVec,
    /// Messages that the coordinator decided, by kind.
    pub notifications_decided: IntCounterVec,
    /// Commands that were sent to mend alerts, by remedy and outcome.
    pub remediations: IntCounterVec,
    /// When the coordinator last decided, Unix time; 0: another node does.
    pub alert_last_decision: IntGauge,
    /// Rows that were compared with what they are derived from, by check.
    pub(crate) reconciliation_checked: IntCounterVec,
    /// Rows that differed, by check and kind.
    pub(crate) reconciliation_drift: IntCounterVec,
    /// Rows that differed and were mended, by check.
    pub(crate) reconciliation_healed: IntCounterVec,
    /// Duration of the last run of a check.
    pub(crate) reconciliation_seconds: GaugeVec,
    /// Backups of the schedule by outcome.
    pub backups: IntCounterVec,
    /// End of the newest backup, Unix time.
    pub backup_last_success: IntGauge,
    /// Size of the newest backup of the schedule that this node made.
    pub backup_bytes: IntGauge,
    /// Duration of making it.
    pub backup_seconds: Gauge,
    /// Partitions of the history, the default one included.
    pub heartbeat_partitions: IntGauge,
    /// Rows that no daily partition covers.
    pub default_partition_rows: IntGauge,
    /// Steps in the life of daily partitions, by action and outcome.
    pub partition_steps: IntCounterVec,
    /// Their duration.
    pub partition_step_seconds: HistogramVec,
    /// Rows written to archives of heartbeats.
    pub archived_rows: IntCounter,
    /// Bytes written to archives of heartbeats.
    pub archived_bytes: IntCounter,
    /// Offset of this node's clock from the database's.
    pub clock_offset_seconds: Gauge,
    /// Builds of the agent that the server took out.
    pub agent_builds_halted: IntGauge,
}

impl Metrics {
    /// Creates and registers the metrics.
    ///
    /// # Errors
    /// A name is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            pools: permits::metrics::PoolMetrics::register(registry)?,
            push: push::metrics::Metrics::register(registry)?,
            notify: notify::Metrics::register(registry)?,
            link: link::metrics::Metrics::register(registry)?,
            heartbeats: register_int_counter_vec_with_registry!(
                "nexmdm_heartbeats_total",
                "Heartbeats by outcome: stored, repeat, refused reasons",
                &["outcome"],
                registry
            )?,
            heartbeats_in_flight: register_int_gauge_with_registry!(
                "nexmdm_heartbeats_in_flight",
                "Heartbeats received and not yet committed or refused",
                registry
            )?,
            batch_rows: register_histogram_with_registry!(
                "nexmdm_heartbeat_batch_rows",
                "Rows per heartbeat batch",
                vec![1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0],
                registry
            )?,
            commit_seconds: register_histogram_with_registry!(
                "nexmdm_heartbeat_commit_seconds",
                "Duration of writing a heartbeat batch",
                vec![0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0],
                registry
            )?,
            writer_seconds: register_histogram_vec_with_registry!(
                "nexmdm_writer_seconds",
                "Duration of writing a batch, by writer",
                &["writer"],
                vec![0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0],
                registry
            )?,
            write_times: WriteTimes::default(),
            writer_items: register_int_counter_vec_with_registry!(
                "nexmdm_writer_items_total",
                "Items of the batch writers, by writer and outcome",
                &["writer", "outcome"],
                registry
            )?,
            deployments_open: register_int_gauge_with_registry!(
                "nexmdm_deployments_open",
                "Unfinished deployments driven by this node",
                registry
            )?,
            deployment_tasks: register_int_gauge_vec_with_registry!(
                "nexmdm_deployment_tasks",
                "Tasks of the deployments driven by this node, by state and reason",
                &["state", "reason"],
                registry
            )?,
            deployment_backlog: register_int_gauge_with_registry!(
                "nexmdm_deployment_backlog",
                "Tasks of the deployments driven by this node that have not started",
                registry
            )?,
            deployments_paused_seconds: register_int_gauge_vec_with_registry!(
                "nexmdm_deployments_paused_seconds",
                "Longest current pause of the deployments driven by this node, by reason",
                &["reason"],
                registry
            )?,
            deployment_starts: register_int_counter_with_registry!(
                "nexmdm_deployment_starts_total",
                "Installations started by this node",
                registry
            )?,
            deployment_attempts_finished: register_int_counter_vec_with_registry!(
                "nexmdm_deployment_attempts_finished_total",
                "Finished installations by task state and error",
                &["state", "error"],
                registry
            )?,
            deployment_install_seconds: register_histogram_with_registry!(
                "nexmdm_deployment_install_seconds",
                "Time from the start of an installation to the report of success",
                vec![0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0],
                registry
            )?,
            events_left_out: register_int_counter_with_registry!(
                "nexmdm_device_events_left_out_total",
                "Events of devices beyond device.events_per_hour_max",
                registry
            )?,
            identity_conflicts: register_int_counter_with_registry!(
                "nexmdm_identity_conflicts_total",
                "Identity conflicts noticed: two devices that report as one",
                registry
            )?,
            deployment_tasks_finished: register_int_counter_vec_with_registry!(
                "nexmdm_deployment_tasks_finished_total",
                "Finished tasks by state and reason",
                &["state", "reason"],
                registry
            )?,
            device_restarts: register_int_counter_with_registry!(
                "nexmdm_device_restarts_total",
                "Device actors restarted after a failure",
                registry
            )?,
            writer_panics: register_int_counter_with_registry!(
                "nexmdm_heartbeat_writer_panics_total",
                "Heartbeat batches lost to a panic of the writer",
                registry
            )?,
            shards_owned: register_int_gauge_with_registry!("nexmdm_cluster_shards", "Shards owned by this node", registry)?,
            lease_holds: register_int_gauge_with_registry!("nexmdm_cluster_lease_holds", "1 while this node's lease is valid", registry)?,
            shard_moves: register_int_counter_vec_with_registry!(
                "nexmdm_cluster_shard_moves_total",
                "Shards claimed and released",
                &["move"],
                registry
            )?,
            activation_seconds: register_histogram_with_registry!(
                "nexmdm_cluster_activation_seconds",
                "Time to load and start the devices of claimed shards",
                vec![0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0],
                registry
            )?,
            agent_sockets: register_int_gauge_with_registry!("nexmdm_agent_sockets", "Open agent sockets", registry)?,
            open_commands: register_int_gauge_with_registry!(
                "nexmdm_commands_open",
                "Pending commands of the devices owned by this node",
                registry
            )?,
            command_attempts: register_int_counter_vec_with_registry!(
                "nexmdm_command_attempts_total",
                "Command delivery attempts by action and path",
                &["action", "path"],
                registry
            )?,
            commands_finished: register_int_counter_vec_with_registry!(
                "nexmdm_commands_finished_total",
                "Finished commands by path of the last attempt",
                &["action", "path", "state"],
                registry
            )?,
            command_seconds: register_histogram_vec_with_registry!(
                "nexmdm_command_seconds",
                "Time from creation of a command to delivery and to completion",
                &["until"],
                vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 300.0, 3600.0, 86_400.0],
                registry
            )?,
            reconciler_runs: register_int_counter_vec_with_registry!(
                "nexmdm_reconciler_runs_total",
                "Runs of reconcilers by outcome",
                &["reconciler", "outcome"],
                registry
            )?,
            reconciler_seconds: register_histogram_vec_with_registry!(
                "nexmdm_reconciler_run_seconds",
                "Duration of a reconciler's run",
                &["reconciler"],
                vec![0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0, 3600.0],
                registry
            )?,
            reconciler_changes: register_int_counter_vec_with_registry!(
                "nexmdm_reconciler_changes_total",
                "Things that reconcilers changed",
                &["reconciler"],
                registry
            )?,
            reconciler_failures_in_a_row: register_int_gauge_vec_with_registry!(
                "nexmdm_reconciler_failures_in_a_row",
                "Failed runs of a reconciler since the last one that succeeded",
                &["reconciler"],
                registry
            )?,
            reconciler_running_since: register_int_gauge_vec_with_registry!(
                "nexmdm_reconciler_running_since_timestamp_seconds",
                "Start of a reconciler's run that is under way; 0: none is",
                &["reconciler"],
                registry
            )?,
            reconciler_last_success: register_int_gauge_vec_with_registry!(
                "nexmdm_reconciler_last_success_timestamp_seconds",
                "Start of a reconciler's last run that succeeded",
                &["reconciler"],
                registry
            )?,
            alert_changes: register_int_counter_vec_with_registry!(
                "nexmdm_alert_changes_total",
                "Recorded changes of alerts by rule and kind",
                &["rule", "kind"],
                registry
            )?,
            alert_record_seconds: register_histogram_with_registry!(
                "nexmdm_alert_record_seconds",
                "Time from the judgement of a change of an alert to its record",
                vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0],
                registry
            )?,
            alerts_open: register_int_gauge_vec_with_registry!(
                "nexmdm_alerts_open",
                "Open alerts of the cluster, on the node that coordinates; zero on the others",
                &["rule", "severity", "state"],
                registry
            )?,
            alert_changes_settled: register_int_counter_vec_with_registry!(
                "nexmdm_alert_changes_settled_total",
                "Raises and resolves by outcome: notified, or the cause of suppression",
                &["outcome"],
                registry
            )?,
            notifications_decided: register_int_counter_vec_with_registry!(
                "nexmdm_notifications_decided_total",
                "Messages decided by the coordinator, by kind",
                &["kind"],
                registry
            )?,
            remediations: register_int_counter_vec_with_registry!(
                "nexmdm_alert_remediations_total",
                "Commands to mend alerts by remedy: sent, and how they ended",
                &["remedy", "outcome"],
                registry
            )?,
            alert_last_decision: register_int_gauge_with_registry!(
                "nexmdm_alert_last_decision_timestamp_seconds",
                "Last decision of the coordinator of notifications; 0: another node coordinates",
                registry
            )?,
            reconciliation_checked: register_int_counter_vec_with_registry!(
                "nexmdm_reconciliation_checked_total",
                "Rows compared with what they are derived from, by check",
                &["check"],
                registry
            )?,
            reconciliation_drift: register_int_counter_vec_with_registry!(
                "nexmdm_reconciliation_drift_total",
                "Rows that differed from what they are derived from, by check and kind; expected: none",
                &["check", "kind"],
                registry
            )?,
            reconciliation_healed: register_int_counter_vec_with_registry!(
                "nexmdm_reconciliation_healed_total",
                "Rows that differed and were mended, by check",
                &["check"],
                registry
            )?,
            reconciliation_seconds: register_gauge_vec_with_registry!(
                "nexmdm_reconciliation_last_run_seconds",
                "Duration of the last run of a check on this node",
                &["check"],
                registry
            )?,
            backups: register_int_counter_vec_with_registry!(
                "nexmdm_backups_total",
                "Backups of the schedule that this node tried, by outcome",
                &["outcome"],
                registry
            )?,
            backup_last_success: register_int_gauge_with_registry!(
                "nexmdm_backup_last_success_timestamp_seconds",
                "End of the newest backup, as the node that keeps the schedule knows it",
                registry
            )?,
            backup_bytes: register_int_gauge_with_registry!(
                "nexmdm_backup_bytes",
                "Size of the newest backup of the schedule that this node made",
                registry
            )?,
            backup_seconds: register_gauge_with_registry!(
                "nexmdm_backup_seconds",
                "Duration of making the newest backup of the schedule that this node made",
                registry
            )?,
            heartbeat_partitions: register_int_gauge_with_registry!(
                "nexmdm_heartbeat_partitions",
                "Partitions of the heartbeat history, including the default one",
                registry
            )?,
            default_partition_rows: register_int_gauge_with_registry!(
                "nexmdm_heartbeat_default_partition_rows",
                "Heartbeats in the default partition",
                registry
            )?,
            partition_steps: register_int_counter_vec_with_registry!(
                "nexmdm_partition_steps_total",
                "Steps in the life of daily partitions by action (create, archive, verify, drop, ...) and outcome: ok, failed",
                &["action", "outcome"],
                registry
            )?,
            partition_step_seconds: register_histogram_vec_with_registry!(
                "nexmdm_partition_step_seconds",
                "Duration of steps in the life of daily partitions",
                &["action"],
                prometheus::exponential_buckets(0.01, 4.0, 10)?,
                registry
            )?,
            archived_rows: register_int_counter_with_registry!(
                "nexmdm_archived_heartbeats_total",
                "Heartbeats written to archives by this node",
                registry
            )?,
            archived_bytes: register_int_counter_with_registry!(
                "nexmdm_archived_bytes_total",
                "Bytes of archives of heartbeats written by this node",
                registry
            )?,
            clock_offset_seconds: register_gauge_with_registry!(
                "nexmdm_clock_offset_seconds",
                "Offset of this node's clock from the database's; positive: ahead",
                registry
            )?,
            agent_builds_halted: register_int_gauge_with_registry!("nexmdm_agent_builds_halted", "Halted agent builds", registry)?,
        })
    }
}
