//! Sign-in, stored in a file with a refresh token that only its owner can read.

use std::fs;
use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use clock::Clock;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::{Api, Credentials};

/// An access token is renewed this long before it ends.
const RENEW_BEFORE: TimeDelta = TimeDelta::seconds(20);

/// Content of the file.
#[derive(Serialize, Deserialize)]
struct SignIn {
    server: String,
    #[serde(default)]
    ca_file: Option<PathBuf>,
    username: String,
    access_token: String,
    expires_at: DateTime<Utc>,
    refresh_token: String,
}

/// Sign-in with the path of its file.
pub(super) struct StoredSignIn {
    path: PathBuf,
    sign_in: SignIn,
}

impl StoredSignIn {
    pub(super) fn access_token(&self) -> &str {
        &self.sign_in.access_token
    }

    pub(super) fn is_stale(&self) -> bool {
        Clock::system().now() + RENEW_BEFORE >= self.sign_in.expires_at
    }

    /// Exchanges the refresh token, which works once, for the next pair.
    pub(super) async fn renew(&mut self) -> anyhow::Result<()> {
        let body = json!({"refresh_token": self.sign_in.refresh_token});
        let answer = Api::new(&self.sign_in.server, self.sign_in.ca_file.as_deref(), Credentials::Nobody)?
            .call(Method::POST, "/v1/auth/refresh", Some(&body))
            .await;
        let answer = answer.context("the session has ended; sign in with `nexmdm ctl login`")?;
        // A command that ran beside this one may have got the new refresh token, and wrote it down.
        let kept = read(&self.path).map_or_else(|_| self.sign_in.refresh_token.clone(), |kept| kept.refresh_token);
        self.sign_in = sign_in(&self.sign_in.server, self.sign_in.ca_file.clone(), &answer, kept)?;
        write(&self.path, &self.sign_in)
    }
}

/// `ctl login`.
pub(super) async fn login(
    server: Option<String>,
    ca_file: Option<PathBuf>,
    username: Option<String>,
    password_stdin: bool,
) -> anyhow::Result<()> {
    let path = path()?;
    let server = server.or_else(|| read(&path).ok().map(|kept| kept.server)).context("which server? Give --server URL")?;
    let username = match username {
        Some(username) => username,
        None => prompt("User name: ")?,
    };
    let password = match password_stdin || !std::io::stdin().is_terminal() {
        true => line()?,
        false => rpassword::prompt_password("Password: ").context("cannot read a password")?,
    };
    let body = json!({"username": username, "password": password});
    let answer = Api::new(&server, ca_file.as_deref(), Credentials::Nobody)?.call(Method::POST, "/v1/auth/login", Some(&body)).await?;
    let sign_in = sign_in(server.trim_end_matches('/'), ca_file, &answer, String::new())?;
    write(&path, &sign_in)?;
    println!("Signed in to {} as {} ({}).", sign_in.server, sign_in.username, answer["role"].as_str().unwrap_or("?"));
    Ok(())
}

/// `ctl logout`.
pub(super) async fn logout(server: Option<String>, ca_file: Option<PathBuf>) -> anyhow::Result<()> {
    let path = path()?;
    let Ok(kept) = read(&path) else {
        println!("Not signed in.");
        return Ok(());
    };
    let mut api = connect(server, ca_file, None)?;
    // The file goes in any case: a server that is gone must not keep it.
    let ended = api.call(Method::POST, "/v1/auth/logout", None).await;
    fs::remove_file(&path).with_context(|| path.display().to_string())?;
    match ended {
        Ok(_) => println!("Signed out of {}.", kept.server),
        Err(error) => println!("Deleted the stored session of {}, but the server could not be notified: {error:#}", kept.server),
    }
    Ok(())
}

/// The server and the credentials that a command is to use.
pub(super) fn connect(server: Option<String>, ca_file: Option<PathBuf>, token: Option<String>) -> anyhow::Result<Api> {
    let path = path()?;
    let kept = read(&path).ok();
    if let Some(token) = token {
        let (known_server, known_file) = kept.map(|kept| (kept.server, kept.ca_file)).unzip();
        let server = server.or(known_server).context("which server? Give --server URL or NEXMDM_SERVER")?;
        return Api::new(&server, ca_file.or(known_file.flatten()).as_deref(), Credentials::Token(token));
    }
    let Some(sign_in) = kept else { bail!("not signed in: `nexmdm ctl login --server URL`, or give --server and --token") };
    if let Some(server) = server {
        ensure!(server.trim_end_matches('/') == sign_in.server, "signed in to {}, not to {server}: `nexmdm ctl login`", sign_in.server);
    }
    let ca_file = ca_file.or_else(|| sign_in.ca_file.clone());
    Api::new(&sign_in.server.clone(), ca_file.as_deref(), Credentials::SignIn(StoredSignIn { path, sign_in }))
}

/// Tokens of an answer to a sign-in. One that names no refresh token leaves the one before in force.
fn sign_in(server: &str, ca_file: Option<PathBuf>, answer: &Value, refresh_token: String) -> anyhow::Result<SignIn> {
    let text = |name: &str| answer[name].as_str().map(str::to_owned).with_context(|| format!("the answer has no {name}"));
    Ok(SignIn {
        server: server.to_owned(),
        ca_file,
        username: text("username")?,
        access_token: text("access_token")?,
        expires_at: text("expires_at")?.parse().context("expires_at")?,
        refresh_token: text("refresh_token").unwrap_or(refresh_token),
    })
}

/// `$NEXMDM_CTL_FILE`, or `nexmdm/ctl.json` in the user's folder for settings.
fn path() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("NEXMDM_CTL_FILE") {
        return Ok(path.into());
    }
    let settings = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let settings = settings.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")));
    Ok(settings.context("neither HOME nor XDG_CONFIG_HOME is set; name a file in NEXMDM_CTL_FILE")?.join("nexmdm/ctl.json"))
}

fn read(path: &Path) -> anyhow::Result<SignIn> {
    serde_json::from_slice(&fs::read(path)?).with_context(|| format!("{} is damaged: sign in again", path.display()))
}

/// Written beside it and renamed, so that a command that runs at the same time reads all or nothing.
fn write(path: &Path, sign_in: &SignIn) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&serde_json::to_vec_pretty(sign_in)?)?;
    fs::rename(&beside, path).with_context(|| path.display().to_string())
}

fn prompt(question: &str) -> anyhow::Result<String> {
    eprint!("{question}");
    line()
}

/// The next line of standard input.
pub(super) fn line() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("standard input")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
