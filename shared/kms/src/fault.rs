//! What goes wrong with a question to Cloud KMS, and whether asking again may help.

use std::error::Error as _;

use google_cloud_gax::error::{CredentialsError, Error, rpc::Code};
use platform::signing::RootError;

/// Of Cloud KMS' own words, this many characters are repeated.
const WORDS: usize = 300;

/// Why a question has no answer that counts.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The question or its answer may have been damaged on the way: worth asking again, though not for long.
    Damaged(String),
    /// Anything else. What may pass by itself has been asked again already.
    Final(RootError),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        fault_of(&error)
    }
}

fn fault_of(error: &Error) -> Fault {
    // The retries ran out of time: the last error says why.
    if let Some(last) = error.source().and_then(|source| source.downcast_ref::<Error>()) {
        return fault_of(last);
    }
    if let Some(status) = error.status() {
        let words: String = status.message.chars().take(WORDS).collect();
        return of_code(status.code, format!("Cloud KMS says {}: {words}", status.code));
    }
    if let Some(status) = error.http_status_code() {
        let why = format!("instead of Cloud KMS, something answered with HTTP status {status}");
        return if matches!(status, 408 | 429 | 500..) { unavailable(why) } else { refused(why) };
    }
    if let Some(credentials) = error.source().and_then(|source| source.downcast_ref::<CredentialsError>()) {
        return of_credentials(credentials);
    }
    if error.is_deserialization() {
        return Fault::Damaged("the answer cannot be read".to_owned());
    }
    if error.is_timeout() {
        return unavailable("Cloud KMS did not answer in time".to_owned());
    }
    unavailable(format!("Cloud KMS cannot be reached, or was cut off: {}", cause(error)))
}

/// What the canonical codes of Google's services mean for a signature (AIP-193).
fn of_code(code: Code, why: String) -> Fault {
    match code {
        Code::Unavailable
        | Code::ResourceExhausted
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Cancelled
        | Code::Internal
        | Code::Unknown
        | Code::DataLoss => unavailable(why),
        // So Cloud KMS answers if the digest that it got does not have the checksum that was sent along.
        Code::InvalidArgument => Fault::Damaged(why),
        // Among others: no permission, no such key version, or one that is disabled or destroyed.
        _ => refused(why),
    }
}

/// Says only whether it may pass: the words of a token service are not known to be free of secrets.
fn of_credentials(error: &CredentialsError) -> Fault {
    if error.is_transient() {
        unavailable("no access token for Cloud KMS can be had at the moment".to_owned())
    } else {
        refused("no access token for Cloud KMS can be had with these Application Default Credentials".to_owned())
    }
}

/// The innermost error: the outer ones repeat where the question went.
fn cause(error: &Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn unavailable(why: String) -> Fault {
    Fault::Final(RootError::Unavailable(why))
}

fn refused(why: String) -> Fault {
    Fault::Final(RootError::Refused(why))
}

#[cfg(test)]
mod tests {
    use google_cloud_gax::error::rpc::Status;

    use super::*;

    #[test]
    fn nothing_of_a_credentials_error_is_repeated() {
        for (transient, wanted) in [(true, "Unavailable"), (false, "Refused")] {
            let error = Error::authentication(CredentialsError::from_msg(transient, "refresh_token=hunter2"));
            let said = format!("{:?}", Fault::from(error));
            assert!(said.contains(wanted) && !said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn a_long_story_of_cloud_kms_is_cut_short() {
        let status = Status::default().set_code(Code::Unavailable).set_message("é".repeat(10_000));
        let said = format!("{:?}", Fault::from(Error::exhausted(Error::service(status))));
        assert_eq!(said.matches('é').count(), WORDS, "{said}");
    }
}
