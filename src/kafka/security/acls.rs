//! What a broker does not permit this client, as a sentence with the command that grants it.

use std::fmt;

use crate::kafka::Settings;

/// What is done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Look at it.
    Describe,
    /// Read it.
    Read,
    /// Write to it.
    Write,
}

/// What it is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// A topic.
    Topic(&'a str),
    /// A consumer group.
    Group(&'a str),
    /// A transactional id: those of a group's workers begin with its name.
    TransactionalId(&'a str),
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic {name}"),
            Self::Group(name) => write!(f, "group {name}"),
            Self::TransactionalId(name) => write!(f, "transactional id {name}"),
        }
    }
}

/// The sentence.
#[must_use]
pub fn denied(settings: &Settings, operation: Operation, resource: Resource<'_>) -> String {
    let Settings { brokers, group, security, .. } = settings;
    let principal = security.principal();
    let option = match resource {
        Resource::Topic(name) => format!("--topic {name}"),
        Resource::Group(name) => format!("--group {name}"),
        Resource::TransactionalId(_) => format!("--transactional-id {group}- --resource-pattern-type prefixed"),
    };
    format!(
        "Kafka at {brokers} does not permit {operation:?} on the {resource} to this client ({principal}); grant it with: kafka-acls.sh --bootstrap-server {brokers} --add --allow-principal {principal} --operation {operation:?} {option} (docs/security.md lists all that is needed)"
    )
}
