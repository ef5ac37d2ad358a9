//! `nexmdm`: a node of the NexMDM device-management server.

mod alert_params;
mod api_error;
mod backup_args;
mod backups;
mod certificates;
mod cli;
mod cluster;
mod command_params;
mod commands;
mod config;
mod convert;
mod ctl;
mod database;
mod deployment_body;
mod deployment_params;
mod disk;
mod doctor;
mod healthcheck;
mod http;
mod log_limit;
mod notify_files;
mod partitions;
mod preflight;
mod present;
mod secret_files;
mod secrets;
mod serve;
mod service_manager;
mod storage_params;
mod telemetry;
mod traces;

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use cli::{Cli, ClusterCommand, Command, ConfigCommand};
use commands::DrainWaits;
use config::Config;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match Box::pin(run(Cli::parse())).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", in_one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, without those that the one before tells already.
fn in_one_line(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |line, cause| match line {
        line if line.is_empty() => cause,
        line if line.contains(&cause) => line,
        line => format!("{line}: {cause}"),
    })
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    // Needs no settings of a server: it runs anywhere.
    if let Some(Command::Ctl(args)) = cli.command {
        return ctl::run(*args, Cli::command()).await;
    }
    // A configuration that does not read is one of its findings.
    if let Some(Command::Doctor { output }) = cli.command {
        return Box::pin(doctor::run(cli.config.as_deref(), output)).await;
    }
    let config = Config::load(cli.config.as_deref())?;
    match cli.command.unwrap_or(Command::Serve) {
        Command::Config { command: ConfigCommand::Check { strict } } => commands::config_check(&config, strict),
        Command::Config { command: ConfigCommand::Print } => commands::config_print(&config),
        Command::Cluster { command: ClusterCommand::Init } => cluster::init(&config),
        Command::Cluster { command: ClusterCommand::Issue { name, out } } => cluster::issue(&config, &name, &out),
        Command::Healthcheck { live, timeout_ms } => healthcheck::run(&config, live, Duration::from_millis(timeout_ms)).await,
        command => {
            let traces = telemetry::start(&config, matches!(command, Command::Serve))?;
            match command {
                Command::Serve => serve::run(config, traces).await,
                Command::Database { create } => commands::database(config, create).await,
                Command::Migrate => commands::migrate(config).await,
                Command::User { command } => Box::pin(commands::user(config, command)).await,
                Command::Audit { command } => commands::audit(config, command).await,
                Command::Partitions { command } => Box::pin(partitions::run(config, command)).await,
                Command::Token { command } => Box::pin(commands::token(config, command)).await,
                Command::Backup { command } => backups::run(config, command).await,
                Command::Drain { name, cancel, wait_seconds, settle_seconds } => {
                    let waits = DrainWaits { until_empty: Duration::from_secs(wait_seconds), settle: Duration::from_secs(settle_seconds) };
                    commands::drain(config, name, cancel, waits).await
                }
                Command::Cluster { command: ClusterCommand::Rekey } => Box::pin(commands::rekey(&config)).await,
                Command::Config { .. }
                | Command::Cluster { .. }
                | Command::Healthcheck { .. }
                | Command::Ctl(_)
                | Command::Doctor { .. } => Ok(()),
            }
        }
    }
}
