//! The content encoding `aws-chunked`, in which SDKs send bodies whose checksum comes as a trailer.
//!
//! ```text
//! 5[;chunk-signature=…]\r\nhello\r\n0[;chunk-signature=…]\r\nx-amz-checksum-crc32:…\r\n[x-amz-trailer-signature:…\r\n]\r\n
//! ```
//!
//! (Amazon S3 API Reference, *Signature calculations for the Authorization header: transferring payload in
//! multiple chunks*.) Signatures of chunks are read over, like that of the request.

use axum::body::Bytes;

/// A body and the trailers behind it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    pub body: Bytes,
    pub trailers: Vec<(String, String)>,
}

/// Undoes the encoding; `None` when the text isn't well-formed.
pub(super) fn decode(encoded: &[u8]) -> Option<Decoded> {
    let mut body = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    loop {
        let (line, after) = split_line(rest)?;
        let size = line.split(';').next()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            rest = after;
            break;
        }
        let (chunk, after) = after.split_at_checked(size)?;
        body.extend_from_slice(chunk);
        rest = after.strip_prefix(b"\r\n")?;
    }
    let mut trailers = Vec::new();
    // The empty line behind the trailers is left out by some clients.
    while !rest.is_empty() {
        let (line, after) = split_line(rest)?;
        rest = after;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        trailers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    rest.is_empty().then(|| Decoded {
        body: body.into(),
        trailers,
    })
}

fn split_line(text: &[u8]) -> Option<(&str, &[u8])> {
    let end = text.windows(2).position(|pair| pair == b"\r\n")?;
    Some((std::str::from_utf8(&text[..end]).ok()?, &text[end + 2..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined_and_trailers_told() {
        let decoded =
            decode(b"5;chunk-signature=ab\r\nhello\r\n1\r\n!\r\n0\r\nx-amz-checksum-crc32: AAAAAA==\r\n\r\n").unwrap();
        assert_eq!(&decoded.body[..], b"hello!");
        assert_eq!(decoded.trailers, [("x-amz-checksum-crc32".into(), "AAAAAA==".into())]);
        assert!(decode(b"0\r\n\r\n").unwrap().body.is_empty());
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        for bad in [
            &b""[..],
            b"5\r\nhell",
            b"5\r\nhello\r\n",
            b"x\r\n",
            b"ffffffffffffffff\r\nx",
            b"0\r\n\r\nmore",
        ] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
    }
}
