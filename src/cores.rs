//! How many cores there are to lay threads out for.

/// Cores that this process may use: a container's share and an affinity mask count, which libraries overlook. 1 where the system
/// does not tell.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
