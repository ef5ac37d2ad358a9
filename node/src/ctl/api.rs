//! Calls of the API, with a sign-in that renews itself.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Map, Value};
use wire::problem::Problem;

use super::session::StoredSignIn;

/// How long a call may take; an export keeps the connection as long as data comes.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Rows of a page of a list.
const PAGE: usize = 200;

/// Method, body and headers of a call.
pub(super) enum Credentials {
    /// An API token.
    Token(String),
    /// A sign-in that is kept in a file.
    SignIn(StoredSignIn),
    /// Nothing, to sign in.
    Nobody,
}

/// A server's refusal, in its words.
#[derive(Debug, thiserror::Error)]
#[error("{said}")]
pub(super) struct Refused {
    /// The status of the answer.
    pub(super) status: StatusCode,
    said: String,
}

/// One server.
pub(super) struct Api {
    client: reqwest::Client,
    server: String,
    credentials: Credentials,
}

impl Api {
    /// `ca_file`: an authority to trust beside those that the system trusts.
    pub(super) fn new(server: &str, ca_file: Option<&Path>, credentials: Credentials) -> anyhow::Result<Self> {
        let mut builder = reqwest::Client::builder().read_timeout(TIMEOUT).connect_timeout(CONNECT_TIMEOUT);
        if let Some(path) = ca_file {
            let pem = std::fs::read(path).with_context(|| path.display().to_string())?;
            let authority = reqwest::Certificate::from_pem(&pem).with_context(|| format!("{} is not a certificate", path.display()))?;
            builder = builder.tls_certs_merge([authority]);
        }
        let client = builder.build()?;
        Ok(Self { client, server: server.trim_end_matches('/').to_owned(), credentials })
    }

    /// `GET` of JSON.
    pub(super) async fn get(&mut self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        json(self.send(Method::GET, path, query, None).await?).await
    }

    /// A call with a JSON body; null when the answer has none.
    pub(super) async fn call(&mut self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let body = body.map(|body| ("application/json", body.to_string().into_bytes()));
        json(self.send(method, path, &[], body).await?).await
    }

    /// `POST` of JSON that happens once for a key.
    pub(super) async fn call_once(&mut self, path: &str, body: &Map<String, Value>, key: Option<&str>) -> anyhow::Result<Value> {
        let body = serde_json::to_vec(body)?;
        let key = key.map(|key| ("idempotency-key", key));
        json(self.send_with(Method::POST, path, &[], Some(("application/json", body)), key).await?).await
    }

    /// `PATCH` of a part of a file that begins at `offset`.
    pub(super) async fn part(&mut self, path: &str, offset: u64, bytes: Vec<u8>) -> anyhow::Result<Value> {
        let (body, offset) = (("application/octet-stream", bytes), offset.to_string());
        json(self.send_with(Method::PATCH, path, &[], Some(body), Some(("upload-offset", &offset))).await?).await
    }

    /// The rows of a list, page after page, at most `limit`; 0 is all.
    pub(super) async fn list(&mut self, path: &str, query: &[(&str, String)], limit: usize) -> anyhow::Result<Vec<Value>> {
        let (mut items, mut cursor) = (Vec::new(), None::<String>);
        let limit = if limit == 0 { usize::MAX } else { limit };
        loop {
            let mut query = query.to_vec();
            query.push(("limit", PAGE.min(limit - items.len()).to_string()));
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let page = self.get(path, &query).await?;
            items.extend(page["items"].as_array().cloned().unwrap_or_default());
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() || items.len() >= limit {
                return Ok(items);
            }
        }
    }

    /// A call whose answer is taken as it comes.
    pub(super) async fn send(
        &mut self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<(&str, Vec<u8>)>,
    ) -> anyhow::Result<Response> {
        self.send_with(method, path, query, body, None).await
    }

    async fn send_with(
        &mut self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<(&str, Vec<u8>)>,
        header: Option<(&str, &str)>,
    ) -> anyhow::Result<Response> {
        if let Credentials::SignIn(remembered) = &mut self.credentials
            && remembered.is_stale()
        {
            // Boxed: it makes a call of its own.
            Box::pin(remembered.renew()).await?;
        }
        let mut request = self.client.request(method, format!("{}{path}", self.server)).query(query);
        request = match &self.credentials {
            Credentials::Token(token) => request.bearer_auth(token),
            Credentials::SignIn(remembered) => request.bearer_auth(remembered.access_token()),
            Credentials::Nobody => request,
        };
        if let Some((content_type, bytes)) = body {
            request = request.header("content-type", content_type).body(bytes);
        }
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        // The URL is told here, not in the error, which might hold more of it.
        let answer = request.send().await.map_err(reqwest::Error::without_url).with_context(|| format!("cannot reach {}", self.server))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let (status, retry_after) = (answer.status(), answer.headers().get("retry-after").cloned());
        let text = answer.text().await.unwrap_or_default();
        let mut said = match serde_json::from_str::<Problem>(&text) {
            Ok(Problem { detail, field: Some(field), .. }) => format!("{field}: {detail}"),
            Ok(Problem { detail, .. }) => detail,
            Err(_) => format!("{} answered {status}", self.server),
        };
        if status == StatusCode::UNAUTHORIZED && !matches!(self.credentials, Credentials::Nobody) {
            said.push_str("; sign in with `nexmdm ctl login`, or give --token");
        }
        if let Some(seconds) = retry_after.as_ref().and_then(|value| value.to_str().ok()) {
            said.push_str(&format!(" (try again in {seconds} s)"));
        }
        Err(Refused { status, said }.into())
    }
}

async fn json(answer: Response) -> anyhow::Result<Value> {
    let bytes = answer.bytes().await.map_err(reqwest::Error::without_url).context("the response was interrupted")?;
    if bytes.is_empty() {
        Ok(Value::Null)
    } else {
        serde_json::from_slice(&bytes).context("the response is not JSON: is this a NexMDM server?")
    }
}

/// Part of a path.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// Everything but the unreserved characters of RFC 3986, section 2.3.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_path_stays_one() {
        assert_eq!(encoded("shop 7/ä"), "shop%207%2F%C3%A4");
    }
}
