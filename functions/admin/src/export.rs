//! Lists as a whole, in one long answer: read batch by batch, so that nobody holds all of it, and no transaction outlasts a batch.

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderName, HeaderValue,
        header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, VARY},
    },
    response::{IntoResponse, Response},
};
use futures_util::stream;
use platform::{
    db,
    web::{ApiError, Fields, preferred},
};
use tokio_postgres::Row;

use crate::page::Position;

/// Rows of a batch.
pub(crate) const BATCH: i64 = 1000;

/// A form besides pages of JSON in which a list can be had.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// Its name in the parameter `format`.
    pub(crate) name: &'static str,
    /// Its media type.
    pub(crate) kind: &'static str,
    /// What it is saved as.
    pub(crate) file: &'static str,
}

impl Form {
    /// Whether it is asked for: by `format`, else by the header `accept`.
    pub(crate) fn is_wanted(self, fields: &mut Fields<'_>, headers: &HeaderMap) -> bool {
        let named = fields.optional("format", |text| match text {
            "json" => Ok(false),
            text if text == self.name => Ok(true),
            _ => Err(format!("must be json or {}", self.name)),
        });
        // A client that accepts neither gets JSON: errors are in JSON too, whatever it accepts.
        named.unwrap_or_else(|| preferred(headers, &["application/json", self.kind]) == Some(1))
    }

    /// The answer, after what `head` says. `read` reads the batch after a position. What fails before the first batch is there is answered as
    /// an error; after it the answer breaks off, so that no part of a list passes for the whole.
    ///
    /// # Errors
    /// Those of the first `read`.
    pub(crate) async fn answer<R: Future<Output = Result<Batch, ApiError>> + Send + 'static>(
        self,
        head: &str,
        read: impl Fn(Option<Position>) -> R + Send + 'static,
    ) -> Result<Response, ApiError> {
        let first = read(None).await?;
        let begin = (format!("{head}{}", first.text), first.next);
        let all = stream::try_unfold((Some(begin), None, read), async |(begin, after, read)| {
            let (text, next) = match (begin, after) {
                (Some(begin), _) => begin,
                (None, None) => return Ok(None),
                (None, after) => read(after).await.map(|batch| (batch.text, batch.next)).map_err(|error| {
                    tracing::warn!(?error, "an export broke off");
                    std::io::Error::other("an export broke off")
                })?,
            };
            Ok::<_, std::io::Error>(Some((text, (None, next, read))))
        });
        let headers: [(HeaderName, HeaderValue); 4] = [
            (CONTENT_TYPE, HeaderValue::from_static(self.kind)),
            (CONTENT_DISPOSITION, HeaderValue::from_static(self.file)),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (VARY, HeaderValue::from_static("accept")),
        ];
        Ok((headers, Body::from_stream(all)).into_response())
    }
}

/// A part of a long answer.
#[derive(Debug)]
pub(crate) struct Batch {
    text: String,
    /// Where the next one begins; none after the last.
    next: Option<Position>,
}

impl Batch {
    /// What was written of those rows, and where the next begins if they were as many as were asked for.
    ///
    /// # Errors
    /// [`ApiError::Internal`] if the last row cannot be read.
    pub(crate) fn of(text: String, rows: &[Row], position: fn(&Row) -> Result<Position, db::Error>) -> Result<Self, ApiError> {
        let is_full = i64::try_from(rows.len()).is_ok_and(|rows| rows == BATCH);
        Ok(Self { text, next: rows.last().filter(|_| is_full).map(position).transpose()? })
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header::ACCEPT;

    use super::*;

    const FORM: Form = Form { name: "csv", kind: "text/csv", file: "attachment" };

    fn wanted(query: &str, accept: &str) -> (bool, bool) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        let mut fields = Fields::of_query(Some(query));
        (FORM.is_wanted(&mut fields, &headers), fields.finish().is_ok())
    }

    #[test]
    fn a_form_is_asked_for_by_name_or_by_header_and_the_name_counts() {
        assert_eq!(wanted("", "*/*"), (false, true));
        assert_eq!(wanted("", "application/json;q=0.8, Text/CSV;q=0.9"), (true, true));
        assert_eq!(wanted("", "application/json, text/csv;q=0"), (false, true));
        assert_eq!(wanted("", "text/html"), (false, true));
        assert_eq!(wanted("format=csv", "application/json"), (true, true));
        assert_eq!(wanted("format=json", "text/csv"), (false, true));
        assert!(!wanted("format=xls", "*/*").1);
    }
}
