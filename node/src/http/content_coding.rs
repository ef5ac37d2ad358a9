//! `Content-Encoding` of request bodies: inflated within the same limits, whatever else is refused.

use std::io::Read;

use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};

use super::ApiError;
use super::body::too_large;
use crate::api_error::CONTENT_CODINGS;

/// Larger bodies are inflated beside the threads that serve everybody.
const INLINE_MAX_BYTES: usize = 1 << 20;

/// The coding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentCoding {
    Identity,
    Gzip,
    Deflate,
}

impl ContentCoding {
    /// The coding that a request names.
    ///
    /// # Errors
    /// 415: another one, or several.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let refused = || {
            let detail = format!("Content-Encoding: a body may have one of {CONTENT_CODINGS}, or none");
            ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", detail)
        };
        let mut coding = Self::Identity;
        for value in headers.get_all(header::CONTENT_ENCODING) {
            for name in value.to_str().map_err(|_| refused())?.split(',').map(|name| name.trim().to_ascii_lowercase()) {
                coding = match (coding, name.as_str()) {
                    (coding, "" | "identity") => coding,
                    (Self::Identity, "gzip" | "x-gzip") => Self::Gzip,
                    (Self::Identity, "deflate") => Self::Deflate,
                    _ => return Err(refused()),
                };
            }
        }
        Ok(coding)
    }

    /// Refuses every coding: for bodies that are kept as they arrive.
    ///
    /// # Errors
    /// 415: the body has one.
    pub(crate) fn refuse_any(headers: &HeaderMap) -> Result<(), ApiError> {
        match Self::of(headers)? {
            Self::Identity => Ok(()),
            _ => Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_encoding",
                "Content-Encoding: not here; send the file as it is",
            )),
        }
    }

    /// The body without its coding, of at most `limit_bytes`.
    ///
    /// # Errors
    /// 413 too large, 400 damaged.
    pub(crate) async fn decoded(self, body: Bytes, limit_bytes: usize) -> Result<Bytes, ApiError> {
        if self == Self::Identity {
            return Ok(body);
        }
        if limit_bytes <= INLINE_MAX_BYTES {
            return self.inflated(&body, limit_bytes);
        }
        let inflated = tokio::task::spawn_blocking(move || self.inflated(&body, limit_bytes)).await;
        inflated.unwrap_or_else(|_| Err(domain::ServiceError::Internal.into()))
    }

    fn inflated(self, body: &[u8], limit_bytes: usize) -> Result<Bytes, ApiError> {
        let most = limit_bytes as u64 + 1;
        let mut inflated = Vec::new();
        let read = match self {
            Self::Identity => body.take(most).read_to_end(&mut inflated),
            Self::Gzip => MultiGzDecoder::new(body).take(most).read_to_end(&mut inflated),
            Self::Deflate => ZlibDecoder::new(body).take(most).read_to_end(&mut inflated),
        };
        match read {
            Ok(length) if length > limit_bytes => Err(too_large(limit_bytes)),
            Ok(_) => Ok(inflated.into()),
            Err(_) => Err(ApiError::new(StatusCode::BAD_REQUEST, "malformed_encoding", "the body is not what its Content-Encoding says")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::bufread::{GzEncoder, ZlibEncoder};

    fn coding(names: &[&str]) -> Result<ContentCoding, u16> {
        let mut headers = HeaderMap::new();
        for name in names {
            headers.append(header::CONTENT_ENCODING, name.parse().unwrap());
        }
        ContentCoding::of(&headers).map_err(|error| error.status().as_u16())
    }

    #[test]
    fn one_known_coding_is_taken() {
        assert_eq!(coding(&[]), Ok(ContentCoding::Identity));
        assert_eq!(coding(&["identity"]), Ok(ContentCoding::Identity));
        assert_eq!(coding(&["GZIP"]), Ok(ContentCoding::Gzip));
        assert_eq!(coding(&["deflate"]), Ok(ContentCoding::Deflate));
        for refused in [&["br"][..], &["zstd"], &["gzip, gzip"], &["gzip", "deflate"], &["gzip;q=1"]] {
            assert_eq!(coding(refused), Err(415), "{refused:?}");
        }
    }

    #[test]
    fn bodies_are_inflated_within_their_limit() {
        let text = "x".repeat(10_000);
        let (mut gzip, mut zlib) = (Vec::new(), Vec::new());
        GzEncoder::new(text.as_bytes(), Compression::fast()).read_to_end(&mut gzip).unwrap();
        ZlibEncoder::new(text.as_bytes(), Compression::fast()).read_to_end(&mut zlib).unwrap();
        let status = |coding: ContentCoding, body: &[u8], limit| {
            coding.inflated(body, limit).map(|body| body.len()).map_err(|error| error.status().as_u16())
        };
        for (coding, body) in [(ContentCoding::Gzip, &gzip), (ContentCoding::Deflate, &zlib)] {
            assert_eq!(status(coding, body, 10_000), Ok(10_000));
            assert_eq!(status(coding, body, 9_999), Err(413));
            assert_eq!(status(coding, &body[..body.len() / 2], 10_000), Err(400));
            assert_eq!(status(coding, b"{}", 10_000), Err(400));
        }
    }
}
