//! `nexmdm ctl`: what an operator does from a terminal or a script, over the API, from anywhere.

mod agent_build_args;
mod agent_build_publish;
mod agent_builds;
mod alert_args;
mod alert_setup;
mod alerts;
mod api;
mod apk_args;
mod apk_inspect;
mod apk_upload;
mod apks;
mod args;
mod audit;
mod batches;
mod cluster;
mod command_args;
mod commands;
mod deployment_args;
mod deployments;
mod devices;
mod filter_args;
mod output;
mod people;
mod reports;
mod session;
mod storage;
mod tokens;

use anyhow::Context;
use api::Api;
use apk_args::ApkCommand;
pub(crate) use args::CtlArgs;
use args::{CtlCommand, Format};

/// Context of a command.
struct Ctl {
    api: Api,
    format: Format,
}

/// Runs one command; `command_line` is the whole program's, for completions.
pub(crate) async fn run(args: CtlArgs, mut command_line: clap::Command) -> anyhow::Result<()> {
    let CtlArgs { server, ca_file, token, output: format, command } = args;
    let ca_file = ca_file.map(std::path::absolute).transpose()?;
    match command {
        CtlCommand::Completion { shell } => {
            clap_complete::generate(shell, &mut command_line, "nexmdm", &mut std::io::stdout());
            return Ok(());
        }
        CtlCommand::Login { username, password_stdin } => return session::login(server, ca_file, username, password_stdin).await,
        CtlCommand::Logout => return session::logout(server, ca_file).await,
        CtlCommand::Apks { command: ApkCommand::Inspect { file } } => return apk_inspect::run(format, file).await,
        _ => {}
    }
    let mut ctl = Ctl { api: session::connect(server, ca_file, token)?, format };
    match command {
        CtlCommand::Login { .. } | CtlCommand::Logout | CtlCommand::Completion { .. } => Ok(()),
        CtlCommand::Whoami => people::whoami(&mut ctl).await,
        CtlCommand::Stats => devices::stats(&mut ctl).await,
        CtlCommand::Devices { command } => devices::run(&mut ctl, command).await,
        CtlCommand::Commands { command } => commands::run(&mut ctl, command).await,
        CtlCommand::Batches { command } => batches::run(&mut ctl, command).await,
        CtlCommand::Deployments { command } => deployments::run(&mut ctl, command).await,
        CtlCommand::Flags { command } => deployments::flags(&mut ctl, command).await,
        CtlCommand::ExecCommands { command } => commands::exec(&mut ctl, command).await,
        CtlCommand::Apks { command } => apks::run(&mut ctl, command).await,
        CtlCommand::Packages { command } => apks::packages(&mut ctl, command).await,
        CtlCommand::AgentBuilds { command } => agent_builds::run(&mut ctl, command).await,
        CtlCommand::Tokens { command } => tokens::run(&mut ctl, command).await,
        CtlCommand::Users { command } => people::users(&mut ctl, command).await,
        CtlCommand::ApiTokens { command } => people::api_tokens(&mut ctl, command).await,
        CtlCommand::Alerts { command } => alerts::run(&mut ctl, command).await,
        CtlCommand::Reports { command } => reports::run(&mut ctl, command).await,
        CtlCommand::Audit { command } => audit::run(&mut ctl, command).await,
        CtlCommand::Cluster { command } => cluster::run(&mut ctl, command).await,
        CtlCommand::Storage => storage::show(&mut ctl).await,
        CtlCommand::Partitions { command } => storage::run(&mut ctl, command).await,
    }
}

/// Asks for confirmation, unless `--yes` is given.
fn confirm(question: &str, yes: bool) -> anyhow::Result<()> {
    use std::io::{BufRead, IsTerminal, Write};
    if yes {
        return Ok(());
    }
    anyhow::ensure!(std::io::stdin().is_terminal(), "{question} Add --yes to skip the confirmation.");
    print!("{question} [y/N] ");
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("standard input")?;
    anyhow::ensure!(matches!(line.trim(), "y" | "Y" | "yes"), "Canceled.");
    Ok(())
}
