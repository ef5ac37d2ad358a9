//! Commands other than `serve`: they do one thing over the same services, and end.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use archive::Archives;
use clock::Clock;
use domain::access::{Principal, Role};
use domain::account::AccountChange;
use domain::audit::Head;
use domain::enrollment::TokenRequest;
use domain::query::PAGE_MAX;
use secrecy::SecretString;
use services::console::Console;

use crate::cli::{AuditCommand, TokenCommand, UserCommand};
use crate::config::{Advice, Config};
use crate::database::{Database, ensure_exists, for_console, none_here, start_embedded};
use crate::http::tls::Validity;
use crate::{cluster, http, preflight, secrets, serve};

/// `nexmdm config check`: reading it was the check.
///
/// # Errors
/// Something is wrong; with `strict`, or unsafe.
pub(crate) fn config_check(config: &Config, strict: bool) -> anyhow::Result<()> {
    let now = Clock::system().now();
    preflight::check(config)?;
    // A node that runs goes on with it, so that only the check refuses it.
    if let Some(Validity::Over(problem)) = http::tls::validity(config, now)? {
        bail!("http.tls_certificate_file: {problem}");
    }
    let advice = preflight::advice(config, now);
    for Advice { setting, problem } in &advice {
        eprintln!("{}: {setting}: {problem}", if strict { "error" } else { "warning" });
    }
    match advice.len() {
        0 => println!("The configuration is valid."),
        unsafe_settings if strict => bail!("the configuration is valid, but {unsafe_settings} of its settings are unsafe"),
        unsafe_settings => println!("The configuration is valid, with {unsafe_settings} warnings."),
    }
    Ok(())
}

/// `nexmdm config print`: TOML, secrets hidden.
pub(crate) fn config_print(config: &Config) -> anyhow::Result<()> {
    print!("{}", toml::to_string(config)?);
    Ok(())
}

/// `nexmdm migrate`.
pub(crate) async fn migrate(config: Config) -> anyhow::Result<()> {
    Database::open_existing(&config).await?.close().await?;
    println!("The database is up to date.");
    Ok(())
}

/// `nexmdm cluster rekey`.
pub(crate) async fn rekey(config: &Config) -> anyhow::Result<()> {
    cluster::rekey(config, &console_user()).await
}

/// `nexmdm database`.
pub(crate) async fn database(config: Config, create: bool) -> anyhow::Result<()> {
    if !create && !embedded_postgres::exists(&config.data_dir) {
        return Err(none_here(&config, "private database", "give --create"));
    }
    let embedded = start_embedded(&config).await?;
    println!("{}", embedded.database_url());
    std::io::stdout().flush()?;
    serve::stop_signal().await?;
    embedded.stop().await?;
    Ok(())
}

/// Waits of `nexmdm drain`.
#[derive(Clone, Copy)]
pub(crate) struct DrainWaits {
    /// The longest until the node owns no shard.
    pub(crate) until_empty: Duration,
    /// Time behind it, in which balancers learn that the node goes.
    pub(crate) settle: Duration,
}

/// `nexmdm drain`.
pub(crate) async fn drain(config: Config, name: Option<String>, cancel: bool, waits: DrainWaits) -> anyhow::Result<()> {
    let name = name.unwrap_or_else(|| config.node_name());
    let database = Database::open_existing(&config).await?;
    let result = drain_over(&database, &name, cancel, waits.until_empty).await;
    database.close().await?;
    result?;
    if !cancel {
        tokio::time::sleep(waits.settle).await;
    }
    Ok(())
}

