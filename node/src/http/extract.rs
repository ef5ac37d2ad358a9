//! Callers: people by access token, devices by device or session token.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use actors::messages::DeviceCredentials;
use axum::extract::{ConnectInfo, FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, header};
use domain::access::{Origin, Principal};
use domain::{DeviceId, ServiceError};
use serde::de::DeserializeOwned;

use super::{ApiError, App};

/// Longest id or name in a path, in bytes; the longest names are of 255 characters.
const PATH_ID_MAX_BYTES: usize = 1020;

/// A signed-in person, or a script with an API token.
pub(crate) struct Person(pub(crate) Principal);

/// A device that proved who it is.
pub(crate) struct Device(pub(crate) DeviceCredentials);

/// The `{id}` of a path; what is not even text cannot exist.
pub(crate) struct PathId(pub(crate) String);

/// The `{a}` and `{b}` of a path.
pub(crate) struct PathIds(pub(crate) String, pub(crate) String);

/// Whoever turned out to call, for what is recorded of the answer.
#[derive(Clone, Default)]
pub(crate) struct Caller(Arc<OnceLock<Known>>);

/// A caller whose credentials hold.
pub(crate) enum Known {
    /// A person or a script.
    Person(Principal),
    /// A device.
    Device(DeviceId),
}

impl Caller {
    /// Notes who calls. Once: a request has one caller.
    pub(super) fn note(extensions: &Extensions, known: Known) {
        if let Some(caller) = extensions.get::<Self>() {
            let _ = caller.0.set(known);
        }
    }

    /// Who calls, if that is known.
    pub(super) fn known(&self) -> Option<&Known> {
        self.0.get()
    }
}

/// Origin of the request: the client, behind proxies that are trusted.
#[derive(Clone, Copy)]
pub(crate) struct ClientAddress(pub(crate) IpAddr);

/// The request, as what is done with it is recorded.
pub(crate) struct RequestOrigin(pub(crate) Origin);

/// The bearer token of a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| ServiceError::Unauthorized.into())
}

impl FromRequestParts<Arc<App>> for Person {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let origin = origin(parts);
        let principal = app.system.auth.authenticate_bearer(bearer(&parts.headers)?, origin).await?;
        Caller::note(&parts.extensions, Known::Person(principal.clone()));
        Ok(Self(principal))
    }
}

impl FromRequestParts<Arc<App>> for Device {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let address = address(parts);
        let credentials = app.system.agent.authenticate(bearer(&parts.headers)?, address).await?;
        Caller::note(&parts.extensions, Known::Device(credentials.device_id));
        Ok(Self(credentials))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Ok(Self(path(parts, state, |id: &String| is_id(id)).await?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathIds {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let (a, b) = path(parts, state, |(a, b): &(String, String)| is_id(a) && is_id(b)).await?;
        Ok(Self(a, b))
    }
}

/// The parameters of a path, for every route: what nothing can be called is not found, whatever the handler would do with it.
async fn path<S, T>(parts: &mut Parts, state: &S, is_usable: impl FnOnce(&T) -> bool) -> Result<T, ApiError>
where
    S: Send + Sync,
    T: DeserializeOwned + Send,
{
    let read = Path::<T>::from_request_parts(parts, state).await.ok().filter(|Path(read)| is_usable(read));
    let Path(read) = read.ok_or(ServiceError::NotFound("object with this id"))?;
    Ok(read)
}

/// Whether something may have this id or name; PostgreSQL takes no NUL.
fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= PATH_ID_MAX_BYTES && !text.chars().any(char::is_control)
}

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(address(parts)))
    }
}

impl<S: Sync> FromRequestParts<S> for RequestOrigin {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(origin(parts)))
    }
}

fn origin(parts: &Parts) -> Origin {
    origin_of(&parts.extensions)
}

/// Origin of a request.
pub(crate) fn origin_of(extensions: &Extensions) -> Origin {
    extensions.get().cloned().unwrap_or_else(|| Origin { address: Some(client_of(extensions)), request_id: None })
}

fn address(parts: &Parts) -> IpAddr {
    client_of(&parts.extensions)
}

/// Origin of a request.
pub(crate) fn client_of(extensions: &Extensions) -> IpAddr {
    let info = extensions.get::<ConnectInfo<SocketAddr>>();
    info.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip())
}
