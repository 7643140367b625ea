//! How much memory this process may take: what its control groups (version 1 or 2) let it have, and at most what the machine has.

use std::fs;
use std::path::{Path, PathBuf};

const MOUNT: &str = "/sys/fs/cgroup";

/// Bytes; `None` where the system tells nothing.
pub(super) fn limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let info = rustix::system::sysinfo();
    let machine = info.totalram.saturating_mul(info.mem_unit.into());
    [lowest(&groups, Path::new(MOUNT)), Some(machine)].into_iter().flatten().filter(|bytes| *bytes > 0).min()
}

/// The lowest limit of the groups that `/proc/self/cgroup` lists and of those above them; below `mount` they are files.
fn lowest(groups: &str, mount: &Path) -> Option<u64> {
    let files = groups.lines().flat_map(|line| limits_of(line, mount));
    files.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).min()
}

/// Where the limits of one line, `number:controllers:path`, stand; version 2 names no controllers.
fn limits_of(line: &str, mount: &Path) -> Vec<PathBuf> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { return Vec::new() };
    let (root, file) = if controllers.is_empty() {
        (mount.to_owned(), "memory.max")
    } else if controllers.split(',').any(|controller| controller == "memory") {
        (mount.join("memory"), "memory.limit_in_bytes")
    } else {
        return Vec::new();
    };
    let group = Path::new(path.trim_start_matches('/'));
    group.ancestors().map(|group| root.join(group).join(file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_above_counts_and_max_is_none() {
        let mount = tempfile::tempdir().expect("temporary folder");
        let group = mount.path().join("pods/worker");
        fs::create_dir_all(&group).expect("made");
        fs::write(mount.path().join("memory.max"), "max\n").expect("written");
        assert_eq!(lowest("0::/pods/worker\n", mount.path()), None);
        fs::write(mount.path().join("pods/memory.max"), "5000\n").expect("written");
        fs::write(group.join("memory.max"), "9000\n").expect("written");
        assert_eq!(lowest("0::/pods/worker\n", mount.path()), Some(5000));
        assert_eq!(lowest("0::/\n", mount.path()), None);
    }

    #[test]
    fn version_1_has_a_tree_of_its_own() {
        let mount = tempfile::tempdir().expect("temporary folder");
        fs::create_dir_all(mount.path().join("memory")).expect("made");
        fs::write(mount.path().join("memory/memory.limit_in_bytes"), "7000\n").expect("written");
        assert_eq!(lowest("5:cpu,cpuacct:/a\n4:memory:/not/seen/from/here\n", mount.path()), Some(7000));
        assert_eq!(lowest("nonsense", mount.path()), None);
    }

    #[test]
    fn this_process_has_a_limit() {
        assert!(limit().is_some_and(|bytes| bytes > 1 << 20));
    }
}
