//! Answers of push services over HTTP: bodies of limited length, errors without addresses.

use domain::push::TransientError;
use reqwest::Response;

/// Longest answer that is read; real ones have a few hundred bytes.
const ANSWER_MAX_BYTES: usize = 65_536;

/// Kind of an error of the HTTP client. Its text is dropped, because it names addresses.
pub(super) fn transient_error_of(error: &reqwest::Error) -> TransientError {
    if error.is_timeout() { TransientError::Timeout } else { TransientError::Network }
}

/// Reads an answer up to its limit.
pub(super) async fn read_body(mut answer: Response) -> Result<Vec<u8>, TransientError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| transient_error_of(&error))? {
        if body.len() + chunk.len() > ANSWER_MAX_BYTES {
            return Err(TransientError::Garbled);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
