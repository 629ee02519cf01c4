//! The strict AWS double, asked by the real SDK clients, in Rust and in Python.

mod admin;
mod cloudfront;
mod cloudwatch;
mod faults;
mod identity;
mod kvs;
mod s3;
mod ssm;
pub mod support;