async fn drain_over(database: &Database, name: &str, cancel: bool, patience: Duration) -> anyhow::Result<()> {
    let store = &database.cluster_store;
    services::set_draining(store, &database.clock().await?, &console_user(), name, !cancel)
        .await
        .map_err(for_console)
        .with_context(|| name.to_owned())?;
    if cancel {
        println!("{name} accepts shards again.");
        return Ok(());
    }
    let until = Instant::now() + patience;
    loop {
        match store.shards_of(name).await? {
            None | Some(0) => break,
            Some(shards) if Instant::now() >= until => bail!("{name} still owns {shards} shards: is there another live node?"),
            Some(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    println!("{name} owns no devices and can be stopped.");
    Ok(())
}

/// Runs `work` over the services of a console, and closes the database whatever comes of it.
async fn with_console<T>(config: Config, work: impl AsyncFnOnce(&Console) -> anyhow::Result<T>) -> anyhow::Result<T> {
    ensure_exists(&config)?;
    let secrets = secrets::load_existing(&config)?;
    let database = Database::open(&config).await?;
    let result = async {
        let console = Console::new(database.store.clone(), config.settings(), secrets, database.clock().await?);
        work(&console.map_err(for_console)?).await
    }
    .await;
    database.close().await?;
    result
}

/// Whoever runs the command.
pub(crate) fn console_user() -> Principal {
    Principal::Console { os_user: whoami::username().unwrap_or_else(|_| "unknown".to_owned()) }
}

/// `nexmdm user ...`.
pub(crate) async fn user(config: Config, command: UserCommand) -> anyhow::Result<()> {
    with_console(config, async |console| {
        match command {
            UserCommand::Add { username, role, password_stdin } => {
                let role = role_named(&role)?;
                let (password, shown) = password(password_stdin)?;
                console.accounts.add(&console_user(), &username, &password, role).await.map_err(for_console)?;
                println!("Added {username} ({role}).{shown}");
            }
            UserCommand::ResetPassword { username, password_stdin } => {
                let account = console.accounts.account_named(&console_user(), &username).await.map_err(for_console)?;
                let (password, shown) = password(password_stdin)?;
                console.accounts.reset_password(&console_user(), account.id, Some(password)).await.map_err(for_console)?;
                println!("Reset the password of {username}; all sessions have ended.{shown}");
            }
            UserCommand::Disable { username } => {
                change(console, &username, AccountChange { disabled: Some(true), ..AccountChange::default() }).await?;
                println!("{username} is disabled; sessions have ended and API tokens are revoked.");
            }
            UserCommand::Enable { username } => {
                change(console, &username, AccountChange { disabled: Some(false), ..AccountChange::default() }).await?;
                println!("{username} is enabled.");
            }
            UserCommand::Role { username, role } => {
                let role = role_named(&role)?;
                change(console, &username, AccountChange { role: Some(role), ..AccountChange::default() }).await?;
                println!("{username} is now {role}.");
            }
            UserCommand::List => list(console).await?,
        }
        Ok(())
    })
    .await
}

fn role_named(name: &str) -> anyhow::Result<Role> {
    name.parse().map_err(|error| anyhow::anyhow!("{error}"))
}

async fn change(console: &Console, username: &str, change: AccountChange) -> anyhow::Result<()> {
    let account = console.accounts.account_named(&console_user(), username).await.map_err(for_console)?;
    console.accounts.change(&console_user(), account.id, change).await.map_err(for_console)?;
    Ok(())
}

async fn list(console: &Console) -> anyhow::Result<()> {
    println!("{:<24} {:<10} {:<20} STATE", "NAME", "ROLE", "CREATED");
    let mut after = None;
    loop {
        let page = console.accounts.accounts(&console_user(), after.as_deref(), PAGE_MAX).await.map_err(for_console)?;
        for account in page.accounts {
            let state = if account.disabled_at.is_some() { "disabled" } else { "active" };
            let created = account.created_at.format("%Y-%m-%d %H:%M:%SZ");
            println!("{:<24} {:<10} {created} {state}", account.username, account.role.as_str());
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// The password to set, and the text about it for the person.
fn password(from_stdin: bool) -> anyhow::Result<(SecretString, String)> {
    if from_stdin {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).context("standard input")?;
        return Ok((line.trim_end_matches(['\r', '\n']).into(), String::new()));
    }
    let password = services::crypto::random_token().map_err(for_console)?;
    let shown = format!("\nPassword: {password}");
    Ok((password.into(), shown))
}

/// `nexmdm token ...`.
pub(crate) async fn token(config: Config, command: TokenCommand) -> anyhow::Result<()> {
    let TokenCommand::Create { count, expires_in, alias, alias_pattern, tags, groups } = command;
    let request = TokenRequest { count: Some(count), expires_in_s: expires_in, alias, alias_pattern, start_number: None, tags, groups };
    with_console(config, async |console| {
        for token in console.enrollment.create(&console_user(), request).await.map_err(for_console)? {
            println!("{}", token.token);
        }
        Ok(())
    })
    .await
}

/// `nexmdm audit ...`.
pub(crate) async fn audit(config: Config, command: AuditCommand) -> anyhow::Result<()> {
    let AuditCommand::Verify { expect } = command;
    let expected = expect.map(|expect| Head::parse("--expect", &expect)).transpose()?;
    let database = Database::open_existing(&config).await?;
    let checked = async {
        // It makes its folder, which a command in a wrong folder must not.
        let archives = Archives::open(config.archive_settings())?;
        services::check_audit(&database.store, &archives, expected).await.map_err(for_console)
    };
    let checked = checked.await;
    database.close().await?;
    let checked = checked?;
    for problem in &checked.problems {
        println!("{problem}");
    }
    match checked.problems_total {
        0 => {
            let archived = if checked.archived > 0 { format!(", {} of them in archives", checked.archived) } else { String::new() };
            println!("The audit trail is intact: {} entries{archived}, head {}.", checked.entries, checked.head);
            Ok(())
        }
        total => bail!("the audit trail is not intact: {total} problems in {} entries", checked.entries),
    }
}
