//! Minimal HTTP/1.1 response parser: status and length. Own code, as the generator shares the cores with the node that it measures:
//! a client with pool, layers and header maps would take its share of what is measured.

/// Largest head.
pub(super) const HEAD_BYTES: usize = 16 << 10;
/// Largest body.
pub(super) const BODY_BYTES: usize = 1 << 20;

/// Response head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// Bytes of the head, its empty line included.
    pub(super) head_len: usize,
    /// Bytes of the body that follows.
    pub(super) body_len: usize,
    /// Whether the server ends the connection after this.
    pub(super) close: bool,
    pub(super) retry_after_s: Option<u64>,
}

/// Parses a head; `Ok(None)` when it is incomplete.
pub(super) fn read_head(bytes: &[u8]) -> Result<Option<Head>, &'static str> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > HEAD_BYTES { Err("head_too_large") } else { Ok(None) };
    };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| "head_not_understood")?;
    let mut lines = text.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).ok_or("head_not_understood")?;
    let mut head = Head { status, head_len: end + 4, body_len: 0, close: false, retry_after_s: None };
    let mut length = None;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.parse().map_err(|_| "head_not_understood")?);
        } else if name.eq_ignore_ascii_case("connection") {
            head.close = value.eq_ignore_ascii_case("close");
        } else if name.eq_ignore_ascii_case("retry-after") {
            head.retry_after_s = value.parse().ok();
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("chunked_answer"); // short answers have a length; anything else is not what is measured
        }
    }
    head.body_len = length.ok_or("answer_without_length")?;
    if head.body_len > BODY_BYTES { Err("answer_too_large") } else { Ok(Some(head)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_at_its_empty_line() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ncontent-length: 11\r\n\r\n{\"ok\":true}";
        for cut in 0..answer.len() - 11 {
            assert_eq!(read_head(&answer[..cut]).unwrap(), None, "{cut}");
        }
        let head = read_head(answer).unwrap().unwrap();
        assert_eq!((head.status, head.head_len + head.body_len, head.close), (200, answer.len(), false));
    }

    #[test]
    fn refusals_say_when_to_come_back() {
        let head = read_head(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            .unwrap()
            .unwrap();
        assert_eq!(head, Head { status: 503, head_len: 90, body_len: 0, close: true, retry_after_s: Some(3) });
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bytes in [
            "SMTP ready\r\n\r\n",
            "HTTP/1.1 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n",
        ] {
            assert!(read_head(bytes.as_bytes()).is_err(), "{bytes}");
        }
        assert!(read_head(&[b'x'; HEAD_BYTES + 1]).is_err());
    }
}
