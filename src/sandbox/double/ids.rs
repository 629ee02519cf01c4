//! Random identifiers in the forms that AWS gives them.

/// `prefix` and so many capital letters and digits, as in an invalidation id or an access key.
pub(super) fn token(prefix: &str, length: usize) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::with_capacity(prefix.len() + length);
    text.push_str(prefix);
    let mut bits: u128 = 0;
    for index in 0..length {
        if index % 25 == 0 {
            bits = rand::random();
        }
        text.push(char::from(ALPHABET[(bits & 31) as usize]));
        bits >>= 5;
    }
    text
}

/// A request id, or a key value store's.
pub(super) fn uuid() -> String {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_their_length_and_differ() {
        let first = token("ASIA", 60);
        assert_eq!(first.len(), 64);
        assert!(first.starts_with("ASIA"));
        assert_ne!(first, token("ASIA", 60));
    }
}
