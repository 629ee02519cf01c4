//! Who signed the request: the SigV4 or SigV4A header read, not verified.
//!
//! The double checks what a client can get wrong without a real secret: the header's form, the algorithm
//! (SigV4A for KeyValueStore, SigV4 for the others), the credential scope, the age of the signature (*AWS Signature Version 4: a request is valid for five
//! minutes*), and that temporary credentials come with their own session token.

use axum::http::HeaderMap;
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};

use super::error::{AwsError, Protocol};
use super::kvs;
use super::state::State;

/// How far a signature's date may be from the machine's time (IAM User Guide, *Troubleshoot signed
/// requests for AWS APIs*).
const MAX_SKEW: TimeDelta = TimeDelta::minutes(5);
/// The same for S3 (API Reference, *Error responses*: `RequestTimeTooSkewed`; *Signing and authenticating
/// REST requests*).
const MAX_S3_SKEW: TimeDelta = TimeDelta::minutes(15);
const DATE_FORMAT: &str = "%Y%m%dT%H%M%SZ";
/// The two algorithms (IAM User Guide, *AWS Signature Version 4 for API requests*). The asymmetric one has no
/// region in its scope, but a signed region set.
const SIGV4: &str = "AWS4-HMAC-SHA256";
const SIGV4A: &str = "AWS4-ECDSA-P256-SHA256";

/// How the access keys of temporary credentials begin (IAM User Guide, *IAM identifiers*).
pub(super) const TEMPORARY_KEY: &str = "ASIA";

/// The credential scope and the session token of one request.
#[derive(Clone, Debug)]
pub(super) struct Signature {
    pub access_key: String,
    pub region: String,
    pub service: String,
    signed_at: DateTime<Utc>,
    session_token: Option<String>,
}

/// The principal that a request acts as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub account: String,
    pub region: String,
    pub arn: String,
    pub user_id: String,
}

/// The status of a refused signature, where both JSON protocols have the same codes.
fn json_status(protocol: Protocol) -> u16 {
    if protocol == Protocol::RestJson { 403 } else { 400 }
}

/// The services word the same refusal differently.
pub(super) fn missing_token(protocol: Protocol) -> AwsError {
    match protocol {
        Protocol::Json | Protocol::RestJson => AwsError::new(
            json_status(protocol),
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        ),
        _ => AwsError::new(
            403,
            "MissingAuthenticationToken",
            "Request is missing Authentication Token",
        ),
    }
}

fn incomplete(protocol: Protocol, message: String) -> AwsError {
    match protocol {
        Protocol::Json | Protocol::RestJson => {
            AwsError::new(json_status(protocol), "IncompleteSignatureException", message)
        }
        Protocol::S3 => AwsError::new(400, "AuthorizationHeaderMalformed", message),
        _ => AwsError::new(400, "IncompleteSignature", message),
    }
}

fn bad_signature(protocol: Protocol, message: String) -> AwsError {
    match protocol {
        Protocol::Json | Protocol::RestJson => {
            AwsError::new(json_status(protocol), "InvalidSignatureException", message)
        }
        _ => AwsError::new(403, "SignatureDoesNotMatch", message),
    }
}

fn bad_token(protocol: Protocol) -> AwsError {
    let message = "The security token included in the request is invalid.";
    match protocol {
        Protocol::Json | Protocol::RestJson => {
            AwsError::new(json_status(protocol), "UnrecognizedClientException", message)
        }
        Protocol::S3 => AwsError::new(400, "InvalidToken", message),
        _ => AwsError::new(403, "InvalidClientTokenId", message),
    }
}

fn expired_token(protocol: Protocol) -> AwsError {
    let message = "The security token included in the request is expired";
    match protocol {
        Protocol::Json | Protocol::RestJson => AwsError::new(json_status(protocol), "ExpiredTokenException", message),
        Protocol::S3 => AwsError::new(400, "ExpiredToken", message),
        _ => AwsError::new(403, "ExpiredToken", message),
    }
}

