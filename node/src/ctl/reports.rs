//! `ctl reports`: how the fleet did on a day or in a week, and who is sent that.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::Ctl;
use super::alert_setup::channel_id;
use super::alerts::items;
use super::api::encoded;
use super::args::Format;
use super::output::{self, Column};

const PERIOD: &[Column] = &[
    ("Period", "/period"),
    ("First day", "/first_day"),
    ("Last day", "/last_day"),
    ("Group", "/group"),
    ("Figures of every day", "/complete"),
];
const MEASURES: &[Column] = &[("MEASURE", "/label"), ("VALUE", "/value"), ("BEFORE", "/before")];
const ALERTS: &[Column] = &[("RULE", "/rule"), ("RAISED", "/raised"), ("RESOLVED", "/resolved"), ("RAISED BEFORE", "/raised_before")];
const VERSIONS: &[Column] = &[("VERSION", "/version"), ("DEVICES", "/devices"), ("BEFORE", "/before")];
const GROUPS: &[Column] = &[
    ("GROUP", "/group"),
    ("DEVICES", "/values/devices"),
    ("ONLINE %", "/values/online_pct"),
    ("GAPS H", "/values/gap_hours"),
    ("RESTARTS", "/values/reboots"),
    ("APP DOWN MIN", "/values/app_down_minutes"),
    ("ALERTS", "/values/alerts_raised"),
];
const SCHEDULES: &[Column] = &[
    ("ID", "/id"),
    ("PERIOD", "/period"),
    ("GROUP", "/group"),
    ("CHANNEL", "/channel_id"),
    ("AT", "/at"),
    ("TZ", "/tz"),
    ("SENT", "/sent_period"),
];

/// Report that is wanted.
#[derive(Args)]
pub(super) struct ReportArgs {
    /// daily or weekly (Monday to Sunday)
    #[arg(long, default_value = "daily")]
    period: String,
    /// A day of the period, UTC [default: the newest period that is over]
    #[arg(long, value_name = "DAY")]
    date: Option<String>,
    /// Devices of this group [default: all devices]
    #[arg(long)]
    group: Option<String>,
}

/// Subcommands for reports.
#[derive(Subcommand)]
pub(super) enum ReportCommand {
    /// Show a report, compared with the period before
    Show {
        #[command(flatten)]
        report: ReportArgs,
    },
    /// Export a report as CSV
    Export {
        #[command(flatten)]
        report: ReportArgs,
        /// File [default: standard output]
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Schedules by which reports are sent to channels
    Schedules {
        #[command(subcommand)]
        command: ReportScheduleCommand,
    },
}

/// `ctl reports schedules ...`.
#[derive(Subcommand)]
pub(super) enum ReportScheduleCommand {
    /// List schedules
    List,
    /// Have a report sent to a channel after each period; prints the id
    Create {
        /// Channel, by name or id
        channel: String,
        /// daily or weekly
        #[arg(long, default_value = "daily")]
        period: String,
        /// Devices of this group [default: all devices]
        #[arg(long)]
        group: Option<String>,
        /// Time of the day, HH:MM; of weekly reports, on Mondays
        #[arg(long, default_value = "07:00")]
        at: String,
        /// Time zone, such as Europe/Berlin
        #[arg(long, default_value = "UTC")]
        tz: String,
    },
    /// Delete a schedule
    Delete {
        /// Schedule id
        id: String,
    },
}

impl ReportArgs {
    fn query(self) -> Vec<(&'static str, String)> {
        let given = [("period", Some(self.period)), ("date", self.date), ("group", self.group)];
        given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// `ctl reports ...`.
pub(super) async fn run(ctl: &mut Ctl, command: ReportCommand) -> anyhow::Result<()> {
    match command {
        ReportCommand::Show { report } => {
            let answer = ctl.api.get("/v1/reports", &report.query()).await?;
            output::one(ctl.format, &answer, PERIOD)?;
            if matches!(ctl.format, Format::Table) {
                for (name, columns) in [
                    ("measures", MEASURES),
                    ("alerts", ALERTS),
                    ("agent_versions", VERSIONS),
                    ("app_versions", VERSIONS),
                    ("groups", GROUPS),
                ] {
                    let rows: Vec<_> = answer[name].as_array().into_iter().flatten().map(rounded).collect();
                    if !rows.is_empty() {
                        println!("\n{}", name.replace('_', " "));
                        output::rows(ctl.format, &rows, columns)?;
                    }
                }
            }
            Ok(())
        }
        ReportCommand::Export { report, file } => {
            let mut answer = ctl.api.send(Method::GET, "/v1/reports.csv", &report.query(), None).await?;
            let mut out: Box<dyn Write> = match &file {
                Some(path) => Box::new(std::fs::File::create(path).with_context(|| path.display().to_string())?),
                None => Box::new(std::io::stdout().lock()),
            };
            while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url).context("the response was interrupted")? {
                out.write_all(&chunk)?;
            }
            Ok(out.flush()?)
        }
        ReportCommand::Schedules { command } => schedules(ctl, command).await,
    }
}

async fn schedules(ctl: &mut Ctl, command: ReportScheduleCommand) -> anyhow::Result<()> {
    match command {
        ReportScheduleCommand::List => {
            let answer = ctl.api.get("/v1/report-schedules", &[]).await?;
            output::rows(ctl.format, &items(&answer), SCHEDULES)
        }
        ReportScheduleCommand::Create { channel, period, group, at, tz } => {
            let id = channel_id(&mut ctl.api, &channel).await?;
            let body = json!({ "channel_id": id, "period": period, "group": group, "at": at, "tz": tz });
            let made = ctl.api.call(Method::POST, "/v1/report-schedules", Some(&body)).await?;
            output::done(ctl.format, &made, made["id"].as_str().unwrap_or_default())
        }
        ReportScheduleCommand::Delete { id } => {
            let answer = ctl.api.call(Method::DELETE, &format!("/v1/report-schedules/{}", encoded(&id)), None::<&Value>).await?;
            output::done(ctl.format, &answer, &format!("Deleted {id}."))
        }
    }
}

/// A row whose numbers have at most two places after the point.
fn rounded(row: &Value) -> Value {
    match row {
        Value::Object(fields) => Value::Object(fields.iter().map(|(name, value)| (name.clone(), rounded(value))).collect()),
        Value::Number(number) if number.is_f64() => {
            let value = (number.as_f64().unwrap_or_default() * 100.0).round() / 100.0;
            if value.fract() == 0.0 { json!(value as i64) } else { json!(value) }
        }
        value => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let row = json!({ "label": "Online", "value": 98.456, "before": 100.0, "values": { "reboots": null } });
        assert_eq!(rounded(&row), json!({ "label": "Online", "value": 98.46, "before": 100, "values": { "reboots": null } }));
    }
}
