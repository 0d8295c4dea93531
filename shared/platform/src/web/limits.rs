//! Limits on the wire: what a caller is told of its allowance (draft-ietf-httpapi-ratelimit-headers), and 429.

use std::sync::{Arc, OnceLock};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};

use super::{ApiError, ClientAddress, problem::Raised};
use crate::{
    domain::{Allowance, Limit, LimitKind, Principal, Verdict},
    seats::{Counted, Limiter},
};

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

impl Verdict {
    /// The same, unless it is a refusal.
    ///
    /// # Errors
    /// [`ApiError::TooManyRequests`] for one request too many.
    pub fn passed(self) -> Result<Self, ApiError> {
        match self {
            Self::Beyond(allowance) => Err(ApiError::TooManyRequests(allowance)),
            Self::Uncounted | Self::Within(_) => Ok(self),
        }
    }
}

impl<T> Counted<T> {
    /// What was served, with what is to be told of the limit.
    ///
    /// # Errors
    /// [`ApiError::TooManyRequests`] for one request too many.
    pub fn passed(self) -> Result<(T, Verdict), ApiError> {
        match self {
            Self::Beyond(allowance) => Err(ApiError::TooManyRequests(allowance)),
            Self::Served(outcome, verdict) => Ok((outcome, verdict)),
        }
    }
}

/// An answer that tells its caller how it stands with its limit.
#[derive(Debug)]
pub struct Checked<T>(pub Verdict, pub T);

impl<T: IntoResponse> IntoResponse for Checked<T> {
    fn into_response(self) -> Response {
        let mut response = self.1.into_response();
        match self.0 {
            Verdict::Uncounted => {}
            Verdict::Within(allowance) | Verdict::Beyond(allowance) => tell(response.headers_mut(), allowance),
        }
        response
    }
}

/// Writes what is left of an allowance into an answer's head.
pub(super) fn tell(headers: &mut HeaderMap, allowance: Allowance) {
    headers.insert(RATELIMIT_POLICY, policy(allowance.limit()));
    let (mut left, mut whole_after) = (itoa::Buffer::new(), itoa::Buffer::new());
    let (left, whole_after) = (left.format(allowance.left()), whole_after.format(allowance.whole_after()));
    let state = ["\"", allowance.limit().kind().as_str(), "\";r=", left, ";t=", whole_after].concat();
    headers.insert(RATELIMIT, state.try_into().expect("letters and digits fit in a header"));
}

/// The limit itself, which hardly ever changes: each kind's is written once, with the limit that it is of.
fn policy(limit: Limit) -> HeaderValue {
    static WRITTEN: [OnceLock<(Limit, HeaderValue)>; 3] = [const { OnceLock::new() }; 3];
    let write = || {
        let policy = format!("\"{}\";q={};w=3600", limit.kind().as_str(), limit.per_hour());
        HeaderValue::try_from(policy).expect("letters and digits fit in a header")
    };
    let (of, written) = WRITTEN[limit.kind() as usize].get_or_init(|| (limit, write()));
    if *of == limit { written.clone() } else { write() }
}

impl Limiter {
    /// Counts a request of a person who has come with a good token, whichever of its tokens that is.
    ///
    /// # Errors
    /// [`ApiError::TooManyRequests`] for one request too many.
    pub async fn count_person(&self, person: &Principal) -> Result<Verdict, ApiError> {
        self.check(LimitKind::Principal, person.id.as_uuid().as_bytes()).await.passed()
    }

    /// Counts by the address of its caller an answer to somebody who has shown no good credential, and once that is beyond its limit
    /// says nothing of it any more. One that was counted before is not counted again.
    pub(super) async fn count_anonymous(&self, client: ClientAddress, response: Response) -> Response {
        let lacks_credential = response.extensions().get::<Raised>().is_some_and(|Raised(error)| error.lacks_credential());
        if !lacks_credential || response.headers().contains_key(RATELIMIT) {
            return response;
        }
        match Box::pin(self.check(LimitKind::Anonymous, &client.network())).await.passed() {
            Ok(verdict) => Checked(verdict, response).into_response(),
            Err(error) => error.into_response(),
        }
    }
}

/// Limits routes that answer everyone the same, by the address of their caller and apart from all its other requests: many good
/// clients may share an address, and none of them may lose these routes to another one's guesses.
///
/// The answer is made first, because it is at hand. One that says *not modified* is free: it costs less than counting it. No answer
/// says how much is left, because a cache may give it to others.
pub fn limited_as_public(routes: Router, limiter: Arc<Limiter>) -> Router {
    routes.route_layer(middleware::from_fn_with_state(limiter, as_public))
}

async fn as_public(State(limiter): State<Arc<Limiter>>, client: ClientAddress, request: Request, next: Next) -> Result<Response, ApiError> {
    let response = next.run(request).await;
    if response.status() != StatusCode::NOT_MODIFIED {
        limiter.check(LimitKind::Public, &client.network()).await.passed()?;
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(per_hour: u32, requests: u64) -> [String; 2] {
        let limit = Limit::new(LimitKind::Principal, per_hour);
        let response = Checked(Verdict::Within(limit.allowance(requests * limit.interval())), ()).into_response();
        ["ratelimit-policy", "ratelimit"].map(|name| response.headers()[name].to_str().unwrap().to_owned())
    }

    #[test]
    fn an_answer_tells_the_limit_what_is_left_of_it_and_when_it_is_whole_again() {
        assert_eq!(told(1000, 1), [r#""principal";q=1000;w=3600"#, r#""principal";r=999;t=4"#]);
        assert_eq!(told(1000, 1000), [r#""principal";q=1000;w=3600"#, r#""principal";r=0;t=3600"#]);
        assert_eq!(told(60, 30), [r#""principal";q=60;w=3600"#, r#""principal";r=30;t=1800"#]);
    }

    #[test]
    fn what_was_not_counted_tells_nothing() {
        assert!(Checked(Verdict::Uncounted, ()).into_response().headers().is_empty());
    }
}
