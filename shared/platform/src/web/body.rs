//! Request bodies: read to their end, and not too large.

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
    http::{
        HeaderMap,
        header::{CONTENT_ENCODING, CONTENT_TYPE},
    },
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
        let described = Described::of(request.headers());
        let bytes = read(request.into_body()).await?;
        described.check().map(|()| Self(bytes))
    }
}

/// The same where a body may be left out: then it is an empty object.
#[derive(Clone, Debug)]
pub struct MaybeJsonObject(pub Bytes);

impl<S: Sync> FromRequest<S> for MaybeJsonObject {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let described = Described::of(request.headers());
        let bytes = read(request.into_body()).await?;
        if bytes.is_empty() {
            return Ok(Self(Bytes::from_static(b"{}")));
        }
        described.check().map(|()| Self(bytes))
    }
}

/// What the head of a request says of its body.
#[derive(Clone, Copy)]
struct Described {
    is_json: bool,
    is_coded: bool,
}

impl Described {
    fn of(headers: &HeaderMap) -> Self {
        let is_json = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(is_json);
        Self { is_json, is_coded: headers.contains_key(CONTENT_ENCODING) && is_coded(headers) }
    }

    /// Whether the body can be read.
    fn check(self) -> Result<(), ApiError> {
        match self {
            Self { is_coded: true, .. } => Err(ApiError::UnsupportedContentEncoding),
            Self { is_json: false, .. } => Err(ApiError::UnsupportedMediaType),
            Self { is_json: true, is_coded: false } => Ok(()),
        }
    }
}

/// Whether the body is compressed, or coded in whatever other way (RFC 9110, section 8.4).
fn is_coded(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().any(|codings| {
        let mut codings = codings.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        codings.any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
    })
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

/// Whether it is JSON in UTF-8, the only encoding that JSON is exchanged in (RFC 8259, section
/// 8.1).
fn is_json(media_type: &str) -> bool {
    let (essence, parameters) = media_type.split_once(';').unwrap_or((media_type, ""));
    let essence = essence.trim();
    let is_json = essence.eq_ignore_ascii_case("application/json")
        || (essence.get(..12).is_some_and(|start| start.eq_ignore_ascii_case("application/"))
            && essence.get(essence.len().saturating_sub(5)..).is_some_and(|end| end.eq_ignore_ascii_case("+json")));
    is_json && !has_other_charset(parameters)
}

fn has_other_charset(parameters: &str) -> bool {
    let mut named = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
    named.any(|(name, charset)| {
        let charset = charset.trim().trim_matches('"');
        let is_utf8 = ["utf-8", "utf8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known));
        name.trim().eq_ignore_ascii_case("charset") && !is_utf8
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

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
        assert!(is_json("application/json;charset=\"UTF-8\"") && is_json("application/json; x; charset=us-ascii"));
        assert!(!is_json("application/json; charset=latin1") && !is_json("application/json;x=1;Charset=\"utf-16\""));
    }
    #[test]
    fn only_the_identity_coding_is_read() {
        let coded =
            |values: &[&str]| is_coded(&values.iter().map(|value| (CONTENT_ENCODING, HeaderValue::from_str(value).unwrap())).collect());
        for plain in [&[][..], &[""], &["identity"], &["Identity, identity"], &["identity", "identity"]] {
            assert!(!coded(plain), "{plain:?}");
        }
        for other in [&["gzip"][..], &["br"], &["zstd"], &["identity, gzip"], &["identity", "deflate"], &["aes128gcm"], &["x"]] {
            assert!(coded(other), "{other:?}");
        }
    }
}
