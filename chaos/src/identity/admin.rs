//! The account that creates enrollment tokens.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result};
use wire::admin::{CreateEnrollTokens, CreatedEnrollToken, CreatedEnrollTokens, LoginRequest, LoginResponse};

use super::RequestFailure;
use crate::http::{Call, Http};

/// Credentials for enrolling devices.
#[derive(Clone)]
pub enum Credentials {
    /// A name and its password.
    Password {
        /// Name of the account.
        username: String,
        /// Its password.
        password: String,
    },
    /// An access token of the admin API.
    AccessToken(String),
}

// Written by hand: a derived one would print the secrets.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => write!(f, "Password({username}:…)"),
            Self::AccessToken(_) => f.write_str("AccessToken(…)"),
        }
    }
}

impl FromStr for Credentials {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("", _)) => Err("the account's name is missing before the colon".into()),
            Some((_, "")) => Err("the password is missing after the colon".into()),
            Some((username, password)) => Ok(Self::Password { username: username.to_owned(), password: password.to_owned() }),
            None if text.is_empty() => Err("empty; give NAME:PASSWORD or an access token".into()),
            None => Ok(Self::AccessToken(text.to_owned())),
        }
    }
}

/// An account, signed in when it has to be.
pub struct Admin<'a> {
    http: &'a Http,
    credentials: Credentials,
    access_token: Option<String>,
}

impl<'a> Admin<'a> {
    /// Signs in with the first call.
    pub fn new(http: &'a Http, credentials: Credentials) -> Self {
        Self { http, credentials, access_token: None }
    }

    /// Creates enrollment tokens; signs in again, once, when the access token
    /// has expired in the meantime.
    pub async fn create_tokens(&mut self, wanted: &CreateEnrollTokens) -> Result<Vec<CreatedEnrollToken>, RequestFailure> {
        let fresh = self.access_token.is_none();
        match self.try_create_tokens(wanted).await {
            Err(failure) if failure.status() == Some(401) && !fresh && matches!(self.credentials, Credentials::Password { .. }) => {
                self.access_token = None;
                self.try_create_tokens(wanted).await
            }
            outcome => outcome,
        }
    }

    async fn try_create_tokens(&mut self, wanted: &CreateEnrollTokens) -> Result<Vec<CreatedEnrollToken>, RequestFailure> {
        let token = match &self.access_token {
            Some(token) => token.clone(),
            None => self.sign_in().await?,
        };
        let body = serde_json::to_vec(wanted).map_err(|e| invalid(&e))?;
        let answer = self.http.send(Call::post("/v1/enroll-tokens", body).bearer(&token)).await?;
        if !matches!(answer.status, 200 | 201) {
            return Err(RequestFailure::from_answer(&answer));
        }
        answer.read::<CreatedEnrollTokens>().map(|created| created.tokens).map_err(|e| invalid(&e))
    }

    async fn sign_in(&mut self) -> Result<String, RequestFailure> {
        let token = match &self.credentials {
            Credentials::AccessToken(token) => token.clone(),
            Credentials::Password { username, password } => {
                let body = LoginRequest { username: username.clone(), password: password.clone() };
                let body = serde_json::to_vec(&body).map_err(|e| invalid(&e))?;
                let answer = self.http.send(Call::post("/v1/auth/login", body)).await?;
                if answer.status != 200 {
                    return Err(RequestFailure::from_answer(&answer));
                }
                read_access_token(&answer.body).map_err(|e| invalid(&e))?
            }
        };
        Ok(self.access_token.insert(token).clone())
    }
}

/// Only the token: whatever else a login answers is none of our business.
fn read_access_token(body: &[u8]) -> Result<String> {
    if let Ok(login) = serde_json::from_slice::<LoginResponse>(body) {
        return Ok(login.access_token);
    }
    let json: serde_json::Value = serde_json::from_slice(body)?;
    json["access_token"].as_str().map(str::to_owned).context("the sign-in response has no access_token")
}

fn invalid(error: &dyn fmt::Display) -> RequestFailure {
    RequestFailure::NoAnswer(crate::http::HttpError::Invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_a_pair_or_a_token() {
        assert!(matches!("admin:pass:word".parse::<Credentials>().unwrap(),
            Credentials::Password { username, password } if username == "admin" && password == "pass:word"));
        assert!(matches!("ey.a.b".parse::<Credentials>().unwrap(), Credentials::AccessToken(token) if token == "ey.a.b"));
        for text in ["", ":x", "admin:"] {
            assert!(text.parse::<Credentials>().is_err(), "{text}");
        }
    }

    #[test]
    fn credentials_do_not_print_their_secret() {
        for text in ["admin:geheim", "geheim"] {
            assert!(!format!("{:?}", text.parse::<Credentials>().unwrap()).contains("geheim"));
        }
    }
}
