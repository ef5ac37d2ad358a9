//! Callers: people by access token, devices by device or session token.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use actors::messages::DeviceCredentials;
use axum::extract::{ConnectInfo, FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, header};
use domain::ServiceError;
use domain::access::{Origin, Principal};

use super::{ApiError, App};

/// A signed-in person, or a script with an API token.
pub(crate) struct Person(pub(crate) Principal);

/// A device that proved who it is.
pub(crate) struct Device(pub(crate) DeviceCredentials);

/// The `{id}` of a path; what is not even text cannot exist.
pub(crate) struct PathId(pub(crate) String);

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
        Ok(Self(app.system.auth.authenticate_bearer(bearer(&parts.headers)?, origin).await?))
    }
}

impl FromRequestParts<Arc<App>> for Device {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let address = address(parts);
        Ok(Self(app.system.agent.authenticate(bearer(&parts.headers)?, address).await?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(id) = Path::from_request_parts(parts, state).await.map_err(|_| ServiceError::NotFound("object with this id"))?;
        Ok(Self(id))
    }
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
    parts.extensions.get().cloned().unwrap_or_else(|| Origin { address: Some(address(parts)), request_id: None })
}

fn address(parts: &Parts) -> IpAddr {
    client_of(&parts.extensions)
}

/// Origin of a request.
pub(crate) fn client_of(extensions: &Extensions) -> IpAddr {
    let info = extensions.get::<ConnectInfo<SocketAddr>>();
    info.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip())
}
