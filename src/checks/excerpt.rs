//! As much of a text as a person needs to see: what a check shows of an answer.

/// Characters of an excerpt.
const MAX: usize = 400;

/// The beginning of a body, without what a terminal or PostgreSQL could not take.
pub fn of(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX * 4)]);
    let clean = |c: char| {
        if c.is_control() && c != '\n' && c != '\t' {
            ' '
        } else {
            c
        }
    };
    let mut excerpt: String = text.chars().take(MAX).map(clean).collect();
    if text.chars().count() > MAX || body.len() > MAX * 4 {
        excerpt.push('…');
    }
    excerpt
}

#[cfg(test)]
mod tests {
    #[test]
    fn is_short_and_printable() {
        assert_eq!(super::of(b"hello\0\x1b[31m"), "hello  [31m");
        assert_eq!(super::of(&[0xff, b'a']), "\u{fffd}a");
        let long = super::of("ü".repeat(5000).as_bytes());
        assert_eq!(long.chars().count(), super::MAX + 1);
    }
}
