//! Answers with an end: a statement's rows, as a stream that fails once the database is silent for too long.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use tokio::time::{Sleep, sleep_until, timeout_at};

use super::connection::State;

/// Awaits the whole answer to a statement.
pub(super) async fn answer<T>(state: &mut State, answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let due = state.begin()?;
    match timeout_at(due, answer).await {
        Ok(Ok(answer)) => {
            state.end();
            Ok(answer)
        }
        Ok(Err(error)) => {
            state.fail(&error);
            Err(error)
        }
        Err(_) => Err(state.give_up()),
    }
}

/// Parts of an answer as they come. The time in which nobody asks for the next does not count.
pub(super) struct Parts<'a, T> {
    state: &'a mut State,
    parts: BoxStream<'a, Result<T, sqlx::Error>>,
    /// Ends the wait for the next part.
    end: Pin<Box<Sleep>>,
    progress: Wait,
}

#[derive(PartialEq)]
enum Wait {
    Unasked,
    /// For the next part; whether the end of the wait is set.
    Next(bool),
    Over,
}

impl<'a, T> Parts<'a, T> {
    pub(super) fn new(state: &'a mut State, parts: BoxStream<'a, Result<T, sqlx::Error>>) -> Self {
        Self { state, parts, end: Box::pin(sleep_until(tokio::time::Instant::now())), progress: Wait::Unasked }
    }
}

impl<T> Stream for Parts<'_, T> {
    type Item = Result<T, sqlx::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        match this.progress {
            Wait::Over => return Poll::Ready(None),
            Wait::Unasked => match this.state.begin() {
                Ok(_) => this.progress = Wait::Next(false),
                Err(error) => {
                    this.progress = Wait::Over;
                    return Poll::Ready(Some(Err(error)));
                }
            },
            Wait::Next(_) => {}
        }
        match this.parts.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(part))) => {
                this.state.heard();
                this.progress = Wait::Next(false);
                Poll::Ready(Some(Ok(part)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.state.fail(&error);
                this.progress = Wait::Over;
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                this.state.end();
                this.progress = Wait::Over;
                Poll::Ready(None)
            }
            Poll::Pending => {
                if this.progress == Wait::Next(false) {
                    let due = this.state.wait();
                    this.end.as_mut().reset(due);
                    this.progress = Wait::Next(true);
                }
                match this.end.as_mut().poll(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(()) => {
                        this.progress = Wait::Over;
                        Poll::Ready(Some(Err(this.state.give_up())))
                    }
                }
            }
        }
    }
}
