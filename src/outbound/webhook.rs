//! Webhooks: a POST of JSON, signed so that its receiver knows who calls (the Standard Webhooks specification, 1.0).
//!
//! Without a secret nothing is signed. What is signed is `<id>.<timestamp>.<body>`, with HMAC-SHA256.

use std::{fmt, str::FromStr, time::Duration};

use base64::{
    Engine as _,
    engine::{
        DecodePaddingMode,
        general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD},
    },
};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use sha2::Sha256;

use super::{Answer, Outbound, OutboundError, Question};

/// Bytes of an answer that are read.
const READ_BYTES: usize = 64 * 1024;
/// Bytes of a key: the specification's limits.
const KEY_MIN: usize = 24;
const KEY_MAX: usize = 64;

/// The secret that webhooks are signed with: `whsec_` and base64. It is never printed.
#[derive(Clone)]
pub struct WebhookSecret(Vec<u8>);

/// A text that is no such secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a webhook secret is whsec_ and 24 to 64 random bytes in base64: printf 'whsec_'; openssl rand -base64 32")]
pub struct InvalidSecret;

impl FromStr for WebhookSecret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lenient = GeneralPurpose::new(
            &base64::alphabet::STANDARD,
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
        );
        let encoded = text.trim().strip_prefix("whsec_").ok_or(InvalidSecret)?;
        let key = lenient.decode(encoded).map_err(|_| InvalidSecret)?;
        if (KEY_MIN..=KEY_MAX).contains(&key.len()) {
            Ok(Self(key))
        } else {
            Err(InvalidSecret)
        }
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret")
    }
}

/// One call. It can't be printed: what it carries may be secret.
pub struct Call<'a> {
    pub url: &'a str,
    pub headers: HeaderMap,
    /// The same for every repetition of the call: its receiver can tell.
    pub id: &'a str,
    /// Unix seconds.
    pub timestamp: i64,
    pub body: Vec<u8>,
    pub timeout: Duration,
}

/// Sends webhooks.
#[derive(Debug, Clone)]
pub struct Webhooks {
    pub outbound: Outbound,
    pub secret: Option<WebhookSecret>,
}

impl Webhooks {
    /// Sends one, once.
    ///
    /// # Errors
    /// As [`Outbound::ask`].
    pub async fn call(&self, call: Call<'_>) -> Result<Answer, OutboundError> {
        let mut headers = call.headers;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        put(&mut headers, "idempotency-key", call.id)?;
        put(&mut headers, "webhook-id", call.id)?;
        put(&mut headers, "webhook-timestamp", &call.timestamp.to_string())?;
        if let Some(secret) = &self.secret {
            let signature = sign(secret, call.id, call.timestamp, &call.body);
            put(&mut headers, "webhook-signature", &signature)?;
        }
        let question = Question {
            method: Method::POST,
            headers,
            body: Some(call.body),
            read_bytes: READ_BYTES,
            ..Question::get(call.url, call.timeout)
        };
        self.outbound.ask(question).await
    }
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) -> Result<(), OutboundError> {
    let value = HeaderValue::from_str(value)
        .map_err(|_| OutboundError::Invalid(format!("the header {name} takes no such value")))?;
    headers.insert(HeaderName::from_static(name), value);
    Ok(())
}

fn sign(secret: &WebhookSecret, id: &str, timestamp: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret.0).expect("HMAC takes a key of any length");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_as_the_specification_does() {
        // The example of the Standard Webhooks reference libraries' tests.
        let secret: WebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        assert_eq!(
            sign(
                &secret,
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                br#"{"test": 2432232314}"#
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn only_a_secret_of_a_good_length_is_taken_and_none_is_printed() {
        for bad in [
            "",
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_c2hvcnQ=",
            "whsec_%%%",
        ] {
            assert!(bad.parse::<WebhookSecret>().is_err(), "{bad}");
        }
        let secret: WebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        assert_eq!(format!("{secret:?}"), "WebhookSecret");
    }
}
