//! What scripts answer, and what they keep of a session.

use redis::Value;

use super::Error;
use crate::domain::{HardwareHash, Holder, Refusal, SeatNumber, SessionKey, TenantId, Timestamp, from_millis};

/// What a script that needs a warm license answers.
#[derive(Debug)]
pub(super) enum Reply<T> {
    /// Redis does not know the license: rebuild it and ask again.
    Cold,
    /// It was done.
    Done(T),
}

/// What `acquire.lua` did.
#[derive(Debug)]
pub(super) enum Taken {
    Stale,
    /// A seat was free.
    Granted(Place),
    /// Its holder has a seat, which the new session shares.
    Shared(Place),
    /// The session that the same request has begun before.
    Resumed(Place),
    /// Too many sessions share the seat of the holder.
    Crowded {
        now: Timestamp,
        next_expiry: Timestamp,
    },
    Full {
        now: Timestamp,
        used: u32,
        next_expiry: Timestamp,
    },
    Replayed {
        answer: Vec<u8>,
        is_shared: bool,
    },
    InFlight,
    Reused,
}

/// A session on a seat as Redis has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) session: SessionKey,
    pub(super) seat: SeatNumber,
    pub(super) holder: Holder,
    pub(super) now: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) used: u32,
    /// Other sessions of the holder are on the seat.
    pub(super) is_shared: bool,
    /// It is to replace the session that the request names.
    pub(super) replaces: bool,
}

/// What `heartbeat.lua` found.
#[derive(Debug)]
pub(super) enum Beat {
    Renewed {
        now: Timestamp,
        expires_at: Timestamp,
        tenant: TenantId,
        version: i64,
        seat: SeatNumber,
        hardware: HardwareHash,
        used: u32,
        seats: u32,
        policy_is_old: bool,
    },
    Refused {
        expires_at: Timestamp,
        why: Refusal,
    },
    /// Redis lacks the session or has it expired: PostgreSQL has the last word.
    Missing {
        now: Timestamp,
    },
}

/// Who rebuilds.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Turn {
    Mine(Timestamp),
    AnotherFunction,
    AlreadyWarm,
}

/// What `sweep.lua` says of one session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Found {
    Alive(Timestamp),
    Dead,
    Forgotten,
}

/// A script's answer, read from front to back.
pub(super) struct Answer(std::vec::IntoIter<Value>);

impl Answer {
    pub(super) fn of(value: Value) -> Result<Self, Error> {
        match value {
            Value::Array(items) => Ok(Self(items.into_iter())),
            other => Err(Error::Unexpected(format!("a script answered {other:?}"))),
        }
    }

    pub(super) fn list(&mut self) -> Result<Self, Error> {
        Self::of(self.next()?)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    pub(super) fn next(&mut self) -> Result<Value, Error> {
        self.0.next().ok_or_else(|| Error::Unexpected("a script's answer ended early".to_owned()))
    }

    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, Error> {
        match self.next()? {
            Value::BulkString(bytes) => Ok(bytes),
            other => Err(Error::Unexpected(format!("{other:?} is no string"))),
        }
    }

    /// Nothing where there is no such record.
    pub(super) fn maybe_bytes(&mut self) -> Result<Option<Vec<u8>>, Error> {
        match self.next()? {
            Value::Nil => Ok(None),
            Value::BulkString(bytes) => Ok(Some(bytes)),
            other => Err(Error::Unexpected(format!("{other:?} is no string"))),
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.bytes()?.try_into().map_err(|_| Error::Unexpected(format!("{N} bytes were expected")))
    }

    pub(super) fn word(&mut self) -> Result<String, Error> {
        String::from_utf8(self.bytes()?).map_err(|error| Error::Unexpected(error.to_string()))
    }

    /// Text of whatever origin.
    pub(super) fn text(&mut self) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.bytes()?).into_owned())
    }

    pub(super) fn number(&mut self) -> Result<i64, Error> {
        match self.next()? {
            Value::Int(number) => Ok(number),
            other => Err(Error::Unexpected(format!("{other:?} is no number"))),
        }
    }

    /// A number that stands in Redis as text.
    pub(super) fn digits(&mut self) -> Result<i64, Error> {
        let digits = self.word()?;
        digits.parse().map_err(|_| Error::Unexpected(format!("{digits} is no number")))
    }

    pub(super) fn count(&mut self) -> Result<u32, Error> {
        u32::try_from(self.number()?).map_err(|error| Error::Unexpected(error.to_string()))
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, Error> {
        Ok(from_millis(self.number()?))
    }

    /// A session that is alone on a seat of this holder.
    pub(super) fn place(&mut self, holder: Holder) -> Result<Place, Error> {
        let session = self.array()?;
        let seat = SeatNumber::new(self.count()?).ok_or_else(|| Error::Unexpected("seat 0".to_owned()))?;
        let (now, expires_at) = (self.time()?, self.time()?);
        let session = SessionKey::from_bytes(session);
        Ok(Place { session, seat, holder, now, expires_at, used: self.count()?, is_shared: false, replaces: false })
    }

    /// A session, with its holder and whether it shares the seat and replaces another one.
    pub(super) fn shared_place(&mut self, holder: Holder) -> Result<Place, Error> {
        let place = self.place(holder)?;
        let holder = Holder::from_bytes(self.array()?);
        Ok(Place { holder, is_shared: self.count()? == 1, replaces: self.count()? == 1, ..place })
    }
}

/// Which seat, and on which device, by the record of a session as the prelude has it.
pub(super) fn seated(record: &[u8]) -> Result<(SeatNumber, HardwareHash), Error> {
    let seat = record.get(8..12).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes).and_then(SeatNumber::new);
    let hardware = record.get(28..60).and_then(|bytes| bytes.try_into().ok()).map(HardwareHash::from_bytes);
    seat.zip(hardware).ok_or_else(|| Error::Unexpected("the record of a session in Redis".to_owned()))
}

/// When a session expires, by its record.
pub(super) fn expires(record: Option<&[u8]>) -> Option<Timestamp> {
    record?.first_chunk().map(|bytes| from_millis(i64::from_be_bytes(*bytes)))
}

/// How many microseconds are missing from a session's allowance, by its record or the last eight bytes of it; 0 where an older version has
/// written it.
pub(super) fn missing(record: &[u8], now: Timestamp) -> u64 {
    let whole = if let 8 | 68 | 84 = record.len() { record.last_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes)) } else { 0 };
    u64::try_from(whole - now.timestamp_millis() * 1000).unwrap_or(0)
}
