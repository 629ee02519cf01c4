//! The HTTP of the edge: what it refuses before anything else, conditional and partial answers, and its own pages.
//!
//! Pure: requests and stored answers go in, answers come out.

mod conditional;
mod limits;
mod page;
mod range;

pub(super) use conditional::{Draft, answer_to, http_date};
pub(super) use limits::{Refusal, check};
pub(super) use page::{error_page, random_hex, request_id};
