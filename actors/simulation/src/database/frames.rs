//! The messages of PostgreSQL's protocol, as far as a proxy has to tell them apart.
//!
//! ```text
//! first message of a client   length (4 bytes), body
//! any other message           type (1 byte), length (4 bytes, itself included), body
//! ```

/// A message, with its head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Type; `None` for the first message of a client.
    pub(super) kind: Option<u8>,
    pub(super) bytes: Vec<u8>,
}

impl Frame {
    /// Body.
    pub(super) fn body(&self) -> &[u8] {
        let head = if self.kind.is_some() { 5 } else { 4 };
        self.bytes.get(head..).unwrap_or_default()
    }

    /// Whether the server answers it with `ReadyForQuery`: the first message, a simple query, the end of an extended one.
    pub(super) fn is_answered(&self) -> bool {
        matches!(self.kind, None | Some(b'Q' | b'S'))
    }

    /// Whether it makes its connection listen to notifications.
    pub(super) fn listens(&self) -> bool {
        self.is_statement_with(b"LISTEN ") && !self.unlistens()
    }

    /// Whether it ends that its connection listens.
    pub(super) fn unlistens(&self) -> bool {
        self.is_statement_with(b"UNLISTEN ")
    }

    fn is_statement_with(&self, text: &[u8]) -> bool {
        matches!(self.kind, Some(b'Q' | b'P')) && self.body().windows(text.len()).any(|part| part == text)
    }

    /// Whether the server says that a statement, or the start, is done.
    pub(super) fn is_ready(&self) -> bool {
        self.kind == Some(b'Z')
    }

    /// Process of the server that serves the connection, if it tells.
    pub(super) fn backend(&self) -> Option<i32> {
        (self.kind == Some(b'K')).then(|| self.body().first_chunk().copied().map(i32::from_be_bytes)).flatten()
    }

    /// Payload, if it is a notification.
    pub(super) fn notification(&self) -> Option<&str> {
        if self.kind != Some(b'A') {
            return None;
        }
        let mut texts = self.body().get(4..)?.split(|byte| *byte == 0);
        texts.next()?;
        std::str::from_utf8(texts.next()?).ok()
    }
}

/// Gathers bytes into messages.
pub(super) struct Frames {
    buffer: Vec<u8>,
    /// Whether the next message has no type.
    untyped: bool,
}

impl Frames {
    pub(super) fn of_client() -> Self {
        Self { buffer: Vec::new(), untyped: true }
    }

    pub(super) fn of_server() -> Self {
        Self { buffer: Vec::new(), untyped: false }
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete message.
    pub(super) fn next(&mut self) -> Option<Frame> {
        let at = usize::from(!self.untyped);
        let length = self.buffer.get(at..)?.first_chunk::<4>().map(|length| u32::from_be_bytes(*length))?;
        let end = at + usize::try_from(length).ok()?;
        if self.buffer.len() < end {
            return None;
        }
        let rest = self.buffer.split_off(end);
        let bytes = std::mem::replace(&mut self.buffer, rest);
        let kind = (!self.untyped).then(|| bytes[0]);
        self.untyped = false;
        Some(Frame { kind, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_however_they_are_cut() {
        let start = [&9u32.to_be_bytes()[..], b"start"].concat();
        let query = [b"Q", &15u32.to_be_bytes()[..], b"LISTEN \"a\"\0"].concat();
        let stream: Vec<u8> = [start.clone(), query.clone()].concat();
        for cut in 0..stream.len() {
            let mut frames = Frames::of_client();
            let mut seen = Vec::new();
            for piece in [&stream[..cut], &stream[cut..]] {
                frames.add(piece);
                seen.extend(std::iter::from_fn(|| frames.next()));
            }
            assert_eq!(seen, [Frame { kind: None, bytes: start.clone() }, Frame { kind: Some(b'Q'), bytes: query.clone() }]);
            assert!(seen.iter().all(Frame::is_answered) && seen[1].listens());
        }
        let unlisten = Frame { kind: Some(b'Q'), bytes: b"Q\0\0\0\x0fUNLISTEN *\0".to_vec() };
        assert!(unlisten.unlistens() && !unlisten.listens());
    }

    #[test]
    fn answers_of_the_server_are_read() {
        let message = |kind: u8, body: &[u8]| [&[kind][..], &(4 + body.len() as u32).to_be_bytes(), body].concat();
        let mut frames = Frames::of_server();
        frames.add(&message(b'K', &[0, 0, 1, 2, 9, 9, 9, 9]));
        frames.add(&message(b'A', b"\0\0\0\x07channel\0payload\0"));
        frames.add(&message(b'Z', b"I"));
        assert_eq!(frames.next().unwrap().backend(), Some(258));
        assert_eq!(frames.next().unwrap().notification(), Some("payload"));
        assert!(frames.next().unwrap().is_ready());
        assert!(frames.next().is_none());
    }
}
