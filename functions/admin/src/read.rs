//! Reading rows: columns into the types that they were written from.

use platform::db;
pub(crate) use platform::db::read::{whole, word};
use tokio_postgres::Row;
use uuid::Uuid;

/// An id.
pub(crate) fn id<T>(row: &Row, column: &str, read: fn(Uuid) -> T) -> Result<T, db::Error> {
    Ok(read(row.try_get(column)?))
}

/// A number as a column takes it.
pub(crate) fn number(value: u32) -> Result<i32, db::Error> {
    i32::try_from(value).map_err(|_| db::Error::Settings(format!("{value} is too large")))
}
