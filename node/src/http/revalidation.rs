//! Request bodies that are complete only while the credentials of a person or script hold: whoever lost rights while a body was on
//! its way does not act with them.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use domain::ServiceError;
use domain::access::Principal;
use hyper::body::{Frame, SizeHint};

use super::App;
use super::extract::{Caller, Known};

/// Error at the end of a body.
#[derive(Debug)]
pub(super) enum Revalidation {
    /// The credentials no longer hold, or grant something else than when the request began.
    Lost,
    /// The database could not say.
    Unknown,
}

impl fmt::Display for Revalidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "the credentials no longer hold",
            Self::Unknown => "the credentials could not be checked again",
        })
    }
}

impl std::error::Error for Revalidation {}

impl Revalidation {
    /// The one within an error of a body, whatever wraps it.
    pub(super) fn within<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref())
    }

    /// What the caller is answered.
    pub(super) fn refusal(&self) -> ServiceError {
        match self {
            Self::Lost => ServiceError::Unauthorized,
            Self::Unknown => ServiceError::Unavailable,
        }
    }
}

/// Checks the caller of a request once more when its body is complete.
pub(crate) async fn revalidate(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    if let Some(caller) = request.extensions().get::<Caller>().cloned()
        && !request.body().is_end_stream()
    {
        request = request.map(|body| Body::new(Revalidated { body, app, caller, stage: Stage::Arriving }));
    }
    next.run(request).await
}

struct Revalidated {
    body: Body,
    app: Arc<App>,
    caller: Caller,
    stage: Stage,
}

enum Stage {
    Arriving,
    Checking(Pin<Box<dyn Future<Output = Result<(), Revalidation>> + Send>>),
    Over,
}

impl Revalidated {
    fn check(&self) -> Stage {
        let Some(Known::Person(principal)) = self.caller.known() else { return Stage::Over };
        let (app, principal) = (Arc::clone(&self.app), principal.clone());
        Stage::Checking(Box::pin(async move { check(&app, &principal).await }))
    }
}

async fn check(app: &App, principal: &Principal) -> Result<(), Revalidation> {
    match app.system.auth.still_holds(principal).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Revalidation::Lost),
        Err(cause) => {
            tracing::warn!(event = "auth.not_revalidated", %cause);
            Err(Revalidation::Unknown)
        }
    }
}

impl HttpBody for Revalidated {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        loop {
            let this = &mut *self;
            match &mut this.stage {
                Stage::Arriving => match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                    Some(frame) => return Poll::Ready(Some(frame.map_err(Into::into))),
                    None => this.stage = this.check(),
                },
                Stage::Checking(check) => {
                    let checked = ready!(check.as_mut().poll(cx));
                    this.stage = Stage::Over;
                    if let Err(refused) = checked {
                        return Poll::Ready(Some(Err(refused.into())));
                    }
                }
                Stage::Over => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_found_in_whatever_wraps_it() {
        let wrapped = axum::Error::new(axum::Error::new(Revalidation::Lost));
        assert!(matches!(Revalidation::within(&wrapped), Some(Revalidation::Lost)));
        assert!(Revalidation::within(&std::io::Error::other("cut off")).is_none());
    }
}
