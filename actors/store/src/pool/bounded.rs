//! Answers with an end: a statement's rows, as a stream that fails once the database is silent for too long.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, Stream, StreamExt};

use super::connection::State;

/// Awaits the whole answer to a statement, until the end of the wait.
pub(super) async fn answer<T>(
    state: &mut State,
    end: impl Future<Output = ()>,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    state.begin()?;
    tokio::select! {
        biased;
        answer = answer => match answer {
            Ok(answer) => {
                state.end();
                Ok(answer)
            }
            Err(error) => {
                state.fail(&error);
                Err(error)
            }
        },
        () = end => Err(state.give_up()),
    }
}

/// Parts of an answer as they come. The time in which nobody asks for the next does not count.
pub(super) struct Parts<'a, T> {
    state: &'a mut State,
    parts: BoxStream<'a, Result<T, sqlx::Error>>,
    wait: Wait,
}

enum Wait {
    Unasked,
    /// For the next part, with its end once it is waited for.
    Next(Option<BoxFuture<'static, ()>>),
    Over,
}

impl<'a, T> Parts<'a, T> {
    pub(super) fn new(state: &'a mut State, parts: BoxStream<'a, Result<T, sqlx::Error>>) -> Self {
        Self { state, parts, wait: Wait::Unasked }
    }

    fn fail(&mut self, error: sqlx::Error) -> Poll<Option<Result<T, sqlx::Error>>> {
        self.wait = Wait::Over;
        Poll::Ready(Some(Err(error)))
    }
}

impl<T> Stream for Parts<'_, T> {
    type Item = Result<T, sqlx::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        match this.wait {
            Wait::Over => return Poll::Ready(None),
            Wait::Unasked => match this.state.begin() {
                Ok(()) => this.wait = Wait::Next(None),
                Err(error) => return this.fail(error),
            },
            Wait::Next(_) => {}
        }
        match this.parts.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(part))) => {
                this.state.heard();
                this.wait = Wait::Next(None);
                Poll::Ready(Some(Ok(part)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.state.fail(&error);
                this.fail(error)
            }
            Poll::Ready(None) => {
                this.state.end();
                this.wait = Wait::Over;
                Poll::Ready(None)
            }
            Poll::Pending => {
                let Wait::Next(end) = &mut this.wait else { return Poll::Pending };
                ready!(end.get_or_insert_with(|| this.state.end_of_wait().boxed()).poll_unpin(cx));
                let error = this.state.give_up();
                this.fail(error)
            }
        }
    }
}
