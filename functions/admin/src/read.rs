//! Reading rows: columns into the types that they were written from.

use std::str::FromStr;

use platform::db;
use tokio_postgres::Row;
use uuid::Uuid;

/// An id.
pub(crate) fn id<T>(row: &Row, column: &str, read: fn(Uuid) -> T) -> Result<T, db::Error> {
    Ok(read(row.try_get(column)?))
}

/// One of a set of words.
pub(crate) fn word<T: FromStr>(row: &Row, column: &str) -> Result<T, db::Error> {
    let text: &str = row.try_get(column)?;
    text.parse().map_err(|_| db::Error::Record(format!("{column} is {text}")))
}

/// A number that is never negative.
pub(crate) fn whole(row: &Row, column: &str) -> Result<u32, db::Error> {
    let number: i32 = row.try_get(column)?;
    u32::try_from(number).map_err(|_| db::Error::Record(format!("{column} is {number}")))
}

/// A number as a column takes it.
pub(crate) fn number(value: u32) -> Result<i32, db::Error> {
    i32::try_from(value).map_err(|_| db::Error::Settings(format!("{value} is too large")))
}
