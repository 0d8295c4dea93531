//! Request bodies: read to their end, and not too large.

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
    http::header::CONTENT_TYPE,
};
use http_body_util::BodyExt;

use super::ApiError;

/// Bytes of a body that are read at the most.
pub(super) const MOST: usize = 16 * 1024;
/// Bytes of a body that are let go by; beyond them the connection is closed.
const MOST_LET_GO: usize = 32 * 1024 * 1024;

/// The bytes of a body that is said to be JSON and is not too large.
#[derive(Clone, Debug)]
pub struct JsonObject(pub Bytes);

impl<S: Sync> FromRequest<S> for JsonObject {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let is_json = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(is_json);
        let bytes = read(request.into_body()).await?;
        if is_json { Ok(Self(bytes)) } else { Err(ApiError::UnsupportedMediaType) }
    }
}

/// The same where a body may be left out: then it is an empty object.
#[derive(Clone, Debug)]
pub struct MaybeJsonObject(pub Bytes);

impl<S: Sync> FromRequest<S> for MaybeJsonObject {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let is_json = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(is_json);
        let bytes = read(request.into_body()).await?;
        match (bytes.is_empty(), is_json) {
            (true, _) => Ok(Self(Bytes::from_static(b"{}"))),
            (false, true) => Ok(Self(bytes)),
            (false, false) => Err(ApiError::UnsupportedMediaType),
        }
    }
}

/// Reads a body to its end. One that is too large is let go by unseen, within reason: were the connection closed on a client
/// that still sends, it would never see the answer.
async fn read(mut body: Body) -> Result<Bytes, ApiError> {
    let (mut whole, mut seen) = (Bytes::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::MalformedBody("The body broke off.".to_owned()))?;
        let Ok(data) = frame.into_data() else { continue };
        seen += data.len();
        if seen > MOST_LET_GO {
            break;
        }
        if seen > MOST {
            whole = Bytes::new();
        } else if whole.is_empty() {
            whole = data;
        } else {
            whole = [whole, data].concat().into();
        }
    }
    if seen > MOST { Err(ApiError::PayloadTooLarge) } else { Ok(whole) }
}

fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || (essence.get(..12).is_some_and(|start| start.eq_ignore_ascii_case("application/"))
            && essence.get(essence.len().saturating_sub(5)..).is_some_and(|end| end.eq_ignore_ascii_case("+json")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_may_have_so_many_bytes_and_must_be_said_to_be_json() {
        let read = async |kind: &str, bytes: usize| {
            let request = Request::builder().header(CONTENT_TYPE, kind);
            JsonObject::from_request(request.body(vec![b' '; bytes].into()).unwrap(), &()).await
        };
        assert!(read("application/json", MOST).await.is_ok());
        assert!(matches!(read("application/json", MOST + 1).await, Err(ApiError::PayloadTooLarge)));
        assert!(matches!(read("application/json", MOST_LET_GO + 1).await, Err(ApiError::PayloadTooLarge)));
        assert!(matches!(read("text/plain", 2).await, Err(ApiError::UnsupportedMediaType)));
    }

    #[test]
    fn json_is_known_by_its_media_type() {
        assert!(is_json("application/json") && is_json("Application/JSON; charset=utf-8") && is_json("application/vnd.x+json"));
        assert!(!is_json("text/plain") && !is_json("") && !is_json("application/jsonp"));
    }
}
