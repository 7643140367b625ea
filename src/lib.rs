//! sentistream: the sentiment of an image stream.

pub mod budget;
pub mod error;
pub mod message;
pub mod metrics;
pub mod model;
