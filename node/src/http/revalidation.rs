//! Request bodies that are complete only while the credentials of a person or script hold: whoever lost rights while a body was on
//! its way does not act with them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::ServiceError;
use domain::access::Principal;
use hyper::body::{Frame, SizeHint};
use services::Revalidation;

use super::extract::{Caller, Known, origin_of};
use super::{ApiError, App};

/// Checks the caller of a request once more when its body is complete.
pub(crate) async fn revalidate(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    if let Some(caller) = request.extensions().get::<Caller>().cloned()
        && !request.body().is_end_stream()
    {
        request = request.map(|body| Body::new(Revalidated { body, app, caller, stage: Stage::Arriving }));
    }
    next.run(request).await
}

/// The same for a browser, which is known by its cookie before any handler asks: each request with a body passes through here. The form of the sign-in
/// is for whoever knows a password, whatever their cookie.
pub(crate) async fn revalidate_browser(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let has_body = !request.body().is_end_stream() && request.uri().path() != "/login";
    if let Some(token) = web_dioxus::access_token(request.headers()).filter(|_| has_body) {
        match app.system.auth.authenticate(token, origin_of(request.extensions())).await {
            Ok(principal) => Caller::note(request.extensions(), Known::Person(principal)),
            // Nobody's: the handler refuses it.
            Err(ServiceError::Unauthorized) => {}
            Err(error) => return ApiError::from(error).into_response(),
        }
    }
    revalidate(State(app), request, next).await
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