impl Signature {
    /// Reads the headers.
    ///
    /// # Errors
    /// `MissingAuthenticationToken` without an `Authorization` header, `IncompleteSignature` when the
    /// header or its date isn't that of the service's algorithm.
    pub(super) fn read(headers: &HeaderMap, protocol: Protocol) -> Result<Self, AwsError> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let header = text("authorization").ok_or_else(|| missing_token(protocol))?;
        let refuse = |what: &str| incomplete(protocol, format!("{what} Authorization={header}"));

        let asymmetric = header.starts_with(SIGV4A);
        let fields = header
            .strip_prefix(SIGV4A)
            .or_else(|| header.strip_prefix(SIGV4))
            .ok_or_else(|| refuse("Unsupported AWS 'algorithm'."))?;
        let field = |name: &str| {
            fields
                .split(',')
                .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
        };
        let credential =
            field("Credential").ok_or_else(|| refuse("Authorization header requires 'Credential' parameter."))?;
        let signature =
            field("Signature").ok_or_else(|| refuse("Authorization header requires 'Signature' parameter."))?;
        let signed =
            field("SignedHeaders").ok_or_else(|| refuse("Authorization header requires 'SignedHeaders' parameter."))?;
        let date = text("x-amz-date").ok_or_else(|| {
            refuse("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
        })?;

        // A SigV4A signature is an ECDSA one in DER: 72 bytes at most.
        let fits = match asymmetric {
            true => (16..=144).contains(&signature.len()) && signature.len().is_multiple_of(2),
            false => signature.len() == 64,
        };
        if !fits || !signature.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(refuse(
                "'Signature' must be hexadecimal, and as long as the algorithm makes it.",
            ));
        }
        if !signed.split(';').any(|name| name == "host") {
            return Err(bad_signature(protocol, "'Host' must be a 'SignedHeader'.".to_owned()));
        }
        let scope: Vec<&str> = credential.split('/').collect();
        let (access_key, day, region, service) = match (asymmetric, &scope[..]) {
            (false, [access_key, day, region, service, "aws4_request"]) => (*access_key, *day, *region, *service),
            (true, [access_key, day, service, "aws4_request"]) => {
                let region_set =
                    text("x-amz-region-set").filter(|_| signed.split(';').any(|it| it == "x-amz-region-set"));
                let region_set = region_set.ok_or_else(|| refuse("'X-Amz-Region-Set' must be a 'SignedHeader'."))?;
                (*access_key, *day, region_set, *service)
            }
            (false, _) => return Err(refuse("Credential must have exactly 5 slash-delimited elements.")),
            (true, _) => return Err(refuse("Credential must have exactly 4 slash-delimited elements.")),
        };
        if asymmetric != (service == kvs::SERVICE) {
            return Err(refuse("Unsupported AWS 'algorithm' for this service."));
        }
        if access_key.is_empty() || region.is_empty() || service.is_empty() {
            return Err(refuse("Credential must not have empty elements."));
        }
        let signed_at = NaiveDateTime::parse_from_str(date, DATE_FORMAT)
            .map_err(|_| refuse("Date must be in ISO-8601 'basic format'."))?
            .and_utc();
        if !date.starts_with(day) {
            return Err(bad_signature(
                protocol,
                format!(
                    "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{day}' != '{}'.",
                    date.get(..8).unwrap_or(date)
                ),
            ));
        }
        Ok(Self {
            access_key: access_key.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            signed_at,
            session_token: text("x-amz-security-token").map(str::to_owned),
        })
    }

    /// Refuses a signature whose date is more than five minutes from `now`, the machine's own time; S3
    /// takes fifteen.
    pub(super) fn check_age(&self, now: DateTime<Utc>, protocol: Protocol) -> Result<(), AwsError> {
        if protocol == Protocol::S3 {
            if (self.signed_at - now).abs() <= MAX_S3_SKEW {
                return Ok(());
            }
            let message = "The difference between the request time and the server's time is too large.";
            return Err(AwsError::new(403, "RequestTimeTooSkewed", message));
        }
        let date = self.signed_at.format(DATE_FORMAT);
        let shown_now = now.format(DATE_FORMAT);
        if self.signed_at < now - MAX_SKEW {
            let limit = (now - MAX_SKEW).format(DATE_FORMAT);
            return Err(bad_signature(
                protocol,
                format!("Signature expired: {date} is now earlier than {limit} ({shown_now} - 5 min.)"),
            ));
        }
        if self.signed_at > now + MAX_SKEW {
            let limit = (now + MAX_SKEW).format(DATE_FORMAT);
            return Err(bad_signature(
                protocol,
                format!("Signature not yet current: {date} is still later than {limit} ({shown_now} + 5 min.)"),
            ));
        }
        Ok(())
    }

    /// The principal behind the access key: a session that `AssumeRole` gave, an account whose id is
    /// the key, or else the default account.
    pub(super) fn caller(
        &self,
        state: &State,
        default_account: &str,
        now: DateTime<Utc>,
        protocol: Protocol,
    ) -> Result<Caller, AwsError> {
        let region = self.region.clone();
        if let Some(session) = state.session(&self.access_key) {
            if self.session_token.as_deref() != Some(session.token.as_str()) {
                return Err(bad_token(protocol));
            }
            if session.expires_at <= now {
                return Err(expired_token(protocol));
            }
            return Ok(Caller {
                account: session.account.clone(),
                region,
                arn: session.arn.clone(),
                user_id: session.role_id.clone(),
            });
        }
        // A temporary key that isn't known has expired long ago, or was never given out here.
        if self.access_key.starts_with(TEMPORARY_KEY) {
            return Err(bad_token(protocol));
        }
        let is_account = is_account_id(&self.access_key);
        let account = if is_account {
            self.access_key.as_str()
        } else {
            default_account
        };
        Ok(Caller {
            account: account.to_owned(),
            region,
            arn: format!("arn:aws:iam::{account}:user/example"),
            user_id: "AIDAEXAMPLEEXAMPLEEXA".to_owned(),
        })
    }
}

