//! sentistream: the sentiment of an image stream.

pub mod budget;
pub mod decode;
pub mod error;
pub mod message;
pub mod metrics;
