//! API tokens: 256 random bits, of which only the SHA-256 is stored.
//!
//! A token is `glt_<id>_<secret>`: the id finds the row, the secret is compared in constant time.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use rand::Rng;
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::{Actor, Code, Result, ServiceError};
use crate::{
    domain::role::Role,
    store::{
        audit::{self, Subject},
        tokens,
    },
};

const PREFIX: &str = "glt_";
const SECRET_BYTES: usize = 32;

/// A token as it is handed out, once.
pub struct NewToken {
    pub id: Uuid,
    /// The secret. It is not stored, and not shown again.
    pub token: String,
    pub expires_at: Option<DateTime<Utc>>,
}

/// Makes a token.
///
/// # Errors
/// [`Code::ValidationFailed`] for a name that is empty, too long or not printable.
pub async fn create(
    connection: &mut PgConnection,
    name: &str,
    role: Role,
    valid_seconds: Option<i64>,
) -> Result<NewToken> {
    if !(1..=100).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(ServiceError::invalid("name", "1 to 100 printable characters"));
    }
    let id = Uuid::now_v7();
    let mut secret = [0u8; SECRET_BYTES];
    rand::rng().fill_bytes(&mut secret);
    let expires_at = tokens::insert(connection, id, name, role, &hash(&secret), valid_seconds).await?;
    let data = json!({"token": id, "name": name, "role": role});
    audit::record(connection, "command line", "token.create", Subject::default(), &data).await?;
    let token = format!("{PREFIX}{}_{}", id.simple(), URL_SAFE_NO_PAD.encode(secret));
    Ok(NewToken { id, token, expires_at })
}

/// Who shows this token.
///
/// # Errors
/// [`Code::Unauthenticated`], with the same words for a token that is malformed, unknown or wrong.
pub async fn authenticate(connection: &mut PgConnection, token: &str) -> Result<Actor> {
    let unknown = || {
        ServiceError::new(
            Code::Unauthenticated,
            "This token is not known. Make one with: greenlight token create",
        )
    };
    let (id, secret) = parse(token).ok_or_else(unknown)?;
    let stored = tokens::get(connection, id).await?.ok_or_else(unknown)?;
    if !bool::from(stored.hash.ct_eq(hash(&secret).as_slice())) {
        return Err(unknown());
    }
    if stored.expired {
        return Err(ServiceError::new(
            Code::Unauthenticated,
            "This token has expired. Make a new one.",
        ));
    }
    Ok(Actor {
        token: stored.id,
        name: stored.name,
        role: stored.role,
    })
}

fn parse(token: &str) -> Option<(Uuid, [u8; SECRET_BYTES])> {
    let (id, secret) = token.strip_prefix(PREFIX)?.split_once('_')?;
    let secret = URL_SAFE_NO_PAD.decode(secret).ok()?.try_into().ok()?;
    Some((Uuid::try_parse(id).ok()?, secret))
}

fn hash(secret: &[u8]) -> Vec<u8> {
    Sha256::digest(secret).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_token_is_read() {
        let id = Uuid::now_v7();
        let good = format!(
            "{PREFIX}{}_{}",
            id.simple(),
            URL_SAFE_NO_PAD.encode([7u8; SECRET_BYTES])
        );
        assert_eq!(parse(&good), Some((id, [7u8; SECRET_BYTES])));
        for bad in [
            "",
            "glt_",
            "glt_x_y",
            &good[1..],
            &good[..good.len() - 1],
            &format!("{good}A"),
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
