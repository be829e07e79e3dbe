//! What a container image says of itself besides its files, as properties of the image that it
//! becomes; and whether its files are a system that starts.

use super::container::Container;
use super::metadata::{Init, Metadata, OCI};
use super::tree::{Tree, What};

/// Whether LXC finds something to start. A shell that is called `init` without anything to start
/// is none: the images of Alpine have busybox there, and no services.
pub fn init_of(tree: &Tree) -> Init {
    let is_program = |path: &str| {
        let (real, node) = tree.find(path)?;
        matches!(node.what, What::File(_)).then_some(real)
    };
    let Some(init) = is_program("sbin/init") else { return Init::Missing };
    let is_busybox = init.rsplit(|b| *b == b'/').next() == Some(b"busybox");
    let starts = ["sbin/openrc", "etc/init.d/rcS", "usr/sbin/openrc"];
    match is_busybox && !starts.iter().any(|path| is_program(path).is_some()) {
        true => Init::Missing,
        false => Init::Present,
    }
}

/// Keeps a container image's settings as properties, lists as JSON.
pub fn note(metadata: &mut Metadata, container: &Container<'_>) {
    if let Some(made) = seconds(&container.created) {
        metadata.creation_date = made;
    }
    let list = |list: &Option<Vec<String>>| {
        list.as_ref().and_then(|list| serde_json::to_string(list).ok())
    };
    let config = &container.config;
    let values = [
        ("name", container.name.clone()),
        ("entrypoint", list(&config.entrypoint)),
        ("cmd", list(&config.cmd)),
        ("env", list(&config.env)),
        ("workingdir", config.working_dir.clone()),
        ("user", config.user.clone()),
        ("stopsignal", config.stop_signal.clone()),
    ];
    for (name, value) in values {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            metadata.properties.insert(format!("{OCI}{name}"), value);
        }
    }
}

/// Seconds since 1970 of a time `YYYY-MM-DDTHH:MM:SS…` (RFC 3339), taken for UTC, as it is written.
fn seconds(time: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| time.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    // Days of the civil calendar, years beginning in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some((days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_images_are_seconds() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2026-11-22T05:33:04.123456789Z"), Some(1_795_325_584));
        assert_eq!(seconds("2024-02-29T23:59:59+01:00"), Some(1_709_251_199));
        for bad in ["", "yesterday", "0001-01-01T00:00:00Z", "2024-99-01T00:00:00Z", "2024-01"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