/// Whether a text is an AWS account id: exactly twelve digits.
pub(super) fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::super::state::Session;
    use super::*;

    fn headers(authorization: &str, date: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", authorization.parse().unwrap());
        headers.insert("x-amz-date", date.parse().unwrap());
        headers
    }

    fn good(date: &str) -> HeaderMap {
        let hex = "a".repeat(64);
        headers(
            &format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{}/eu-west-1/ssm/aws4_request, SignedHeaders=host;x-amz-date, Signature={hex}",
                &date[..8]
            ),
            date,
        )
    }

    #[test]
    fn the_scope_names_region_and_service() {
        let signature = Signature::read(&good("20260102T030405Z"), Protocol::Json).unwrap();
        assert_eq!(
            (signature.region.as_str(), signature.service.as_str()),
            ("eu-west-1", "ssm")
        );
        assert_eq!(signature.access_key, "AKIDEXAMPLE");
    }

    #[test]
    fn malformed_headers_are_refused_in_the_words_of_each_protocol() {
        let none = Signature::read(&HeaderMap::new(), Protocol::Json).unwrap_err();
        assert_eq!(
            (none.status, none.code.as_str()),
            (400, "MissingAuthenticationTokenException")
        );
        let none = Signature::read(&HeaderMap::new(), Protocol::Query).unwrap_err();
        assert_eq!((none.status, none.code.as_str()), (403, "MissingAuthenticationToken"));
        let bearer = headers("Bearer token", "20260102T030405Z");
        let error = Signature::read(&bearer, Protocol::RestXml).unwrap_err();
        assert_eq!(error.code, "IncompleteSignature");
        let short = headers(
            "AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=x",
            "now",
        );
        assert_eq!(
            Signature::read(&short, Protocol::Json).unwrap_err().code,
            "IncompleteSignatureException"
        );
    }

    #[test]
    fn key_value_stores_are_signed_for_asymmetrically_and_nothing_else_is() {
        let signed = |algorithm: &str, scope: &str, length: usize| {
            let hex = "a".repeat(length);
            let signed = "SignedHeaders=host;x-amz-date;x-amz-region-set";
            let authorization =
                format!("{algorithm} Credential=AKIDEXAMPLE/20260102/{scope}, {signed}, Signature={hex}");
            let mut headers = headers(&authorization, "20260102T030405Z");
            headers.insert("x-amz-region-set", "*".parse().unwrap());
            headers
        };
        let kvs = "cloudfront-keyvaluestore/aws4_request";
        let signature = Signature::read(&signed(SIGV4A, kvs, 142), Protocol::RestJson).unwrap();
        assert_eq!(
            (signature.region.as_str(), signature.service.as_str()),
            ("*", kvs::SERVICE)
        );
        let mut without_region_set = signed(SIGV4A, kvs, 142);
        without_region_set.remove("x-amz-region-set");
        for bad in [
            signed(SIGV4, "us-east-1/cloudfront-keyvaluestore/aws4_request", 64),
            signed(SIGV4A, "ssm/aws4_request", 142),
            signed(SIGV4A, "us-east-1/cloudfront-keyvaluestore/aws4_request", 142),
            signed(SIGV4A, kvs, 141),
            without_region_set,
        ] {
            let error = Signature::read(&bad, Protocol::RestJson).unwrap_err();
            assert_eq!(
                (error.status, error.code.as_str()),
                (403, "IncompleteSignatureException")
            );
        }
    }

    #[test]
    fn a_signature_lives_five_minutes_in_both_directions() {
        let signature = Signature::read(&good("20260102T030405Z"), Protocol::Json).unwrap();
        let at = |minutes: i64| signature.signed_at + TimeDelta::minutes(minutes);
        assert!(signature.check_age(at(4), Protocol::Json).is_ok());
        assert!(signature.check_age(at(-4), Protocol::Json).is_ok());
        let late = signature.check_age(at(6), Protocol::Json).unwrap_err();
        assert!(late.message.unwrap().starts_with("Signature expired: 20260102T030405Z"));
        let early = signature.check_age(at(-6), Protocol::RestXml).unwrap_err();
        assert_eq!((early.status, early.code.as_str()), (403, "SignatureDoesNotMatch"));
        assert!(signature.check_age(at(14), Protocol::S3).is_ok());
        let skewed = signature.check_age(at(-16), Protocol::S3).unwrap_err();
        assert_eq!((skewed.status, skewed.code.as_str()), (403, "RequestTimeTooSkewed"));
    }

    #[test]
    fn a_session_needs_its_token_and_ends() {
        let now = Utc::now();
        let mut state = State::default();
        let session = Session {
            account: "222222222222".into(),
            arn: "arn:example".into(),
            role_id: "AROAEXAMPLE:job".into(),
            token: "token".into(),
            expires_at: now + TimeDelta::hours(1),
        };
        state.add_session("ASIAEXAMPLE".into(), session, now);
        let signature = |key: &str, token: Option<&str>| Signature {
            access_key: key.into(),
            region: "eu-west-1".into(),
            service: "ssm".into(),
            signed_at: now,
            session_token: token.map(str::to_owned),
        };
        let ask = |key: &str, token: Option<&str>, hours: i64| {
            let at = now + TimeDelta::hours(hours);
            let caller = signature(key, token).caller(&state, "000000000000", at, Protocol::Json);
            caller.map(|caller| caller.account).map_err(|error| error.code)
        };
        assert_eq!(ask("ASIAEXAMPLE", Some("token"), 0), Ok("222222222222".into()));
        assert_eq!(
            ask("ASIAEXAMPLE", Some("token"), 2),
            Err("ExpiredTokenException".into())
        );
        for (key, token) in [
            ("ASIAEXAMPLE", Some("other")),
            ("ASIAEXAMPLE", None),
            ("ASIANOBODY", None),
        ] {
            assert_eq!(ask(key, token, 0), Err("UnrecognizedClientException".into()));
        }
        assert_eq!(ask("AKIAEXAMPLE", None, 0), Ok("000000000000".into()));
        assert_eq!(ask("111111111111", None, 0), Ok("111111111111".into()));
    }
}
