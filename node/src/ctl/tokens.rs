//! `ctl tokens`: enrollment tokens and the scripts that use them.

use std::io::Write;

use anyhow::Context;
use reqwest::Method;
use serde_json::{Value, json};

use super::Ctl;
use super::api::encoded;
use super::args::{Format, TokenCommand};
use super::output::{self, Column};

const LIST: &[Column] = &[
    ("ID", "/id"),
    ("STATUS", "/status"),
    ("ALIAS", "/alias"),
    ("CREATED", "/created_at"),
    ("BY", "/created_by"),
    ("EXPIRES", "/expires_at"),
    ("DEVICE", "/device_id"),
];

/// `ctl tokens ...`.
pub(super) async fn run(ctl: &mut Ctl, command: TokenCommand) -> anyhow::Result<()> {
    match command {
        TokenCommand::List { status, limit } => {
            let query: Vec<_> = status.into_iter().map(|status| ("status", status)).collect();
            let tokens = ctl.api.list("/v1/enroll-tokens", &query, limit).await?;
            output::rows(ctl.format, &tokens, LIST)
        }
        TokenCommand::Create { count, expires_in, alias, alias_pattern, tags, groups } => {
            let body = json!({
                "count": count, "expires_in_seconds": expires_in, "alias": alias, "alias_pattern": alias_pattern,
                "tags": tags, "groups": groups,
            });
            let made = ctl.api.call(Method::POST, "/v1/enroll-tokens", Some(&body)).await?;
            output::warnings(&made);
            match ctl.format {
                Format::Json => output::done(ctl.format, &made, ""),
                // One a line and nothing else, so that a script can read them.
                Format::Table => {
                    for token in made["tokens"].as_array().into_iter().flatten() {
                        println!("{}", token["token"].as_str().unwrap_or_default());
                    }
                    Ok(())
                }
            }
        }
        TokenCommand::Script { tokens, shell, no_install, server_url, file } => {
            let batch = tokens.len() > 1;
            let body = json!({"batch": batch, "tokens": tokens, "shell": shell, "install": !no_install, "server_url": server_url});
            let answer =
                ctl.api.send(Method::POST, "/v1/enroll-tokens/scripts", &[], Some(("application/json", body.to_string().into()))).await?;
            let script = answer.bytes().await.map_err(reqwest::Error::without_url)?;
            match file {
                Some(path) => std::fs::write(&path, &script).with_context(|| path.display().to_string()),
                None => Ok(std::io::stdout().write_all(&script)?),
            }
        }
        TokenCommand::Revoke { id } => {
            let answer = ctl.api.call(Method::DELETE, &format!("/v1/enroll-tokens/{}", encoded(&id)), None::<&Value>).await?;
            output::done(ctl.format, &answer, &format!("Revoked {id}."))
        }
    }
}
