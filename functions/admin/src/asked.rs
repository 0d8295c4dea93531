//! What a request says in its body and its parameters. Every name must be one that the operation reads; each other is named in the answer.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::Method,
};
use platform::web::{ApiError, FieldFault, Fields, JsonObject, MaybeJsonObject};

/// The body of an operation that takes one, and no parameters.
#[derive(Debug)]
pub(crate) struct Asked {
    body: Bytes,
    parameters: Vec<FieldFault>,
}

impl Asked {
    /// The members of the body, with the faults of parameters.
    ///
    /// # Errors
    /// [`ApiError::MalformedBody`] if the body is no JSON object.
    pub(crate) fn fields(&self) -> Result<Fields<'_>, ApiError> {
        Ok(Fields::strict(&self.body)?.with_faults(self.parameters.clone()))
    }

    /// The body as it was sent.
    pub(crate) const fn body(&self) -> &Bytes {
        &self.body
    }
}

impl<S: Sync> FromRequest<S> for Asked {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let parameters = parameters(&request);
        let JsonObject(body) = JsonObject::from_request(request, state).await?;
        Ok(Self { body, parameters })
    }
}

/// The same where the body may be left out.
#[derive(Debug)]
pub(crate) struct MaybeAsked(pub(crate) Asked);

impl<S: Sync> FromRequest<S> for MaybeAsked {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let parameters = parameters(&request);
        let MaybeJsonObject(body) = MaybeJsonObject::from_request(request, state).await?;
        Ok(Self(Asked { body, parameters }))
    }
}

/// An operation that takes neither members nor parameters, and was sent none. The body of a GET means nothing and is not looked at.
#[derive(Debug)]
pub(crate) struct Nothing;

impl<S: Sync> FromRequest<S> for Nothing {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            return Fields::of_query(request.uri().query()).finish().map(|()| Self);
        }
        let MaybeAsked(asked) = MaybeAsked::from_request(request, state).await?;
        asked.fields()?.finish().map(|()| Self)
    }
}

/// The faults of the parameters of an operation that takes none.
fn parameters(request: &Request) -> Vec<FieldFault> {
    Fields::of_query(request.uri().query()).into_faults()
}
