//! Signed previews: what shows one browser a release before anybody else sees it.
//!
//! A token is `<expires>~<release>~<signature>`: unix seconds, the version, and the HMAC-SHA256 (RFC 2104) of both in
//! lower-case hexadecimal. The edge's routing function verifies it with the same secret, which lies beside the
//! pointer in AWS and nowhere else. `~` is in no version.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::names::Version;

/// The query parameter of a link and the cookie that it becomes.
pub const PREVIEW_NAME: &str = "greenlight-preview";
/// How long a preview may be valid: a week.
pub const PREVIEW_MAX_SECONDS: u32 = 604_800;
/// Characters of a secret: 256 bits in lower-case hexadecimal. The edge takes nothing else for one.
const SECRET_LENGTH: usize = 64;

/// Signs a preview of `release` until `expires`, in unix seconds.
pub fn token(secret: &str, release: &Version, expires: i64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(format!("greenlight-preview\n{release}\n{expires}").as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());
    format!("{expires}~{release}~{signature}")
}

/// A fresh secret of 32 random bytes: 64 characters of lower-case hexadecimal.
pub fn secret(random: [u8; 32]) -> String {
    hex::encode(random)
}

/// True for what the edge takes for a secret.
pub fn is_secret(text: &str) -> bool {
    text.len() == SECRET_LENGTH && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The link that carries a token to `public_url`.
pub fn link(public_url: &str, token: &str) -> String {
    let (address, fragment) = match public_url.split_once('#') {
        Some((address, fragment)) => (address, format!("#{fragment}")),
        None => (public_url, String::new()),
    };
    let separator = if address.contains('?') { '&' } else { '?' };
    // Of a token's characters only `+` means something else in a query.
    let token = token.replace('+', "%2B");
    format!("{address}{separator}{PREVIEW_NAME}={token}{fragment}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_the_edge_verifies() {
        // The same case is in the edge's own tests: both ends sign alike.
        let secret = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        assert_eq!(
            token(secret, &Version::parse("1.43.0").unwrap(), 1_800_000_000),
            "1800000000~1.43.0~14f8de4282e3035923b605b4fc0296919ec305898e617d93952ae5fe4155884e"
        );
    }

    #[test]
    fn another_release_time_or_secret_is_another_signature() {
        let (one, other) = (Version::parse("1.0.0").unwrap(), Version::parse("1.0.1").unwrap());
        let signature = |token: String| token.rsplit('~').next().unwrap().to_owned();
        let first = signature(token("a", &one, 10));
        assert_eq!(first, signature(token("a", &one, 10)));
        for different in [token("b", &one, 10), token("a", &other, 10), token("a", &one, 11)] {
            assert_ne!(first, signature(different));
        }
    }

    #[test]
    fn a_link_keeps_what_the_url_has() {
        for (url, expected) in [
            (
                "https://www.example.com/",
                "https://www.example.com/?greenlight-preview=1~2%2B3~x",
            ),
            (
                "https://www.example.com/a?b=c",
                "https://www.example.com/a?b=c&greenlight-preview=1~2%2B3~x",
            ),
            (
                "https://www.example.com/#top",
                "https://www.example.com/?greenlight-preview=1~2%2B3~x#top",
            ),
        ] {
            assert_eq!(link(url, "1~2+3~x"), expected);
        }
    }

    #[test]
    fn only_what_the_edge_takes_for_one_is_a_secret() {
        assert!(is_secret(&secret([7; 32])));
        let (short, long) = ("a".repeat(63), "a".repeat(65));
        for bad in [
            "",
            "x",
            &short,
            &long,
            &"A".repeat(64),
            &"g".repeat(64),
            &"ü".repeat(32),
        ] {
            assert!(!is_secret(bad), "{bad}");
        }
    }
}
