//! The local edge: what a viewer sees of it, asked over real connections while a test moves the time.

mod bad_input;
mod caching;
mod cases;
mod functions;
mod load;
mod partial;
mod race;
mod routing;
mod sources;
mod stage;
