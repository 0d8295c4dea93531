//! Columns read into the types that they were written from.

use std::str::FromStr;

use tokio_postgres::Row;

use super::Error;

/// One of a set of words.
///
/// # Errors
/// [`Error::Record`] if it is none of them, [`Error::Query`] if the column is not there.
pub fn word<T: FromStr>(row: &Row, column: &str) -> Result<T, Error> {
    let text: &str = row.try_get(column)?;
    text.parse().map_err(|_| Error::Record(format!("{column} is {text}")))
}

/// A number that is never negative.
///
/// # Errors
/// [`Error::Record`] if it is, [`Error::Query`] if the column is not there.
pub fn whole(row: &Row, column: &str) -> Result<u32, Error> {
    let number: i32 = row.try_get(column)?;
    u32::try_from(number).map_err(|_| Error::Record(format!("{column} is {number}")))
}
