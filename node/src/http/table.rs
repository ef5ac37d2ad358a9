//! A table on its way to the caller, piece by piece (RFC 4180).

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, TryStream, TryStreamExt, stream};
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use utoipa::IntoParams;

/// Marks a file as UTF-8 for programs that would guess otherwise (RFC 3629, section 6).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How a table is written.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct TableQuery {
    /// Begin with a byte order mark, for spreadsheets that would not take the file for UTF-8.
    #[serde(default, deserialize_with = "flag")]
    pub(crate) bom: bool,
}

/// A yes or no of a query: `true`, `1`, `false` or `0`.
pub(super) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(D::Error::custom("not true or false")),
    }
}

/// Answers with a table that is written while it is sent, to be saved under this name; with `bom`, behind a byte order mark.
pub(super) fn table<S>(pieces: S, file_name: &str, bom: bool) -> Response
where
    S: TryStream<Ok = Bytes> + Send + 'static,
    S::Error: Into<axum::BoxError> + Send,
{
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{file_name}\""));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present")),
        (header::CONTENT_DISPOSITION, disposition.unwrap_or(HeaderValue::from_static("attachment"))),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    let mark = bom.then(|| Ok(Bytes::from_static(BYTE_ORDER_MARK)));
    (headers, Body::from_stream(stream::iter(mark).chain(pieces.into_stream()))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::Query;

    #[test]
    fn a_flag_is_written_in_either_way() {
        let query = |query: &str| Query::<TableQuery>::try_from_uri(&format!("/x?{query}").parse().unwrap());
        let read = |text: &str| query(text).map(|Query(query)| query.bom).ok();
        for (query, bom) in
            [("", Some(false)), ("bom=1", Some(true)), ("bom=true", Some(true)), ("bom=0", Some(false)), ("bom=yes", None), ("bom=", None)]
        {
            assert_eq!(read(query), bom, "{query}");
        }
    }
}
