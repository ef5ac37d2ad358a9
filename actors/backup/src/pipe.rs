//! The way between the runtime and the thread that compresses and encrypts: a few pieces are on it at a time.

use std::io::{Read, Write};

use bytes::Bytes;
use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::manifest::{Digest, Manifest};
use crate::member::Member;
use crate::reader::{Event, read};
use crate::writer::{Writer, Written};
use crate::{BackupError, Progress};

/// Pieces on their way.
const PIECES: usize = 4;

enum Piece {
    Member(Member, u64),
    Data(Bytes),
    Finish(Box<dyn FnOnce(&mut Digest) + Send>),
}

/// A thread that writes a backup.
pub(crate) struct WritePipe<W> {
    pieces: mpsc::Sender<Piece>,
    thread: JoinHandle<Result<Written<W>, BackupError>>,
}

impl<W: Write + Send + 'static> WritePipe<W> {
    /// Begins a backup.
    pub(crate) fn begin(out: W, passphrase: Option<SecretString>, work_factor: u8, progress: Progress) -> Self {
        let (pieces, mut taken) = mpsc::channel(PIECES);
        let thread = tokio::task::spawn_blocking(move || {
            let failed = BackupError::file("the backup could not be written");
            let mut writer = Writer::begin(out, passphrase.as_ref(), work_factor).map_err(failed)?;
            let mut entry = String::new();
            while let Some(piece) = taken.blocking_recv() {
                match piece {
                    Piece::Member(member, size) => {
                        entry = member.entry();
                        writer.member(&member, size)?;
                    }
                    Piece::Data(bytes) => writer.data(&bytes)?,
                    Piece::Finish(judge) => return writer.finish(judge),
                }
                progress(&entry, writer.bytes());
            }
            // Whoever sent has ended, and says why.
            Err(BackupError::GivenUp)
        });
        Self { pieces, thread }
    }

    async fn send(&mut self, piece: Piece) -> Result<(), BackupError> {
        match self.pieces.send(piece).await {
            Ok(()) => Ok(()),
            Err(_) => Err(match joined((&mut self.thread).await) {
                Ok(_) => BackupError::GivenUp,
                Err(error) => error,
            }),
        }
    }

    /// Begins a member.
    pub(crate) async fn member(&mut self, member: Member, size: u64) -> Result<(), BackupError> {
        self.send(Piece::Member(member, size)).await
    }

    /// Bytes of it.
    pub(crate) async fn data(&mut self, bytes: Bytes) -> Result<(), BackupError> {
        self.send(Piece::Data(bytes)).await
    }

    /// A whole member.
    pub(crate) async fn whole(&mut self, member: Member, bytes: Bytes) -> Result<(), BackupError> {
        self.member(member, bytes.len() as u64).await?;
        self.data(bytes).await
    }

    /// Writes the digest, whose problems `judge` finds, and the end.
    pub(crate) async fn finish(mut self, judge: impl FnOnce(&mut Digest) + Send + 'static) -> Result<Written<W>, BackupError> {
        self.send(Piece::Finish(Box::new(judge))).await?;
        joined(self.thread.await)
    }
}

fn joined<T>(ended: Result<Result<T, BackupError>, tokio::task::JoinError>) -> Result<T, BackupError> {
    ended.unwrap_or_else(|cause| Err(BackupError::file("the thread of the backup failed")(std::io::Error::other(cause))))
}

/// A thread that reads a backup.
pub(crate) struct ReadPipe {
    events: mpsc::Receiver<Event>,
    thread: JoinHandle<Result<(Manifest, Digest), BackupError>>,
}

impl ReadPipe {
    /// Begins to read.
    pub(crate) fn begin(input: impl Read + Send + 'static, passphrase: Option<SecretString>) -> Self {
        let (handed_on, events) = mpsc::channel(PIECES);
        let thread = tokio::task::spawn_blocking(move || {
            read(input, passphrase.as_ref(), &mut |event| handed_on.blocking_send(event).map_err(|_| BackupError::GivenUp))
        });
        Self { events, thread }
    }

    /// The next piece; `None`: there are no more, and [`Self::end`] tells why.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Whether all of it was what was written.
    pub(crate) async fn end(mut self) -> Result<(Manifest, Digest), BackupError> {
        self.events.close();
        while self.events.recv().await.is_some() {}
        joined(self.thread.await)
    }
}
