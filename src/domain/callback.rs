//! The token that a webhook is called with, and calls back with.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

/// What every such token begins with.
pub const PREFIX: &str = "glc_";

/// The token of a call, and the hash of its secret, which alone is stored.
pub fn token(position: i32, attempt: i32, secret: [u8; 32]) -> (String, Vec<u8>) {
    let token = format!("{PREFIX}{position}_{attempt}_{}", URL_SAFE_NO_PAD.encode(secret));
    (token, Sha256::digest(secret).to_vec())
}
