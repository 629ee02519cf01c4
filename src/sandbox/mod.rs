//! What `greenlight dev` and the tests run on instead of a real PostgreSQL and a real AWS.

pub mod dev;
pub mod double;
pub mod folder_lock;
pub mod postgres;
